"""An app's imports are found without running it."""

from hackkit.deploy.outgoing import generated
from hackkit.deploy.rehearsal.imports import third_party

START = "app.py"


def read(**files: str) -> tuple[str, ...]:
    """Return the third-party modules of app.py; `rag__store` is the file rag/store.py."""
    paths = {name.replace("__", "/") + ".py": text for name, text in files.items()}
    return third_party([generated(path, text) for path, text in paths.items()], START)


def test_third_party_modules_are_found_and_pythons_own_are_not() -> None:
    assert read(app="import os, json\nimport numpy.linalg\nfrom PIL import Image\n") == (
        "PIL",
        "numpy",
    )


def test_the_apps_own_files_are_followed() -> None:
    assert read(
        app="from rag import store\nimport rag.pages\n",
        rag__store="import chromadb\n",
        rag__pages="from .inner import x\n",
        rag__inner="import pypdf\n",
    ) == ("chromadb", "pypdf")


def test_an_imported_package_runs_its_init_file() -> None:
    files = [
        generated("app.py", "import rag.store\n"),
        generated("rag/__init__.py", "import yaml\n"),
    ]
    assert third_party([*files, generated("rag/store.py", "")], START) == ("yaml",)


def test_an_import_inside_a_function_counts() -> None:
    assert read(app="def read() -> None:\n    import pypdf\n") == ("pypdf",)


def test_what_the_code_can_do_without_does_not_count() -> None:
    text = "try:\n    import torch\nexcept ImportError:\n    torch = None\n"
    assert read(app=text) == ()
    assert read(app="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import x\n") == ()


def test_an_extra_counts_only_where_the_app_cannot_start_without_it() -> None:
    extras = '[project.optional-dependencies]\ntrain = ["torch>=2", "py-pdf[all]; extra"]\n'
    late = "def train() -> None:\n    import torch.nn\n    import py_pdf, numpy\n"
    project = generated("pyproject.toml", extras)
    assert third_party([project, generated("app.py", late)], START) == ("numpy",)
    assert third_party([project, generated("app.py", "import torch\n")], START) == ("torch",)
    assert third_party([generated("app.py", late)], START) == ("numpy", "py_pdf", "torch")


def test_files_that_the_app_does_not_import_do_not_count() -> None:
    assert read(app="", tests__test_app="import pytest\n") == ()


def test_a_file_with_a_syntax_error_is_left_to_the_start() -> None:
    assert read(app="import rag\ndef x(:\n") == ()
