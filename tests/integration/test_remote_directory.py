# SPDX-License-Identifier: Apache-2.0
"""dir: as a remote: what many writers, killed writers and readers without permission to write find there."""
import errno
import json
import os
import random
import shutil
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from support import oci
from support.remote_tool import ARTIFACT, artifact_manifest, command, environment, remote_tool
from support.source_dump import Failure

SUBJECT = {"mediaType": oci.MANIFEST, "digest": oci.sha256(b"image"), "size": 5}


@pytest.fixture
def directory(work):
    (work / "shared").mkdir()
    return work / "shared"


@pytest.fixture
def remote(directory):
    return f"dir:{directory}"


def make_file(path, size, seed=1):
    path.write_bytes(random.Random(seed).randbytes(size))
    return path, oci.sha256(path.read_bytes())


def publish(remote, work, **more):
    body = artifact_manifest(SUBJECT, **more)
    (work / "manifest").write_bytes(body)
    return remote_tool(remote, "publish", work / "manifest"), body


def find(remote, artifact_type=ARTIFACT):
    found = remote_tool(remote, "find", SUBJECT["digest"], artifact_type)
    return found if isinstance(found, Failure) else [artifact["digest"] for artifact in found]


def files_below(directory):
    return sorted(str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file())


class TestContent:
    def test_blobs_come_back(self, remote, work, directory):
        path, digest = make_file(work / "file", 3_000_000)
        (work / "empty").touch()
        stored = remote_tool(remote, "put", path, work / "empty")
        assert stored[0] == {"digest": digest, "size": 3_000_000, "uploaded": 3_000_000, "was_there": False}
        assert remote_tool(remote, "put", path)[0]["was_there"]
        assert remote_tool(remote, "whole", digest, 3_000_000) == {"digest": digest, "size": 3_000_000}
        part = path.read_bytes()[1_234_567 : 1_234_567 + 100_000]
        assert remote_tool(remote, "get", digest, 3_000_000, 1_234_567, 100_000)["digest"] == oci.sha256(part)
        assert remote_tool(remote, "whole", oci.sha256(b""), 0)["size"] == 0
        names = [digest.removeprefix("sha256:"), oci.sha256(b"").removeprefix("sha256:")]
        assert files_below(directory) == sorted(f"blobs/sha256/{name}" for name in names)

    def test_missing_and_damaged_blobs_are_told(self, remote, work, directory):
        path, digest = make_file(work / "file", 100_000)
        assert remote_tool(remote, "whole", digest, 100_000).code == errno.ENOENT
        remote_tool(remote, "put", path)
        stored = directory / "blobs" / "sha256" / digest.removeprefix("sha256:")
        content = bytearray(stored.read_bytes())
        content[50_000] ^= 1
        stored.write_bytes(content)
        failure = remote_tool(remote, "whole", digest, 100_000)
        assert failure.code == errno.EBADMSG and digest in failure.message and str(directory) in failure.message

    def test_artifacts_are_found_by_subject_and_type(self, remote, work):
        assert find(remote) == []
        first, body = publish(remote, work)
        second, _ = publish(remote, work, annotations={"a": "b"})
        publish(remote, work, artifact_type="application/vnd.other")
        assert sorted(find(remote)) == sorted([first, second])
        assert len(find(remote, "application/vnd.other")) == 1
        assert find(remote, "application/vnd.none") == []
        assert remote_tool(remote, "manifest", first, len(body)) == body.decode()

    def test_artifacts_come_oldest_first(self, remote, work, directory):
        digests = [publish(remote, work, annotations={"a": str(i)})[0] for i in range(5)]
        folder = directory / "referrers" / SUBJECT["digest"].removeprefix("sha256:") / ARTIFACT
        for age, digest in enumerate(digests):
            os.utime(folder / digest.removeprefix("sha256:"), (1000 - age, 1000 - age))
        assert find(remote) == digests[::-1]

    def test_publishing_again_changes_nothing(self, remote, work, directory):
        publish(remote, work)
        before = {name: (directory / name).stat() for name in files_below(directory)}
        publish(remote, work)
        assert {name: (directory / name).stat() for name in files_below(directory)} == before


