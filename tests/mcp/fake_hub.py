"""A hub of models on loopback: so much of the protocol as a push and a pull need, kept in memory, and breakable on purpose.

Repositories have a history; each commit holds all files. Large files (`.safetensors`) go by way of the object store, as on the
real one. Who has no token sees what is public alone. `break_next` makes a later request fail in one of the ways of networks.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

TOKEN = "hf_theTokenThatNobodyMaySee"  # noqa: S105 - of the fake hub
Way = Literal["busy", "cut", "lost", "echo"]
"""busy: 503, for a day. cut: the line ends in the middle of the answer. lost: done, and the line ends before the answer.
echo: 403, and the message repeats the token, and would clear a terminal."""

_LFS = ".safetensors"
_ROOT = "0" * 40


@dataclass
class Repo:
    """A repository: its commits, the oldest first, each with all of its files."""

    name: str
    private: bool = True
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=lambda: [(_ROOT, {".gitattributes": b"*\n"})])

    @property
    def head(self) -> str:
        return self.commits[-1][0]

    def files(self, revision: str) -> dict[str, bytes] | None:
        wanted = self.head if revision == "main" else revision
        return next((files for oid, files in self.commits if oid == wanted), None)

    def commit(self, files: dict[str, bytes | None]) -> str:
        """Add a commit that changes these files; None removes one."""
        now = {name: data for name, data in ({**self.commits[-1][1], **files}).items() if data is not None}
        content = repr((self.head, sorted((name, hashlib.sha1(data).digest()) for name, data in now.items())))  # noqa: S324
        self.commits.append((hashlib.sha1(content.encode()).hexdigest(), now))  # noqa: S324 - as git has it
        return self.head


class FakeHub:
    """What the hub knows. `seen`: method and path of each request, and whether it had the token."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.seen: list[tuple[str, str, bool]] = []
        self.endpoint = ""
        self.elsewhere = ""
        """The address of another server, which has the large files, if there is one."""
        self.lock = threading.RLock()
        self.sizes: dict[str, int] = {}
        """By names, what the listing tells instead of the truth."""
        self.before: Callable[[str, str], None] = lambda method, path: None
        """Called before a request is answered."""
        self._breaks: list[tuple[str, str, Way]] = []

    def break_next(self, method: str, pattern: str, way: Way, times: int = 1) -> None:
        """Let the next requests of that kind fail."""
        self._breaks += [(method, pattern, way)] * times

    def broken(self, method: str, path: str) -> Way | None:
        """How this request fails, if it does."""
        for index, (asked, pattern, way) in enumerate(self._breaks):
            if asked == method and re.search(pattern, path):
                del self._breaks[index]
                return way
        return None

    def count(self, method: str, pattern: str) -> int:
        """Requests of that kind until now."""
        return sum(asked == method and re.search(pattern, path) is not None for asked, path, _ in self.seen)


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """A hub that listens on a free port of loopback."""
    hub = FakeHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""

    def _any(self) -> None:
        path, hub = unquote(urlsplit(self.path).path), self.hub
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        hub.before(self.command, path)
        with hub.lock:
            hub.seen.append((self.command, path, allowed))
            way = hub.broken(self.command, path)
            if way == "busy":
                return self._send(*_told(503, {"error": "busy"}, {"Retry-After": "86400"}), None)
            if way == "echo":
                return self._send(*_told(403, {"error": f"not with {self.headers.get('Authorization')}\x1b[2J"}), None)
            status, answer, headers = _answered(hub, self.command, path, body, allowed, self.headers.get("Range"))
        return self._send(status, answer, headers, None if way is None else 0 if way == "lost" else len(answer) // 2)

    do_GET = do_POST = do_PUT = _any  # noqa: N815 - the names that the library looks for

    def _send(self, status: int, data: bytes, headers: dict[str, str], cut: int | None) -> None:
        if cut == 0:
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[:cut])
        self.close_connection = cut is not None


Answer = tuple[int, bytes, dict[str, str]]


