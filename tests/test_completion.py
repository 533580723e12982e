"""Shell completion: it installs, and offers templates, examples, targets and checks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Run, clean_environment


def offered(*words: str, script: str = "hackkit") -> list[str]:
    """Return what bash would offer for the last of these words."""
    program = Path(sys.executable).with_name(f"{script}.exe" if os.name == "nt" else script)
    asked = {
        f"_{script.replace('-', '_').upper()}_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join([script, *words]),
        "COMP_CWORD": str(len(words)),
    }
    ran = subprocess.run(
        [program],
        env={**clean_environment(), **asked},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert ran.stderr == ""
    return ran.stdout.split()


@pytest.mark.parametrize("script", ["hackkit", "hackkit-starter"])
def test_both_scripts_complete_a_template(script: str) -> None:
    assert offered("new", "ra", script=script) == ["rag-app"]


def test_examples_targets_and_checks_are_offered() -> None:
    assert "course-tutor" in offered("new", "--example", "c")
    assert offered("deploy", "sp") == ["spaces"]
    assert offered("doctor", "--only", "mistral-k") == ["mistral-key"]
    assert offered("new", "no-such-template") == []


@pytest.mark.skipif(os.name == "nt", reason="there is no bash")
def test_it_installs_for_bash(hackkit: Run, tmp_path: Path) -> None:
    result = hackkit("--install-completion", "bash", env={"HOME": str(tmp_path)})
    assert result.returncode == 0, result.stderr
    written = "".join(path.read_text("utf-8") for path in tmp_path.rglob("*") if path.is_file())
    assert "_HACKKIT_COMPLETE=complete_bash" in written
