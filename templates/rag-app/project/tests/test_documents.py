from pathlib import Path

import pytest

from plumbing.readers import Unreadable
from rag import documents


def test_a_huge_file_is_rejected_before_it_is_read(tmp_path: Path) -> None:
    huge = tmp_path / "huge.txt"
    with huge.open("wb") as file:
        file.truncate(2 * 2**20)
    with pytest.raises(Unreadable, match="is larger than 1 MB"):
        documents.load(str(huge), max_mb=1)


def test_folders_are_searched_and_hidden_files_skipped(tmp_path: Path) -> None:
    for name in ("b.txt", "sub/a.md", ".hidden.txt", ".git/config.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [Path(name).relative_to(tmp_path).as_posix() for name in documents.find([tmp_path])]
    assert found == ["b.txt", "sub/a.md"]
