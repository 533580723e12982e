"""The settings that every app has: the model, its limits, and the page's address."""

import contextlib
import os
import re
import sys
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

ROOT = Path(__file__).resolve().parent.parent
ENV_FILE = ROOT / os.environ.get("ENV_FILE", ".env")
MIXED = "(?m)^[\u0900-\uffff]"  # a line of UTF-8, if UTF-16 is read; a name begins none so


def encoding(path: Path) -> str:
    """The encoding of a `.env`; exit if it has two, as PowerShell's `>>` adds UTF-16 to UTF-8."""
    data = path.read_bytes() if path.is_file() else b""
    name = "utf-16" if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig"
    with contextlib.suppress(UnicodeDecodeError):
        text = data.decode(name)
        if "\0" not in text and not (name == "utf-16" and re.search(MIXED, text)):
            return name
    if b"\0" not in data:
        return "latin-1"
    code = f"import pathlib; p = pathlib.Path('{path.name}'); p.write_bytes("
    code += "p.read_bytes().translate(None, bytes([0, 254, 255])))"
    raise SystemExit(f'{path} is in UTF-8 and UTF-16.\nFix: uv run python -c "{code}"')


ENCODING = encoding(ENV_FILE)

_around = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
for _name in ("no_proxy", "NO_PROXY"):  # this machine's own servers are never behind a proxy
    os.environ[_name] = ",".join(filter(None, [_around, "localhost,127.0.0.1,::1"]))


class ModelSettings(BaseSettings):
    """The variable CHAT_MODEL sets the field `chat_model`; the environment wins over `.env`."""

    model_config = SettingsConfigDict(
        env_file=ENV_FILE,
        env_file_encoding=ENCODING,
        env_ignore_empty=True,
        frozen=True,
        allow_inf_nan=False,
        extra="ignore",
    )
    renamed: ClassVar[dict[str, str]] = {}  # variables: the old name → today's name

    # The page's address
    host: str = os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1")  # Spaces sets it
    port: int = Field(default=0, ge=0, le=65535)  # 0: 7860, or the next free one

    # Who may use the page
    app_password: SecretStr = SecretStr("")  # asked for before the page is shown; empty: none
    visitor_limit: int = Field(default=0, ge=0)  # questions per visitor and hour; 0: no limit
    visitor_header: str = ""  # of your own proxy, with the visitor's address; platforms are known
    allowed_origins: str = Field(default="", pattern=r"(?i)^(https?://[^\s/*,]+/?[\s,]*)*$")
    max_file_mb: int = Field(default=20, ge=1)  # of an upload

    # The model: at LLM_BASE_URL if set, else Mistral's API if there is a key, else offline
    mistral_api_key: SecretStr = SecretStr("")
    mistral_server_url: str = "https://api.mistral.ai"
    llm_base_url: str = ""
    llm_api_key: SecretStr = SecretStr("")
    chat_model: str = ""
    temperature: float = Field(default=0.1, ge=0, le=1.5)
    max_tokens: int = Field(default=900, ge=1)  # of one reply

    # Rate limit, timeout and retries of requests to the model (seconds)
    requests_per_second: float = Field(default=1.0, ge=0)  # of an unpaid key, about; 0: no limit
    timeout: float = Field(default=30, gt=0)  # no data for this long is a failure
    patience: float = Field(default=10, ge=0)  # for all retries of one request
    backoff: float = Field(default=0.5, ge=0)  # the first pause before a retry; it doubles
    cooldown: float = Field(default=20, ge=0)  # of offline mode after a failure

    @property
    def origins(self) -> tuple[str, ...]:
        """The addresses of front ends of your own, which may send requests from another site."""
        listed = self.allowed_origins.lower().replace(",", " ").split()
        return tuple(each.rstrip("/") for each in listed)

    @property
    def provider(self) -> Literal["server", "mistral", "offline"]:
        """Where the model runs: your own server, Mistral's API, or nowhere (offline mode)."""
        if self.llm_base_url:
            return "server"
        return "mistral" if self.mistral_api_key.get_secret_value().strip() else "offline"

    @property
    def chat(self) -> str:
        """The chat model's name: CHAT_MODEL, or the provider's default."""
        defaults = {"mistral": "mistral-small-latest", "server": "ministral-3:8b", "offline": ""}
        return self.chat_model or defaults[self.provider]


S = TypeVar("S", bound=ModelSettings)


def load(kind: type[S]) -> S:
    """Read the settings; exit with a line for each invalid value."""
    try:
        return kind(**_renamed(kind.renamed))
    except SettingsError as error:  # a list that is not JSON
        fix = """Fix: write it in .env as JSON, such as EXAMPLES='["one", "two"]'"""
        raise SystemExit(f"{error}.\n{fix}") from None
    except ValidationError as error:
        fix = "Fix: correct it in .env (.env.example shows how)"
        raise SystemExit(f"{problems(error)}\n{fix}") from None


def problems(error: ValidationError) -> str:
    """One line for each invalid value."""
    lines = [f"{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}." for e in error.errors()]
    return "\n".join(lines)


def _renamed(names: dict[str, str]) -> dict[str, Any]:
    """The values of variables that still have their old names."""
    given = {**dotenv_values(ENV_FILE, encoding=ENCODING), **os.environ}
    values = {}
    for old, new in names.items():
        if (value := given.get(old)) and not given.get(new):
            print(f"{old} is now called {new}.\nFix: rename it in .env", file=sys.stderr)
            values[new.lower()] = value
    return values
