"""Offline mode, which needs no model: a few fixed rules that call the real tools."""

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

LEAD = "This is offline mode: it follows fixed rules and uses no model. It ran:"
NO_RULE = """\
This task needs a model: offline mode only follows fixed rules. It can calculate, count days, list,
read, search and write files, and answer the sample questions about the database.
Put a key into `.env` as MISTRAL_API_KEY and start the app again."""
LINES = 20  # of a result in the answer

# Questions about the database: words that must all occur, and the query that answers them.
# The first match is used. Add your own for a demo without a network.
SOLD = (
    "FROM order_items i JOIN products p ON p.id = i.product_id "
    "JOIN orders o ON o.id = i.order_id WHERE o.status IN ('open', 'delivered') "
)
QUERIES: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("product", "money"),
        "SELECT p.name AS product, round(sum(i.quantity * i.unit_price), 2) AS revenue "
        f"{SOLD}GROUP BY p.id ORDER BY revenue DESC LIMIT 3",
    ),
    (
        ("product", "returned"),
        "SELECT p.name AS product, count(*) AS returned FROM order_items i "
        "JOIN products p ON p.id = i.product_id JOIN orders o ON o.id = i.order_id "
        "WHERE o.status = 'returned' GROUP BY p.id ORDER BY returned DESC LIMIT 5",
    ),
    (
        ("revenue", "month"),
        "SELECT substr(o.ordered_on, 1, 7) AS month, "
        f"round(sum(i.quantity * i.unit_price), 2) AS revenue {SOLD}GROUP BY month ORDER BY month",
    ),
    (("customer", "countr"), "SELECT country, count(*) AS customers FROM customers GROUP BY 1"),
)


@dataclass(frozen=True)
class TaskState:
    """The input of the rules: the task, the available tools, and the results so far."""

    task: str
    tools: frozenset[str]
    results: tuple[tuple[str, str], ...] = ()  # tool and text, in order


ToolCall = tuple[str, dict[str, Any]]  # a tool and its arguments


class OfflineModel(BaseChatModel):
    """A LangChain chat model that follows the rules below."""

    tools: frozenset[str] = frozenset()

    @property
    def _llm_type(self) -> str:
        return prompts.OFFLINE

    def bind_tools(self, tools: Sequence[Any], **_: Any) -> OfflineModel:  # type: ignore[override]
        """A copy with these tools."""
        return OfflineModel(tools=frozenset(tool.name for tool in tools))

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **_: Any
    ) -> ChatResult:
        reply = next_step(_state(messages, self.tools))
        return ChatResult(generations=[ChatGeneration(message=reply)])


def next_step(state: TaskState) -> AIMessage:
    """The calls of the first rule that has any left, else the answer."""
    called = {tool for tool, _ in state.results}
    for rule in RULES:
        todo = [call for call in rule(state) if call[0] in state.tools and call[0] not in called]
        if todo:
            calls: Any = [
                {"name": name, "args": args, "id": secrets.token_hex(5)[:9]} for name, args in todo
            ]
            return AIMessage("", tool_calls=calls)
    return AIMessage(_report(state) if state.results else NO_RULE)


def summarize(messages: Sequence[AnyMessage]) -> str:
    """A summary without a model: one line for each question and each answer."""
    lines = []
    for message in messages:
        text = " ".join(message.text.split())[:200]
        if text and not isinstance(message, ToolMessage):
            lines.append(f"{'Asked' if isinstance(message, HumanMessage) else 'Answered'}: {text}")
    return "\n".join(lines)


def _state(messages: Sequence[BaseMessage], tools: frozenset[str]) -> TaskState:
    start = max((i for i, m in enumerate(messages) if isinstance(m, HumanMessage)), default=0)
    later = messages[start + 1 :]
    results = [(m.name or "", _unmarked(m)) for m in later if isinstance(m, ToolMessage)]
    return TaskState(messages[start].text, tools, tuple(results))


def _unmarked(message: ToolMessage) -> str:
    """A result without its tags, and without LangChain's note before an edited call's result."""
    found = re.search(r"(?s)\A(?:.*\n)?<result[^>]*>\n(.*)\n</result>\Z", message.text)
    if found or message.status != "error":
        return found[1] if found else message.text
    reason = message.text.partition("with reason")[2]  # LangChain's text for a rejected call
    return f"not run, you rejected it{reason}"


