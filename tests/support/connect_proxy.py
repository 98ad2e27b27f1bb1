# SPDX-License-Identifier: Apache-2.0
"""An HTTP proxy (RFC 9110, 7.6 and 9.3.6) for whom all hosts of the world are one server on this machine."""
import base64
import http.client
import select
import socket
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from support.serving import serving


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _is_let_in(self):
        """Notes the request, and refuses it unless it has the right credentials."""
        self.server.requests.append((self.command, self.path, dict(self.headers.items())))
        wanted = self.server.credentials
        given = self.headers.get("Proxy-Authorization", "")
        if not wanted or given == "Basic " + base64.b64encode(wanted.encode()).decode():
            return True
        self.send_response(407)
        self.send_header("Proxy-Authenticate", 'Basic realm="proxy"')
        self.send_header("Content-Length", "0")
        self.end_headers()
        return False

    def do_CONNECT(self):
        if not self._is_let_in():
            return
        with socket.create_connection(self.server.upstream) as upstream:
            self.send_response(200)
            self.end_headers()
            ends = [self.connection, upstream]
            while True:
                for end in select.select(ends, [], [])[0]:
                    data = end.recv(65536)
                    if not data:
                        self.close_connection = True
                        return
                    ends[end is self.connection].sendall(data)

    def do_GET(self):
        if not self._is_let_in():
            return
        upstream = http.client.HTTPConnection(*self.server.upstream, timeout=60)
        headers = {k: v for k, v in self.headers.items() if not k.lower().startswith("proxy-")}
        upstream.request("GET", "/" + self.path.split("/", 3)[3], headers=headers)
        response = upstream.getresponse()
        body = response.read()
        self.send_response_only(response.status)
        for name, value in response.getheaders():
            if name.lower() not in ("connection", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        upstream.close()


class Proxy(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, upstream, credentials):
        super().__init__(("127.0.0.1", 0), Handler)
        host, port = upstream.split(":")
        self.upstream, self.credentials, self.requests = (host, int(port)), credentials, []
        self.host = f"127.0.0.1:{self.server_port}"

    def handle_error(self, *_):
        """A client that hangs up is no error."""


@contextmanager
def connect_proxy(upstream, credentials=""):
    """upstream: "127.0.0.1:PORT". credentials: "user:password" that it wants to see."""
    server = Proxy(upstream, credentials)
    with serving(server):
        yield server
