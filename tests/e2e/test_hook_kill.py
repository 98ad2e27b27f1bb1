# SPDX-License-Identifier: Apache-2.0
"""A zeropull-hook that is killed again and again under a stream of events builds every marked image, each once.

ZP_HOOK_KILLS and ZP_HOOK_EVENTS make it longer (100 and 1000 is the promise)."""
import collections
import json
import os
import random
import threading
import time
import urllib.error
import urllib.request

from support import hook as hook_support
from support import oci
from support.hook import fake_builder, until
from support.memory_registry import memory_registry

KILLS = int(os.environ.get("ZP_HOOK_KILLS", "8"))
EVENTS = int(os.environ.get("ZP_HOOK_EVENTS", "120"))
KIND = "application/vnd.docker.distribution.events.v1+json"


def fill(registry):
    """Puts EVENTS images into a repository; returns [(tag, digest)]."""
    repository = registry.repository("acme/app")
    layer = b"layer"
    made = []
    for number in range(EVENTS):
        config = json.dumps(
            {"architecture": "amd64", "os": "linux", "config": {"Env": [f"NUMBER={number}"]},
             "rootfs": {"type": "layers", "diff_ids": [oci.sha256(layer)]}}
        ).encode()  # fmt: skip
        repository.blobs[oci.sha256(config)] = config
        manifest = json.dumps(
            {"schemaVersion": 2, "mediaType": oci.MANIFEST,
             "config": {"mediaType": oci.CONFIG, "digest": oci.sha256(config), "size": len(config)},
             "layers": [{"mediaType": oci.LAYER["gzip"], "digest": oci.sha256(layer), "size": len(layer)}]}
        ).encode()  # fmt: skip
        registry.put_manifest(manifest, tag=f"v{number}", repository="acme/app")
        made.append((f"v{number}", oci.sha256(manifest)))
    return made


def tell(service, host, number, tag, digest):
    """One notification, sent again until it is answered, as the registry does."""
    event = {
        "id": f"event-{number}", "action": "push",
        "target": {"mediaType": oci.MANIFEST, "digest": digest, "repository": "acme/app", "tag": tag},
        "request": {"host": host, "useragent": "docker/24"},
    }  # fmt: skip
    body = json.dumps({"events": [event]}).encode()
    while True:
        request = urllib.request.Request(service.url + "/hooks/distribution", body, {"Content-Type": KIND})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert answer.status in (200, 202)
                return
        except urllib.error.HTTPError as error:
            assert error.code == 503, error.read()
        except OSError:
            pass  # it is being killed
        time.sleep(0.02)


def test_killed_service_builds_every_image_and_each_once(work):
    moments = random.Random(7)
    with memory_registry() as registry:
        marked = fill(registry)
        service = hook_support.Hook(work / "state", builder=fake_builder(work)).start()
        told = threading.Event()

        def tell_all():
            for number, (tag, digest) in enumerate(marked):
                tell(service, registry.host, number, tag, digest)
                if number % 3 == 0:  # some registries tell several times
                    tell(service, registry.host, f"again-{number}", tag, digest)
            told.set()

        teller = threading.Thread(target=tell_all, daemon=True)  # or a failure would wait for it, for ever
        teller.start()
        for _ in range(KILLS):
            time.sleep(moments.uniform(0, 0.4))  # when it is killed, not until something holds
            service.kill()
            service.start()
        until(told.is_set, 600, service.said)
        teller.join()
        service.settle(600)
        builds = collections.Counter()
        before = 1 << 60
        while page := service.builds(before=before):
            assert {build["state"] for build in page} == {"done"}, page
            builds.update(build["digest"] for build in page)
            before = page[-1]["id"]
        assert builds == {digest: 1 for _, digest in marked}
        ran = collections.Counter((work / "state" / "store" / "built").read_text().split())
        assert len(ran) == len(marked)
        # what ran when the service died ran again, and nothing else did
        assert sum(ran.values()) - len(ran) <= KILLS * 2
        service.stop()
