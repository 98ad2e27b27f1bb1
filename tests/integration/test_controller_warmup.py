# SPDX-License-Identifier: Apache-2.0
"""What zeropull-controller tells the nodes of an ImageSnapshot that is to be there before its pods are."""
import pytest

from support.controller import until
from support.controller_world import Objects, controller_world


@pytest.fixture
def world(work):
    with controller_world(work) as world:
        yield world


def test_nodes_are_told_of_the_pull_secrets_of_the_objects_service_account(world):
    image = world.image("app")
    accounts, nodes, caches = (Objects(world.kube, kind, space) for kind, space in (
        ("serviceaccounts", "a"), ("nodes", ""), ("nodesnapshotcaches", "")))  # fmt: skip
    nodes.create("n", labels={"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"})
    nodes.patch("n", {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}, "status")
    accounts.create("builder", imagePullSecrets=[{"name": "account"}, {"name": "own"}])
    unread = world.kube.add_fault(path="/serviceaccounts/builder", status=500, times=1)
    with world.controller():
        world.snapshot("app", image, pullSecrets=[{"name": "own"}], serviceAccountName="builder", warmUp={})
        world.end(image)
        world.wait("app", "Ready", "")

        def secrets():
            images = [wanted for cache in caches.list() for wanted in cache["spec"].get("images", [])]
            return [[secret["name"] for secret in wanted["pullSecrets"] if secret["namespace"] == "a"] for wanted in images]

        until(lambda: secrets() == [["own", "account"]], explain=lambda: str(caches.list()))
        (role,) = Objects(world.kube, "roles").list()
        assert [rule["resourceNames"] for rule in role["rules"]] == [["own", "account"]]
        assert unread.happened == 1
