# SPDX-License-Identifier: Apache-2.0
"""The objects of a fake Kubernetes API server: versions, conflicts, finalizers, server-side apply, history. Strict: what
a real server refuses is refused with the same status and reason. Lists are atomic to server-side apply here."""
import copy
import itertools
import re
import threading
import time
import uuid

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.:]*[a-z0-9])?")


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, code, reason, message, **details):
        super().__init__(message)
        self.code, self.reason, self.details = code, reason, details

    def status(self):
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": str(self),
                "reason": self.reason, "details": self.details, "code": self.code}  # fmt: skip


class Resource:
    """A kind of object that is served."""

    def __init__(self, api_version, plural, kind, namespaced=True, has_status=False, has_log=False):
        self.api_version, self.plural, self.kind = api_version, plural, kind
        self.namespaced, self.has_status = namespaced, has_status
        self.subresources = {name for name, is_there in (("status", has_status), ("log", has_log)) if is_there}
        self.group = api_version.rpartition("/")[0]
        self.prefix = f"/apis/{api_version}" if self.group else f"/api/{api_version}"

    def singular_name(self, name):
        return f'{self.plural}{"." + self.group if self.group else ""} "{name}"'


RESOURCES = [
    Resource("v1", "namespaces", "Namespace", namespaced=False),
    Resource("v1", "configmaps", "ConfigMap"),
    Resource("v1", "secrets", "Secret"),
    Resource("v1", "serviceaccounts", "ServiceAccount"),
    Resource("v1", "pods", "Pod", has_status=True, has_log=True),
    Resource("v1", "nodes", "Node", namespaced=False, has_status=True),
    Resource("batch/v1", "jobs", "Job", has_status=True),
    Resource("rbac.authorization.k8s.io/v1", "roles", "Role"),
    Resource("rbac.authorization.k8s.io/v1", "rolebindings", "RoleBinding"),
    Resource("coordination.k8s.io/v1", "leases", "Lease"),
    Resource("events.k8s.io/v1", "events", "Event"),
    Resource("zeropull.dev/v1alpha1", "imagesnapshots", "ImageSnapshot", has_status=True),
    Resource("zeropull.dev/v1alpha1", "clusterimagesnapshots", "ClusterImageSnapshot", namespaced=False, has_status=True),
    Resource("zeropull.dev/v1alpha1", "nodesnapshotcaches", "NodeSnapshotCache", namespaced=False, has_status=True),
]


def merge(into, patch):
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    into = dict(into) if isinstance(into, dict) else {}
    for key, value in patch.items():
        if value is None:
            into.pop(key, None)
        else:
            into[key] = merge(into.get(key), value)
    return into


def leaves(value, path=()):
    """The paths of an object's fields; a list, an empty object, a value is one."""
    if isinstance(value, dict) and value:
        return set(itertools.chain.from_iterable(leaves(item, (*path, key)) for key, item in value.items()))
    return {path}


def look(value, path):
    for key in path:
        if not isinstance(value, dict) or key not in value:
            return None
        value = value[key]
    return value


def take_away(value, path):
    *parents, last = path
    parent = look(value, parents)
    if isinstance(parent, dict):
        parent.pop(last, None)


def _matches_labels(labels, selector):
    for term in selector.split(","):
        key, equals, value = term.partition("!=" if "!=" in term else "=")
        value = value.removeprefix("=")
        if equals == "!=" and labels.get(key) == value or equals == "=" and labels.get(key) != value:
            return False
        if not equals and (term.startswith("!") == (term.lstrip("!") in labels)):
            return False
    return True


_FIELDS = {"metadata.name", "metadata.namespace", "spec.nodeName"}
_EVENT_FIELDS = {"regarding.uid", "type"}


def matches(item, labels, fields):
    if labels and not _matches_labels(item["metadata"].get("labels", {}), labels):
        return False
    for term in filter(None, (fields or "").split(",")):
        key, _, value = term.partition("=")
        if key not in _FIELDS and (item["kind"] != "Event" or key not in _EVENT_FIELDS):
            raise Refused(400, "BadRequest", f"field label not supported: {key}")
        if (look(item, key.split(".")) or "") != value.removeprefix("="):
            return False
    return True


