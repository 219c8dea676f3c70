"""A Hugging Face Hub on this machine: the few routes that huggingface_hub calls to push and to fetch, in memory.

All files are uploaded "regular", inside the commit; so no large-file storage is needed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_writer"


@dataclass
class Repository:
    """Commits by hash, each a mapping of paths to contents; branches by name."""

    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, bytes]) -> str:
        sha = hashlib.sha1(f"{branch}{sorted(files)}{len(self.commits)}".encode()).hexdigest()
        self.commits[sha] = files
        self.branches[branch] = sha
        return sha

    def files(self, revision: str = "main") -> dict[str, bytes]:
        return self.commits[self.branches.get(revision, revision)]


class FakeHub:
    """`with FakeHub() as hub:` serves `hub.repositories` at `hub.endpoint`; `hub.requests` lists (method, path)."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.requests: list[tuple[str, str]] = []
        self.broken = 0
        """Status with which everything is answered, if not 0."""
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> FakeHub:
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def add(self, name: str, files: dict[str, bytes], **flags: bool) -> Repository:
        repository = self.repositories.setdefault(name, Repository(**flags))
        repository.commit("main", files)
        return repository


class _Refuse(Exception):
    def __init__(self, status: int, code: str = "", text: str = "no") -> None:
        self.status, self.code, self.text = status, code, text


def _handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None: ...

        def do_GET(self) -> None:
            self._answer("GET")

        def do_HEAD(self) -> None:
            self._answer("HEAD")

        def do_POST(self) -> None:
            self._answer("POST")

        def _answer(self, method: str) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length) if length else self._chunks()
            path = unquote(urlsplit(self.path).path)
            hub.requests.append((method, path))
            try:
                if hub.broken:
                    raise _Refuse(hub.broken, text="broken")
                status, content, headers = self._route(method, path, body)
            except _Refuse as refused:
                status, content = refused.status, json.dumps({"error": refused.text}).encode()
                headers = {"X-Error-Message": refused.text}
                if refused.code:
                    headers["X-Error-Code"] = refused.code
            self.send_response(status)
            for key, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if method != "HEAD":
                self.wfile.write(content)

        def _chunks(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return b""
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def _route(self, method: str, path: str, body: bytes) -> tuple[int, bytes, dict[str, str]]:
            if path == "/api/repos/create":
                return self._create(json.loads(body))
            if path == "/api/validate-yaml":
                assert json.loads(body)["content"].startswith("---\n")
                return self._json({"errors": [], "warnings": []})
            found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
            if found:
                return self._file(*found.groups())
            found = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(\w+)(?:/(.+))?)?", path)
            if not found:
                raise _Refuse(404, text=f"the fake has no route {path}")
            name, what, rest = found.groups()
            repository = self._repository(name)
            if what in (None, "revision"):
                return self._json(self._info(name, repository, rest or "main"))
            if what == "tree":
                files = self._files(repository, rest)
                return self._json(
                    [{"type": "file", "path": p, "size": len(c), "oid": _oid(c)} for p, c in files.items()]
                )
            self._demand_token()
            if what == "preupload":
                asked = json.loads(body)["files"]
                return self._json(
                    {
                        "files": [
                            {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked
                        ]
                    }
                )
            if what == "branch":
                repository.branches.setdefault(rest, repository.branches["main"])
                return self._json({})
            if what == "commit":
                return self._commit(name, repository, rest, body)
            raise _Refuse(404, text=f"the fake has no route {path}")

        def _create(self, asked: dict[str, Any]) -> tuple[int, bytes, dict[str, str]]:
            self._demand_token()
            name = f"{asked['organization']}/{asked['name']}"
            address = {"url": f"{hub.endpoint}/{name}", "name": name, "id": "1"}
            if name in hub.repositories:
                return 409, json.dumps({**address, "error": "exists"}).encode(), {}
            private = bool(asked.get("private")) or asked.get("visibility") == "private"
            hub.add(name, {".gitattributes": b""}, private=private)
            return self._json(address)

        def _commit(
            self, name: str, repository: Repository, branch: str, body: bytes
        ) -> tuple[int, bytes, dict[str, str]]:
            files = dict(self._files(repository, branch))
            for line in body.decode().splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    assert entry["value"]["encoding"] == "base64"
                    files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
                elif entry["key"] == "deletedFile":
                    files.pop(entry["value"]["path"], None)
                else:
                    assert entry["key"] == "header", entry
            sha = repository.commit(branch, files)
            return self._json(
                {"commitUrl": f"{hub.endpoint}/{name}/commit/{sha}", "commitOid": sha, "hookOutput": ""}
            )

        def _file(self, name: str, revision: str, path: str) -> tuple[int, bytes, dict[str, str]]:
            repository = self._repository(name)
            files = self._files(repository, revision)
            if path not in files:
                raise _Refuse(404, "EntryNotFound")
            content = files[path]
            return (
                200,
                content,
                {
                    "ETag": f'"{_oid(content)}"',
                    "X-Repo-Commit": repository.branches.get(revision, revision),
                    "Content-Type": "application/octet-stream",
                },
            )

        def _files(self, repository: Repository, revision: str) -> dict[str, bytes]:
            try:
                return repository.files(revision)
            except KeyError:
                raise _Refuse(404, "RevisionNotFound") from None

        def _info(self, name: str, repository: Repository, revision: str) -> dict[str, Any]:
            files = self._files(repository, revision)
            return {
                "_id": "1",
                "id": name,
                "modelId": name,
                "author": name.partition("/")[0],
                "private": repository.private,
                "sha": repository.branches.get(revision, revision),
                "siblings": [{"rfilename": p} for p in files],
                "tags": [],
                "downloads": 0,
                "likes": 0,
                "createdAt": "2024-01-01T00:00:00.000Z",
                "lastModified": "2024-01-01T00:00:00.000Z",
                "disabled": False,
                "gated": False,
            }

        def _repository(self, name: str) -> Repository:
            repository = hub.repositories.get(name)
            if repository is None or (repository.private and not self._token()):
                raise _Refuse(401 if not self._token() else 404, "RepoNotFound")
            if repository.gated and not self._token():
                raise _Refuse(403, "GatedRepo")
            return repository

        def _token(self) -> bool:
            return self.headers.get("Authorization") == f"Bearer {TOKEN}"

        def _demand_token(self) -> None:
            if not self._token():
                raise _Refuse(401, text="Invalid username or password.")

        def _json(self, content: Any) -> tuple[int, bytes, dict[str, str]]:
            return 200, json.dumps(content).encode(), {}

    return Handler


def _oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
