"""Measure the speed of a generated agent: `uv run python benchmarks/agent.py [--quick] [PROJECT]`.

Makes a project (or uses an installed one) and measures in its environment. Each figure has a
reference that runs in turns with it, so that a busy machine slows both: a step of the loop is
compared with LangChain's bare `create_agent` with the same model and tools, the start and the
memory with a page around such an agent.

A step is one reply of the model with one call, and the call's result. The bare loop is measured
in three ways: with its conversation in SQLite as ours, in RAM, and in RAM without streaming.
The overhead of a step is its wall-clock time minus the times that the loopback model and the tool
measured themselves.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

STEPS = 10  # of a task; the answer after them is one more reply
PAUSES = 6  # of a streamed reply: before its role and each of its words
LATENCY = 0.15  # seconds of a reply
TOOL = 0.02  # seconds of a tool call
TASKS = 3  # done before the app's memory is measured
WORDS = "On to the next one."
AIM = "(aim: under 1.3)"

# The project's own loopback model, which prints the duration of each reply.
MODEL = """
import sys, time
import mistral_server as mistral

name, pause = sys.argv[1], float(sys.argv[2])

def answer(messages):
    last = max(at for at, message in enumerate(messages) if message["role"] == "user")
    done = sum(message["role"] == "tool" for message in messages[last:])
    call = (name, {"expression": f"{done} + 1"})
    more = {"calls": (call,), "reason": "tool_calls"} if done < STEPS else {}
    return mistral.Reply(WORDS, pause, **more)

class Timed(mistral.MistralServer):
    async def __call__(self, scope, receive, send):
        started = time.perf_counter()
        await super().__call__(scope, receive, send)
        print(time.perf_counter() - started, flush=True)

with Timed(answer) as model:
    print(model.url, flush=True)
    sys.stdin.read()
"""

# A file for the tools' folder, as a team adds one.
NAP = """
import time
from agent.tools import tool

seconds, taken = 0.0, []

@tool
def nap(expression: str) -> str:
    \"\"\"Sleep, then calculate.\"\"\"
    started = time.perf_counter()
    if seconds:
        time.sleep(seconds)
    taken.append(time.perf_counter() - started)
    return expression
"""

# The start of the code that is measured in the app's process. argv: the folder of the tool, the
# rounds, and the model server's program; if that is empty, a model in this process answers.
WARM = """
import json, os, subprocess, sys, time

folder, rounds, program = sys.argv[1], int(sys.argv[2]), sys.argv[3]
if program:
    command = [sys.executable, "-c", program, "nap", str(LATENCY / PAUSES)]
    place = {**os.environ, "PYTHONPATH": "tests"}
    pipe = subprocess.PIPE
    model = subprocess.Popen(command, env=place, stdin=pipe, stdout=pipe, encoding="utf-8")
    os.environ["MISTRAL_SERVER_URL"] = model.stdout.readline().strip()
    os.environ["MISTRAL_API_KEY"] = "key"
else:
    os.environ["LLM_BASE_URL"] = "http://127.0.0.1:9"  # replaced below

import agent.tools
agent.tools.__path__.append(folder)
import app
from agent import llm, memory, prompts, runner
from agent.events import Answer, Call, Task
from agent.settings import SETTINGS
from agent.toolbox import toolbox
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver

class Scripted(BaseChatModel):
    @property
    def _llm_type(self):
        return "scripted"

    def bind_tools(self, tools, **_):
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools])

    def _generate(self, messages, stop=None, run_manager=None, **_):
        done = sum(isinstance(message, ToolMessage) for message in messages)
        name, args, id = "nap", {"expression": f"{done} + 1"}, f"call{done:05}"
        raw = {"id": id, "function": {"name": name, "arguments": json.dumps(args)}}
        more = {"tool_calls": [{"name": name, "args": args, "id": id}]}
        more["additional_kwargs"] = {"tool_calls": [raw]}  # where ChatMistralAI leaves it
        reply = AIMessage(WORDS, **more if done < STEPS else {})
        return ChatResult(generations=[ChatGeneration(message=reply)])