class Objects:
    """All objects, and what happened to them. Thread-safe."""

    def __init__(self):
        self.changed = threading.Condition()
        self.revision = 1000
        self.compacted = 0
        self.items = {}  # (resource, namespace, name): object
        self.owners = {}  # the same key: {(manager, subresource): paths}
        self.history = []  # (revision, type, resource, object)
        self.logs = {}  # (namespace, pod): what its containers have said

    # --- versions

    def _record(self, kind, resource, key, item):
        self.revision += 1
        item["metadata"]["resourceVersion"] = str(self.revision)
        if kind == "DELETED":
            self.items.pop(key)
            self.owners.pop(key, None)
        else:
            self.items[key] = item
        self.history.append((self.revision, kind, resource, copy.deepcopy(item)))
        self.changed.notify_all()
        return copy.deepcopy(item)

    def compact(self):
        """Forgets history: who watches from before now is told 410."""
        with self.changed:
            self.compacted = self.revision
            self.history.clear()
            self.changed.notify_all()

    def since(self, revision):
        """What happened after `revision`; None when that is forgotten."""
        if revision < self.compacted:
            return None
        return [entry for entry in self.history if entry[0] > revision]

    # --- reading

    def get(self, resource, namespace, name):
        with self.changed:
            item = self.items.get((resource, namespace, name))
            if item is None:
                raise Refused(404, "NotFound", f"{resource.singular_name(name)} not found", name=name, kind=resource.plural)
            return copy.deepcopy(item)

    def list(self, resource, namespace, labels=None, fields=None):
        with self.changed:
            found = [copy.deepcopy(item) for (kind, place, _), item in sorted(
                self.items.items(), key=lambda entry: (entry[0][1], entry[0][2])) if kind is resource
                and namespace in ("", place) and matches(item, labels, fields)]  # fmt: skip
            return found, self.revision

    def log(self, resource, namespace, name, query):
        """What a container has said: of its last lines no more than the first so many bytes, as a kubelet gives them."""
        pod = self.get(resource, namespace, name)
        states = {status["name"]: status["state"] for status in pod.get("status", {}).get("containerStatuses", [])}
        container = query.get("container") or (next(iter(states), "") if len(states) == 1 else "")
        if container not in states:
            raise Refused(400, "BadRequest", f"container {container!r} is not valid for pod {name}")
        if not {"running", "terminated"} & set(states[container]):
            raise Refused(400, "BadRequest", f'container "{container}" in pod "{name}" is waiting to start: ContainerCreating')
        for parameter, least in (("tailLines", 0), ("limitBytes", 1)):
            if parameter in query and not (query[parameter].isdecimal() and int(query[parameter]) >= least):
                raise Refused(422, "Invalid", f'PodLogOptions "" is invalid: {parameter}: Invalid value: "{query[parameter]}"')
        lines = self.logs.get((namespace, name), b"").splitlines(keepends=True)
        lines = lines[max(len(lines) - int(query.get("tailLines", len(lines))), 0) :]
        return b"".join(lines)[: int(query["limitBytes"]) if "limitBytes" in query else None]

    # --- writing

    def _check(self, resource, namespace, item, name=None):
        metadata = item.get("metadata") or {}
        if item.get("apiVersion", resource.api_version) != resource.api_version or item.get("kind", resource.kind) != resource.kind:
            raise Refused(400, "BadRequest", f"the object provided is no {resource.kind} of {resource.api_version}")
        if name is not None and metadata.get("name", name) != name:
            raise Refused(400, "BadRequest", "the name of the object does not match the name on the URL")
        if metadata.get("namespace", namespace) != namespace:
            raise Refused(400, "BadRequest", "the namespace of the provided object does not match the namespace sent on the request")
        given = name or metadata.get("name", "")
        if not _NAME.fullmatch(given) or len(given) > 253:
            raise Refused(422, "Invalid", f'{resource.kind} "{given}" is invalid: metadata.name: Invalid value')
        if resource.plural == "events":
            for field in ("eventTime", "reportingController", "reportingInstance", "action", "reason", "type"):
                if not item.get(field):
                    raise Refused(422, "Invalid", f'Event "{given}" is invalid: {field}: Required value')
            if len(item.get("note", "").encode()) > 1024:
                raise Refused(422, "Invalid", f'Event "{given}" is invalid: note: can have at most 1024 bytes')

    def create(self, resource, namespace, item):
        with self.changed:
            item = copy.deepcopy(item)
            metadata = item.setdefault("metadata", {})
            self._check(resource, namespace, item)
            if metadata.get("resourceVersion"):
                raise Refused(400, "BadRequest", "resourceVersion should not be set on objects to be created")
            name = metadata["name"]
            if (resource, namespace, name) in self.items:
                raise Refused(409, "AlreadyExists", f"{resource.singular_name(name)} already exists", name=name)
            item |= {"apiVersion": resource.api_version, "kind": resource.kind}
            metadata |= {"uid": str(uuid.uuid4()), "generation": 1}
            metadata["creationTimestamp"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            if resource.namespaced:
                metadata["namespace"] = namespace
            if resource.has_status:
                item.pop("status", None)
            return self._record("ADDED", resource, (resource, namespace, name), item)

    def _write(self, resource, namespace, name, item, subresource):
        """Puts `item` in the place of the one that is there, as far as the (sub)resource reaches."""
        key = (resource, namespace, name)
        now = self.items.get(key)
        if now is None:
            raise Refused(404, "NotFound", f"{resource.singular_name(name)} not found", name=name, kind=resource.plural)
        self._check(resource, namespace, item, name)
        version, uid = (item.get("metadata", {}).get(field) for field in ("resourceVersion", "uid"))
        if version not in (None, "", now["metadata"]["resourceVersion"]) or uid not in (None, now["metadata"]["uid"]):
            raise Refused(409, "Conflict", f"Operation cannot be fulfilled on {resource.singular_name(name)}: the object has "
                          "been modified; please apply your changes to the latest version and try again")  # fmt: skip
        new = copy.deepcopy(now)
        if subresource == "status":
            new["status"] = copy.deepcopy(item.get("status", {}))
        else:
            kept = {"status": now["status"]} if resource.has_status and "status" in now else {}
            new = {key: value for key, value in copy.deepcopy(item).items() if key != "status" or not resource.has_status} | kept
            for field in ("uid", "creationTimestamp", "generation", "deletionTimestamp", "namespace", "name"):
                if field in now["metadata"]:
                    new["metadata"][field] = now["metadata"][field]
            new |= {"apiVersion": resource.api_version, "kind": resource.kind}
            added = set(new["metadata"].get("finalizers", [])) - set(now["metadata"].get("finalizers", []))
            if added and "deletionTimestamp" in now["metadata"]:
                raise Refused(422, "Invalid", f"metadata.finalizers: Forbidden: no new finalizers can be added if the object "
                              f"is being deleted, found new finalizers {sorted(added)}")  # fmt: skip
            if any(new.get(part) != now.get(part) for part in (new.keys() | now.keys()) - {"metadata", "status"}):
                new["metadata"]["generation"] += 1
        new["metadata"]["resourceVersion"] = now["metadata"]["resourceVersion"]
        if new == now:
            return copy.deepcopy(now)
        gone = "deletionTimestamp" in new["metadata"] and not new["metadata"].get("finalizers")
        return self._record("DELETED" if gone else "MODIFIED", resource, key, new)

    def replace(self, resource, namespace, name, item, subresource=None):
        with self.changed:
            return self._write(resource, namespace, name, item, subresource)

    def merge_patch(self, resource, namespace, name, patch, subresource=None):
        with self.changed:
            now = self.get(resource, namespace, name)
            merged = merge(now, patch)
            if "resourceVersion" not in patch.get("metadata", {}):
                merged["metadata"]["resourceVersion"] = now["metadata"]["resourceVersion"]
            return self._write(resource, namespace, name, merged, subresource)

    def apply(self, resource, namespace, name, item, manager, force, subresource=None):
        with self.changed:
            for field in ("apiVersion", "kind"):
                if not item.get(field):
                    raise Refused(400, "BadRequest", f"invalid object: {field} must be set")
            if item.get("metadata", {}).get("managedFields"):
                raise Refused(400, "BadRequest", "metadata.managedFields must be nil")
            self._check(resource, namespace, item, name)
            key = (resource, namespace, name)
            if key not in self.items:
                if subresource:
                    raise Refused(404, "NotFound", f"{resource.singular_name(name)} not found", name=name)
                bare = {"metadata": {"name": name}}
                self.create(resource, namespace, bare)
                self.history.pop()  # one event tells of both
            now, owners = copy.deepcopy(self.items[key]), self.owners.setdefault(key, {})
            wanted = {part: value for part, value in item.items() if part not in ("apiVersion", "kind")}
            if subresource:
                wanted = {"status": item.get("status", {})}
            paths = {path for path in leaves(wanted) if path and path not in {
                ("metadata", "name"), ("metadata", "namespace"), ("metadata", "resourceVersion"), ("metadata", "uid")}}  # fmt: skip
            for (other, _), owned in owners.items():
                taken = sorted(path for path in paths & owned if other != manager and look(wanted, path) != look(now, path))
                if taken and not force:
                    fields = ", ".join(".".join(("", *path)) for path in taken)
                    raise Refused(409, "Conflict", f'Apply failed with 1 conflict: conflict with "{other}": {fields}')
            if force:
                for who in owners:
                    if who[0] != manager:
                        owners[who] = owners[who] - {path for path in paths if look(wanted, path) != look(now, path)}
            dropped = owners.get((manager, subresource), set()) - paths
            for path in dropped:
                if not any(path in owned for who, owned in owners.items() if who != (manager, subresource)):
                    take_away(now, path)
            version = item.get("metadata", {}).get("resourceVersion") or now["metadata"]["resourceVersion"]
            merged = merge(now, wanted)
            merged["metadata"]["resourceVersion"] = version
            owners[manager, subresource] = paths
            return self._write(resource, namespace, name, merged, subresource)

    def delete(self, resource, namespace, name, options):
        with self.changed:
            now = self.get(resource, namespace, name)
            for field, value in (options.get("preconditions") or {}).items():
                if now["metadata"][field] != value:
                    raise Refused(409, "Conflict", f"Precondition failed: {field} in precondition: {value}")
            key = (resource, namespace, name)
            if not now["metadata"].get("finalizers"):
                return self._record("DELETED", resource, key, now)
            if "deletionTimestamp" not in now["metadata"]:
                now["metadata"]["deletionTimestamp"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
                now["metadata"]["generation"] += 1
                return self._record("MODIFIED", resource, key, now)
            return now