def _report(state: TaskState) -> str:
    """A short version of every result, under the name of its tool."""
    parts = []
    for tool, text in state.results:
        if text.startswith(LEAD):  # the report of a specialist, in a team
            parts.append(text.removeprefix(LEAD).strip())
            continue
        shown = _relevant(text.strip(), state.task)
        several = "\n" in shown
        parts.append(f"**{tool}**\n\n```\n{shown}\n```" if several else f"**{tool}**: {shown}")
    return "\n\n".join([LEAD, *parts])


def _relevant(text: str, task: str) -> str:
    """The parts of a long text that share the most words with the task, else its beginning."""
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


# The rules: each returns the tool calls for a task. A tool is called once per task.

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


def _facts(state: TaskState) -> list[ToolCall]:
    """Everything that can be looked up, in parallel calls."""
    calls = (rule(state) for rule in (_arithmetic, _days, _page, _query, _documents))
    return [call for found in calls for call in found]


def _arithmetic(state: TaskState) -> list[ToolCall]:
    found = _SUM.search(re.sub(_DATE, " ", state.task))
    return [("calculate", {"expression": found[0].strip(" .,")})] if found else []


def _days(state: TaskState) -> list[ToolCall]:
    dates = re.findall(_DATE, state.task)
    if len(dates) == 1:
        dates.insert(0, "today")
    if dates:
        return [("days_between", {"start": dates[0], "end": dates[1]})]
    asked = re.search(r"\b(?:today|what day|date|heute|aujourd'hui|hoy)\b", state.task, re.I)
    return [("today", {})] if asked else []


def _page(state: TaskState) -> list[ToolCall]:
    found = re.search(r"https?://[^\s<>\"')]+", state.task)
    return [("read_page", {"url": found[0].rstrip(".,;:!?")})] if found else []


def _query(state: TaskState) -> list[ToolCall]:
    task = state.task.lower()
    fitting = (sql for words, sql in QUERIES if all(word in task for word in words))
    return [("query_database", {"sql": sql}) for sql in list(fitting)[:1]]


def _documents(state: TaskState) -> list[ToolCall]:
    asked = state.task.rstrip().endswith("?") and not target_of(state.task)
    others = (_arithmetic, _days, _page, _query)
    alone = not any(rule(state) for rule in others) and not re.search(_FILE, state.task)
    return [("search_documents", {"question": state.task})] if asked and alone else []


def _files(state: TaskState) -> list[ToolCall]:
    """Reads the files that the task names, or searches or lists the files."""
    target = target_of(state.task)
    named = [name for name in dict.fromkeys(re.findall(_FILE, state.task)) if name != target]
    named = [name for name in named if "://" not in state.task]
    if found := _SEARCH.search(state.task):
        return [("search_files", {"text": found[1].strip("\"' ")})]
    if named:
        return [("read_file", {"path": name}) for name in named]
    asked = re.search(r"\b(?:list|which|what|show)\b.*\b(?:files|workspace)\b", state.task, re.I)
    return [("list_files", {})] if asked else []


def _report_to_file(state: TaskState) -> list[ToolCall]:
    """The last rule: writes the results, or the text in quotation marks, to the named file."""
    target = target_of(state.task)
    quoted = re.search(r"[\"“«„](.+?)[\"”»“]", state.task)
    found = [f"## {tool}\n\n{text.strip()}\n" for tool, text in state.results]
    body = "\n".join([f"# {' '.join(state.task.split())}\n", *found]) if found else ""
    # Without results: the quoted text, or the text below the first paragraph, as in a hand-over.
    body = body or state.task.partition("\n\n")[2] or (quoted[1] if quoted else "")
    return [("write_file", {"path": target, "text": body})] if target and body else []


def target_of(task: str) -> str:
    """The file to write, if the task names one."""
    found = _WRITE.search(task)
    return found[1] if found and _WRITING.search(task) else ""


RESEARCH = (_facts, _files)
RULES: list[Callable[[TaskState], list[ToolCall]]] = [*RESEARCH, _report_to_file]
