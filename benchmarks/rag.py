"""Speed of a generated rag-app: `uv run python benchmarks/rag.py [--quick] [PROJECT]`.

Generates a project (or uses an installed one) and measures in its environment. Each result has a
reference, which runs alternately with it, so that a busy machine slows both: a bare Gradio chat
for the start, the same requests over a bare connection for the first token, and a bare SQLite
full-text index of the same text for ingest.
"""

import argparse
import itertools
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WIDTH = 1600  # characters of the reference's chunks
FILE = 500_000  # characters in a document
REPEATED = 10  # megabytes; a larger set is ingested once, which is long enough for a stable result

BARE_CHAT = """
import os, gradio as gr
gr.ChatInterface(lambda message, history: message).launch(server_port=int(os.environ["PORT"]))
"""

MODEL = """
import sys, mistral_server
with mistral_server.MistralServer() as model:
    print(model.url, flush=True)
    sys.stdin.read()
"""

INGEST = """
import json, resource, time
from rag import ingest
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started = time.perf_counter()
done = ingest.ingest()
seconds = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert not done.problems, done.problems
print(json.dumps([done.chunks / seconds, peak / 1024, (peak - before) / 1024]))
"""

BARE_INGEST = """
import json, os, pathlib, resource, sqlite3, sys, time
started = time.perf_counter()
database = sqlite3.connect(os.environ["INDEX_DIR"] + "/bare.db")
database.execute("create virtual table bare using fts5(text)")
count, width = 0, int(sys.argv[1])
for path in pathlib.Path(os.environ["DOCS_DIR"]).iterdir():
    text = path.read_text("utf-8")
    rows = [(text[at : at + width],) for at in range(0, len(text), width)]
    database.executemany("insert into bare values (?)", rows)
    count += len(rows)
database.commit()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([count / (time.perf_counter() - started), peak / 1024]))
"""

# The questions come on stdin. The reference sends the same chat (and embedding) request over a
# bare keep-alive connection: this is the delay of the model itself.
FIRST_WORD = """
import http.client, json, sys, time, urllib.parse
from rag import pipeline, prompts
from rag.settings import SETTINGS
model = urllib.parse.urlsplit(sys.argv[1])
wire = http.client.HTTPConnection(model.hostname, model.port)

def post(path, body):
    headers = {"Authorization": "Bearer key", "Content-Type": "application/json"}
    wire.request("POST", path, json.dumps(body), headers)
    return wire.getresponse()

def ours(question):
    started = time.perf_counter()
    answer = next(a for a in pipeline.stream(question) if a.text)
    taken = time.perf_counter() - started
    assert not answer.notice, answer.notice
    return taken

def bare(question, messages):
    started = time.perf_counter()
    if SETTINGS.embedder:
        post("/v1/embeddings", {"model": SETTINGS.embedder, "input": [question]}).read()
    body = {"model": SETTINGS.chat, "messages": messages, "stream": True}
    reply = post("/v1/chat/completions", body)
    reply.readline()
    taken = time.perf_counter() - started
    reply.read()
    return taken

pipeline.warm_up()
times = []
for question in json.load(sys.stdin):
    chunks = [found.chunk for found in pipeline.retrieve(question)]
    messages = prompts.build(question, chunks)
    times.append((ours(question) * 1000, bare(question, messages) * 1000))
print(json.dumps(times[5:]))
"""


@dataclass(frozen=True)
class Row:
    """A row of the table: the medians of ours and of the reference, and the ratio or the aim."""

    name: str
    ours: float
    theirs: float | None
    unit: str
    verdict: str = ""


@dataclass(frozen=True)
class Bench:
    """The project to measure, a temporary folder, and the number of repetitions."""

    project: Path
    folder: Path
    rounds: int
    megabytes: tuple[int, ...]
    chunks: int

    @property
    def python(self) -> Path:
        """The Python of the project's environment."""
        return self.project / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def environment(self, **settings: object) -> dict[str, str]:
        """Return the environment variables with an empty home and these settings."""
        kept = {key: value for key, value in os.environ.items() if key not in LOUD}
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        quiet = {"HOME": str(home), "GRADIO_ANALYTICS_ENABLED": "False", "MISTRAL_API_KEY": ""}
        return kept | quiet | {key: str(value) for key, value in settings.items()}

    def child(self, code: str, arg: str, settings: Mapping[str, object], stdin: str = "") -> Any:  # noqa: ANN401 - JSON
        """Run code in the project with one argument, and return the JSON that it prints."""
        done = subprocess.run(
            [self.python, "-c", code, arg],
            cwd=self.project,
            env=self.environment(**settings),
            input=stdin,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            check=True,
        )
        return json.loads(done.stdout)


