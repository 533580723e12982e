"""The only module that uses huggingface_hub: creates, reads and changes Spaces."""

import contextlib
import hashlib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hackkit.errors import HackkitError, causes
from hackkit.network.blocked import Site, why_blocked
from hackkit.network.fetch import fetch
from hackkit.project.context import Context
from hackkit.project.leaks import scrub
from hackkit.services.hub_errors import STATUS_PAGE, TOKENS, RateLimitError, refusal
from hackkit.system.command_line import hackkit
from hackkit.version import VERSION

if TYPE_CHECKING:  # the real import waits for a deployment: it takes a third of a second
    from huggingface_hub import HfApi

ADDRESS = "https://huggingface.co"
_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_KEPT = ".gitattributes"  # the hub's own: it lists the files in its large file storage
# The files are chosen already: the hub must not drop those that .gitignore matches.
_NOTHING_IGNORED = "# All files here are meant to be sent.\n"
_TIMEOUT = 60.0  # seconds for one request; a commit of many megabytes takes long
_LONGEST_PAUSE = 30  # seconds that a busy hub may make us wait without a message
_NOT_FOUND = 404
_SILENT = 50  # a level of Python's logging: users need no messages about the library's retries
_NETWORK = {"httpx2", "httpcore2", "ssl"}


def token(context: Context) -> tuple[str, str]:
    """Return the token to use, and where it was found; empty without one."""
    for name in _VARIABLES:
        if context.value(name).strip():
            return context.value(name).strip(), context.origin(name)
    file = _token_file(context)
    try:
        return (file.read_text("utf-8").strip(), str(file)) if file else ("", "")
    except (OSError, ValueError):
        return "", ""


def _token_file(context: Context) -> Path | None:
    """Return the file in which `hf auth login` saves the token."""
    env = context.env
    home = env.get("USERPROFILE" if context.system == "windows" else "HOME", "")
    if env.get("HF_TOKEN_PATH"):
        return Path(env["HF_TOKEN_PATH"])
    if env.get("HF_HOME"):
        return Path(env["HF_HOME"]) / "token"
    cache = env.get("XDG_CACHE_HOME") or (str(Path(home) / ".cache") if home else "")
    return Path(cache) / "huggingface" / "token" if cache else None


@dataclass(frozen=True)
class Space:
    """An existing Space: its last commit, its files by name, the app's address, the hub's page."""

    name: str  # "owner/name"
    commit: str = ""
    private: bool = True
    files: tuple[str, ...] = ()
    address: str = ""
    page: str = ""


@dataclass(frozen=True)
class SpaceState:
    """The state of a Space: the hub's own word for it, the commit, and the hub's error message.

    `hardware` is the requested hardware, else the current one.
    """

    stage: str
    commit: str = ""
    error: str = ""
    hardware: str = ""


