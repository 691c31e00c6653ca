"""A hub of our own: it serves folders as huggingface.co serves repositories, as far as its clients ask.

``HF_ENDPOINT`` leads them here. A repository is a folder ``root/OWNER/NAME``; every revision is the one commit.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "c0ffee" * 6 + "c0ff"
_API = re.compile(r"/api/models/([^/]+/[^/]+?)(?:/(revision|tree|paths-info|refs)(?:/([^/]+)(?:/(.*))?)?)?/?")
_FILE = re.compile(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@contextlib.contextmanager
def serving(root: Path) -> Iterator[str]:
    """Its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.root = root  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if found := _FILE.fullmatch(path):
            self._file(self._root / found[1] / found[2])
        elif found := _API.fullmatch(path):
            self._api(self._root / found[1], found[1], found[2], found[4] or "", body)
        else:
            self._missing("EntryNotFound")

    @property
    def _root(self) -> Path:
        root: Path = self.server.root  # type: ignore[attr-defined]
        return root

    def _api(self, folder: Path, repository: str, what: str | None, under: str, body: bytes) -> None:
        if not folder.is_dir():
            return self._missing("RepoNotFound")
        if what == "refs":
            return self._json({"branches": [{"name": "main", "ref": "refs/heads/main", "targetCommit": COMMIT}]})
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        if what == "tree":
            deep = parse_qs(urlsplit(self.path).query).get("recursive", ["false"])[0].lower() in ("true", "1")
            near = [path for path in sorted(folder.rglob("*")) if deep or path.parent == folder / under]
            return self._json([_entry(path, folder) for path in near])
        if what == "paths-info":
            asked = parse_qs(body.decode()).get("paths", [])
            return self._json([_entry(folder / one, folder) for one in asked if (folder / one).exists()])
        siblings = [{"rfilename": path.relative_to(folder).as_posix(), **_entry(path, folder)} for path in files]
        return self._json({"id": repository, "modelId": repository, "sha": COMMIT, "private": False, "tags": [],
                           "downloads": 0, "siblings": siblings})  # fmt: skip

    def _file(self, path: Path) -> None:
        if not path.is_file():
            self._missing("EntryNotFound")
            return
        content = path.read_bytes()
        part, start, code = content, 0, 200
        if found := _RANGE.fullmatch(self.headers.get("Range") or ""):
            start, code = int(found[1]), 206
            part = content[start : int(found[2]) + 1 if found[2] else None]
        self.send_response(code)
        self.send_header("ETag", f'"{_sha256(content)}"')
        self.send_header("X-Linked-Etag", f'"{_sha256(content)}"')
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        if code == 206:
            self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(content)}")
        self._body(part, "application/octet-stream")

    def _json(self, found: Any) -> None:
        self.send_response(200)
        self._body(json.dumps(found).encode(), "application/json")

    def _missing(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self._body(b"", "text/plain")

    def _body(self, content: bytes, kind: str) -> None:
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(ConnectionError):
                self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Tests print nothing."""


def _entry(path: Path, folder: Path) -> dict[str, Any]:
    name = path.relative_to(folder).as_posix()
    if path.is_dir():
        return {"type": "directory", "path": name, "size": 0, "oid": hashlib.sha1(name.encode()).hexdigest()}
    digest, size = _sha256(path.read_bytes()), path.stat().st_size
    lfs = {"oid": digest, "sha256": digest, "size": size, "pointerSize": 130}
    return {"type": "file", "path": name, "size": size, "oid": digest[:40], "blobId": digest[:40], "lfs": lfs}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
