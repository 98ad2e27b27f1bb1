# SPDX-License-Identifier: Apache-2.0
"""An OCI 1.1 registry in memory: pushes, mounts, the referrers API if wanted, and faults to inject into all of it.

A fault is a function that gets the request handler before the request's body is read, and answers in place of the
server (returning True), or lets it pass (False). Every request is recorded, with the bytes of its body that arrived.
"""
import json
import re
import socket
import threading
import urllib.parse
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer

from support import oci
from support.fault_registry import Handler, Request
from support.serving import serving


@dataclass
class Repository:
    blobs: dict = field(default_factory=dict)
    manifests: dict = field(default_factory=dict)  # digest: (media type, bytes)
    tags: dict = field(default_factory=dict)


@dataclass
class Behaviour:
    """What registries differ in."""

    referrers: bool = True
    half_referrers: bool = False  # listed, but with the config's type, and not announced by OCI-Subject
    etags: bool = False  # on manifests, and If-Match is honoured
    page: int = 1000  # referrers in one answer
    filters: bool = True  # referrers by artifactType
    location: str = "relative"  # of uploads: relative, absolute, or a base URL
    chunk_min: int | None = None
    chunks: bool = True
    denied: tuple = ()  # repositories that no token is good for
    tag_is_digest: bool = False  # GitLab: sha256-HEX finds the manifest of that digest


