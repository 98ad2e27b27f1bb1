# SPDX-License-Identifier: Apache-2.0
"""A world for zeropull-controller without nodes or Jobs' controller: a fake API server, a registry, and a test that ends the
Jobs when it wants them to end."""
import json
from contextlib import contextmanager

from .controller import controller, push_tiny, snapshot_of, until
from .fake_kubernetes import fake_kubernetes
from .registry import registry

CONFIG = {"platforms": ["linux/amd64"], "cleanup-timeout": "1h", "job": {"image": "x", "concurrency": 1}}


class Objects:
    """Of one kind, in one namespace."""

    def __init__(self, kube, plural, namespace="a"):
        self.objects, self.resource, self.namespace = kube.objects, kube.resource(plural), namespace

    def create(self, name, labels=None, **more):
        return self.objects.create(self.resource, self.namespace, {"metadata": {"name": name, "labels": labels or {}}, **more})

    def get(self, name):
        return self.objects.get(self.resource, self.namespace, name)

    def list(self):
        return self.objects.list(self.resource, self.namespace)[0]

    def patch(self, name, patch, subresource=None):
        return self.objects.merge_patch(self.resource, self.namespace, name, patch, subresource)

    def delete(self, name):
        self.objects.delete(self.resource, self.namespace, name, {})


class ControllerWorld:
    def __init__(self, directory, kube, server):
        self.directory, self.kube, self.server = directory, kube, server
        self.snapshots, self.jobs, self.pods = (Objects(kube, kind) for kind in ("imagesnapshots", "jobs", "pods"))
        self.digests = {}

    def image(self, repository):
        """A name; the image is there."""
        image = f"{self.server.host}/{repository}:latest"
        self.digests[image] = push_tiny(self.server, repository, salt=repository)
        return image

    def snapshot(self, name, image, **spec):
        self.snapshots.create(name, spec={"images": [image], **spec})

    def look(self, name):
        """(reason of Ready, phase, reason of the image)"""
        status = self.snapshots.get(name).get("status", {})
        ready = [c["reason"] for c in status.get("conditions", []) if c["type"] == "Ready"]
        (image,) = status.get("images") or [{}]
        return (*(ready or [None]), image.get("phase"), image.get("reason", ""))

    def wait(self, name, *seen):
        """Until the last words of look() are these."""
        until(lambda: self.look(name)[-len(seen) :] == seen, explain=lambda: json.dumps(self.snapshots.get(name), indent=1))

    def job(self, image):
        """The name of the Job that builds it, or None."""
        found = [job["metadata"]["name"] for job in self.jobs.list() if job["metadata"]["annotations"]["zeropull.dev/image"] == image]
        assert len(found) <= 1
        return (*found, None)[0]

    def wait_for_job(self, image):
        return until(lambda: self.job(image), explain=lambda: f"no Job for {image}")

    def pod(self, image, node="n", **state):
        """The pod of its Job is there, its container in this state; returns its name."""
        job = self.wait_for_job(image)
        name = f"{job}-x"
        if name not in [pod["metadata"]["name"] for pod in self.pods.list()]:
            self.pods.create(name, labels={"job-name": job}, spec={"nodeName": node})
        self.pods.patch(name, {"status": {"containerStatuses": [{"name": "build", "state": state}]}}, "status")
        return name

    def end(self, image):
        """Its Job ends well."""
        said = json.dumps({"snapshot": snapshot_of(self.digests[image]), "snapshotSize": 42})
        self.pod(image, terminated={"exitCode": 0, "message": said})
        self.jobs.patch(self.job(image), {"status": {"conditions": [{"type": "Complete", "status": "True"}]}}, "status")

    def controller(self, **more):
        return controller(self.directory / "controller", self.kube.kubeconfig(), {**CONFIG, **more})


def add_node(world):
    nodes = Objects(world.kube, "nodes", "")
    nodes.create("n", labels={"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"})
    nodes.patch("n", {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}, "status")


@contextmanager
def controller_world(directory):
    with fake_kubernetes(directory) as kube, registry(directory / "registry") as server:
        yield ControllerWorld(directory, kube, server)
