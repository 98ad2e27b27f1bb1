# SPDX-License-Identifier: Apache-2.0
"""The same mistake has the same exit code in every command: zeropull(1)'s table, command by command."""
import os
import shutil
import socket

import pytest

from support import oci, ship
from support.memory_registry import memory_registry
from support.zeropull import FAILED, NOT_FOUND, REFUSED, USAGE, Zeropull, error_lines

ROOT = os.geteuid() == 0


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


class World:
    """An image in a registry and its snapshot, signed, beside it; in a store; and things that are wrong."""

    def __init__(self, server, work):
        self.server, self.work = server, work
        self.layout = oci.Layout(work / "layout")
        ship.make_image(self.layout, "app", ship.fill_base, ship.fill_bare)
        self.names = {"IMAGE": ship.put_image(server, self.layout, "app"), "WORK": str(work), "LAYOUT": str(work / "layout")}
        self.store = Zeropull(work / "store")
        for name in ("own", "other"):
            self.store.ok("key", "generate", str(work / name))
        self.store.ok("build", "--push", "--sign-key", str(work / "own"), self.names["IMAGE"])
        self._add_mistakes()

    def _add_mistakes(self):
        work, server = self.work, self.server
        self.away = socket.socket()  # bound, so that nobody else is there, and not listening
        self.away.bind(("127.0.0.1", 0))
        self.names["AWAY"] = f"127.0.0.1:{self.away.getsockname()[1]}"
        self.names["HOST"] = server.host
        (work / "text").write_text("this is no image, no key, and no policy\n")
        (work / "empty").mkdir()
        (work / "mnt").mkdir()
        for name, text in ("hosts-malformed", "server = 5\n"), ("hosts-without-ca", 'server = "http://registry.example"\nca = "/nonexistent"\n'):
            (work / name / "_default").mkdir(parents=True)
            (work / name / "_default" / "hosts.toml").write_text(text)
        chart = b'{"schemaVersion":2,"mediaType":"%s","config":{"mediaType":"application/vnd.cncf.helm.config.v1+json",' \
            b'"digest":"%s","size":2},"layers":[]}' % (oci.MANIFEST.encode(), oci.sha256(b"{}").encode())  # fmt: skip
        server.repository().blobs[oci.sha256(b"{}")] = b"{}"
        server.put_manifest(chart, "chart")
        shutil.copytree(self.store.store, work / "damaged-data")
        shutil.copytree(self.store.store, work / "damaged-metadata")
        shutil.copytree(work / "layout", work / "damaged-layout")
        flip(max((work / "damaged-data").glob("devices/*/device.zst"), key=lambda path: path.stat().st_size))
        flip(next((work / "damaged-metadata").glob("images/*/snapshot.erofs")))
        flip(max((work / "damaged-layout" / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size))

    def run(self, store, command):
        arguments = command.split()
        for name, value in self.names.items():
            arguments = [argument.replace(name, value) for argument in arguments]
        if command.startswith(("pull", "build oci:")):
            store = "empty-store"  # what is there already needs nothing
        return Zeropull(self.work / store).run(*arguments, timeout=120)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with memory_registry() as server:
        yield World(server, tmp_path_factory.mktemp("exit-codes"))


# (mistake, exit code, [command lines])
TABLE = [
    ("file that is not there", FAILED, [
        "build --profile WORK/none IMAGE", "build --auth-file WORK/none IMAGE", "build --ca-file WORK/none IMAGE",
        "build --push --sign-key WORK/none IMAGE",
        "push --sign-key WORK/none IMAGE", "push --auth-file WORK/none IMAGE", "pull --key WORK/none IMAGE",
        "pull --ca-file WORK/none IMAGE", "verify --key WORK/none IMAGE", "verify --ca-file WORK/none IMAGE",
        "key show WORK/none", "key generate WORK/none/key", "key generate --passphrase-file WORK/none WORK/new",
        "profile merge WORK/none", "profile merge WORK/empty-profile WORK/none", "rpull --auth-file WORK/none IMAGE",
        "push IMAGE dir:WORK/none", "pull IMAGE --from dir:WORK/none", "build --push=dir:WORK/none --rebuild IMAGE",
        "verify --key WORK/own.pub --from dir:WORK/none IMAGE", "profile merge WORK/empty-profile -o WORK/none/x", "export IMAGE WORK/none/x", "umount WORK/none", "status --config WORK/none",
        *(["mount IMAGE WORK/none", "profile record IMAGE -o WORK/none/x"] if ROOT else []),
    ]),
    ("hosts.toml that is malformed, or names a file that is not there", FAILED, [
        f"{command} --hosts-dir WORK/hosts-{wrong} IMAGE" for wrong in ("malformed", "without-ca")
        for command in ("build --rebuild", "pull", "push", "verify --key WORK/own.pub", "rpull --address WORK/none.sock")
    ]),
    ("policy that is not there: nothing is accepted", REFUSED, ["pull --policy WORK/none IMAGE"]),
    ("image that is not there", NOT_FOUND, [
        "build docker://HOST/a/b:none", "build docker://HOST/none/none:x", "build oci:WORK/none:x", "build oci:LAYOUT:none",
        "build docker-archive:WORK/none", "build oci-archive:WORK/none", "build --platform linux/s390x IMAGE",
        "build --base docker://HOST/a/b:none --rebuild IMAGE", "pull docker://HOST/a/b:none", "pull oci:WORK/none:x --from dir:WORK/empty",
        "pull IMAGE --from dir:WORK/empty", "push docker://HOST/a/b:none", "inspect none:x", "ls none:x", "cat none:x /etc/passwd",
        "verify none:x", "export none:x WORK/x", "remove none:x", "ls IMAGE /none", "cat IMAGE /none",
        *(["mount none:x WORK/mnt", "profile record none:x"] if ROOT else []),
    ]),
    ("not an image", REFUSED, [
        "build docker://HOST/a/b:chart", "build docker-archive:WORK/text", "build oci-archive:WORK/text", "build oci:WORK/empty:x",
        "pull docker://HOST/a/b:chart", "pull docker-archive:WORK/text --from dir:WORK/empty",
        "pull oci:WORK/empty:x --from dir:WORK/empty",
    ]),
    ("registry that does not answer", FAILED, [
        "build docker://AWAY/a/b:x", "pull docker://AWAY/a/b:x", "pull IMAGE --from docker://AWAY/a/b",
        "push IMAGE docker://AWAY/a/b", "build --push=docker://AWAY/a/b --rebuild IMAGE",
        "verify --key WORK/own.pub --from docker://AWAY/a/b IMAGE", "rpull --address WORK/none.sock docker://AWAY/a/b:x",
    ]),
    ("wrong key", REFUSED, [
        "pull --key WORK/other.pub IMAGE", "verify --key WORK/other.pub IMAGE", "verify --key WORK/own.pub --key WORK/other.pub IMAGE",
    ]),
    ("file that is no key, or the wrong half of one", FAILED, [
        "pull --key WORK/text IMAGE", "pull --key WORK/own IMAGE", "verify --key WORK/text IMAGE", "verify --key WORK/own IMAGE",
        "push --sign-key WORK/text IMAGE", "push --sign-key WORK/own.pub IMAGE", "build --push --sign-key WORK/text IMAGE",
        "build --push --sign-key WORK/own.pub IMAGE", "key show WORK/text",
    ]),
    ("policy that is none: nothing is accepted", REFUSED, ["pull --policy WORK/text IMAGE"]),
    ("damaged source", REFUSED, ["build oci:WORK/damaged-layout:app"]),
    ("wrong option", USAGE, [
        *(f"{command} --none" for command in (
            "build x", "list", "inspect x", "ls x", "cat x y", "verify", "mount x y", "umount x", "export x y", "remove x", "prune",
            "profile record x", "push x", "pull x", "rpull x", "key show x",
        )),
        "build", "inspect", "ls", "cat x", "mount x", "umount", "export x", "remove", "profile", "push", "pull", "rpull", "key",
        "list x", "prune x", "none", "profile play x", "key erase x", "build --threads 0 IMAGE", "build --level 99 IMAGE",
        "build --frame-size 5 IMAGE", "build --platform a IMAGE", "build --tls-verify=perhaps IMAGE", "pull --threads 0 IMAGE",
        "push --threads x IMAGE", "verify --threads 0 IMAGE", "pull --platform a IMAGE", "build docker://UPPER/A:x",
        "pull docker://UPPER/A:x", "rpull docker://UPPER/A:x", "push IMAGE none:", "pull IMAGE --from none:",
        "verify --from dir:x IMAGE", "push --passphrase-file x IMAGE", "build --sign-key x IMAGE",
        *(["profile record --seconds x IMAGE"] if ROOT else []),
    ]),
]  # fmt: skip


@pytest.mark.parametrize("command, code", [
    pytest.param(command, code, id=f"{mistake}-{command}") for mistake, code, commands in TABLE for command in commands
])  # fmt: skip
def test_a_mistake_has_its_code(world, command, code):
    (world.work / "empty-profile").write_text("")
    result = world.run("store", command)
    assert result.returncode == code, result.stderr
    assert len(error_lines(result.stderr)) == 1, result.stderr


@pytest.mark.parametrize("command", [
    "list", "inspect x", "ls x", "cat x y", "verify", "export x WORK/x", "remove x", "prune", "push x",
    *(["mount x WORK/mnt", "profile record x"] if ROOT else []),
])  # fmt: skip
def test_a_store_that_is_not_there_is_not_found(world, command):
    assert world.run("no-store", command).returncode == NOT_FOUND


# What was found is the answer of verify, whose code is 1; the others refuse to go on.
@pytest.mark.parametrize("store, command, code", [
    ("damaged-data", "verify", FAILED),
    ("damaged-data", "verify --key WORK/own.pub IMAGE", FAILED),
    ("damaged-data", "cat IMAGE /data/noise", REFUSED),
    ("damaged-data", "export IMAGE WORK/disk", REFUSED),
    ("damaged-metadata", "verify", FAILED),
    ("damaged-metadata", "ls IMAGE", REFUSED),
    ("damaged-metadata", "cat IMAGE /data/text", REFUSED),
    ("damaged-metadata", "export IMAGE WORK/disk", REFUSED),
    ("damaged-metadata", "push IMAGE dir:WORK/empty", REFUSED),
    *([("damaged-data", "mount IMAGE WORK/mnt", REFUSED), ("damaged-metadata", "mount IMAGE WORK/mnt", REFUSED),
       ("damaged-metadata", "profile record IMAGE", REFUSED)] if ROOT else []),
])  # fmt: skip
def test_damage_is_refused(world, store, command, code):
    result = world.run(store, command)
    assert result.returncode == code, result.stderr


def test_damage_there_is_refused(world):
    """What a registry sends is not what was published."""
    blobs = world.server.repository().blobs
    pack = max((blob for blob in blobs if len(blobs[blob]) > 1_000_000), key=lambda blob: len(blobs[blob]))
    good = blobs[pack]
    try:
        for name, body in list(blobs.items()):
            blobs[name] = body[: len(body) // 2] + bytes([body[len(body) // 2] ^ 1]) + body[len(body) // 2 + 1 :] if body else body
        assert world.run("fresh", "pull IMAGE").returncode == REFUSED
        assert world.run("fresh", "build --rebuild IMAGE").returncode == REFUSED
    finally:
        for name in blobs:
            blobs[name] = blobs[name] if name != pack else good