def _answered(hub: FakeHub, method: str, path: str, body: bytes, allowed: bool, wanted: str | None) -> Answer:
    if method == "POST" and path == "/api/repos/create":
        return _created(hub, json.loads(body), allowed)
    if path == "/api/validate-yaml":
        return _told(200, {"errors": [], "warnings": []})
    if method == "PUT" and (found := re.fullmatch(r"/_put/(\w+)", path)):
        if hashlib.sha256(body).hexdigest() != found[1]:
            return _told(400, {"error": "digest"})
        hub.blobs[found[1]] = body
        return _told(200, {})
    if method == "GET" and (found := re.fullmatch(r"/_get/(\w+)", path)):
        return _part(hub.blobs[found[1]], wanted)
    found = re.match(r"(?:/api/models)?/([^/]+/[^/]+?)(?:\.git/info/lfs/objects/(batch)|/(\w+)/(.+)|)$", path)
    repo = hub.repos.get(found[1]) if found else None
    if found is None or repo is None or (repo.private and not allowed):
        return _told(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
    act, rest = found[2] or found[3] or "revision", found[4] or "main"
    if method == "POST" and not allowed:
        return _told(401, {"error": "Invalid credentials"})
    if act == "revision":
        return _listed(hub, repo, rest)
    if act == "resolve":
        return _resolved(hub, repo, *rest.split("/", 1), wanted)
    asked = [json.loads(line) for line in body.splitlines()]
    return {"preupload": _modes, "batch": _batch, "commit": _committed}[act](hub, repo, asked)


def _created(hub: FakeHub, asked: dict[str, Any], allowed: bool) -> Answer:
    name = f"{asked['organization']}/{asked['name']}"
    if not allowed:
        return _told(401, {"error": "Invalid credentials"})
    if name in hub.repos:
        return _told(409, {"error": "exists", "url": f"{hub.endpoint}/{name}"})
    hub.repos[name] = Repo(name, private=asked.get("visibility") == "private")
    return _told(200, {"url": f"{hub.endpoint}/{name}", "name": name})


def _listed(hub: FakeHub, repo: Repo, revision: str) -> Answer:
    files = repo.files(revision)
    if files is None:
        return _told(404, {"error": "no such revision"}, {"X-Error-Code": "RevisionNotFound"})
    sha = repo.head if revision == "main" else revision
    siblings = [{"rfilename": each, "size": hub.sizes.get(each, len(data))} for each, data in files.items()]
    return _told(200, {"id": repo.name, "sha": sha, "private": repo.private, "tags": [], "siblings": siblings})


def _resolved(hub: FakeHub, repo: Repo, revision: str, name: str, wanted: str | None) -> Answer:
    data = (repo.files(revision) or {}).get(name)
    if data is None:
        return _told(404, {"error": "no such file"}, {"X-Error-Code": "EntryNotFound"})
    if hub.elsewhere and name.endswith(_LFS):
        return 302, b"", {"Location": f"{hub.elsewhere}/_get/{hashlib.sha256(data).hexdigest()}"}
    return _part(data, wanted)


def _part(data: bytes, wanted: str | None) -> Answer:
    start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
    if start and start >= len(data):
        return _told(416, {"error": "behind the end"})
    return (206 if start else 200), data[start:], {}


def _modes(hub: FakeHub, repo: Repo, asked: list[Any]) -> Answer:
    held = repo.commits[-1][1]
    ignored = asked[0].get("gitIgnore", held.get(".gitignore", b"").decode()).split()

    def mode(path: str) -> dict[str, Any]:
        large = path.endswith(_LFS)
        found = {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": path in ignored}
        data = held.get(path)
        if data is not None:
            blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()  # noqa: S324 - as git has it
            found["oid"] = hashlib.sha256(data).hexdigest() if large else blob
        return found

    return _told(200, {"files": [mode(each["path"]) for each in asked[0]["files"]]})


def _batch(hub: FakeHub, repo: Repo, asked: list[Any]) -> Answer:
    def object_(each: dict[str, Any]) -> dict[str, Any]:
        upload = {"upload": {"href": f"{hub.endpoint}/_put/{each['oid']}", "header": {}}}
        return {"oid": each["oid"], "size": each["size"]} | ({} if each["oid"] in hub.blobs else {"actions": upload})

    return _told(200, {"transfer": "basic", "objects": [object_(each) for each in asked[0]["objects"]]})


def _committed(hub: FakeHub, repo: Repo, asked: list[Any]) -> Answer:
    changed: dict[str, bytes | None] = {}
    for line in asked:
        value = line["value"]
        if line["key"] == "header" and value.get("parentCommit") not in (None, repo.head):
            return _told(412, {"error": "A commit has happened since. Please refresh and try again."})
        if line["key"] == "file":
            changed[value["path"]] = base64.b64decode(value["content"])
        if line["key"] == "lfsFile":
            changed[value["path"]] = hub.blobs[value["oid"]]
    commit = repo.commit(changed)
    return _told(200, {"success": True, "commitOid": commit, "commitUrl": f"{hub.endpoint}/{repo.name}/commit/{commit}"})


def _told(status: int, value: Any, headers: dict[str, str] | None = None) -> Answer:
    return status, json.dumps(value).encode(), {"Content-Type": "application/json"} | (headers or {})
