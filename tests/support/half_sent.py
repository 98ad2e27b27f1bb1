# SPDX-License-Identifier: Apache-2.0
"""A client of gRPC that begins calls and never ends their requests, without heeding what the server allows."""
import socket
import struct
from contextlib import contextmanager

PATH = "/containerd.services.snapshots.v1.Snapshots/Stat"
DATA, HEADERS, SETTINGS = 0, 1, 4
END_HEADERS = 4


def _frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _header(name, value):
    """RFC 7541, 6.2.2: a literal that is not indexed, its name neither."""
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def _half_call(stream):
    """RFC 9113: the headers of a call, and the beginning of a message that says it is longer."""
    headers = {":method": "POST", ":scheme": "http", ":path": PATH, ":authority": "localhost",
               "content-type": "application/grpc", "te": "trailers"}  # fmt: skip
    block = b"".join(_header(name, value) for name, value in headers.items())
    message = struct.pack(">BI", 0, 1 << 20) + b"\n"
    return _frame(HEADERS, END_HEADERS, stream, block) + _frame(DATA, 0, stream, message)


@contextmanager
def half_sent(path, calls):
    """A connection on which so many have begun, or as many as the server took."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(path))
        sent_bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(SETTINGS, 0, 0, b"")
        sent_bytes += b"".join(_half_call(2 * number + 1) for number in range(calls))
        try:
            client.sendall(sent_bytes)
        except (BrokenPipeError, ConnectionResetError):
            pass
        yield client