class PushHandler(Handler):
    disable_nagle_algorithm = True

    def _all(self):
        self.body = None
        self.request_record = Request(self.command, self.path, dict(self.headers.items()))
        server = self.server
        with server.lock:
            server.requests.append(self.request_record)
            text = f"{self.command} {self.path}"
            fault = next((f for f in server.faults if re.search(f[0], text) and f[1]), None)
            action = fault[1].pop(0) if fault else None
        try:
            if action and action(self):
                unread = self.body is None and self.headers.get("Content-Length", "0") != "0"
                if unread and not self.close_connection:
                    self._close_before_the_body()
                return
            self.read_body()
            self._route(self.body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _close_before_the_body(self):
        """Ends the connection, as what is unread would be taken for the next request; but not before the client has
        ended it too: closed with bytes unread it would be reset, and the answer lost that may be on its way."""
        self.close_connection = True
        with suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(10)
            while self.connection.recv(1 << 16):
                pass

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _all

    def read_body(self, limit=None):
        size = int(self.headers.get("Content-Length", 0))
        self.body = self.rfile.read(size if limit is None else min(size, limit))
        self.request_record.body = self.body
        return self.body

    def _is_authorised(self):
        tokens = self.server.tokens
        if tokens is None:
            return True
        wanted = self._scope()
        given = self.headers.get("Authorization", "")[7:]
        with self.server.lock:
            if tokens.left.get(given, 0) > 0 and wanted <= self.server.granted[given]:
                tokens.left[given] -= 1
                return True
        realm = tokens.realm or f"http://{self.server.host}/token"
        scopes = {}
        for name, action in sorted(wanted):
            scopes.setdefault(name, []).append(action)
        scope = " ".join(f"repository:{name}:{','.join(actions)}" for name, actions in scopes.items())
        challenge = f'Bearer realm="{realm}",service="test",scope="{scope}"'
        self.error(401, "UNAUTHORIZED", "authentication required", [("WWW-Authenticate", challenge)])
        return False

    def _scope(self):
        if not (match := re.match(r"/v2/(.+?)/(blobs|manifests|referrers)/", self.path)):
            return set()
        wanted = {(match[1], "pull")}
        if self.command not in ("GET", "HEAD"):
            wanted.add((match[1], "push"))
        if source := self._query().get("from"):
            wanted.add((source, "pull"))
        return wanted

    def _token(self, body):
        count = len(self.server.tokens.issued)
        super()._token(body)
        granted = set()
        for scope in urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query).get("scope", []):
            name, actions = re.fullmatch(r"repository:(.+):([^:]*)", scope).groups()
            if name not in self.server.behaviour.denied:
                granted |= {(name, action) for action in actions.split(",")}
        with self.server.lock:
            for token in self.server.tokens.issued[count:]:
                self.server.granted[token] = granted

    def _query(self):
        return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))

    def _route(self, body):
        path = urllib.parse.urlsplit(self.path).path
        if path == "/token":
            return self._token(body)
        if not self._is_authorised():
            return None
        if path == "/v2/":
            return self.answer(200, b"{}")
        routes = [
            (r"/v2/(.+)/blobs/uploads/", self._open_upload),
            (r"/v2/(.+)/blobs/uploads/([0-9a-f-]+)", self._upload),
            (r"/v2/(.+)/blobs/(sha256:[0-9a-f]{64})", self._blob),
            (r"/v2/(.+)/manifests/([^/]+)", self._manifests),
            (r"/v2/(.+)/tags/list", self._tags),
            (r"/v2/(.+)/referrers/(sha256:[0-9a-f]{64})", self._referrers),
        ]
        for pattern, route in routes:
            if match := re.fullmatch(pattern, path):
                return route(self.server.repository(match[1]), *match.groups())
        return self.error(404, "UNSUPPORTED", "no such route")

    # uploads

    def _open_upload(self, repository, name):
        query = self._query()
        source = self.server.repositories.get(query.get("from"))
        if source and query["mount"] in source.blobs:
            repository.blobs[query["mount"]] = source.blobs[query["mount"]]
            return self.answer(201, b"", [("Location", f"/v2/{name}/blobs/{query['mount']}")])
        session = str(uuid.uuid4())
        self.server.uploads[session] = bytearray()
        headers = self.upload_headers(name, session)
        if self.server.behaviour.chunk_min:
            headers.append(("OCI-Chunk-Min-Length", str(self.server.behaviour.chunk_min)))
        return self.answer(202, b"", headers)

    def upload_headers(self, name, session):
        location, received = self.server.behaviour.location, len(self.server.uploads[session])
        base = {"relative": "", "absolute": f"http://{self.server.host}"}.get(location, location)
        # Every Location is good for one state, as distribution's.
        path = f"{base}/v2/{name}/blobs/uploads/{session}?_state={received}%3D%3D"
        return [("Location", path), ("Range", f"0-{max(received - 1, 0)}")]

    def _upload(self, repository, name, session):
        data, query = self.server.uploads.get(session), self._query()
        if data is None:
            return self.error(404, "BLOB_UPLOAD_UNKNOWN", "no such upload")
        if not query.get("_state", "").endswith("=="):
            return self.error(400, "BLOB_UPLOAD_INVALID", "the Location's query was not kept")
        if self.command == "GET":
            return self.answer(204, b"", self.upload_headers(name, session))
        if self.command == "PATCH":
            return self._chunk(data, name, session)
        if self.command == "DELETE":
            del self.server.uploads[session]
            return self.answer(204)
        digest = query["digest"]
        data += self.body
        if oci.sha256(bytes(data)) != digest:
            del self.server.uploads[session]
            return self.error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        repository.blobs[digest] = bytes(self.server.uploads.pop(session))
        return self.answer(201, b"", [("Location", f"/v2/{name}/blobs/{digest}"), ("Docker-Content-Digest", digest)])

    def _chunk(self, data, name, session):
        start, end = map(int, self.headers["Content-Range"].split("-"))
        if not self.server.behaviour.chunks:
            return self.error(405, "UNSUPPORTED", "no chunks")
        if start != len(data) or end - start + 1 != len(self.body):
            return self.answer(416, b"", self.upload_headers(name, session))
        data += self.body
        return self.answer(202, b"", self.upload_headers(name, session))

    def _blob(self, repository, _name, digest):
        body = repository.blobs.get(digest)
        if body is None:
            return self.error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not match:
            return self.answer(200, body)
        start, end = int(match[1]), min(int(match[2] or len(body) - 1), len(body) - 1)
        if start > end:
            return self.answer(416)
        return self.answer(206, body[start : end + 1], [("Content-Range", f"bytes {start}-{end}/{len(body)}")])

    # manifests

    def _manifests(self, repository, _name, reference):
        with self.server.lock:
            if self.command == "PUT":
                answer = self._put_manifest(repository, reference)
            else:
                answer = self._get_manifest(repository, reference)
        return self.answer(*answer)

    def _get_manifest(self, repository, reference):
        if self.server.behaviour.tag_is_digest and reference.replace("-", ":") in repository.manifests:
            reference = reference.replace("-", ":")
        found = repository.manifests.get(repository.tags.get(reference, reference))
        if not found:
            return 404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}', []
        headers = [("Content-Type", found[0]), ("Docker-Content-Digest", oci.sha256(found[1]))]
        if self.server.behaviour.etags:
            headers.append(("ETag", f'"{oci.sha256(found[1])}"'))
        return 200, found[1], headers

    def _put_manifest(self, repository, reference):
        digest, document = oci.sha256(self.body), json.loads(self.body)
        current = repository.tags.get(reference)
        if_match = self.headers.get("If-Match")
        if self.server.behaviour.etags and if_match and if_match != f'"{current}"':
            return 412, b"", []
        if reference.startswith("sha256:") and reference != digest:
            return 400, b'{"errors":[{"code":"DIGEST_INVALID","message":"digest is wrong"}]}', []
        for entry in document.get("manifests", []):
            if entry["digest"] not in repository.manifests:
                return 400, b'{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"unknown manifest"}]}', []
        repository.manifests[digest] = (self.headers["Content-Type"], self.body)
        if not reference.startswith("sha256:"):
            repository.tags[reference] = digest
        headers = [("Docker-Content-Digest", digest)]
        behaviour = self.server.behaviour
        if behaviour.referrers and not behaviour.half_referrers and "subject" in document:
            headers.append(("OCI-Subject", document["subject"]["digest"]))
        return 201, b"", headers

    def _tags(self, repository, name):
        return self.answer(200, json.dumps({"name": name, "tags": sorted(repository.tags)}).encode())

    def _referrers(self, repository, name, subject):
        behaviour, query = self.server.behaviour, self._query()
        if not behaviour.referrers:
            return self.answer(404, b"404 page not found\n", [("Content-Type", "text/plain")])
        wanted = query.get("artifactType") if behaviour.filters else None
        entries = [e for e in self.server.referrers_of(repository, subject) if wanted in (None, e["artifactType"])]
        start = int(query.get("start", 0))
        index = {"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": entries[start : start + behaviour.page]}
        headers = [("Content-Type", oci.INDEX)]
        if wanted:
            headers.append(("OCI-Filters-Applied", "artifactType"))
        if start + behaviour.page < len(entries):
            more = urllib.parse.urlencode({**query, "start": start + behaviour.page})
            headers.append(("Link", f'</v2/{name}/referrers/{subject}?{more}>; rel="next"'))
        return self.answer(200, json.dumps(index).encode(), headers)


