"""Which model servers run on this machine, and which models do they have?

Asks the usual ports of Ollama, vLLM and llama.cpp. It never warns: the app needs none of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hackkit.doctor.findings import Category, Finding, ok, skipped
from hackkit.network.fetch import Reply, fetch_all, listens
from hackkit.network.urls import is_loopback
from hackkit.project.context import Context
from hackkit.system.wording import listed

TITLE = "Local models"
CATEGORY = Category.SERVICES

_OLLAMA = "127.0.0.1:11434"
_OTHERS = ("http://127.0.0.1:8000", "http://127.0.0.1:8080")
_SHOWN = 4  # names in the message
_PATIENCE = 1.0  # seconds
# The server, by the owner that its list of models names.
_OWNERS = {"vllm": "vLLM", "llamacpp": "llama.cpp", "library": "Ollama"}


@dataclass(frozen=True)
class _Server:
    program: str
    url: str
    models: tuple[str, ...]


def check(context: Context) -> Finding:
    return find((ollama(context.env.get("OLLAMA_HOST", "")), *_OTHERS), offline=context.offline)


def find(addresses: Sequence[str], *, offline: bool = True) -> Finding:
    """List the models of the servers at these addresses; the first one is Ollama's."""
    here = [each for each in addresses if is_loopback(each) or not offline]
    open_ones = [address for address in here if listens(address)]
    # Without a proxy: these are on this machine, or in its network.
    replies = fetch_all([f"{address}/v1/models" for address in open_ones], {}, {}, _PATIENCE)
    found = [
        _Server(_program(reply, url == addresses[0]), url, models)
        for url, reply in zip(open_ones, replies, strict=True)
        if (models := _models(reply)) is not None
    ]
    if not found:
        return skipped("no Ollama, vLLM or llama.cpp on this machine's usual ports")
    details = tuple(f"{each.url}/v1: {', '.join(each.models)}" for each in found)
    return ok("; ".join(map(_describe, found)), details)


def ollama(host: str) -> str:
    """Return Ollama's address; OLLAMA_HOST may be a host, a port, both, or an address."""
    place = (host.strip() or _OLLAMA).rstrip("/")
    scheme, _, rest = place.rpartition("://")
    bare = ":" not in rest or rest.endswith("]")  # [::1] is a host without a port
    name, _, port = (rest, "", "") if bare else rest.rpartition(":")
    usual = {"http": "80", "https": "443"}.get(scheme, "11434")
    # 0.0.0.0 means that every network may connect: here, it is on this machine.
    name = "127.0.0.1" if name in {"", "0.0.0.0"} else name  # noqa: S104 - compared
    return f"{scheme or 'http'}://{name}:{port or usual}"


def _describe(server: _Server) -> str:
    if not server.models:
        return f"{server.program} without a model"
    return f"{server.program}: {listed(server.models, _SHOWN)}"


def _program(reply: Reply, is_ollama: bool) -> str:  # noqa: FBT001 - where it was found
    owners = {str(each.get("owned_by")) for each in _listed(reply) or []}
    named = next((name for owner, name in _OWNERS.items() if owner in owners), "")
    return named or ("Ollama" if is_ollama else "a model server")


def _models(reply: Reply) -> tuple[str, ...] | None:
    listed = _listed(reply)
    return None if listed is None else tuple(str(each.get("id", "?")) for each in listed)


def _listed(reply: Reply) -> list[Mapping[str, object]] | None:
    """Return the list of models; None when the answer is no such list."""
    content = reply.json() if reply.status == 200 else None  # noqa: PLR2004 - "OK"
    if not isinstance(content, dict) or content.get("object") != "list":
        return None
    data = content.get("data") or []  # null for Ollama without a model
    return [each for each in data if isinstance(each, dict)] if isinstance(data, list) else None
