import subprocess
import sys
from pathlib import Path

import pytest

from plumbing.settings import ModelSettings, encoding, load


class Settings(ModelSettings):
    """Two settings of a template, one of them with another name before."""

    renamed = {"DEPTH": "TOP_K"}
    top_k: int = 5
    examples: tuple[str, ...] = ()


def test_a_variable_s_old_name_still_works_and_a_line_names_the_new_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEPTH", "3")
    assert load(Settings).top_k == 3
    assert capsys.readouterr().err == "DEPTH is now called TOP_K.\nFix: rename it in .env\n"
    monkeypatch.setenv("TOP_K", "7")
    assert load(Settings).top_k == 7
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "value"), [("TOP_K", "many"), ("EXAMPLES", "no list"), ("PORT", "99999")]
)
def test_a_wrong_value_ends_the_app_with_the_variable_s_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit, match=rf"(?is){name}.*Fix: "):
        load(Settings)


@pytest.mark.parametrize("kind", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_env_is_read_as_any_editor_and_powershell_write_it(tmp_path: Path, kind: str) -> None:
    file = tmp_path / ".env"
    file.write_bytes("# Grüße\r\nTOP_K=9\r\n".encode(kind))
    assert Settings(_env_file=file, _env_file_encoding=encoding(file)).top_k == 9


def test_env_in_utf_16_may_have_any_letters_in_its_values(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes("# 你好 🎉\r\nTOP_K=9\r\n".encode("utf-16"))
    assert Settings(_env_file=file, _env_file_encoding=encoding(file)).top_k == 9


def test_env_in_two_encodings_ends_the_app_with_the_command_that_repairs_it(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes("TOP_K=9\r\n# Grüße\r\n".encode() + "PORT=1\r\n".encode("utf-16-le"))
    with pytest.raises(SystemExit) as caught:
        encoding(file)
    code = str(caught.value).split('python -c "')[1].removesuffix('"')
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert file.read_text("utf-8") == "TOP_K=9\n# Grüße\nPORT=1\n"


def test_where_the_model_runs_follows_from_the_address_and_the_key() -> None:
    assert ModelSettings().provider == "offline"
    assert ModelSettings(mistral_api_key=" \n").provider == "offline"
    assert ModelSettings(mistral_api_key="key").provider == "mistral"
    own = ModelSettings(mistral_api_key="key", llm_base_url="http://localhost:11434/v1")
    assert (own.provider, own.chat) == ("server", "ministral-3:8b")
