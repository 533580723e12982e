"""What a deployment says of a file with a secret, and of a file that it cannot search."""

from pathlib import Path

import pytest
from planted import Planted, planted

from hackkit.deploy.manifest import OutgoingFile
from hackkit.deploy.secret_scan import scan, unread_notes
from hackkit.errors import Problem

PLANTED = {each.kind: each for each in planted()}


def sent(path: str, data: bytes) -> OutgoingFile:
    return OutgoingFile(path, data, len(data))


def problems(each: Planted) -> list[Problem]:
    return list(scan(sent(each.path, each.data), ()))


@pytest.mark.parametrize("each", PLANTED.values(), ids=PLANTED)
def test_a_planted_secret_stops_a_deployment_and_is_not_shown(each: Planted) -> None:
    found = problems(each)
    assert found
    for one in found:
        assert one.fix
        assert one.problem.startswith(each.path)
        assert each.secret[4:] not in one.problem + one.fix


def test_a_line_of_code_is_to_be_edited() -> None:
    [problem] = problems(PLANTED["Groq"])
    path = PLANTED["Groq"].path
    assert problem.problem == f"{path}:1 contains an API key. Nothing was sent."
    assert problem.fix == f"edit {path}: remove line 1, and create a new key"


def test_a_secret_in_an_archive_is_named_with_its_member_and_the_archive_is_left_out() -> None:
    [problem] = problems(PLANTED["zip in a zip"])
    place = "all.zip (in deep/backup.zip/settings.py:1)"
    assert problem.problem == f"{place} contains a Mistral API key. Nothing was sent."
    assert problem.fix == "git rm --cached -- all.zip"


def test_a_file_of_settings_is_left_out() -> None:
    [problem] = problems(PLANTED["staging.env"])
    assert problem.problem.startswith("config/staging.env:1 contains the value of a secret")
    assert problem.fix == "git rm --cached -- config/staging.env"


def test_a_secret_of_an_mcp_server_goes_into_env() -> None:
    [problem] = problems(PLANTED["MCP env"])
    assert problem.fix == "edit mcp.json:1: write ${NAME} there, and NAME with the value into .env"


def test_what_cannot_be_searched_is_said() -> None:
    files = [
        sent("a.7z", b"7z\xbc\xaf\x27\x1c" + bytes(40)),
        sent("docs/board.png", b"\x89PNG\r\n\x1a\n" + bytes(40)),
        sent("app.py", b"print()\n"),
    ]
    assert list(unread_notes(files)) == [
        "not searched for secrets: in a.7z, all of it (a 7z archive)",
        "not searched for secrets: what pictures show (docs/board.png)",
    ]


def test_a_file_of_this_machine_is_read(tmp_path: Path) -> None:
    path = tmp_path / "app.py"
    path.write_bytes(PLANTED["Groq"].data)
    assert list(scan(OutgoingFile("app.py", path, path.stat().st_size), ()))
