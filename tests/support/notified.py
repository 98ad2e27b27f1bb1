# SPDX-License-Identifier: Apache-2.0
"""A receiver of push notifications that answers as a provider does (tests/tools/provider-receive)."""
import json
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from . import programs

TOOL = programs.BUILD / "tests" / "tools" / "provider-receive"


class Receiver:
    """What came, oldest first: {"status", "reason", "events", …} of each request."""

    def __init__(self, secret):
        self.secret = secret
        self.results = []
        self._changed = threading.Condition()

    def handle(self, provider, headers, body):
        head = "".join(f"{name}: {value}\n" for name, value in headers)
        done = subprocess.run(
            [TOOL, self.secret], input=f"{provider}\n{head}\n".encode() + body, stdout=subprocess.PIPE, check=True
        )
        result = json.loads(done.stdout)
        with self._changed:
            self.results.append(result)
            self._changed.notify_all()
        return result

    def events(self):
        with self._changed:
            return [event for result in self.results for event in result["events"]]

    def statuses(self):
        with self._changed:
            return {result["status"] for result in self.results}

    def wait_for(self, **fields):
        """The first event with these fields."""
        self.wait(lambda _: self.matching(**fields))
        return self.matching(**fields)[0]

    def matching(self, **fields):
        return [event for event in self.events() if fields.items() <= event.items()]

    def wait(self, condition, deadline_s=30):
        """Until condition(receiver) holds; what did not come in time is a failure."""
        with self._changed:
            came = self._changed.wait_for(lambda: condition(self), deadline_s)
        assert came, self.results[-5:]


def _handler(receiver):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            provider = self.path.split("?")[0].removeprefix("/hooks/")
            result = receiver.handle(provider, self.headers.items(), body)
            answer = json.dumps(result).encode()
            try:
                self.send_response(result["status"])
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)
            except ConnectionError:
                self.close_connection = True  # the registry has ended meanwhile

        def log_message(self, *_):
            pass

    return Handler


@contextmanager
def receiver(secret):
    """Yields (Receiver, URL); a provider's address is URL/hooks/PROVIDER."""
    made = Receiver(secret)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(made))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield made, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
