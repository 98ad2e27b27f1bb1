# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy whose connections break."""
import socket
import threading
from contextlib import contextmanager, suppress


def _pass_on(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # torn from the other side


@contextmanager
def cutting_proxy(host, after, cuts):
    """Yields the host:port of a proxy to host:port. Of the connections that come to carry more than `after` bytes to
    the server, the first `cuts` end there.
    """
    name, port = host.split(":")
    listener = socket.create_server(("127.0.0.1", 0))
    left = [cuts]

    def forward(client):
        server = socket.create_connection((name, int(port)))
        threading.Thread(target=_pass_on, args=(server, client), daemon=True).start()
        passed = 0
        try:
            while data := client.recv(65536):
                passed += len(data)
                if passed > after and left[0] > 0:
                    left[0] -= 1
                    break
                server.sendall(data)
        except OSError:
            pass  # torn from the other side
        for end in (client, server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def serve():
        while True:
            try:
                client = listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=forward, args=(client,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
