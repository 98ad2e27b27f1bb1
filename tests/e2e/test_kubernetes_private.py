# SPDX-License-Identifier: Apache-2.0
"""Private images on a node with the DaemonSet: on a cluster of its own, whose node has never had the image from a place where
everybody may read it."""
import pytest

from support import images, oci
from support.pulls import chains
from test_kubernetes_deploy import await_event, layers_of, pod, site, waiting  # noqa: F401 (site: a fixture)

pytestmark = pytest.mark.long


def forget(site, *names):
    """The node has nothing of python's any more, in images or containers: else containerd asks nobody for it."""
    for name in names:
        site.node.remove(name)
    chain = chains(oci.Layout(images.layout("python")).image_config("python")["rootfs"]["diff_ids"])
    site.cluster.wait_for("a node without python", lambda: not any(
        link in site.node.ctr("snapshots", "--snapshotter", "zeropull", "list") for link in chain), 150)  # fmt: skip


def in_namespace(namespace, found, *secrets):
    found["metadata"]["namespace"] = namespace
    found["spec"]["imagePullSecrets"] = [{"name": name} for name in secrets]
    return found


def test_a_private_image_starts_from_its_snapshot_by_the_pods_pull_secret_alone(site):
    """And one namespace's secret opens nothing to another's pods: neither the image, nor what it has in common with a copy
    that they may read."""
    image = site.push_private(images.source("python"), "private")
    copy = site.push(images.source("python"), "copy")
    for namespace in ("team-a", "team-b"):
        site.cluster.kubectl("create", "namespace", namespace)
        site.cluster.wait_for("its account", lambda: site.cluster.is_true("get", "serviceaccount", "default", "-n", namespace))
    site.apply(site.pull_secret("team-a"))
    already = len(site.locked.requests())
    site.apply(in_namespace("team-a", pod("mine", image, ["true"]), "pull"))
    site.wait("wait", "-n", "team-a", "--for=jsonpath={.status.phase}=Succeeded", "pod/mine")
    assert "without downloading" in await_event(site, "mine", "Accelerated", "team-a")
    fetched = site.locked.requests(already)
    assert {digest for digest in layers_of("python") if digest in fetched} == set()
    site.cluster.kubectl("delete", "pod", "mine", "-n", "team-a", "--wait", "--timeout=60s")
    forget(site, image)
    site.apply(in_namespace("team-b", pod("theirs", image, ["true"])))
    site.cluster.wait_for("a refused pull", lambda: waiting(site, "theirs", "team-b")[0] in ("ErrImagePull", "ImagePullBackOff"), 60)
    site.apply(in_namespace("team-b", pod("copied", copy, ["true"])))
    site.wait("wait", "-n", "team-b", "--for=jsonpath={.status.phase}=Succeeded", "pod/copied")
    assert "did not confirm that this puller may read" in await_event(site, "copied", "NotAccelerated", "team-b")
    site.cluster.kubectl("delete", "pod", "copied", "-n", "team-b", "--wait", "--timeout=60s")
    forget(site, copy)
    # who cannot have the image keeps it from nobody
    site.apply(in_namespace("team-a", pod("again", image, ["true"]), "pull"))
    site.wait("wait", "-n", "team-a", "--for=jsonpath={.status.phase}=Succeeded", "pod/again")
    assert "without downloading" in await_event(site, "again", "Accelerated", "team-a")
    site.cluster.kubectl("delete", "namespace", "team-a", "team-b", "--timeout=120s", timeout=150)