class Hub:
    """The hub, used with the user's token. Every method raises HackkitError with the cause.

    `secrets` are removed from all texts of the hub.
    """

    def __init__(self, context: Context, secrets: Mapping[str, str] | None = None) -> None:
        self.token, self._origin = token(context)
        self._endpoint = (context.value("HF_ENDPOINT") or ADDRESS).rstrip("/")
        self._context = context
        known = {*context.secrets, *(secrets or {}).values(), self.token}
        self._known = frozenset(known - {""})
        if not self.token:
            raise HackkitError("There is no Hugging Face token (HF_TOKEN).", fix=TOKENS)
        self._api = _client(self._endpoint, self.token)

    def owners(self) -> tuple[str, ...]:
        """Return the account that the token belongs to, then its teams."""
        with self._explained("your account"):
            seen = self._api.whoami()
            if not seen.get("name"):
                raise self._nonsense("your account")
            teams = (str(team.get("name", "")) for team in seen.get("orgs") or ())
            return (str(seen.get("name", "")), *filter(None, teams))

    def find(self, name: str) -> Space | None:
        """Return a Space; None when it does not exist or the token may not see it."""
        from huggingface_hub.errors import RepositoryNotFoundError  # noqa: PLC0415 - see above

        with self._explained(name):
            try:
                seen = self._api.space_info(name)
            except RepositoryNotFoundError as error:
                if error.response.status_code != _NOT_FOUND:
                    raise
                return None
            files = tuple(each.rfilename for each in seen.siblings or ())
            page = f"{self._endpoint}/spaces/{seen.id}"
            return Space(
                seen.id, seen.sha or "", bool(seen.private), files, _address(vars(seen)), page
            )

    def create(self, name: str, *, private: bool, hardware: str) -> None:
        """Create an empty Space for a Gradio app."""
        with self._explained(name):
            self._api.create_repo(
                name,
                repo_type="space",
                space_sdk="gradio",
                private=private,
                space_hardware=hardware or None,  # type: ignore[arg-type]  # a plain name does
            )

    def make_public(self, name: str) -> None:
        """Make a Space public."""
        with self._explained(name):
            self._api.update_repo_settings(name, repo_type="space", private=False)

    def set_hardware(self, name: str, hardware: str) -> None:
        """Request other hardware."""
        with self._explained(name):
            self._api.request_space_hardware(name, hardware)  # type: ignore[arg-type]  # the same

    def set_secrets(self, name: str, secrets: Mapping[str, str]) -> int:
        """Set the secrets that are new or changed; return how many.

        The hub never returns a secret. To notice a changed one, its description contains sixteen
        bits of its checksum: too few to guess the secret.
        """
        with self._explained(name):
            known = self._api.get_space_secrets(name)
            changed = 0
            for key, value in secrets.items():
                mark = f"set by hackkit ({_checksum(key, value)})"
                if key not in known or known[key].description != mark:
                    self._api.add_space_secret(name, key, value, description=mark)
                    changed += 1
            return changed

    def set_variables(self, name: str, variables: Mapping[str, str]) -> int:
        """Set the variables that are new or changed; return how many."""
        with self._explained(name):
            known = self._api.get_space_variables(name)
            changed = 0
            for key, value in variables.items():
                if key not in known or known[key].value != value:
                    self._api.add_space_variable(name, key, value)
                    changed += 1
            return changed

    def commit_folder(self, space: Space, folder: Path) -> str:
        """Replace the Space's files by those of a folder, in one commit; return the commit.

        It is the old one when nothing has changed. No other files are opened.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete  # noqa: PLC0415

        paths = {
            path.relative_to(folder).as_posix(): path
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        with self._explained(space.name), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the library's warnings about a README
            added = [CommitOperationAdd(name, path) for name, path in paths.items()]
            gone = sorted(set(space.files) - {*paths, _KEPT})
            self._api.preupload_lfs_files(
                space.name,
                added,
                repo_type="space",
                free_memory=False,
                gitignore_content=_NOTHING_IGNORED,
            )
            done = self._api.create_commit(
                space.name,
                [*(CommitOperationDelete(name) for name in gone), *added],
                commit_message="Deploy with hackkit",
                repo_type="space",
                parent_commit=space.commit or None,
            )
            return done.oid

    def state(self, name: str) -> SpaceState:
        """Return the state of a Space."""
        with self._explained(name):
            seen = self._api.get_space_runtime(name)
            error = scrub(str(seen.raw.get("errorMessage") or ""), self._known)
            hardware = str(seen.requested_hardware or seen.hardware or "")
            return SpaceState(str(seen.stage), str(seen.raw.get("sha") or ""), error, hardware)

    def restart(self, name: str) -> None:
        """Restart a Space, also one that sleeps or is paused."""
        with self._explained(name):
            self._api.restart_space(name)

    def log(self, name: str, *, build: bool) -> str:
        """Return the log of the build or of the app so far, without secrets."""
        with self._explained(name):
            return scrub("".join(self._api.fetch_space_logs(name, build=build)), self._known)

    def delete(self, name: str) -> None:
        """Delete a Space with all its files."""
        with self._explained(name):
            self._api.delete_repo(name, repo_type="space")

    # Errors

    @contextlib.contextmanager
    def _explained(self, about: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - every error gets a message for the user
            # Its own text may contain a header or a secret, so it is never shown.
            raise self._explain(error, about) from None

    def _explain(self, error: Exception, about: str) -> Exception:
        from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415 - see above

        for cause in causes(error):
            if isinstance(cause, HackkitError):
                return cause
            if isinstance(cause, HfHubHTTPError):
                message = scrub(str(cause.server_message or ""), self._known)
                return refusal(cause.response.status_code, message, about, self._origin)
        if any(map(_is_network, causes(error))):
            return self._network_error()
        if isinstance(error, LookupError | TypeError | AttributeError):
            return self._nonsense(about)
        if isinstance(error, ValueError):
            message = scrub(" ".join(str(error).split()), self._known)
            return HackkitError(f"Hugging Face rejected the request: {message}", fix=STATUS_PAGE)
        return error

    def _nonsense(self, about: str) -> HackkitError:
        """Return the error for an answer that is JSON, and not what the hub answers."""
        own = self._endpoint != ADDRESS
        fix = self._context.shell.unset("HF_ENDPOINT") if own else STATUS_PAGE
        problem = f"{self._endpoint} gave an answer about {about} that is not one of the hub."
        return HackkitError(problem, fix=fix)

    def _network_error(self) -> HackkitError:
        """Send one more request, without the token, to find what blocks the connection."""
        url = f"{self._endpoint}/api/models?limit=1"
        reply = fetch(url, self._context.env, seconds=5)
        blocked = why_blocked(reply, Site(url, "HF_ENDPOINT", self._context.system))
        if blocked:
            return HackkitError(f"Hugging Face cannot be reached: {blocked.problem}.", blocked.fix)
        return HackkitError(
            "The connection to Hugging Face broke. Run it again: it resumes where it stopped.",
            fix=hackkit("deploy", "spaces"),
        )


def _client(endpoint: str, secret: str) -> "HfApi":
    """Return a client without messages, long waits or files on this machine."""
    from huggingface_hub import HfApi, constants, get_session, set_client_factory  # noqa: PLC0415
    from huggingface_hub.utils.logging import set_verbosity  # noqa: PLC0415 - all three as above
    from huggingface_hub.utils.tqdm import disable_progress_bars  # noqa: PLC0415

    constants.HF_HUB_DISABLE_TELEMETRY = True
    # Xet may split an upload into several commits, and keeps a cache; plain HTTP does neither.
    constants.HF_HUB_DISABLE_XET = True
    disable_progress_bars()
    set_verbosity(_SILENT)
    kind = type(get_session())  # a client of httpx2, which this module does not import

    def factory() -> Any:  # noqa: ANN401 - the same
        hooks = {"response": [_refuse_long_wait]}
        return kind(timeout=_TIMEOUT, follow_redirects=True, event_hooks=hooks)

    set_client_factory(factory)
    return HfApi(endpoint, token=secret, library_name="hackkit", library_version=VERSION)


def _refuse_long_wait(response: Any) -> None:  # noqa: ANN401 - the same
    """Raise RateLimitError where the library would wait long, without a message, and retry."""
    limited = response.status_code == 429  # noqa: PLR2004 - "Too Many Requests"
    wait = response.headers.get("retry-after", "")
    if limited and wait.isdigit() and int(wait) > _LONGEST_PAUSE:
        raise RateLimitError(int(wait))


def _address(seen: Mapping[str, Any]) -> str:
    host, subdomain = seen.get("host"), seen.get("subdomain")
    return str(host or (f"https://{subdomain}.hf.space" if subdomain else ""))


def _checksum(name: str, value: str) -> str:
    return hashlib.sha256(f"{name}={value}".encode()).hexdigest()[:4]


def _is_network(error: BaseException) -> bool:
    """Return whether an exception comes from the connection, or from an answer not the hub's."""
    from json import JSONDecodeError  # noqa: PLC0415 - only failures need it

    library = type(error).__module__.partition(".")[0]
    known = isinstance(error, ConnectionError | TimeoutError | JSONDecodeError)
    return known or library in _NETWORK
