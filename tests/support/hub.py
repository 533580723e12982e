"""A fake Hugging Face hub on loopback: answers like the real one, and records all requests."""

import base64
import contextlib
import fnmatch
import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_" + "aB3" * 11
READ_TOKEN = "hf_" + "rEa0d" * 7
_TEXT = set(range(32, 256)) | {9, 10, 13}


@dataclass(frozen=True)
class Account:
    """A token's account: whether it pays, whether it may write, and its teams."""

    name: str = "ada"
    pro: bool = True
    role: str = "write"
    teams: tuple[str, ...] = ("team",)


@dataclass(frozen=True)
class Request:
    """One raw request; `opened` has the decoded base64 parts of its body."""

    method: str
    path: str
    headers: str
    body: bytes
    opened: bytes = b""

    @property
    def all(self) -> bytes:
        return f"{self.method} {self.path}\n{self.headers}\n".encode() + self.body + self.opened


@dataclass
class Failure:
    """What goes wrong with the next requests of a kind.

    status: the answer. drop: the connection breaks "halfway" through the request, or "after" it was
    processed. times: how often.
    """

    method: str
    part: str
    status: int = 0
    says: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    drop: str = ""
    times: int = 1


@dataclass
class Repository:
    """A Space on the hub."""

    name: str
    private: bool = True
    hardware: str = "cpu-basic"
    sleep: int = 172800
    files: dict[str, bytes] = field(default_factory=dict)
    large: set[str] = field(default_factory=set)
    commits: list[list[str]] = field(default_factory=list)  # what each changed
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    stages: list[str] = field(default_factory=lambda: ["NO_APP_FILE"])
    restarts: int = 0

    @property
    def head(self) -> str:
        return hashlib.sha1(f"{self.name} {len(self.commits)}".encode()).hexdigest()  # noqa: S324 - as git does

    def stage(self) -> str:
        return self.stages.pop(0) if len(self.stages) > 1 else self.stages[0]


Answer = tuple[int, object]


