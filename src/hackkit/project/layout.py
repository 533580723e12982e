"""The port, the Dockerfile and the Python of a generated project."""

from pathlib import Path

PORT = 7860  # where Gradio looks first, and what a Space and our Dockerfiles expose
DOCKERFILE = "Dockerfile"


def venv_python(folder: Path, *, windows: bool) -> Path:
    """Return the path of the Python in a virtual environment."""
    return folder.joinpath(*(("Scripts", "python.exe") if windows else ("bin", "python")))
