# SPDX-License-Identifier: Apache-2.0
"""A registry that misbehaves on request: an HTTP server over an image layout, with faults to inject.

A fault is a function that gets the request handler and answers in place of the server (returning True), or
lets it pass (False). Every request is recorded.
"""
import base64
import json
import re
import threading
import urllib.parse
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer

from support.serving import Answering, serving


@dataclass
class Request:
    method: str
    path: str
    headers: dict
    body: bytes = b""


@dataclass
class Tokens:
    """A token server's rules. `uses`: how often a token is good before the registry refuses it (None: always)."""

    realm: str = ""  # default: the registry's own /token
    user: str = ""  # "user:password"; "": anonymous is enough
    refresh_token: str = ""  # accepted by POST
    uses: int | None = None
    member: str = "token"
    expires_in: int | None = None
    issued: list = field(default_factory=list)
    left: dict = field(default_factory=dict)


class Handler(Answering):
    def error(self, status, code, message, headers=()):
        body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        self.answer(status, body, [("Content-Type", "application/json"), *headers])

    def do_GET(self):
        self._serve(b"")

    def do_POST(self):
        self._serve(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def _serve(self, body):
        request = Request(self.command, self.path, dict(self.headers.items()), body)
        with self.server.lock:
            self.server.requests.append(request)
            fault = next((f for f in self.server.faults if re.search(f[0], self.path) and f[1]), None)
            action = fault[1].pop(0) if fault else None
        try:
            if action and action(self):
                return
            self._route(body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _route(self, body):
        if self.path.startswith("/token"):
            return self._token(body)
        path = self.path.partition("?")[0]
        if not self._is_authorised():
            return None
        if self.path == "/v2/":
            return self.answer(200, b"{}")
        if match := re.fullmatch(r"/v2/(.+)/manifests/([^/]+)", path):
            return self._manifest(match[2])
        if match := re.fullmatch(r"/v2/(.+)/blobs/(sha256:[0-9a-f]{64})", path):
            return self.blob(self.server.blob(match[2]))
        if self.path.startswith("/storage/"):
            return self.blob(self.server.blob(self.path.removeprefix("/storage/")))
        return self.error(404, "UNSUPPORTED", "no such route")

    def _is_authorised(self):
        tokens = self.server.tokens
        if tokens is None or self.path.startswith("/storage/"):
            return True
        given = self.headers.get("Authorization", "")
        with self.server.lock:
            if given.startswith("Bearer ") and tokens.left.get(given[7:], 0) > 0:
                tokens.left[given[7:]] -= 1
                return True
        realm = tokens.realm or f"http://{self.headers['Host']}/token"
        challenge = f'Bearer realm="{realm}",service="test",scope="repository:a/b:pull"'
        self.error(401, "UNAUTHORIZED", "authentication required", [("WWW-Authenticate", challenge)])
        return False

    def _token(self, body):
        tokens = self.server.tokens
        if self.command == "POST":
            form = dict(urllib.parse.parse_qsl(body.decode()))
            good = form.get("grant_type") == "refresh_token" and form.get("refresh_token") == tokens.refresh_token
        else:
            expected = "Basic " + base64.b64encode(tokens.user.encode()).decode()
            good = not tokens.user or self.headers.get("Authorization") == expected
        if not good:
            return self.error(401, "UNAUTHORIZED", "incorrect username or password")
        with self.server.lock:
            token = f"token-{len(tokens.issued)}"
            tokens.issued.append(token)
            tokens.left[token] = 1 << 30 if tokens.uses is None else tokens.uses
        answer = {tokens.member: token}
        if tokens.expires_in is not None:
            answer["expires_in"] = tokens.expires_in
        return self.answer(200, json.dumps(answer).encode())

    def _manifest(self, name):
        digest = self.server.tags.get(name, name)
        body = self.server.blob(digest)
        if body is None:
            return self.error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        media_type = json.loads(body).get("mediaType", "application/vnd.oci.image.manifest.v1+json")
        return self.answer(200, body, [("Content-Type", media_type), ("Docker-Content-Digest", digest)])

    def blob(self, body):
        if body is None:
            return self.error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start, end = int(match[1]), min(int(match[2] or len(body)) + 1, len(body))
            if start >= len(body):
                return self.answer(416)
            content_range = f"bytes {start}-{end - 1}/{len(body)}"
            return self.answer(206, body[start:end], [("Content-Range", content_range)])
        return self.answer(200, body)


class FaultRegistry(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, layout, tokens=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.layout, self.tokens = layout, tokens
        self.lock = threading.Lock()
        self.requests, self.faults = [], []
        index = json.loads(layout.index_path.read_text())
        name = "org.opencontainers.image.ref.name"
        self.tags = {m["annotations"][name]: m["digest"] for m in index["manifests"]}
        self.host = f"127.0.0.1:{self.server_port}"

    def blob(self, digest):
        try:
            return (self.layout.blobs / digest.removeprefix("sha256:")).read_bytes()
        except OSError:
            return None

    def inject(self, pattern, *actions):
        """Runs one action for each request whose path matches, in order; later requests pass."""
        self.faults.append((pattern, list(actions)))

    def seen(self, pattern):
        with self.lock:
            return [r for r in self.requests if re.search(pattern, r.path)]

    def reference(self, tag="latest", host=None):
        return f"docker://{host or self.host}/a/b:{tag}"


@contextmanager
def fault_registry(layout, tokens=None):
    server = FaultRegistry(layout, tokens)
    with serving(server):
        yield server
