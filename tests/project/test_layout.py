"""Where everything is in a generated project."""

from pathlib import Path

from hackkit.project.layout import venv_python


def test_a_virtual_environment_has_its_python_where_the_system_puts_it() -> None:
    assert venv_python(Path("a"), windows=False) == Path("a/bin/python")
    assert venv_python(Path("a"), windows=True) == Path("a/Scripts/python.exe")
