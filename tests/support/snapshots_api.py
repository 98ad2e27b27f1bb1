# SPDX-License-Identifier: Apache-2.0
"""containerd.services.snapshots.v1 as a client sees it: the messages by their published field numbers, and a thin
wrapper around each method. Described here a second time, with texts and maps, so that both sides cannot share a
mistake."""
from google.protobuf import descriptor_pb2, descriptor_pool, empty_pb2, field_mask_pb2, message_factory, timestamp_pb2

import grpc

_TYPES = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "containerd.services.snapshots.v1"
_FIELDS = {
    "Mount": [("type", 1, "string"), ("source", 2, "string"), ("target", 3, "string"), ("options", 4, "string*")],
    "PrepareSnapshotRequest": [("snapshotter", 1, "string"), ("key", 2, "string"), ("parent", 3, "string"), ("labels", 4, "map")],
    "ViewSnapshotRequest": [("snapshotter", 1, "string"), ("key", 2, "string"), ("parent", 3, "string"), ("labels", 4, "map")],
    "MountsRequest": [("snapshotter", 1, "string"), ("key", 2, "string")],
    "MountsResponse": [("mounts", 1, "Mount*")],
    "RemoveSnapshotRequest": [("snapshotter", 1, "string"), ("key", 2, "string")],
    "CommitSnapshotRequest": [
        ("snapshotter", 1, "string"), ("name", 2, "string"), ("key", 3, "string"), ("labels", 4, "map"), ("parent", 5, "string"),
    ],
    "StatSnapshotRequest": [("snapshotter", 1, "string"), ("key", 2, "string")],
    "Info": [
        ("name", 1, "string"), ("parent", 2, "string"), ("kind", 3, "int32"), ("created_at", 4, ".google.protobuf.Timestamp"),
        ("updated_at", 5, ".google.protobuf.Timestamp"), ("labels", 6, "map"),
    ],
    "StatSnapshotResponse": [("info", 1, "Info")],
    "UpdateSnapshotRequest": [("snapshotter", 1, "string"), ("info", 2, "Info"), ("update_mask", 3, ".google.protobuf.FieldMask")],
    "ListSnapshotsRequest": [("snapshotter", 1, "string"), ("filters", 2, "string*")],
    "ListSnapshotsResponse": [("info", 1, "Info*")],
    "UsageRequest": [("snapshotter", 1, "string"), ("key", 2, "string")],
    "UsageResponse": [("size", 1, "int64"), ("inodes", 2, "int64")],
    "CleanupRequest": [("snapshotter", 1, "string")],
}  # fmt: skip
_SCALARS = {"string": _TYPES.TYPE_STRING, "int32": _TYPES.TYPE_INT32, "int64": _TYPES.TYPE_INT64}

VIEW, ACTIVE, COMMITTED = 1, 2, 3


def _add_field(message, name, number, kind):
    field = message.field.add(name=name, number=number, label=_TYPES.LABEL_OPTIONAL)
    if kind.endswith("*") or kind == "map":
        field.label = _TYPES.LABEL_REPEATED
        kind = kind.rstrip("*")
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
        return
    field.type = _TYPES.TYPE_MESSAGE
    if kind == "map":
        entry = message.nested_type.add(name=name.title() + "Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, type=_TYPES.TYPE_STRING, label=_TYPES.LABEL_OPTIONAL)
        entry.field.add(name="value", number=2, type=_TYPES.TYPE_STRING, label=_TYPES.LABEL_OPTIONAL)
        field.type_name = f".{_PACKAGE}.{message.name}.{entry.name}"
    else:
        field.type_name = kind if kind.startswith(".") else f".{_PACKAGE}.{kind}"


def _messages():
    file = descriptor_pb2.FileDescriptorProto(name="snapshots-api.proto", package=_PACKAGE, syntax="proto3")
    for imported in (timestamp_pb2, field_mask_pb2):
        file.dependency.append(imported.DESCRIPTOR.name)
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for field in fields:
            _add_field(message, *field)
    pool = descriptor_pool.Default()
    pool.Add(file)
    factory = message_factory.MessageFactory(pool)
    return {name: factory.GetPrototype(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _FIELDS}


MESSAGES = _messages()
_METHODS = {
    "Prepare": ("PrepareSnapshotRequest", "MountsResponse"),
    "View": ("ViewSnapshotRequest", "MountsResponse"),
    "Mounts": ("MountsRequest", "MountsResponse"),
    "Commit": ("CommitSnapshotRequest", None),
    "Remove": ("RemoveSnapshotRequest", None),
    "Stat": ("StatSnapshotRequest", "StatSnapshotResponse"),
    "Update": ("UpdateSnapshotRequest", "StatSnapshotResponse"),
    "List": ("ListSnapshotsRequest", "ListSnapshotsResponse"),
    "Usage": ("UsageRequest", "UsageResponse"),
    "Cleanup": ("CleanupRequest", None),
}


class Snapshots:
    """A connection of its own. Every method raises grpc.RpcError."""

    def __init__(self, socket, *options, timeout=60):
        self.channel = grpc.insecure_channel(f"unix://{socket}", options=[("grpc.use_local_subchannel_pool", 1), *options])
        self.timeout = timeout

    def close(self):
        self.channel.close()

    def stub(self, name):
        """The callable for a method, as grpc makes it: takes a message, or bytes."""
        answer = MESSAGES[_METHODS[name][1]] if _METHODS[name][1] else empty_pb2.Empty
        make = self.channel.unary_stream if name == "List" else self.channel.unary_unary
        return make(
            f"/{_PACKAGE}.Snapshots/{name}",
            request_serializer=lambda request: request if isinstance(request, bytes) else request.SerializeToString(),
            response_deserializer=answer.FromString,
        )

    def call(self, method, /, **fields):
        request = MESSAGES[_METHODS[method][0]](snapshotter="zeropull", **fields)
        return self.stub(method)(request, timeout=self.timeout)

    def prepare(self, key, parent="", labels=None):
        return list(self.call("Prepare", key=key, parent=parent, labels=labels or {}).mounts)

    def view(self, key, parent="", labels=None):
        return list(self.call("View", key=key, parent=parent, labels=labels or {}).mounts)

    def mounts(self, key):
        return list(self.call("Mounts", key=key).mounts)

    def commit(self, name, key, labels=None, parent=""):
        self.call("Commit", name=name, key=key, labels=labels or {}, parent=parent)

    def remove(self, key):
        self.call("Remove", key=key)

    def stat(self, key):
        return self.call("Stat", key=key).info

    def update(self, name, labels, *paths):
        info = MESSAGES["Info"](name=name, labels=labels)
        mask = field_mask_pb2.FieldMask(paths=paths) if paths else None
        return self.call("Update", info=info, update_mask=mask).info

    def list(self, *filters):
        return [info for page in self.call("List", filters=filters) for info in page.info]

    def names(self, *filters):
        return sorted(info.name for info in self.list(*filters))

    def usage(self, key):
        answer = self.call("Usage", key=key)
        return answer.size, answer.inodes

    def cleanup(self):
        self.call("Cleanup")
