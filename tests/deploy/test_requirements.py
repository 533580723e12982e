"""pip's and uv's own messages are turned into a cause and a fix."""

from pathlib import Path

import pytest
from conftest import write

from hackkit.deploy.explain.install_log import explain
from hackkit.deploy.requirements import exported
from hackkit.project.context import Context

PIP = "ERROR: Could not find a version that satisfies the requirement x==9 (from versions: 1)\n"
NO_SOLUTION = "error: No solution found when resolving dependencies\n  cause: Because "
EARLIER_UV = "  x No solution found when resolving dependencies:\n  ╰─▶ Because "
END = " we can conclude that\n         your requirements are unsatisfiable."
SO = "we can conclude that your requirements are unsatisfiable."
NEED = "you require b==0,"
NOT_THERE = "There is no x==9 for this version of Python."
CONFLICT = "Cannot install a==1 and b==2 because these package versions have conflicting"
FETCH = "Failed to download `https://packages.example/cpython-3.9.25.tar.gz`"
NO_PYTHON = "Python 3.9 is not installed, and could not be downloaded."


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        (f"{PIP}ERROR: No matching distribution found for x==9", NOT_THERE),
        (f"{NO_SOLUTION}there is no version of x==9 and you require x==9,{END}", NOT_THERE),
        (
            f"{NO_SOLUTION}x was not found in the package registry and you require x==9,{END}",
            "There is no x for this version of Python.",
        ),
        (
            f"{NO_SOLUTION}a>=6 depends on b>=1 and {NEED}{END}",
            f"The requirements conflict: Because a>=6 depends on b>=1 and {NEED} {SO}",
        ),
        (
            f"{EARLIER_UV}a>=6 depends on b>=1,{END}",
            f"The requirements conflict: Because a>=6 depends on b>=1, {SO}",
        ),
        (
            f"ERROR: {CONFLICT} dependencies.",
            "These versions conflict: a==1 and b==2.",
        ),
        (
            "ERROR: Failed building wheel for x\nFailed to build x",
            "x has no wheel for this machine, and could not be built.",
        ),
        (
            "error: Failed to build `x==1.0`\n  cause: The build backend returned an error",
            "x==1.0 has no wheel for this machine, and could not be built.",
        ),
        (f"error: Request failed\n  cause: {FETCH}\n  cause: dns error", NO_PYTHON),
        ("error: No interpreter found for Python 3.9 in managed installations", NO_PYTHON),
        ("  cause: client error (Connect)\n", "A package index cannot be reached."),
    ],
)
def test_an_installers_failure_is_explained(output: str, problem: str) -> None:
    found = explain(output)
    assert found is not None
    assert found.problem == problem
    assert found.fix


def test_a_broken_pyproject_is_not_reported_as_an_old_lock(tmp_path: Path) -> None:
    write(tmp_path / "uv.lock", "version = 1\n")
    write(tmp_path / "pyproject.toml", '[project]\nname = "x\n')
    [problem] = exported(Context(folder=tmp_path, uv=("uv",))).problems
    assert problem.problem.startswith("pyproject.toml cannot be read: ")
    assert "line 2" in problem.problem
    assert problem.fix == "edit pyproject.toml: correct it"


def test_an_unknown_message_is_not_explained() -> None:
    assert explain("Something else") is None