@dataclass
class FakeHub:
    """The hub.

    script: a Space's stages after a commit or a restart, one for each query. build_log, app_log:
    its logs. complaint: the hub's error message. large: files above this number of bytes go to the
    large file storage. host: the address of Spaces.
    """

    url: str = ""
    accounts: dict[str, Account] = field(
        default_factory=lambda: {TOKEN: Account(), READ_TOKEN: Account(role="read")}
    )
    script: Sequence[str] = ("BUILDING", "APP_STARTING", "RUNNING")
    build_log: str = "Step 1\n"
    app_log: str = "Running\n"
    complaint: str = ""
    host: str = ""
    large: int = 10_000_000
    shows_commit: bool = True
    failures: list[Failure] = field(default_factory=list)
    received: list[Request] = field(default_factory=list)
    spaces: dict[str, Repository] = field(default_factory=dict)
    store: dict[str, bytes] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def asked(self, method: str, part: str) -> list[Request]:
        """Return the requests of a kind."""
        return [each for each in self.received if each.method == method and part in each.path]

    def saw(self, needle: str | bytes, but: str = "\0") -> list[str]:
        """Return the paths of the requests that contain this, except paths with `but`."""
        wanted = needle.encode() if isinstance(needle, str) else needle
        return [each.path for each in self.received if wanted in each.all and but not in each.path]

    def space(self, name: str, files: Mapping[str, bytes], **settings: Any) -> Repository:  # noqa: ANN401 - any of its fields
        """Add a Space."""
        made = Repository(name, files=dict(files), **settings)
        made.commits.append(["initial commit"])
        self.spaces[name] = made
        return made

    # One request

    def answer(self, method: str, path: str, token: str, body: bytes) -> Answer:
        with self.lock:
            if path.startswith("/lfs/"):  # signed addresses, as of a storage service
                return self._storage(method, path, body)
            if path.startswith("/api/models"):
                return 200, []
            account = self.accounts.get(token)
            if account is None:
                return 401, {"error": "Invalid credentials in Authorization header"}
            return self._api(method, path, account, body)

    def _api(self, method: str, path: str, account: Account, body: bytes) -> Answer:
        whole: dict[tuple[str, str], Callable[[Account, Any], Answer]] = {
            ("GET", "/api/whoami-v2"): self._whoami,
            ("POST", "/api/repos/create"): self._create,
            ("DELETE", "/api/repos/delete"): self._delete,
            ("POST", "/api/validate-yaml"): lambda _who, _what: (200, {"warnings": []}),
        }
        if (method, path) in whole:
            return whole[method, path](account, json.loads(body or b"null"))
        parts = path.removeprefix("/api").strip("/").split("/")
        if parts[0] != "spaces" or len(parts) < 3:
            return 404, {"error": f"no such route: {method} {path}"}
        name, route = f"{parts[1]}/{parts[2].removesuffix('.git')}", "/".join(parts[3:])
        space = self.spaces.get(name)
        mine = parts[1] in {account.name, *account.teams}
        if space is None or (space.private and not mine):
            return 404, {"error": "Repository not found", "code": "RepoNotFound"}
        if method != "GET" and not (mine and account.role == "write"):
            return 403, {"error": "You don't have write access to this repo"}
        return self._space(space, f"{method} {route}", body)

    def _whoami(self, account: Account, _what: object) -> Answer:
        orgs = [{"name": team} for team in account.teams]
        auth = {"accessToken": {"role": account.role}}
        return 200, {"name": account.name, "isPro": account.pro, "orgs": orgs, "auth": auth}

    def _create(self, account: Account, body: dict[str, Any]) -> Answer:
        owner = body["organization"] or account.name
        name = f"{owner}/{body['name']}"
        if owner not in {account.name, *account.teams} or account.role != "write":
            return 403, {"error": f"You don't have the rights to create a space under {owner}"}
        if name in self.spaces:
            return 409, {"error": "You already created this space repo"}
        if not account.pro and body["sdk"] != "static" and body.get("hardware") != "zero-a10g":
            return 402, {"error": "Gradio Spaces need a PRO subscription"}
        hardware, private = body.get("hardware", "cpu-basic"), body["visibility"] == "private"
        self.space(
            name, {".gitattributes": b"", "README.md": b""}, hardware=hardware, private=private
        )
        return 200, {"url": f"{self.url}/spaces/{name}"}

    def _delete(self, account: Account, body: dict[str, Any]) -> Answer:
        del self.spaces[f"{body['organization'] or account.name}/{body['name']}"]
        return 200, {}

    def _space(self, space: Repository, route: str, body: bytes) -> Answer:
        simple: dict[str, Callable[[Any], Answer]] = {
            "GET ": lambda _: (200, self._about(space)),
            "GET revision/main": lambda _: (200, self._about(space)),
            "PUT settings": lambda body: self._settings(space, body),
            "POST hardware": lambda body: self._hardware(space, body),
            "GET runtime": lambda _: (200, self._runtime(space)),
            "POST restart": lambda _: self._restart(space),
            "GET secrets": lambda _: (200, space.secrets),
            "POST secrets": lambda body: self._secret(space, body),
            "GET variables": lambda _: self._variables(space),
            "POST variables": lambda body: self._variable(space, body),
            "GET logs/build": lambda _: (200, self.build_log),
            "GET logs/run": lambda _: (200, self.app_log),
            "POST preupload/main": lambda body: self._preupload(space, body),
            "POST info/lfs/objects/batch": self._batch,
        }
        if route == "POST commit/main":
            return self._commit(space, [json.loads(line) for line in body.splitlines()])
        if route not in simple:
            return 404, {"error": f"no such route: {route}"}
        return simple[route](json.loads(body) if body else None)

    # A Space

    def _about(self, space: Repository) -> dict[str, object]:
        subdomain = space.name.replace("/", "-").lower()
        return {
            "id": space.name,
            "sha": space.head,
            "private": space.private,
            "host": self.host or f"https://{subdomain}.hf.space",
            "subdomain": subdomain,
            "siblings": [{"rfilename": path} for path in sorted(space.files)],
        }

    def _settings(self, space: Repository, body: dict[str, Any]) -> Answer:
        space.private = body["visibility"] == "private"
        return 200, {"visibility": body["visibility"]}

    def _hardware(self, space: Repository, body: dict[str, Any]) -> Answer:
        space.hardware = body["flavor"]
        space.stages = list(self.script)
        return 200, self._runtime(space, look=False)

    def _runtime(self, space: Repository, *, look: bool = True) -> dict[str, object]:
        stage = space.stage() if look else space.stages[0]
        seen: dict[str, object] = {
            "stage": stage,
            "hardware": {"current": space.hardware, "requested": space.hardware},
            "gcTimeout": space.sleep,
        }
        if stage.endswith("ERROR") and self.complaint:
            seen["errorMessage"] = self.complaint
        return seen | ({"sha": space.head} if stage == "RUNNING" and self.shows_commit else {})

    def _restart(self, space: Repository) -> Answer:
        space.restarts += 1
        space.stages = list(self.script)
        return 200, self._runtime(space, look=False)

    def _secret(self, space: Repository, body: dict[str, str]) -> Answer:
        space.secrets[body["key"]] = {"description": body.get("description", "")}
        self._restarts_app(space)
        return 200, {}

    def _variables(self, space: Repository) -> Answer:
        return 200, {key: {"value": value} for key, value in space.variables.items()}

    def _variable(self, space: Repository, body: dict[str, str]) -> Answer:
        space.variables[body["key"]] = body["value"]
        self._restarts_app(space)
        return self._variables(space)

    def _restarts_app(self, space: Repository) -> None:
        if space.stages[-1] == "RUNNING":
            space.stages = ["APP_STARTING", "RUNNING"]

    # Files

    def _preupload(self, space: Repository, body: dict[str, Any]) -> Answer:
        ignored = body.get("gitIgnore") or space.files.get(".gitignore", b"").decode()
        return 200, {"files": [self._mode(space, each, ignored) for each in body["files"]]}

    def _mode(self, space: Repository, each: dict[str, Any], ignored: str) -> dict[str, object]:
        path, sample = each["path"], base64.b64decode(each["sample"])
        large = each["size"] > self.large or bool(set(sample) - _TEXT)
        rules = [rule for rule in ignored.splitlines() if rule and not rule.startswith("#")]
        return {
            "path": path,
            "uploadMode": "lfs" if large else "regular",
            "shouldIgnore": any(fnmatch.fnmatch(path, rule) for rule in rules),
            "oid": _oid(space.files[path], large=large) if path in space.files else None,
        }

    def _batch(self, body: dict[str, Any]) -> Answer:
        objects = [
            {**each, "actions": {"upload": {"href": f"{self.url}/lfs/{each['oid']}", "header": {}}}}
            if each["oid"] not in self.store
            else each
            for each in body["objects"]
        ]
        return 200, {"objects": objects, "transfer": "basic"}

    def _storage(self, method: str, path: str, body: bytes) -> Answer:
        name = path.removeprefix("/lfs/")
        if method != "PUT" or hashlib.sha256(body).hexdigest() != name:
            return 400, {"error": "wrong checksum"}
        self.store[name] = body
        return 200, {}

    def _commit(self, space: Repository, lines: Sequence[dict[str, Any]]) -> Answer:
        head, *operations = [(line["key"], line["value"]) for line in lines]
        if head[0] != "header" or head[1].get("parentCommit", space.head) != space.head:
            return 412, {"error": "A commit has happened since. Please refresh and try again."}
        files = dict(space.files)
        for key, value in operations:
            path = value["path"]
            if key == "file":
                files[path] = base64.b64decode(value["content"])
            elif key == "lfsFile" and value["oid"] in self.store:
                files[path] = self.store[value["oid"]]
                space.large.add(path)
            elif key == "deletedFile" and path in files:
                del files[path]
            else:
                return 400, {"error": f"{key} of {path} cannot be done"}
        space.files = files
        space.commits.append([f"{key} {value['path']}" for key, value in operations])
        space.stages = list(self.script)
        return 200, {
            "commitUrl": f"{self.url}/spaces/{space.name}/commit/{space.head}",
            "commitOid": space.head,
        }