# Without .pyc files each start would compile again; the other variables change what runs.
LOUD = {"PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "VIRTUAL_ENV", "LLM_BASE_URL", "LLM_API_KEY"}


# The most frequent words of real text, which search ignores.
COMMON = (  # noqa: SIM905 - a list of forty strings is no easier to read
    "the of and to in is that for it was on are as with be by this from or an a at which have has "
    "had not they you we he she his her its if but can will would could should about into than"
).split()
SHORT = 6  # letters; such words are more frequent than longer ones


def write_documents(folder: Path, size: int) -> list[str]:
    """Write about `size` characters of made-up text into the folder; return some questions."""
    folder.mkdir(parents=True)
    chance = random.Random(size)  # noqa: S311 - the same text every time, no secret
    sentences = prose(chance)
    questions = []
    for number in range(max(1, round(size / FILE))):
        parts, length = [], 0
        while length < min(size, FILE):
            paragraph = " ".join(itertools.islice(sentences, 6))
            heading = paragraph.split(".")[0][:40]
            parts.append(f"## {heading}\n\n{paragraph}" if chance.random() < 1 / 8 else paragraph)
            length += len(parts[-1]) + 2
        (folder / f"{number:04}.md").write_text("\n\n".join(parts), "utf-8")
        words = chance.choice(parts).split()
        questions.append(" ".join(chance.sample(words, min(8, len(words)))) + "?")
    return questions


def prose(chance: random.Random) -> Iterator[str]:
    """Generate sentences with a natural word frequency: the n-th word is 1/n as frequent."""
    starts, ends = [*"bcdfghklmnprstvw", "br", "ch", "pl", "st"], ["", *"nrslmt", "st", "nd"]
    syllables = [start + vowel + end for start in starts for vowel in "aeiou" for end in ends]
    made = {"".join(chance.choices(syllables, k=chance.randint(1, 4))) for _ in range(30_000)}
    words = [*COMMON, *sorted(made, key=lambda word: (len(word) > SHORT, word))]
    weights = list(itertools.accumulate(1 / rank for rank in range(1, len(words) + 1)))
    while True:
        chosen = chance.choices(words, cum_weights=weights, k=chance.randint(8, 20))
        yield " ".join(chosen).capitalize() + "."


def start(bench: Bench) -> Iterator[Row]:
    """Time from the command to the first page, with all documents indexed."""
    script = bench.folder / "bare_chat.py"
    script.write_text(BARE_CHAT, "utf-8")
    index = bench.folder / "start"
    pairs = [
        [first_page(bench, command, index) for command in (Path("app.py"), script)]
        for _ in range(bench.rounds + 1)
    ]
    mine, other = medians(pairs[1:])  # the first round compiles and ingests
    yield Row("start to first page / bare ChatInterface", mine, other, "s", f"x {mine / other:.2f}")


def first_page(bench: Bench, script: Path, index: Path) -> float:
    """Start the script and return the seconds until its page is served."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(bench.python), str(script)]
    environment = bench.environment(PORT=port, INDEX_DIR=index)
    null = subprocess.DEVNULL
    started = time.perf_counter()
    app = subprocess.Popen(command, cwd=bench.project, env=environment, stdout=null, stderr=null)
    try:
        while app.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as page:
                    page.read()
                return time.perf_counter() - started
            except OSError:
                time.sleep(0.01)
    finally:
        app.kill()
        app.wait()
    raise SystemExit(f"{script} ended before it served a page.")


def first_token(bench: Bench) -> Iterator[Row]:
    """Time from the question to the first token, compared with the model alone."""
    docs = bench.folder / "questioned"
    asked = write_documents(docs, bench.chunks * WIDTH)
    chance = random.Random(0)  # noqa: S311 - the same questions every time, no secret
    questions = json.dumps([chance.choice(asked) for _ in range(5 + 20 * bench.rounds)])
    with model(bench) as url:
        place = {"DOCS_DIR": docs, "CHAT_MODEL": "mistral-small-latest", "REQUESTS_PER_SECOND": 0}
        ways = {
            "keywords": {"LLM_BASE_URL": f"{url}/v1"},
            "keywords and Chroma": {"MISTRAL_API_KEY": "key", "MISTRAL_SERVER_URL": url},
        }
        for name, way in ways.items():
            settings = {**place, **way, "INDEX_DIR": bench.folder / name.replace(" ", "-")}
            rate, peak, _ = bench.child(INGEST, "", settings)
            yield Row(f"ingest {bench.chunks:,} chunks, {name}", rate, None, "/s")
            yield Row("  peak memory", peak, None, "MB")
            mine, other = medians(bench.child(FIRST_WORD, url, settings, stdin=questions))
            verdict = f"+ {mine - other:.1f} ms (aim: under 30)"
            yield Row(f"first token, {name} / model alone", mine, other, "ms", verdict)


def medians(rows: Sequence[Sequence[float]]) -> list[float]:
    """Return the median of each column."""
    return [statistics.median(column) for column in zip(*rows, strict=True)]


@contextmanager
def model(bench: Bench) -> Iterator[str]:
    """Run the project's own test server, which answers without delay; yield its address."""
    command = [str(bench.python), "-c", MODEL]
    environment = bench.environment(PYTHONPATH=bench.project / "tests")
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, env=environment, stdin=pipe, stdout=pipe, encoding="utf-8"
    ) as server:
        assert server.stdout  # noqa: S101 - it is a pipe
        yield server.stdout.readline().strip()
        server.kill()