class MemoryRegistry(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256  # as many connections as a client opens at once

    def __init__(self, behaviour, tokens=None, port=0):
        super().__init__(("127.0.0.1", port), PushHandler)
        self.behaviour, self.tokens = behaviour, tokens
        self.lock = threading.RLock()
        self.requests, self.faults = [], []
        self.repositories, self.uploads, self.granted = {}, {}, {}
        self.host = f"127.0.0.1:{self.server_port}"

    def again(self):
        """One that has just been started in the place of this one, which was stopped."""
        successor = MemoryRegistry(self.behaviour, self.tokens, self.server_port)
        successor.repositories = self.repositories
        return successor

    def handle_error(self, *_):
        pass

    def repository(self, name="a/b"):
        with self.lock:
            return self.repositories.setdefault(name, Repository())

    def referrers_of(self, repository, subject):
        for digest, (media_type, body) in repository.manifests.items():
            document = json.loads(body)
            if document.get("subject", {}).get("digest") == subject:
                config_type = document["config"]["mediaType"]
                yield {
                    "mediaType": media_type,
                    "digest": digest,
                    "size": len(body),
                    "artifactType": config_type if self.behaviour.half_referrers else document["artifactType"],
                    **({"annotations": document["annotations"]} if "annotations" in document else {}),
                }

    def put_manifest(self, body, tag=None, media_type=oci.MANIFEST, repository="a/b"):
        digest = oci.sha256(body)
        self.repository(repository).manifests[digest] = (media_type, body)
        if tag:
            self.repository(repository).tags[tag] = digest
        return digest

    def inject(self, pattern, *actions):
        """Runs one action for each request whose "METHOD /path" matches, in order; later requests pass."""
        self.faults.append((pattern, list(actions)))

    def seen(self, pattern):
        with self.lock:
            return [r for r in self.requests if re.search(pattern, f"{r.method} {r.path}")]

    def remote(self, repository="a/b", host=None):
        return f"docker://{host or self.host}/{repository}"


@contextmanager
def memory_registry(tokens=None, **behaviour):
    server = MemoryRegistry(Behaviour(**behaviour), tokens)
    with serving(server):
        yield server