if not program:
    llm.chat_model = lambda settings: Scripted()
app.warm_up()
from agent.tools import nap

def ours():
    return runner.run(memory.new_id(), Task("Go."))

def bare(saver, stream=True):
    model = llm.chat_model(SETTINGS)
    tools = toolbox()[0]
    graph = create_agent(model, tools, system_prompt=prompts.SYSTEM, checkpointer=saver)
    modes = ["updates", "messages"] if program else ["updates"]  # tokens only if they are streamed

    def go():
        config = {"configurable": {"thread_id": memory.new_id()}, "recursion_limit": 1000}
        task = {"messages": [("user", "Go.")]}
        if stream:
            return graph.stream(task, config, stream_mode=modes)
        return [graph.invoke(task, config)]

    return go
"""

# A round: for each way, a step's wall-clock time and its overhead.
LOOPS = """
if program:
    nap.seconds = TOOL

def measure(way):
    nap.taken.clear()
    started = time.perf_counter()
    *_, last = (step for step in way() if not isinstance(step, Answer) or check(step))
    taken = time.perf_counter() - started
    assert len(nap.taken) == STEPS, last
    replies = [float(model.stdout.readline()) for _ in range(STEPS + 1)] if program else []
    overhead = taken - sum(replies) - sum(nap.taken)
    return taken * 1000 / STEPS, overhead * 1000 / STEPS

def check(answer):
    assert answer.text == WORDS and not answer.notice, answer
    return True

with SqliteSaver.from_conn_string(os.path.join(os.environ["MEMORY_DIR"], "bare.db")) as saver:
    ways = ours, bare(saver), bare(InMemorySaver()), bare(InMemorySaver(), stream=False)
    print(json.dumps([[measure(way) for way in ways] for _ in range(rounds)]))
if program:
    model.kill()
"""

# A round: milliseconds until our task step, our first call, and the bare loop's first call.
FIRST = """
def measure(steps, kind):
    started, taken = time.perf_counter(), []
    for step in steps():  # to the end, so that no run is left
        taken += [time.perf_counter() - started] if isinstance(step, kind) else []
    return taken[0] * 1000

other = bare(InMemorySaver())
pairs = (ours, Task), (ours, Call), (other, tuple)
print(json.dumps([[measure(*pair) for pair in pairs] for _ in range(rounds)]))
"""

BARE_PAGE = """
import os
import gradio as gr
from langchain.agents import create_agent
from langchain_mistralai import ChatMistralAI
from langgraph.checkpoint.memory import InMemorySaver

def calculate(expression: str) -> str:
    \"\"\"Calculate.\"\"\"
    return expression

address = os.environ["MISTRAL_SERVER_URL"] + "/v1"
model = ChatMistralAI(model_name="mistral-small-latest", api_key="key", base_url=address)
agent = create_agent(model, [calculate], checkpointer=InMemorySaver())

def answer(message, history, request: gr.Request):
    place = {"configurable": {"thread_id": request.session_hash or "none"}}
    return agent.invoke({"messages": [("user", message)]}, place)["messages"][-1].text

