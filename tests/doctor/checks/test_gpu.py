"""Which GPU is found, and which models can be fine-tuned on it."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ROOT, write
from facts import HANGS, commands

from hackkit.doctor.checks import gpu
from hackkit.doctor.findings import Finding, Status
from hackkit.project.catalog import Needs
from hackkit.project.context import Context
from hackkit.project.files import ProjectFiles
from hackkit.system.hardware import Memory
from hackkit.system.processes import Ran

QUERY = "nvidia-smi --query-gpu=name,memory.total,driver_version"
TABLE = "| NVIDIA-SMI 580.159.03   Driver Version: 580.159.03   CUDA Version: 13.0 |"
NEWER_TABLE = "| NVIDIA-SMI 610.43.02   KMD Version: 610.43.02   CUDA UMD Version: 13.3 |"
ANY, TUNING = Needs(), Needs(gpu=True)


def nvidia(*rows: str, table: str = TABLE, needs: Needs = ANY) -> Context:
    """Make a machine whose nvidia-smi lists these: "name, MiB, driver"."""
    return Context(run=commands({"nvidia-smi": table, QUERY: "\n".join(rows)}), needs=needs)


def mac(chip: str, gigabytes: int) -> Context:
    memory = Memory(gigabytes * 2**30, gigabytes * 2**29)
    run = commands({"sysctl -n machdep.cpu.brand_string": chip})
    return Context(system="darwin", run=run, memory=lambda: memory)


def test_an_nvidia_gpu_is_named_with_its_memory_driver_and_cuda_version() -> None:
    finding = gpu.check(nvidia("NVIDIA H200, 143771, 580.159.03"))
    assert finding.status is Status.OK
    assert finding.message == ("NVIDIA H200, 140 GB, driver 580.159.03, CUDA 13.0: LoRA up to 24B")


def test_the_newest_drivers_have_another_name_for_cudas_version() -> None:
    finding = gpu.check(nvidia("NVIDIA L4, 23034, 610.43.02", table=NEWER_TABLE))
    assert "CUDA 13.3" in finding.message


@pytest.mark.parametrize(
    ("megabytes", "meaning"),
    [
        (5120, "too small to fine-tune even 3B"),
        (12288, "LoRA up to 3B, QLoRA up to 8B"),
        (16384, "LoRA up to 3B, QLoRA up to 14B"),
        (24564, "LoRA up to 8B, QLoRA up to 24B"),
        (49140, "LoRA up to 14B, QLoRA up to 24B"),
        (81559, "LoRA up to 24B"),
    ],
)
def test_what_fits_grows_with_the_memory(megabytes: int, meaning: str) -> None:
    finding = gpu.check(nvidia(f"Card, {megabytes}, 550.54"))
    assert finding.message.endswith(f": {meaning}")


def test_the_details_list_what_each_model_needs_and_whether_it_fits() -> None:
    _, *lines = gpu.check(nvidia("NVIDIA A10, 23028, 550.54")).details
    assert len(lines) == 10
    assert next(line for line in lines if "7B, LoRA" in line).endswith(": 18.3 GB, fits")
    assert next(line for line in lines if "24B, LoRA" in line).endswith(": 54.5 GB, too large")


def test_several_alike_are_counted() -> None:
    finding = gpu.check(nvidia(*["NVIDIA A100-SXM4-80GB, 81920, 550.54"] * 4))
    assert finding.message.startswith("4 x NVIDIA A100-SXM4-80GB, 80 GB, ")


def test_of_several_gpus_the_largest_counts() -> None:
    finding = gpu.check(nvidia("Quadro P400, 2048, 550.54", "RTX 4090, 24564, 550.54"))
    assert finding.message.startswith("NVIDIA RTX 4090 and 1 more, 24 GB, ")


def test_a_gpu_whose_memory_is_unknown_is_named() -> None:
    finding = gpu.check(nvidia("NVIDIA GB10, [N/A], 580.95", needs=TUNING))
    assert finding.status is Status.OK
    assert "NVIDIA GB10, memory size unknown" in finding.message


@pytest.mark.parametrize(
    ("ran", "system", "words", "fix"),
    [
        (Ran(9, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."),
         "linux", "does not run", "sudo modprobe nvidia"),
        (Ran(9, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."),
         "windows", "does not run", "open https://www.nvidia.com/drivers"),
        (Ran(18, "Failed to initialize NVML: Driver/library version mismatch"),
         "linux", "was updated", "sudo reboot"),
        (Ran(6, "No devices were found"), "linux", "finds no GPU", "open https://www.nvidia.com/drivers"),
        (HANGS, "linux", "did not answer", "nvidia-smi"),
    ],
)  # fmt: skip
def test_a_broken_driver_is_a_warning(ran: Ran, system: str, words: str, fix: str) -> None:
    finding = gpu.check(Context(system=system, run=commands({"nvidia-smi": ran})))
    assert finding.status is Status.WARN
    assert words in finding.message
    assert finding.fix == fix


def test_garbage_from_nvidia_smi_is_no_gpu() -> None:
    assert gpu.check(nvidia("what is this", "")).message.startswith("none found")


def test_no_gpu_is_well_and_the_details_say_what_one_would_need() -> None:
    finding = gpu.check(Context(run=commands({})))
    assert finding.status is Status.OK
    assert "none" in finding.message
    assert len(finding.details) == 11
    assert "fits" not in finding.details[1]


def test_apple_silicon_has_its_share_of_the_memory_and_no_qlora() -> None:
    finding = gpu.check(mac("Apple M3 Max", 64))
    assert finding.status is Status.OK
    assert finding.message == "Apple M3 Max, 45 GB, shared with the processor: LoRA up to 14B"
    assert "bitsandbytes" in finding.details[-1]


def test_a_mac_with_an_intel_processor_has_none() -> None:
    assert gpu.check(mac("Intel(R) Core(TM) i7-9750H", 64)).message.startswith("none found")


def test_amds_older_tool_is_understood() -> None:
    card = {"Card Series": "Radeon RX 7900 XT", "VRAM Total Memory (B)": "21458059264"}
    small = {"Card Series": "Raphael", "VRAM Total Memory (B)": "67108864"}
    said = json.dumps({"card0": card, "card1": small, "system": {"Driver version": "6.8"}})
    finding = gpu.check(Context(run=commands({"rocm-smi": said})))
    assert finding.message == "AMD Radeon RX 7900 XT and 1 more, 20 GB: LoRA up to 7B"


@pytest.mark.parametrize("wrapped", [True, False])
def test_amds_newer_tool_is_understood(wrapped: bool) -> None:  # noqa: FBT001 - a test's case
    asic = {"market_name": "AMD Instinct MI300X", "vendor_id": "0x1002"}
    size = {"value": 196592, "unit": "MB"}
    cards = [{"gpu": 0, "asic": asic, "vram": {"type": "HBM", "size": size}}]
    said = json.dumps({"gpu_data": cards} if wrapped else cards)
    finding = gpu.check(Context(run=commands({"amd-smi": said})))
    assert finding.message == "AMD Instinct MI300X, 192 GB: LoRA up to 24B"


@pytest.mark.parametrize("said", ["", "no JSON", "[1, null]", "{}", '{"card0": {"vram": []}}'])
def test_garbage_from_amds_tools_is_no_gpu(said: str) -> None:
    assert gpu.check(Context(run=commands({"rocm-smi": said}))).message.startswith("none found")


# In a fine-tuning project

PLAN = "uv run python -m tune plan"
TRAINING = ROOT / "templates" / "fine-tune" / "project"


@pytest.fixture
def project(tmp_path: Path) -> ProjectFiles:
    """Make a fine-tuning project with an environment in which nothing is installed."""
    project = ProjectFiles(tmp_path)
    for path in (tmp_path / "tune" / "settings.py", tmp_path / "tune" / "__main__.py"):
        write(path, "")
    write(project.python, "")
    return project


def tuning(memory: int = 0, project: ProjectFiles | None = None, **env: str) -> Finding:
    """Check a fine-tuning project on a machine with a GPU of so many MiB, or with none."""
    answers: dict[str, Ran | str | None] = {}
    if memory:
        answers |= {"nvidia-smi": TABLE, QUERY: f"NVIDIA Card, {memory}, 550.54"}
    return gpu.check(Context(run=commands(answers), needs=TUNING, env=env, project=project))


def planning(project: ProjectFiles, plan: object, memory: int = 24564) -> Finding:
    """Check one whose own plan says this."""
    answers: dict[str, Ran | str | None] = {
        "nvidia-smi": TABLE,
        QUERY: f"NVIDIA Card, {memory}, 550.54",
        f"{project.python} -m tune plan --json": json.dumps(plan),
    }
    return gpu.check(Context(run=commands(answers), needs=TUNING, project=project))


def test_no_gpu_says_what_works_without_one_and_what_training_needs() -> None:
    finding = tuning()
    assert (finding.status, finding.fix) == (Status.WARN, PLAN)
    assert finding.message.startswith("none: a rehearsal works without one, ministral-3b by LoRA ")
    assert re.search(r"needs one with \d+ GB$", finding.message)


def test_what_the_project_s_own_plan_says_is_compared_with_this_gpu(project: ProjectFiles) -> None:
    training = {"base": {"name": "ministral-8b"}, "method": "qlora"}
    finding = planning(project, {"training": training, "bytes": 9 * 2**30})
    assert finding.status is Status.OK
    assert finding.message.endswith("ministral-8b by QLoRA takes 9.0 GB and fits")
    finding = planning(project, {"training": training, "bytes": 24 * 2**30})
    assert (finding.status, finding.fix) == (Status.WARN, PLAN)
    assert finding.message.endswith("ministral-8b by QLoRA takes 24.0 GB and does not fit")


@pytest.mark.parametrize("said", ["no object", {}, {"training": None, "bytes": 1}])
def test_a_plan_that_cannot_be_read_leaves_it_to_the_variables(
    project: ProjectFiles, said: object
) -> None:
    assert "ministral-3b by LoRA takes" in planning(project, said).message


@pytest.mark.parametrize(
    ("base", "method", "memory", "fits"),
    [
        ("ministral-3b", "lora", 15360, True),
        ("ministral-8b", "lora", 15360, False),
        ("ministral-8b-instruct", "qlora", 15360, True),
        ("mistralai/Ministral-3-8B-Base-2512", "qlora", 15360, True),
        ("mistral-7b", "lora", 24564, True),
        ("mistral-small", "lora", 49140, False),
    ],
)
def test_before_it_is_installed_its_variables_say_what_it_trains(
    base: str,
    method: str,
    memory: int,
    fits: bool,  # noqa: FBT001 - a test's case
) -> None:
    finding = tuning(memory, BASE_MODEL=base, METHOD=method)
    assert finding.status is (Status.OK if fits else Status.WARN)
    assert base.rsplit("/", 1)[-1] in finding.message
    assert finding.fix == ("" if fits else PLAN)


def test_a_base_of_unknown_size_is_not_judged() -> None:
    finding = tuning(8192, BASE_MODEL="./ours")
    assert finding.status is Status.OK
    assert "cannot estimate" in finding.message


def test_qlora_on_apple_silicon_is_a_warning() -> None:
    seen = mac("Apple M3 Max", 64)
    finding = gpu.check(replace(seen, needs=TUNING, env={"METHOD": "qlora"}))
    assert (finding.status, finding.fix) == (Status.WARN, PLAN)
    assert "bitsandbytes" in finding.message


ESTIMATE = """
import json
from tune import estimate, models
names = ("ministral-3b", "mistral-7b", "ministral-8b", "ministral-14b", "mistral-small")
data = estimate.DataSize(1, 2048, 2048, 2048)

def gigabytes(name, method):
    training = estimate.Training(models.find(name), method, 16, 1, 2048, data)
    return sum(term.bytes for term in estimate.memory(training)) / 2**30

print(json.dumps([[gigabytes(name, method) for method in models.METHODS] for name in names]))
"""


def test_this_check_has_the_sizes_that_the_template_s_plan_estimates() -> None:
    """The check cannot import the template: its table is held equal to the estimates here."""
    ran = subprocess.run(
        [sys.executable, "-B", "-c", ESTIMATE],
        cwd=TRAINING,
        check=True,
        capture_output=True,
    )
    table = [list(needs) for needs in gpu._NEEDS.values()]  # noqa: SLF001 - it is what is compared
    assert table == [[round(each, 1) for each in needs] for needs in json.loads(ran.stdout)]