class TestManyWriters:
    def test_one_blob_by_many(self, remote, work, directory):
        path, digest = make_file(work / "file", 5_000_000)
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(lambda _: remote_tool(remote, "put", path), range(16)))
        assert not any(isinstance(result, Failure) for result in results)
        assert files_below(directory) == [f"blobs/sha256/{digest.removeprefix('sha256:')}"]

    def test_no_artifact_is_lost(self, remote, work):
        def one(number):
            (work / str(number)).mkdir()
            return publish(remote, work / str(number), annotations={"number": str(number)})[0]

        with ThreadPoolExecutor(8) as pool:
            digests = list(pool.map(one, range(24)))
        assert sorted(find(remote)) == sorted(digests)


class TestKilled:
    def test_nothing_half_is_ever_seen_and_the_next_put_tidies(self, remote, work, directory):
        """kill -9 after ever longer times, until a put survives."""
        path, digest = make_file(work / "file", 60_000_000)
        killed = 0
        for round_number in range(1, 400):
            process = subprocess.Popen(
                command(remote, "put", path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()
            )
            try:
                process.wait(round_number * 0.02)
                break
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                killed += 1
            if remote_tool(remote, "has", digest, 60_000_000) is True:
                assert remote_tool(remote, "whole", digest, 60_000_000)["digest"] == digest
                shutil.rmtree(directory / "blobs")
        assert killed > 3
        assert remote_tool(remote, "whole", digest, 60_000_000)["digest"] == digest
        other, _ = make_file(work / "other", 1000, seed=2)
        remote_tool(remote, "put", other)
        assert list((directory / "tmp").iterdir()) == []

    def test_a_cancelled_put_leaves_nothing(self, remote, work, directory):
        path, digest = make_file(work / "file", 100_000_000)
        failure = remote_tool(remote, "put", path, options=("-t", 100))
        if isinstance(failure, Failure):  # or it was faster
            assert failure.code == errno.ECANCELED
            assert files_below(directory) == []


class TestAccess:
    @pytest.fixture
    def read_only(self, directory, work):
        if os.geteuid() != 0:
            pytest.skip("mounting needs root")
        (work / "view").mkdir()
        subprocess.run(["mount", "--bind", "-o", "ro", directory, work / "view"], check=True)
        yield f"dir:{work / 'view'}"
        subprocess.run(["umount", work / "view"], check=True)

    def test_readers_need_not_write(self, remote, read_only, work, directory):
        path, digest = make_file(work / "file", 100_000)
        remote_tool(remote, "put", path)
        published, body = publish(remote, work)
        before = files_below(directory)
        assert remote_tool(read_only, "has", digest, 100_000) is True
        assert remote_tool(read_only, "whole", digest, 100_000)["digest"] == digest
        assert find(read_only) == [published]
        assert remote_tool(read_only, "manifest", published, len(body)) == body.decode()
        other, _ = make_file(work / "other", 1000, seed=2)
        failure = remote_tool(read_only, "put", other)
        assert failure.code == errno.EROFS and "view" in failure.message
        assert files_below(directory) == before

    def test_a_file_where_a_folder_should_be_is_told(self, remote, work, directory):
        (directory / "blobs").write_text("")
        path, _ = make_file(work / "file", 1000)
        failure = remote_tool(remote, "put", path)
        assert failure.code == errno.ENOTDIR and "blobs" in failure.message

    def test_a_full_disk_is_told_and_leaves_nothing(self, work):
        if os.geteuid() != 0:
            pytest.skip("mounting needs root")
        (work / "small").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", work / "small"], check=True)
        try:
            path, _ = make_file(work / "file", 3_000_000)
            failure = remote_tool(f"dir:{work / 'small'}", "put", path)
            assert failure.code == errno.ENOSPC and failure.hint
            assert files_below(work / "small") == []
        finally:
            subprocess.run(["umount", work / "small"], check=True)

    def test_strange_files_among_artifacts_are_ignored(self, remote, work, directory):
        digest, _ = publish(remote, work)
        folder = directory / "referrers" / SUBJECT["digest"].removeprefix("sha256:") / ARTIFACT
        (folder / "README").write_text("hello")
        (folder / ("0" * 64)).mkdir()
        (folder / ("1" * 64)).symlink_to("/etc/passwd")
        assert find(remote) == [digest]

    def test_a_manifest_that_was_changed_is_refused(self, remote, work, directory):
        digest, body = publish(remote, work)
        stored = directory / "blobs" / "sha256" / digest.removeprefix("sha256:")
        stored.write_bytes(json.dumps({"x": "y"}).encode().ljust(len(body)))
        assert remote_tool(remote, "manifest", digest, len(body)).code == errno.EBADMSG