page = gr.ChatInterface(answer, api_name="ask")
page.launch(
    server_port=int(os.environ["PORT"]),
    theme=gr.themes.Soft(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
    css_paths="style.css",
    footer_links=[],
    quiet=True,
)
"""

BARE_CHAT = """
import os, gradio as gr
gr.ChatInterface(lambda message, history: message).launch(server_port=int(os.environ["PORT"]))
"""

# The first would make every start compile the files again; the others change what is run.
REMOVED = {"PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "VIRTUAL_ENV", "LLM_BASE_URL", "LLM_API_KEY"}


@dataclass(frozen=True)
class Row:
    """A line of the table: our median, the reference's, and the aim."""

    name: str
    ours: float
    theirs: float | None
    unit: str
    aim: str = ""

    def __str__(self) -> str:
        other = f"{self.theirs:10.2f}" if self.theirs is not None else f"{'':10}"
        verdict = f"x {self.ours / self.theirs:.2f} {self.aim}" if self.theirs else self.aim
        return f"{self.name:60} {self.ours:10.2f} {other} {self.unit:3} {verdict}".rstrip()


@dataclass(frozen=True)
class Bench:
    """The project to measure, a temporary folder, and the number of rounds."""

    project: Path
    folder: Path
    rounds: int

    @property
    def python(self) -> Path:
        """The interpreter of the project's environment."""
        return self.project / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def environment(self, **settings: object) -> dict[str, str]:
        """Return this machine's environment with these settings, without limits and analytics."""
        kept = {key: value for key, value in os.environ.items() if key not in REMOVED}
        home, memory = self.folder / "home", self.folder / "memory"
        home.mkdir(exist_ok=True)
        quiet = {
            "HOME": home,
            "TMPDIR": home,
            "ENV_FILE": os.devnull,
            "GRADIO_ANALYTICS_ENABLED": False,
        }
        place = {"MEMORY_DIR": memory, "MISTRAL_API_KEY": "", "REQUESTS_PER_SECOND": 0}
        limits = {"MAX_TASK_TOKENS": 0, "MAX_COST": 0}
        wanted = quiet | place | limits | settings
        return kept | {key: str(value) for key, value in wanted.items()}

    def child(self, code: str, rounds: int, model: str = "") -> list[list[Any]]:
        """Run the code in the app's process; return the rows that it prints, without the first."""
        tool = self.folder / "tools"
        tool.mkdir(exist_ok=True)
        (tool / "nap.py").write_text(NAP, "utf-8")
        done = subprocess.run(
            [self.python, "-c", with_constants(WARM + code), tool, str(rounds + 1), model],
            cwd=self.project,
            env=self.environment(),
            stdout=subprocess.PIPE,
            encoding="utf-8",
            check=True,
        )
        rows: list[list[Any]] = json.loads(done.stdout.splitlines()[-1])
        return rows[1:]


def with_constants(code: str) -> str:
    """Put the constants that both processes need in front of the code."""
    names = ("STEPS", "PAUSES", "LATENCY", "TOOL", "WORDS")
    return "".join(f"{name} = {globals()[name]!r}\n" for name in names) + code


def loops(bench: Bench) -> Iterator[Row]:
    """Time of a step, with a model that answers immediately and with one as slow as a real one."""
    for name, code, rounds in (
        ("a step, scripted model", "", 3 * bench.rounds),
        ("a step, streamed model", with_constants(MODEL), bench.rounds),
    ):
        tables = bench.child(LOOPS, rounds, code)
        wall, overhead = (
            medians([[way[column] for way in table] for table in tables]) for column in (0, 1)
        )
        for place, reference in enumerate(("in SQLite", "in RAM", "in RAM, not streamed"), 1):
            yield Row(f"{name} / bare {reference}", wall[0], wall[place], "ms")
            if code:
                text = "  overhead beside the model and the tool"
                yield Row(text, overhead[0], overhead[place], "ms", AIM)


def first_step(bench: Bench) -> Iterator[Row]:
    """Time from a task to its first steps, with a model that answers immediately."""
    first, ours, theirs = medians(bench.child(FIRST, 5 * bench.rounds))
    yield Row("task to its first step (the task itself)", first, None, "ms")
    yield Row("task to its first call / bare in RAM", ours, theirs, "ms")


def start(bench: Bench) -> Iterator[Row]:
    """Time from the command to the first page, without a key."""
    agent, chat = (bench.folder / f"bare_{name}.py" for name in ("page", "chat"))
    agent.write_text(BARE_PAGE, "utf-8")
    chat.write_text(BARE_CHAT, "utf-8")
    rounds = [
        [first_page(bench, script) for script in (Path("app.py"), agent, chat)]
        for _ in range(bench.rounds + 1)
    ]
    mine, other, empty = medians(rounds[1:])  # the first round compiles
    yield Row("start to first page / page around a bare agent", mine, other, "s", AIM)
    yield Row("start to first page / page without an agent", mine, empty, "s")


def first_page(bench: Bench, script: Path) -> float:
    """Start the script and return the seconds until its page is served."""
    started = time.perf_counter()
    with served(bench, script, "http://127.0.0.1:9"):
        return time.perf_counter() - started


def memory(bench: Bench) -> Iterator[Row]:
    """Memory of the running app after a few tasks."""
    agent = bench.folder / "bare_page.py"
    agent.write_text(BARE_PAGE, "utf-8")
    taken = []
    with model(bench) as url:
        for script in (Path("app.py"), agent):
            with served(bench, script, url, MISTRAL_API_KEY="key") as (process, page):
                for number in range(TASKS):
                    ask(page, f"Task {number}.")
                family = [process, *process.children(recursive=True)]
                taken.append(sum(each.memory_info().rss for each in family) / 2**20)
    mine, other = taken
    yield Row(f"memory after {TASKS} tasks / page around a bare agent", mine, other, "MB")


@contextmanager
def served(
    bench: Bench, script: Path, model: str, **settings: object
) -> Iterator[tuple[psutil.Process, str]]:
    """Run a script until its page is served; give its process and its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = bench.environment(PORT=port, MISTRAL_SERVER_URL=model, **settings)
    command, null = [str(bench.python), str(script)], subprocess.DEVNULL
    app = subprocess.Popen(command, cwd=bench.project, env=environment, stdout=null, stderr=null)
    address = f"http://127.0.0.1:{port}/"
    try:
        while not answers(address):
            if app.poll() is not None:
                raise SystemExit(f"{script} ended before it served a page.")
            time.sleep(0.01)
        yield psutil.Process(app.pid), address
    finally:
        app.kill()
        app.wait()


def answers(address: str) -> bool:
    """Whether the page is served."""
    try:
        with urllib.request.urlopen(address) as page:  # noqa: S310 - loopback
            page.read()
    except OSError:
        return False
    return True


def ask(page: str, task: str) -> None:
    """Give the app a task over REST, and wait until it is done."""
    call = f"{page}gradio_api/call/ask"
    body = json.dumps({"data": [task]}).encode()
    request = urllib.request.Request(call, body, {"Content-Type": "application/json"})  # noqa: S310 - loopback
    with urllib.request.urlopen(request) as reply:  # noqa: S310 - the same
        event = json.load(reply)["event_id"]
    with urllib.request.urlopen(f"{call}/{event}") as reply:  # noqa: S310 - the same
        events = reply.read().decode()
    if WORDS not in events:
        raise SystemExit(f"The task was not done: {events[-500:]}")


@contextmanager
def model(bench: Bench) -> Iterator[str]:
    """Run the loopback model, which answers immediately with calls; give its address."""
    command = [str(bench.python), "-c", with_constants(MODEL), "calculate", "0"]
    environment = bench.environment(PYTHONPATH=bench.project / "tests")
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, env=environment, stdin=pipe, stdout=pipe, encoding="utf-8"
    ) as server:
        assert server.stdout  # noqa: S101 - it is a pipe
        yield server.stdout.readline().strip()
        server.kill()


def medians(rows: Sequence[Sequence[float]]) -> list[float]:
    """Return the median of each column."""
    return [statistics.median(column) for column in zip(*rows, strict=True)]


def make_project(folder: Path) -> Path:
    """Generate and install a project as a user does."""
    project = folder / "my-agent"
    command = [sys.executable, "-m", "hackkit", "new", "agent", str(project)]
    subprocess.run([*command, "--defaults", "--no-git"], check=True, capture_output=True)
    return project


def main() -> None:
    """Print the table line by line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("project", nargs="?", type=Path, help="an installed project to measure")
    parser.add_argument("--quick", action="store_true", help="fewer runs: one minute, not several")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        project = (options.project or make_project(folder)).resolve()
        bench = Bench(project, folder, 2 if options.quick else 5)
        print(f"{'':60} {'ours':>10} {'reference':>10}   (medians of {bench.rounds} or more)")
        for measure in (loops, first_step, start, memory):
            for row in measure(bench):
                print(row, flush=True)


if __name__ == "__main__":
    main()
