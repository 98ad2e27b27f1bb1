# SPDX-License-Identifier: Apache-2.0
"""A server of this process while a test needs it."""
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler


@contextmanager
def serving(server):
    """Runs a socketserver in a thread; it is closed at the end."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class Answering(BaseHTTPRequestHandler):
    """Handles requests with whole answers, or with none, and says nothing of them."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def hang_up(self):
        """Ends the connection here, whatever was promised."""
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


def hang_up(handler):
    """A fault to inject: no answer."""
    handler.hang_up()
    return True
