"""The stand-in that works without a model: a few rules that really call the tools."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from agent import prompts

LEAD = "The offline stand-in follows fixed rules, it does not think. It ran:"
NO_RULE = """\
This task needs a model: the offline stand-in only follows fixed rules. It can calculate, count
days, list, read, search and write files, answer the sample questions about the database, and read
a web page. Put a key into `.env` as MISTRAL_API_KEY and start the app again."""
LINES = 12  # of a result that an answer shows

# Questions about the database, as words that must all occur, and the query that answers them.
# All that fit are asked. Add your own for a demo without a network.
CHANGES = "SELECT deployed_at, service, version, change FROM deployments ORDER BY 1 DESC LIMIT 3"
EARLIER = "SELECT number, began_at, title, cause, fix FROM incidents WHERE service = 'checkout'"
QUERIES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("find out why",), CHANGES),
    (("find out why",), EARLIER),
    (("deployed",), CHANGES),
    (("before",), EARLIER),
    (("on call",), "SELECT * FROM on_call WHERE week_of = '2026-11-09'"),
    (("alerts",), "SELECT * FROM alerts WHERE resolved_at IS NULL ORDER BY raised_at"),
)
LOGS = ("logs/app.log", "logs/database.log", "logs/proxy.log")
# What the task or the logs say, and the runbook for it. The first one that fits counts.
RUNBOOKS = (
    ("no free database connection", "runbooks/connection-pool.md"),
    ("queue", "runbooks/order-queue.md"),
    ("payment", "runbooks/payment-provider.md"),
    ("status page", "runbooks/status-page.md"),
)
HEADINGS = {"query_database": "Database", "log_summary": "Logs (UTC)", "read_file": "Files"}


@dataclass(frozen=True)
class Talk:
    """A task as the rules see it: its words, the tools there are, and what each gave so far."""

    task: str
    tools: frozenset[str]
    results: tuple[tuple[str, str], ...] = ()  # tool, text; in order


Move = tuple[str, dict[str, Any]]  # a tool, and the arguments to call it with


class StandIn(BaseChatModel):
    """A chat model without a model: LangChain calls it like any other."""

    tools: frozenset[str] = frozenset()

    @property
    def _llm_type(self) -> str:
        return prompts.STAND_IN

    def bind_tools(self, tools: Sequence[Any], **_: Any) -> StandIn:  # type: ignore[override]
        """The same with these tools."""
        return StandIn(tools=frozenset(tool.name for tool in tools))

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **_: Any
    ) -> ChatResult:
        reply = next_step(_talk(messages, self.tools))
        return ChatResult(generations=[ChatGeneration(message=reply)])


def next_step(talk: Talk) -> AIMessage:
    """The next calls, one rule after the other; when none is left, the answer."""
    begun = {tool for tool, _ in talk.results}
    for rule in RULES:
        moves = [move for move in rule(talk) if move[0] in talk.tools and move[0] not in begun]
        if moves:
            calls: Any = [
                {"name": name, "args": args, "id": secrets.token_hex(5)[:9]} for name, args in moves
            ]
            return AIMessage("", tool_calls=calls)
    return AIMessage(_report(talk) if talk.results else NO_RULE)


def summarize(messages: Sequence[AnyMessage]) -> str:
    """What was asked and answered, a line each: a summary that needs no model."""
    lines = []
    for message in messages:
        text = " ".join(message.text.split())[:200]
        if text and isinstance(message, HumanMessage):
            lines.append(f"Asked: {text}")
        elif text and isinstance(message, AIMessage) and not message.tool_calls:
            lines.append(f"Answered: {text}")
    return "\n".join(lines)


def _talk(messages: Sequence[BaseMessage], tools: frozenset[str]) -> Talk:
    start = max((i for i, m in enumerate(messages) if isinstance(m, HumanMessage)), default=0)
    later = messages[start + 1 :]
    results = [(m.name or "", _unmarked(m)) for m in later if isinstance(m, ToolMessage)]
    return Talk(messages[start].text, tools, tuple(results))


def _unmarked(message: ToolMessage) -> str:
    """A result without its marks, and without the note that LangChain puts before an edited one."""
    found = re.search(r"(?s)\A(?:.*\n)?<result[^>]*>\n(.*)\n</result>\Z", message.text)
    if found:
        return found[1]
    if message.status != "error":
        return message.text
    reason = message.text.partition("with reason: ")[2]  # a refusal, in LangChain's words
    return f"not run, you refused it: {reason}" if reason else "not run, you refused it"


def _report(talk: Talk) -> str:
    """Every result in short, with the tool that gave it."""
    parts = []
    for tool, text in talk.results:
        if tool.startswith("ask_"):  # a report that looks like this one
            parts.append(text.removeprefix(LEAD).strip())
            continue
        shown = _telling(text.strip(), talk.task)
        several = "\n" in shown
        parts.append(f"**{tool}**\n\n```\n{shown}\n```" if several else f"**{tool}**: {shown}")
    return "\n\n".join([LEAD, *parts])


def _telling(text: str, task: str) -> str:
    """Of a long text the parts that share the most words with the task, else its beginning."""
    lines = text.splitlines()
    if len(lines) <= LINES:
        return text or "(nothing)"
    words = {word[:6].casefold() for word in re.findall(r"\w{4,}", re.sub(_FILE, " ", task))}
    parts = text.split("\n\n") if "\n\n" in text else lines
    rated = [sum(word in part.casefold() for word in words) for part in parts]
    if not max(rated):
        return "\n".join([*lines[:LINES], f"… {len(lines) - LINES} more lines"])
    best = [part for part, rate in zip(parts, rated, strict=True) if rate == max(rated)]
    return "\n".join([*best[:LINES], "…"])


# The rules: each looks at the task and says which tools to call. A tool is called once a task.

_DATE = r"\b\d{4}-\d{2}-\d{2}\b"
_FILE = r"[\w./-]*\w\.(?:md|txt|csv|log|json|pdf|docx|pptx|html|py|toml|yaml|yml)\b"
_SUM = re.compile(
    r"\d[\d.,]*\s*%\s*(?:of|von|de)\s*\d[\d.,]*"
    r"|(?<![\w.])[(\d][\d.,()\s]*(?:[-+*/^×÷%]+[\s(]*\d[\d.,()\s]*)+"
)
_WRITE = re.compile(rf"(?:\bto|\binto|\bin|\bnach|\bdans|\ben)\s+(?:the file\s+)?({_FILE})", re.I)
_WRITING = re.compile(r"\b(?:write|save|note|put|schreib\w*|speicher\w*|écri\w*|escrib\w*)\b", re.I)
_SEARCH = re.compile(
    r"\b(?:search|look|find|suche?|cherche\w*|busca\w*)\b.*"
    r"\b(?:for|about|nach|über|sur|sobre)\s+(?:the\s+)?(.+?)(?:[.?!]|$)",
    re.I,
)


def _team(talk: Talk) -> list[Move]:
    """In a team: what is to be found out goes to the researcher, what is to be written then on."""
    alone = Talk(talk.task, frozenset(), ())
    findings = "\n\n".join(text for tool, text in talk.results if tool == "ask_researcher")
    if not findings and (_facts(alone) or _files(alone)):
        return [("ask_researcher", {"task": talk.task})]
    target = _target(talk.task)
    task = f"Write the findings to {target}.\n\n{findings}" if findings else talk.task
    return [("ask_writer", {"task": task})] if target else []


def _facts(talk: Talk) -> list[Move]:
    """What can be looked up at once, side by side."""
    moves = (rule(talk) for rule in (_arithmetic, _days, _page, _query, _logs, _documents))
    return [move for found in moves for move in found]


def _arithmetic(talk: Talk) -> list[Move]:
    found = _SUM.search(re.sub(_DATE, " ", talk.task))
    return [("calculate", {"expression": found[0].strip(" .,")})] if found else []


def _days(talk: Talk) -> list[Move]:
    dates = re.findall(_DATE, talk.task)
    if len(dates) == 1:
        dates.insert(0, "today")
    if dates:
        return [("days_between", {"start": dates[0], "end": dates[1]})]
    asked = re.search(r"\b(?:today|what day|date|heute|aujourd'hui|hoy)\b", talk.task, re.I)
    return [("today", {})] if asked else []


def _page(talk: Talk) -> list[Move]:
    found = re.search(r"https?://[^\s<>\"')]+", talk.task)
    return [("read_page", {"url": found[0].rstrip(".,;:!?")})] if found else []


def _query(talk: Talk) -> list[Move]:
    said = talk.task.lower()
    fitting = (sql for words, sql in QUERIES if all(word in said for word in words))
    return [("query_database", {"sql": sql}) for sql in dict.fromkeys(fitting)]


def _logs(talk: Talk) -> list[Move]:
    """A time in the task: the logs from that hour on, or between two times, condensed."""
    times = re.findall(r"\b\d\d:\d\d\b", talk.task)
    start, end = times if len(times) == 2 else (f"{times[0][:2]}:00" if times else "", "23:59")
    return [("log_summary", {"path": log, "start": start, "end": end}) for log in LOGS if start]


def _runbook(talk: Talk) -> list[Move]:
    """The runbook for what the task says, or for what the logs show."""
    asked = re.search(r"\b(?:runbook|fix)\b", talk.task, re.I)
    seen = _seen(talk, "log_summary").lower()
    fitting = [("read_file", {"path": path}) for words, path in RUNBOOKS if words in seen]
    return fitting[:1] if asked else []


def _status(talk: Talk) -> list[Move]:
    """The status page, with the note that the task or the runbook has in quotation marks."""
    found = re.search(r"(\w+) to (operational|degraded|outage)\b", talk.task, re.I)
    note = re.search(r'(?:note|write:) "([^"]+)"', _seen(talk, "read_file"))
    said = {"note": " ".join(note[1].split())} if note else {}
    return [("set_status", {"service": found[1], "status": found[2], **said})] if found else []


def _seen(talk: Talk, tool: str) -> str:
    """The task, and what a tool gave for it."""
    return " ".join([talk.task, *(text for name, text in talk.results if name == tool)])


def _documents(talk: Talk) -> list[Move]:
    asked = talk.task.rstrip().endswith("?") and not _target(talk.task)
    others = (_arithmetic, _days, _page, _query)
    lonely = not any(rule(talk) for rule in others) and not re.search(_FILE, talk.task)
    return [("search_documents", {"question": talk.task})] if asked and lonely else []


def _files(talk: Talk) -> list[Move]:
    """Files that the task names are read, others are searched or listed."""
    target = _target(talk.task)
    named = [name for name in dict.fromkeys(re.findall(_FILE, talk.task)) if name != target]
    named = [name for name in named if "://" not in talk.task]
    if found := _SEARCH.search(talk.task):
        return [("search_files", {"text": found[1].strip("\"' ")})]
    if named:
        return [("read_file", {"path": name}) for name in named]
    asked = re.search(r"\b(?:list|which|what|show)\b.*\b(?:files|workspace)\b", talk.task, re.I)
    return [("list_files", {})] if asked else []


def _report_to_file(talk: Talk) -> list[Move]:
    """Last of all: what was found, or what the task quotes, goes into the file that it names."""
    target = _target(talk.task)
    quoted = re.search(r"[\"“«„](.+?)[\"”»“]", talk.task)
    found = [f"## {HEADINGS.get(tool, tool)}\n\n{text.strip()}\n" for tool, text in talk.results]
    body = "\n".join([f"# {' '.join(talk.task.split())}\n", *found]) if found else ""
    # Without results: what is quoted, or what stands below the order, as in a hand-over.
    body = body or talk.task.partition("\n\n")[2] or (quoted[1] if quoted else "")
    return [("write_file", {"path": target, "text": body})] if target and body else []


def _target(task: str) -> str:
    """The file that the task wants written, if any."""
    found = _WRITE.search(task)
    return found[1] if found and _WRITING.search(task) else ""


RULES: tuple[Callable[[Talk], list[Move]], ...] = (
    _team,
    _facts,
    _runbook,
    _files,
    _status,
    _report_to_file,
)