def ingest(bench: Bench) -> Iterator[Row]:
    """Chunks per second and peak memory while text is indexed for keyword search."""
    for size in bench.megabytes:
        docs = bench.folder / f"docs-{size}"
        write_documents(docs, size * 1_000_000)
        pairs = []
        for number in range(bench.rounds if size <= REPEATED else 1):
            index = bench.folder / f"index-{size}-{number}"
            index.mkdir()
            settings = {"DOCS_DIR": docs, "INDEX_DIR": index}
            pairs.append(
                [bench.child(code, str(WIDTH), settings) for code in (INGEST, BARE_INGEST)]
            )
        mine, other = (medians(figures) for figures in zip(*pairs, strict=True))
        verdict = f"x {mine[0] / other[0]:.2f}"
        yield Row(f"ingest {size} MB of text / bare FTS5", mine[0], other[0], "/s", verdict)
        yield Row("  peak memory", mine[1], other[1], "MB", f"{mine[2]:.0f} above its start")


def size(bench: Bench) -> Iterator[Row]:
    """Disk space of the project's environment."""
    files = (path for path in (bench.project / ".venv").rglob("*") if path.is_file())
    taken = sum(path.stat().st_size for path in files if not path.is_symlink())
    yield Row("project environment", taken / 2**20, None, "MB", "(aim: under 600)")


def make_project(folder: Path) -> Path:
    """Generate and install a project, as users do."""
    project = folder / "my-app"
    command = [sys.executable, "-m", "hackkit", "new", "rag-app", str(project)]
    subprocess.run([*command, "--defaults", "--no-git"], check=True, capture_output=True)
    return project


def main() -> None:
    """Print the table row by row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("project", nargs="?", type=Path, help="an installed project to measure")
    parser.add_argument("--quick", action="store_true", help="less data and fewer rounds")
    given = parser.parse_args()
    scale = (2, (1,), 1_000) if given.quick else (7, (1, 50), 10_000)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        project = (given.project or make_project(folder)).resolve()
        bench = Bench(project, folder, *scale)
        print(f"{'':48} {'ours':>10} {'reference':>10}   (medians of {bench.rounds})")
        for measure in (size, start, ingest, first_token):
            for row in measure(bench):
                other = f"{row.theirs:10.2f}" if row.theirs is not None else f"{'':10}"
                print(
                    f"{row.name:48} {row.ours:10.2f} {other} {row.unit:3} {row.verdict}", flush=True
                )


if __name__ == "__main__":
    main()
