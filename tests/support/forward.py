# SPDX-License-Identifier: Apache-2.0
"""Passes TCP connections on to another address, as a service's virtual address does."""
import socket
import threading
from contextlib import contextmanager, suppress


def _copy(source, target):
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _serve(client, target):
    with client:
        try:
            server = socket.create_connection(target)
        except OSError:
            return
        with server:
            back = threading.Thread(target=_copy, args=(server, client), daemon=True)
            back.start()
            _copy(client, server)
            back.join()


def _accept(listener, target):
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            threading.Thread(target=_serve, args=(client, target), daemon=True).start()


@contextmanager
def forwarded(address, target):
    """Meanwhile, who connects to (host, port) `address` gets to `target`."""
    with socket.create_server(address, backlog=128) as listener:
        thread = threading.Thread(target=_accept, args=(listener, target), daemon=True)
        thread.start()
        try:
            yield
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join()