def _oid(data: bytes, *, large: bool) -> str:
    if large:
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()  # noqa: S324 - as git does


@contextlib.contextmanager
def hub() -> Iterator[FakeHub]:
    """Serve a hub on a free port of this machine until the block ends."""
    fake = FakeHub()

    class Handler(_Handler):
        hub = fake

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        # A client that disconnects before it is accepted must not block the server forever.
        server.socket.settimeout(1)
        server.daemon_threads = True
        fake.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield fake
        finally:
            server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # sends an answer in one piece, which is many times faster
    hub: FakeHub

    def log_message(self, *_words: object) -> None:
        """Print nothing."""

    def _handle(self) -> None:
        path = self.path.partition("?")[0]
        failure = self._failure(path)
        body = self._body(half=failure is not None and failure.drop == "halfway")
        self.hub.received.append(
            Request(self.command, self.path, str(self.headers), body, _opened(body))
        )
        if failure and failure.drop == "halfway":
            self._hang_up()
            return
        if failure and failure.status:
            self._say(failure.status, {"error": failure.says}, failure.headers)
            return
        token = self.headers.get("authorization", "").removeprefix("Bearer ")
        status, content = self.hub.answer(self.command, path, token, body)
        if failure:
            self._hang_up()
        else:
            self._say(status, content, {})

    do_GET = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815 - named by http.server

    def _failure(self, path: str) -> Failure | None:
        for each in self.hub.failures:
            if each.times and each.method == self.command and each.part in path:
                each.times -= 1
                return each
        return None

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.close()

    def _body(self, *, half: bool) -> bytes:
        if self.headers.get("transfer-encoding") == "chunked":
            return self._chunks()
        length = int(self.headers.get("content-length") or 0)
        return self.rfile.read(length // 2 if half else length)

    def _chunks(self) -> bytes:
        whole = b""
        while size := int(self.rfile.readline(), 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def _say(self, status: int, content: object, headers: Mapping[str, str]) -> None:
        is_log = isinstance(content, str)
        data = _events(content) if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(status)
        kind = "text/event-stream" if is_log else "application/json"
        lines = {"Content-Type": kind, "Content-Length": str(len(data)), **headers}
        if isinstance(content, dict) and "error" in content:
            lines["X-Error-Message"] = str(content["error"])
            lines |= {"X-Error-Code": content["code"]} if "code" in content else {}
        for name, value in lines.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def _events(log: str) -> bytes:
    lines = (json.dumps({"data": line}) for line in log.splitlines(keepends=True))
    return "".join(f"data: {line}\n\n" for line in lines).encode()


def _opened(body: bytes) -> bytes:
    """Decode the base64 parts of a request: files and samples of files."""
    found = []
    with contextlib.suppress(ValueError, AttributeError, TypeError):
        for line in body.splitlines():
            document = json.loads(line)
            value = document.get("value", {})
            texts = [value.get("content", "") if isinstance(value, dict) else ""]
            texts += [each.get("sample", "") for each in document.get("files", [])]
            found += [base64.b64decode(text) for text in texts]
    return b"\n".join(found)
