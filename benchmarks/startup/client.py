# SPDX-License-Identifier: Apache-2.0
"""A client of containerd that stays, as kubelet's half of containerd and dockerd are: a ctr for each request would take more
of the processors than containerd does. Messages are written by hand, from the published field numbers."""
import grpc

from support.cri_api import field, fields
from support.snapshots_api import MESSAGES

TIMEOUT_S = 600
# containerd.services.containers.v1.Container
_ID, _SPEC, _SNAPSHOT_KEY = 1, 5, 7
_TRANSFER = "containerd.types.transfer"


def _any(kind, message):
    return field(1, kind) + field(2, message)


class Client:
    def __init__(self, node):
        self.node = node
        self.channel = grpc.insecure_channel(f"unix://{node.containerd.socket}")

    def close(self):
        self.channel.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def connect(self):
        grpc.channel_ready_future(self.channel).result(TIMEOUT_S)

    def call(self, method, message, lease=None):
        metadata = [("containerd-namespace", self.node.containerd.namespace), *([("containerd-lease", lease)] if lease else [])]
        return self.channel.unary_unary(f"/containerd.services.{method}")(message, timeout=TIMEOUT_S, metadata=metadata)

    @property
    def snapshotter(self):
        return field(1, self.node.snapshotter)

    def pull(self, reference):
        """By containerd's transfer service, which `ctr images pull` asks as well."""
        platform = field(1, "linux") + field(2, "amd64")
        source = field(1, reference) + field(2, field(4, "http"))
        unpack = field(1, platform) + field(2, self.node.snapshotter)
        destination = field(1, reference) + field(3, platform) + field(10, unpack)
        request = field(1, _any(f"{_TRANSFER}.OCIRegistry", source)) + field(2, _any(f"{_TRANSFER}.ImageStore", destination))
        self.call("transfer.v1.Transfer/Transfer", request)


class Starter(Client):
    """Starts containers that are like the container `model`."""

    def __init__(self, node, model):
        super().__init__(node)
        self.model = model
        (container,) = fields(self.call("containers.v1.Containers/Get", field(1, model)))
        self.container = fields(container[1])
        snapshot = self.call("snapshots.v1.Snapshots/Stat", self.snapshotter + field(2, model))
        self.parent = MESSAGES["StatSnapshotResponse"].FromString(snapshot).info.parent

    def start(self, name):
        """As containerd's own client does it: under a lease, until there is a container that holds its snapshot."""
        self.call("leases.v1.Leases/Create", field(1, name))
        prepared = self.call("snapshots.v1.Snapshots/Prepare", self.snapshotter + field(2, name) + field(3, self.parent), name)
        self.call("containers.v1.Containers/Create", field(1, self._like_model(name)), name)
        self.call("leases.v1.Leases/Delete", field(1, name))
        mounts = [field(3, mount.SerializeToString()) for mount in MESSAGES["MountsResponse"].FromString(prepared).mounts]
        self.call("tasks.v1.Tasks/Create", field(1, name) + b"".join(mounts))
        self.call("tasks.v1.Tasks/Start", field(1, name))

    def _like_model(self, name):
        """The message of a container: its id, its spec (JSON in an Any), and the key of its snapshot are its own."""
        message = b""
        for number, value in self.container:
            if number in (_ID, _SNAPSHOT_KEY):
                value = name.encode()
            elif number == _SPEC:
                kind, spec = (part for _, part in fields(value))
                value = _any(kind, spec.replace(self.model.encode(), name.encode()))
            message += field(number, value)
        return message
