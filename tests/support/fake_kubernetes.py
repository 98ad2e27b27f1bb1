# SPDX-License-Identifier: Apache-2.0
"""A fake Kubernetes API server for what a real one will not do on demand: cut connections in the middle of a chunk, answer
429, forget its history, refuse a token that was good, be away. Strict about what it is asked: unknown paths, parameters
and types of content are refused. kubectl works with it."""
import copy
import json
import re
import socket
import ssl
import threading
import time
import urllib.parse
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from . import tls
from .fake_kubernetes_objects import RESOURCES, Objects, Refused, matches

_PARAMETERS = {
    "GET": {"limit", "continue", "labelSelector", "fieldSelector", "watch", "resourceVersion", "resourceVersionMatch",
            "allowWatchBookmarks", "timeoutSeconds", "timeout", "sendInitialEvents"},
    "POST": {"fieldManager", "fieldValidation"}, "PUT": {"fieldManager", "fieldValidation"},
    "PATCH": {"fieldManager", "fieldValidation", "force"}, "DELETE": {"propagationPolicy"},
}  # fmt: skip
_LOG_PARAMETERS = {"container", "tailLines", "limitBytes"}


class Fault:
    """What goes wrong with requests that match, `times` times, and each time with the `every`-th of them. `status`: the answer
    instead of the real one; `drop`: none; `cut`: so many bytes of it come, then the connection breaks. `first`: what is done
    before it is answered."""

    def __init__(self, method="GET", path="", watch=None, times=1, every=1, status=None, headers=(), body=None, cut=None,
                 drop=False, event=None, first=None):  # fmt: skip
        self.method, self.path, self.watch, self.left = method, re.compile(path), watch, times
        self.every, self.matched = every, 0
        self.status, self.headers, self.body, self.cut, self.drop, self.event = status, dict(headers), body, cut, drop, event
        self.first, self.happened = first, 0

    def is_for(self, method, path, is_watch):
        if method != self.method or not self.path.search(path) or self.watch not in (None, is_watch) or self.left == 0:
            return False
        self.matched += 1
        return self.matched % self.every == 0


def gone(reason="Expired"):
    return Refused(410, reason, "too old resource version: 1 (2)").status()


