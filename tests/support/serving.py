# SPDX-License-Identifier: Apache-2.0
"""A server of this process while a test needs it."""
import threading
from contextlib import contextmanager


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
