"""How fast the fine-tune template trains: `uv run python benchmarks/finetune_train.py [--quick]`.

Creates a project (or uses an installed one) and trains the same small Mistral on the same rows
with the same settings in three programs, in turns and in separate processes: the template, a bare
TRL script, a plain loop in PyTorch. "ms per step" is the mean time between two steps with no
evaluation between them; "in all" is the whole training divided by its steps: the template's has a
dozen evaluations and checkpoints. Memory is the peak of the process.

If the project finds an NVIDIA GPU, random models of Ministral 3's sizes are trained on it as well,
and their memory and speed are compared with the estimates of `tune plan`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STEPS = 60
BATCH = 8
GPU_RUNS = (("3b", "lora"), ("3b", "qlora"), ("8b", "lora"), ("8b", "qlora"))
GPU_STEPS, GPU_BATCH, GPU_LENGTH = 12, 4, 1024

# The start of each program. argv: the folder, the steps, the batch size.
HEAD = """
import json, os, resource, statistics, sys, time, warnings
from pathlib import Path

from tune import dataset
from tune.settings import ROOT, Settings
from tune import rehearse, train, weights

folder, steps, batch = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
rows = dataset.load(ROOT / "data" / "train.jsonl")
settings = Settings(
    base_model=str(folder / "base"), batch_size=batch, accumulate=1, learning_rate=1e-3,
    max_length=512, early_stop=0, epochs=steps / -(-len(rows) // batch), runs_dir=folder,
)
times = []

def took_step(checked=False):
    times.append(None if checked else time.perf_counter())  # None: do not count an evaluation

def print_figures(started, ended):
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    step = statistics.fmean(b - a for a, b in zip(times, times[1:]) if a and b)
    print(json.dumps([step * 1000, (ended - started) * 1000 / steps, peak]))
"""

MAKE = """
rehearse.SHAPE.update(hidden_size=256, intermediate_size=512, num_hidden_layers=4, head_dim=64)
texts = [message["content"] for row in rows for message in row.messages]
rehearse.make_base(folder / "base", texts)
"""

OURS = """
from tune.runs import Run

run = Run(folder / f"ours-{os.getpid()}")
record = train.train(run, settings, report=lambda now: now.note or took_step(now.checked))
assert record.figures["steps"] == steps, record.figures
print_figures(0, record.figures["seconds"])
"""

# Shared by both references: the same tokens and labels, the same adapter.
SAME = """
weights.quiet()
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

work = train.prepare(settings)
model = AutoModelForCausalLM.from_pretrained(folder / "base", dtype="float32")
lora = LoraConfig(
    r=16, lora_alpha=32, target_modules=list(work.base.targets), task_type="CAUSAL_LM",
    modules_to_save=["embed_tokens", "lm_head"],
)
"""

TRL = """
from datasets import Dataset
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

class Clock(TrainerCallback):
    def on_step_end(self, *_, **__):
        took_step()

arguments = SFTConfig(
    output_dir=str(folder / "trl"), max_steps=steps, per_device_train_batch_size=batch,
    learning_rate=1e-3, lr_scheduler_type="cosine", warmup_steps=3, use_cpu=True, bf16=False,
    gradient_checkpointing=False, save_strategy="no", report_to="none", disable_tqdm=True,
    max_length=None, dataset_kwargs={"skip_prepare_dataset": True}, logging_steps=1000,
)
sft = SFTTrainer(
    model=model, args=arguments, processing_class=work.tokenizer, peft_config=lora,
    train_dataset=Dataset.from_list(work.train), callbacks=[Clock()],
)
started = time.perf_counter()
out = sys.stdout
sys.stdout = sys.stderr
sft.train()
sys.stdout = out
print_figures(started, time.perf_counter())
"""

LOOP = """
import random
import torch
from tune import tokens
from transformers import get_cosine_schedule_with_warmup

model = get_peft_model(model, lora)
model.train()
learned = [each for each in model.parameters() if each.requires_grad]
optimizer = torch.optim.AdamW(learned, lr=1e-3, weight_decay=0.0)
schedule = get_cosine_schedule_with_warmup(optimizer, 3, steps)
pad = work.tokenizer.pad_token_id
order = []

def tensor(lists, filler):
    longest = max(map(len, lists))
    return torch.tensor([each + [filler] * (longest - len(each)) for each in lists])

started = time.perf_counter()
for _ in range(steps):
    if not order:
        order = random.sample(range(len(work.train)), len(work.train))
    some = [work.train[at] for at in order[:batch]]
    order = order[batch:]
    ids = tensor([each["input_ids"] for each in some], pad)
    labels = tensor([each["labels"] for each in some], tokens.IGNORED)
    mask = tensor([[1] * len(each["input_ids"]) for each in some], 0)
    model(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
    torch.nn.utils.clip_grad_norm_(learned, 1.0)
    optimizer.step()
    schedule.step()
    optimizer.zero_grad()
    took_step()
print_figures(started, time.perf_counter())
"""

PROGRAMS = {"ours": HEAD + OURS, "TRL": HEAD + SAME + TRL, "PyTorch": HEAD + SAME + LOOP}

# A model of real size with random weights, trained by the template's own trainer. argv: the folder,
# the size, the method, the steps, the batch size, the length.
ON_GPU = """
import json, sys, time
from pathlib import Path

import torch
from tune import estimate, models, plan
from tune.estimate import DataSize, Training
from tune.settings import Settings
from tune import rehearse, train, trainer, weights

folder, size, method = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
steps, batch, length = map(int, sys.argv[4:7])
known = models.find(f"ministral-{size}")
shape = known.shape
weights.quiet()
if not (folder / size).is_dir():
    from transformers import Mistral3Config, Mistral3ForConditionalGeneration

    text = {
        "model_type": "ministral3", "hidden_size": shape.hidden, "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads, "head_dim": shape.head_dim,
        "vocab_size": shape.vocabulary, "tie_word_embeddings": shape.tied,
    }
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        config = Mistral3Config(text_config=text, tie_word_embeddings=shape.tied)
        Mistral3ForConditionalGeneration(config).save_pretrained(folder / size)
    torch.set_default_dtype(torch.float32)
    torch.cuda.empty_cache()
base = models.find(str(folder / size))
settings = Settings(method=method, batch_size=batch, accumulate=1, max_length=length, epochs=1)
ids = torch.randint(1000, 30000, (steps * batch, length)).tolist()
hyperparameters = train.hyperparameters(base, settings) | {"early_stop": 0}
tokenizer = rehearse.learn_words(["random tokens"])
rows = [{"input_ids": row, "labels": row} for row in ids]
work = train.Job(base, tokenizer, rows, [], hyperparameters, {})
sft = trainer.build(work, method, folder / "checkpoints")
sft.args.save_strategy = "no"
times = []

class Clock(__import__("transformers").TrainerCallback):
    def on_step_end(self, *_, **__):
        torch.cuda.synchronize()
        times.append(time.perf_counter())

sft.add_callback(Clock())
torch.cuda.reset_peak_memory_stats()
out, sys.stdout = sys.stdout, sys.stderr
sft.train()
sys.stdout = out
seconds = sorted(b - a for a, b in zip(times, times[1:]))[len(times) // 2 - 1]
rows = DataSize(len(ids), len(ids) * length, length, length)
planned = Training(base, method, settings.lora_rank, batch, length, rows)
estimated = sum(term.bytes for term in estimate.memory(planned))
here = plan.local_gpu()
estimated_seconds = estimate.seconds(planned, here) if here else None
print(json.dumps({
    "gpu": torch.cuda.get_device_name(), "tokens": batch * length / seconds,
    "memory": torch.cuda.max_memory_reserved() / 1e9, "memory_estimated": estimated / 1e9,
    "tokens_estimated": len(ids) * length / estimated_seconds if estimated_seconds else None,
}))
"""


@dataclass(frozen=True)
class Bench:
    """A project, and a folder for the output of its trainings."""

    project: Path
    folder: Path
    rounds: int
    steps: int

    @property
    def python(self) -> Path:
        """The project's own interpreter."""
        place = "Scripts/python.exe" if os.name == "nt" else "bin/python"
        return self.project / ".venv" / place

    def run(self, program: str, *words: str) -> Any:  # noqa: ANN401 - what the program prints
        """Run a program in the project's environment; return the JSON of its last line."""
        unset = {"ENV_FILE": os.devnull, "OMP_NUM_THREADS": "1"}
        environment = os.environ | unset | {"PYTHONPATH": str(self.project)}
        done = subprocess.run(
            [str(self.python), "-c", program, str(self.folder), *words],
            check=False,
            capture_output=True,
            encoding="utf-8",
            env=environment,
            cwd=self.project,
        )
        if done.returncode:
            raise SystemExit(f"{done.stderr[-2000:]}\nThe project must have its extra `train`.")
        return json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else None


def on_the_cpu(bench: Bench) -> Iterator[str]:
    """Train with the three programs in turn; yield each one's medians and our ratio to it."""
    words = str(bench.steps), str(BATCH)
    bench.run(HEAD + MAKE, *words)
    taken: dict[str, list[list[float]]] = {name: [] for name in PROGRAMS}
    for _ in range(bench.rounds):
        for name, program in PROGRAMS.items():
            taken[name].append(bench.run(program, *words))
    ours = _medians(taken["ours"])
    heads = f"{'':10} {'ms per step':>12} {'in all':>8} {'peak MB':>8}"
    yield f"{heads}   ours / it: step, in all, memory"
    for name, rows in taken.items():
        cells = _medians(rows)
        ratios = "  ".join(f"{mine / its:5.2f}" for mine, its in zip(ours, cells, strict=True))
        yield f"{name:10} {cells[0]:12.1f} {cells[1]:8.1f} {cells[2]:8.0f}   {ratios}"


def on_the_gpu(bench: Bench) -> Iterator[str]:
    """Train models of real size, and compare with what `tune plan` estimates."""
    if bench.run("import json, torch; print(json.dumps(torch.cuda.is_available()))") is not True:
        yield "No NVIDIA GPU here: models of real size were not trained."
        return
    yield f"{'':12} {'tokens/s':>9} {'estimate':>9} {'GB':>6} {'estimate':>9}"
    for size, method in GPU_RUNS:
        words = size, method, str(GPU_STEPS), str(GPU_BATCH), str(GPU_LENGTH)
        found = bench.run(ON_GPU, *words)
        speed = f"{found['tokens_estimated']:9,.0f}" if found["tokens_estimated"] else f"{'?':>9}"
        memory = f"{found['memory']:6.1f} {found['memory_estimated']:9.1f}"
        yield f"{size:4} {method:7} {found['tokens']:9,.0f} {speed} {memory}   {found['gpu']}"


def _medians(rows: list[list[float]]) -> list[float]:
    return [statistics.median(column) for column in zip(*rows, strict=True)]


def make_project(folder: Path) -> Path:
    """Generate and install a project as a user does, with the extra `train`."""
    project = folder / "my-tune"
    command = [sys.executable, "-m", "hackkit", "new", "fine-tune", str(project)]
    subprocess.run([*command, "--defaults", "--no-git"], check=True, capture_output=True)
    extra = ["--torch-backend", "auto", "-r", "pyproject.toml", "--extra", "train"]
    subprocess.run(["uv", "pip", "install", *extra], check=True, cwd=project)
    return project


def main() -> None:
    """Print the tables, each line as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--project", type=Path, help="an installed project to measure")
    parser.add_argument("--quick", action="store_true", help="one round, fewer steps")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        project = (given.project or make_project(folder)).resolve()
        rounds, steps = (1, STEPS // 3) if given.quick else (5, STEPS)
        bench = Bench(project, folder, rounds, steps)
        print(f"a Mistral of 4 layers, {BATCH} rows per step, {steps} steps (medians of {rounds})")
        for measure in (on_the_cpu, on_the_gpu):
            for row in measure(bench):
                print(row, flush=True)


if __name__ == "__main__":
    main()