class _Cut(Exception):
    pass


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    @property
    def kube(self):
        return self.server.kube

    # --- answers

    def _send(self, code, body, headers=()):
        data = json.dumps(body).encode() if not isinstance(body, bytes) else body
        self.send_response(code)
        for name, value in {"Content-Type": "application/json", "Content-Length": len(data), **dict(headers)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self._write(data)

    def _write(self, data):
        cut = self.fault.cut if self.fault else None
        if cut is not None:
            data, self.fault.cut = data[:cut], cut - len(data)
        self.wfile.write(data)
        self.wfile.flush()
        if cut is not None and self.fault.cut <= 0:
            raise _Cut

    def _chunk(self, data):
        self._write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def _event(self, kind, item):
        self._chunk(json.dumps({"type": kind, "object": item}).encode() + b"\n")

    # --- requests

    def _handle(self):
        url = urllib.parse.urlsplit(self.path)
        self.query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        size = int(self.headers.get("Content-Length", 0))
        self.body = self.rfile.read(size)
        self.fault = None
        is_watch = self.query.get("watch") in ("1", "true")
        self.kube.note(self.command, self.path, is_watch, self.headers)
        try:
            self._authenticate()
            self.fault = self.kube.take_fault(self.command, self.path, is_watch)
            if self.fault and self.fault.first:
                self.fault.first()
            if self.fault and (self.fault.status or self.fault.drop):
                self._fail()
            else:
                self._dispatch(url.path, is_watch)
        except Refused as refusal:
            self._send(refusal.code, refusal.status())
        except (_Cut, BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle

    def _authenticate(self):
        if self.kube.tokens is None:
            return
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self.kube.tokens:
            raise Refused(401, "Unauthorized", "Unauthorized")

    def _fail(self):
        if self.fault.drop:
            raise _Cut
        body = self.fault.body or Refused(self.fault.status, "", "a fault on purpose").status()
        self._send(self.fault.status, body, self.fault.headers)

    def _dispatch(self, path, is_watch):
        if self.command == "GET" and path in self.kube.discovery:
            return self._send(200, self.kube.discovery[path])
        resource, namespace, name, subresource = self.kube.find(path)
        unknown = self.query.keys() - (_LOG_PARAMETERS if subresource == "log" else _PARAMETERS[self.command])
        if unknown:
            raise Refused(400, "BadRequest", f"unknown parameters: {sorted(unknown)}")
        if subresource == "log":
            return self._log(resource, namespace, name)
        if self.command == "GET" and name is None:
            return self._watch(resource, namespace) if is_watch else self._list(resource, namespace)
        if self.command == "GET":
            return self._send(200, self.kube.objects.get(resource, namespace, name))
        if (self.command == "POST") != (name is None):
            raise Refused(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
        code, answer = self._change(resource, namespace, name, subresource)
        return self._send(code, answer)

    def _log(self, resource, namespace, name):
        if self.command != "GET":
            raise Refused(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
        if not {"text/plain", "application/json", "*/*"} & set(re.split(r"\s*[,;]\s*", self.headers.get("Accept", "*/*"))):
            raise Refused(406, "NotAcceptable", "only the following media types are accepted: text/plain, application/json")
        self._send(200, self.kube.objects.log(resource, namespace, name, self.query), {"Content-Type": "text/plain"})

    def _document(self, *types):
        kind = self.headers.get("Content-Type", "").partition(";")[0]
        if kind not in types:
            raise Refused(415, "UnsupportedMediaType", f"the body of the request was in an unknown format: {kind!r}")
        try:
            document = json.loads(self.body)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise Refused(400, "BadRequest", "the body is not a JSON object")
        return document

    def _change(self, resource, namespace, name, subresource):
        objects = self.kube.objects
        if self.command == "POST":
            return 201, objects.create(resource, namespace, self._document("application/json"))
        if self.command == "PUT":
            return 200, objects.replace(resource, namespace, name, self._document("application/json"), subresource)
        if self.command == "DELETE":
            options = self._document("application/json") if self.body else {}
            return 200, objects.delete(resource, namespace, name, options)
        patch = self._document("application/merge-patch+json", "application/apply-patch+yaml")
        if self.headers["Content-Type"] == "application/merge-patch+json":
            return 200, objects.merge_patch(resource, namespace, name, patch, subresource)
        manager = self.query.get("fieldManager")
        if not manager:
            raise Refused(400, "BadRequest", "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value")
        force = self.query.get("force") == "true"
        return 200, objects.apply(resource, namespace, name, patch, manager, force, subresource)

    # --- collections

    def _list(self, resource, namespace):
        items, revision = self.kube.objects.list(resource, namespace, self.query.get("labelSelector"), self.query.get("fieldSelector"))
        start, limit, metadata = 0, int(self.query.get("limit", 0)), {}
        if self.query.get("continue"):
            revision, _, last = self.query["continue"].partition("/")
            if int(revision) < self.kube.objects.compacted:
                raise Refused(410, "Expired", "The provided continue parameter is too old to display a consistent list result.")
            start = sum(f"{item['metadata'].get('namespace', '')}/{item['metadata']['name']}" <= last for item in items)
        if limit and len(items) > start + limit:
            last = items[start + limit - 1]["metadata"]
            metadata["continue"] = f"{revision}/{last.get('namespace', '')}/{last['name']}"
        items = items[start : start + limit] if limit else items[start:]
        for item in items:
            del item["apiVersion"], item["kind"]
        metadata["resourceVersion"] = str(revision)
        self._send(200, {"kind": f"{resource.kind}List", "apiVersion": resource.api_version, "metadata": metadata, "items": items})

    def _watch(self, resource, namespace):
        objects, kube = self.kube.objects, self.kube
        position = int(self.query.get("resourceVersion") or 0) or objects.revision
        if position > objects.revision:
            raise Refused(504, "Timeout", f"Timeout: Too large resource version: {position}, current: {objects.revision}",
                          causes=[{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}])  # fmt: skip
        deadline = time.monotonic() + min(int(self.query.get("timeoutSeconds", 300)), kube.watch_seconds)
        epoch = kube.epoch
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        bookmark = time.monotonic() + kube.bookmark_seconds
        if self.fault and self.fault.event:
            self._event(*self.fault.event)
        while time.monotonic() < deadline:
            with objects.changed:
                entries = objects.since(position)
                if not entries and entries is not None and kube.epoch == epoch:
                    objects.changed.wait(0.1)
                    entries = objects.since(position)
            if kube.epoch != epoch:
                raise _Cut
            if entries is None:
                self._event("ERROR", gone())
                break
            for position, kind, which, item in entries:
                in_namespace = namespace in ("", item["metadata"].get("namespace", ""))
                if which is resource and in_namespace and matches(item, self.query.get("labelSelector"), self.query.get("fieldSelector")):
                    self._event(kind, item)
            if self.query.get("allowWatchBookmarks") == "true" and time.monotonic() >= bookmark:
                bookmark = time.monotonic() + kube.bookmark_seconds
                empty = {"apiVersion": resource.api_version, "kind": resource.kind}
                self._event("BOOKMARK", {**empty, "metadata": {"resourceVersion": str(position)}})
        self._write(b"0\r\n\r\n")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.connections = set()

    def process_request_thread(self, request, address):
        self.connections.add(request)
        try:
            super().process_request_thread(request, address)
        finally:
            self.connections.discard(request)

    def break_connections(self):
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def handle_error(self, *_):
        """A client that hangs up within TLS's first words is none of ours."""


class FakeKubernetes:
    """`tokens`: those that are accepted; None: everybody is."""

    def __init__(self, directory, resources=RESOURCES):
        self.directory = Path(directory)
        self.objects = Objects()
        self.resources = list(resources)
        self.tokens = None
        self.watch_seconds = 300  # at most so long a watch lasts
        self.bookmark_seconds = 60
        self.epoch = 0  # another one: watches break
        self.requests = []  # (method, path, is_watch, user agent)
        self._lock = threading.Lock()
        self._faults = []
        self._server = None
        self.port = 0
        self.certificate, self._key = tls.self_signed(self.directory)
        self.discovery = self._discovery()
        self.start()

    # --- being there

    def start(self):
        self._server = _Server(("127.0.0.1", self.port), _Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self._key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._server.kube = self
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self):
        """Away, with all connections; what it knows stays."""
        self._server.shutdown()
        self._server.server_close()
        self.break_watches()
        self._server.break_connections()

    def break_watches(self):
        with self.objects.changed:
            self.epoch += 1
            self.objects.changed.notify_all()

    def kubeconfig(self, name="kubeconfig", **user):
        """A file for clients. `user`: its credentials (kubectl insists on some)."""
        path = self.directory / name
        cluster = {"server": f"https://127.0.0.1:{self.port}", "certificate-authority": str(self.certificate)}
        path.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": user or {"token": "any"}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": "default"}}],
        }))  # fmt: skip
        return path

    # --- faults

    def add_fault(self, **how):
        fault = Fault(**how)
        with self._lock:
            self._faults.append(fault)
        return fault

    def take_fault(self, method, path, is_watch):
        with self._lock:
            for fault in self._faults:
                if fault.is_for(method, path, is_watch):
                    fault.left -= 1
                    fault.happened += 1
                    return copy.copy(fault)
        return None

    def note(self, method, path, is_watch, headers):
        with self._lock:
            self.requests.append((method, path, is_watch, headers.get("User-Agent", "")))

    def count(self, method, pattern, watch=None):
        """How often it was asked so."""
        with self._lock:
            return sum(m == method and bool(re.search(pattern, path)) and watch in (None, w) for m, path, w, _ in self.requests)

    # --- what it serves

    def resource(self, plural):
        return next(resource for resource in self.resources if resource.plural == plural)

    def find(self, path):
        """(resource, namespace or "", name or None, subresource or None) of a path."""
        for resource in self.resources:
            if not path.startswith(f"{resource.prefix}/"):
                continue
            words = [urllib.parse.unquote(word) for word in path[len(resource.prefix) + 1 :].split("/")]
            namespace = ""
            if words[0] == "namespaces" and len(words) > 2:
                namespace, words = words[1], words[2:]
            if words[0] != resource.plural or len(words) > 3 or bool(namespace) > resource.namespaced or "" in words:
                continue
            name, subresource = ([*words[1:], None, None])[:2]
            if subresource not in {None, *resource.subresources}:
                continue
            if resource.namespaced and not namespace and name is not None:
                continue
            return resource, namespace, name, subresource
        raise Refused(404, "NotFound", "the server could not find the requested resource")

    def _discovery(self):
        """What kubectl asks first."""
        verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
        documents = {
            "/version": {"major": "1", "minor": "33", "gitVersion": "v1.33.0", "platform": "linux/amd64"},
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
        }
        groups = {}
        for resource in self.resources:
            served = documents.setdefault(resource.prefix, {"kind": "APIResourceList", "apiVersion": "v1",
                                          "groupVersion": resource.api_version, "resources": []})["resources"]  # fmt: skip
            described = {"name": resource.plural, "singularName": resource.kind.lower(), "namespaced": resource.namespaced,
                         "kind": resource.kind, "verbs": verbs}  # fmt: skip
            served.append(described)
            if resource.has_status:
                served.append({**described, "name": f"{resource.plural}/status", "verbs": ["get", "patch", "update"]})
            if "log" in resource.subresources:
                served.append({**described, "name": f"{resource.plural}/log", "verbs": ["get"]})
            if resource.group:
                version = {"groupVersion": resource.api_version, "version": resource.api_version.rpartition("/")[2]}
                groups[resource.group] = {"name": resource.group, "versions": [version], "preferredVersion": version}
        documents["/apis"] = {"kind": "APIGroupList", "apiVersion": "v1", "groups": list(groups.values())}
        return documents


@contextmanager
def fake_kubernetes(directory):
    kube = FakeKubernetes(directory)
    try:
        yield kube
    finally:
        kube.stop()
