# SPDX-License-Identifier: Apache-2.0
"""An HTTP proxy before a real server that misbehaves on request. Requests keep the Host header they came with, so that
signatures stay good. Every request is recorded.

A fault is a function that gets the handler and answers in place of the server (returning True), or lets it pass.
"""
import http.client
import re
import threading
import urllib.parse
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import ThreadingHTTPServer

from support.serving import Answering, serving


@dataclass
class Request:
    method: str
    path: str
    headers: dict


class Handler(Answering):
    def read_body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def forward(self, body=None, change=lambda body: body, cut_after=None, dawdle_s=0, rate=None):
        """Passes the request on.

        `body` goes instead of its own; `change` alters the answer's, of which `cut_after` bytes go out, after a space
        every 0.1 s for `dawdle_s`, at `rate` bytes a second.
        """
        body = self.read_body() if body is None else body
        upstream = http.client.HTTPConnection(self.server.upstream, timeout=60)
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in ("connection", "content-length"):
                upstream.putheader(name, value)
        if body or self.command in ("PUT", "POST", "DELETE"):
            upstream.putheader("Content-Length", str(len(body)))
        upstream.endheaders(body or None)
        response = upstream.getresponse()
        data = b" " * (dawdle_s * 10) + change(response.read())
        self.send_response_only(response.status)
        length = data and str(len(data)) or response.getheader("Content-Length", "0")
        for name, value in response.getheaders():
            if name.lower() not in ("connection", "content-length", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        for _ in range(dawdle_s * 10):
            self.wfile.write(b" ")
            self.wfile.flush()
            self.server.never.wait(0.1)
        upstream.close()
        self._write(data[dawdle_s * 10 : cut_after], rate)
        if cut_after is not None:
            self.hang_up()
        return True

    def _write(self, data, rate):
        step = rate // 20 if rate else max(len(data), 1)
        for at in range(0, len(data), step):
            self.wfile.write(data[at : at + step])
            if rate:
                self.wfile.flush()
                self.server.never.wait(0.05)

    def _serve(self):
        with self.server.lock:
            self.server.requests.append(Request(self.command, self.path, dict(self.headers.items())))
            line = f"{self.command} {self.path}"
            fault = next((f for f in self.server.faults if re.search(f[0], line) and f[1]), None)
            action = fault[1].pop(0) if fault else None
        try:
            if not (action and action(self)):
                self.forward()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve


class FaultProxy(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, url):
        super().__init__(("127.0.0.1", 0), Handler)
        self.upstream = urllib.parse.urlsplit(url).netloc
        self.lock = threading.Lock()
        self.requests, self.faults = [], []
        self.never = threading.Event()
        self.host = f"127.0.0.1:{self.server_port}"
        self.url = f"http://{self.host}"

    def inject(self, pattern, *actions):
        """Runs one action for each request whose "METHOD path" matches, in order; later requests pass."""
        self.faults.append((pattern, list(actions)))

    def seen(self, pattern):
        with self.lock:
            return [r for r in self.requests if re.search(pattern, f"{r.method} {r.path}")]


@contextmanager
def fault_proxy(url):
    server = FaultProxy(url)
    with serving(server):
        yield server
