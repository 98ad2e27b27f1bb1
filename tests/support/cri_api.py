# SPDX-License-Identifier: Apache-2.0
"""CRI's image service as kubelet sees it, and a stand-in for containerd's. Messages are written by hand, from the
published field numbers: what passes between the two must be the same bytes."""
from concurrent import futures
from contextlib import contextmanager

import grpc

SERVICE = "/runtime.v1.ImageService/"
LIMIT = 16 << 20
_OPTIONS = [("grpc.max_receive_message_length", LIMIT), ("grpc.max_send_message_length", LIMIT), ("grpc.max_metadata_size", 64 << 10)]
_AUTH = ["username", "password", "auth", "server_address", "identity_token", "registry_token"]


def varint(number):
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def field(number, value):
    """A field of bytes, text or a message."""
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def fields(message):
    """[(number, bytes)] of a message that has only such fields."""
    found, at = [], 0

    def number():
        nonlocal at
        value, shift = 0, 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        key, size = number(), number()
        assert key & 7 == 2
        found.append((key >> 3, message[at : at + size]))
        at += size
    return found


def pull_request(image, **auth):
    """PullImageRequest; with the sandbox's configuration, as kubelet sends it."""
    message = field(1, field(1, image))
    if auth:
        message += field(2, b"".join(field(_AUTH.index(name) + 1, value) for name, value in auth.items()))
    return message + field(3, field(1, field(1, "pod") + field(2, "uid") + field(3, "default")))


class ImageService:
    """A connection. Every method takes and gives bytes, and raises grpc.RpcError."""

    def __init__(self, socket, service=SERVICE):
        self.channel = grpc.insecure_channel(f"unix://{socket}", options=_OPTIONS)
        self.service = service

    def close(self):
        self.channel.close()

    def method(self, name):
        return self.channel.unary_unary(self.service + name)

    def call(self, name, message=b"", timeout=60, metadata=None):
        return self.method(name)(message, timeout=timeout, metadata=metadata)

    def pull(self, image, timeout=60, **auth):
        """PullImageResponse.image_ref."""
        return dict(fields(self.call("PullImage", pull_request(image, **auth), timeout)))[1].decode()


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, answer):
        self.answer = answer

    def service(self, details):
        def run(request, context):
            return self.answer(details.method, request, context)

        return grpc.unary_unary_rpc_method_handler(run)


@contextmanager
def image_server(socket, answer):
    """Serves every method there is: answer(path, message, context) → bytes."""
    server = grpc.server(futures.ThreadPoolExecutor(32), options=_OPTIONS)
    server.add_generic_rpc_handlers([_Handler(answer)])
    server.add_insecure_port(f"unix://{socket}")
    server.start()
    try:
        yield server
    finally:
        server.stop(None).wait()
