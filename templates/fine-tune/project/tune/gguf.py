"""Exports a run as one file for llama.cpp and Ollama: `uv run python -m tune.gguf --kind q8_0`

No package does this: llama.cpp's own converter is a script in its repository.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from tune import export, hub, models, prompts, runs, screen, weights
from tune.errors import TuneError, need_loading, run_app
from tune.gguf_file import OWN, load, write
from tune.hub import Export, Kind
from tune.runs import Run
from tune.settings import SETTINGS, Settings

KIND = Kind(
    "gguf",
    "quantized",
    "Ollama: `ollama create my-model -f Modelfile`, then `ollama run my-model`\n\n"
    "llama.cpp: `llama-server --model *.gguf --jinja`",
)
# Ollama has its own template language, and does not read the template in our GGUF file.
MODELFILE = '''\
FROM ./{file}
TEMPLATE """{chat}"""
PARAMETER stop "</s>"
PARAMETER temperature {temperature:g}
PARAMETER num_predict {max_tokens}
{system}'''
CHAT = """\
{{ range .Messages }}\
{{ if eq .Role "system" }}[SYSTEM_PROMPT]{{ .Content }}[/SYSTEM_PROMPT]\
{{ else if eq .Role "user" }}[INST]{{ .Content }}[/INST]\
{{ else if eq .Role "assistant" }}{{ .Content }}</s>{{ end }}{{ end }}"""


def main(
    run: Annotated[str, typer.Argument(help="A run's name. Default: the latest.")] = "",
    kind: Annotated[str, typer.Option(help="f16, bf16, q8_0; with llama.cpp: q4_k_m …")] = "q8_0",
    push: Annotated[str, typer.Option(help="Push to the hub, as your-name/your-model.")] = "",
    public: Annotated[bool, typer.Option("--public", help="Make it public on the hub.")] = False,
) -> None:
    """Export a run as a GGUF file, with a Modelfile for Ollama.

    Example: uv run python -m tune.gguf --kind q4_k_m
    """
    made = to_gguf(runs.find(SETTINGS.runs, run), kind.lower())
    sent = hub.push(made, push, private=not public) if push else None
    screen.show_export(made, sent, dry_run=False)


def to_gguf(run: Run, kind: str = "q8_0", settings: Settings = SETTINGS) -> Export:
    """Merge the run, unless that is done, write the file, and compare its answers with the run's.

    Raises TuneError, and removes the file, if they differ.
    """
    need_loading()
    if not (own := kind in OWN):
        _need_quantizer(kind)
    base = weights.known(models.find(run.record.base))
    if not export.there(run, "merged"):
        export.export(run, "merged", settings)
    before = export.answers(weights.load_tuned(run), base, settings)
    weights.free()  # the next model may not fit at the same time
    merged, target = run.exports / "merged", run.exports / f"gguf-{kind}"
    with export.replaced(target) as part:
        file = write(merged, part / f"{run.name}-{kind}.gguf", kind if own else "f16")
        model = weights.load_base(models.find(str(merged)))
        load(file, model)
        checked = export.compare(before, export.answers(model, base, settings))
        if not own:
            quantize(file, kind)
        modelfile = modelfile_for(file.name, settings)
        (part / "Modelfile").write_text(modelfile, "utf-8", newline="\n")
        hub.write_card(part, run, KIND)
    how = "read back without llama.cpp" if own else "as f16, before llama-quantize"
    return Export(run, KIND, target, f"{checked} ({how})")


def _need_quantizer(kind: str) -> None:
    if not shutil.which("llama-quantize"):
        problem = f"{kind} needs llama-quantize, a program of llama.cpp; q8_0 does not."
        raise TuneError(problem, "uv run python -m tune.gguf --kind q8_0")


def modelfile_for(file: str, settings: Settings) -> str:
    """The Modelfile, which Ollama needs next to the GGUF file."""
    system = f'SYSTEM """{prompts.SYSTEM}"""\n' if prompts.SYSTEM else ""
    numbers = {"temperature": settings.temperature, "max_tokens": settings.max_tokens}
    return MODELFILE.format(file=file, chat=CHAT, system=system, **numbers)


def quantize(file: Path, kind: str) -> None:
    """Convert an f16 file to a smaller type, in its place."""
    smaller = file.with_suffix(".part")
    command = ["llama-quantize", str(file), str(smaller), kind.upper()]
    if subprocess.run(command, check=False).returncode:
        raise TuneError(f"llama-quantize could not convert to {kind}.", "choose q8_0")
    smaller.replace(file)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False)
    app.command()(main)
    sys.exit(run_app(app, "python -m tune.gguf"))
