# SPDX-License-Identifier: Apache-2.0
"""Blobs that are sent while they are being made."""
import errno
import random

import pytest

from support import oci
from support.cutting_proxy import cutting_proxy
from support.memory_registry import memory_registry
from support.registry import registry
from support.remote_tool import remote_tool
from support.source_dump import Failure
from support.versitygw import versitygw

MIB = 1 << 20
CHUNK = 16 * MIB
SIZE = 2 * CHUNK + 5 * MIB + 1
SIZES = [0, 1, 100_000, CHUNK, CHUNK + 1, SIZE]


@pytest.fixture(scope="module")
def content():
    return random.Random(7).randbytes(SIZE)


@pytest.fixture
def file(tmp_path, content):
    def make(size=SIZE):
        (tmp_path / "file").write_bytes(content[:size])
        return tmp_path / "file"

    return make


def check(answer, remote, content):
    assert not isinstance(answer, Failure), answer
    digest = oci.sha256(content)
    assert answer["digest"] == digest
    assert remote_tool(remote, "whole", digest, len(content)) == {"digest": digest, "size": len(content)}


def cut_after(size):
    def fault(handler):
        handler.rfile.read(size)
        handler.hang_up()
        return True

    return fault


def answer(status, body=b"", *headers):
    return lambda handler: handler.answer(status, body, headers) or True


class TestRegistry:
    @pytest.fixture(scope="class")
    def real(self, tmp_path_factory):
        with registry(tmp_path_factory.mktemp("registry")) as server:
            yield server

    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("step", [3 * MIB, 64 * MIB])
    def test_real_registry_has_it_in_the_end(self, real, file, content, size, step):
        remote = f"docker://{real.host}/s{size}/s{step}"
        check(remote_tool(remote, "stream", file(size), step), remote, content[:size])

    @pytest.mark.parametrize("after", [200_000, 22 * MIB, 38 * MIB])
    def test_real_registry_has_it_after_cut_connections(self, real, file, content, after):
        remote = f"docker://{real.host}/cut/after{after}"
        with cutting_proxy(real.host, after, 2) as host:
            check(remote_tool(f"docker://{host}/cut/after{after}", "stream", file(), MIB), remote, content)

    def test_bytes_are_sent_before_the_last_is_made(self, file, content, tmp_path):
        """The second half is made only when a chunk has come."""
        with memory_registry() as server:
            server.inject("PATCH", lambda handler: (tmp_path / "gate").touch())
            check(remote_tool(server.remote(), "stream", file(), MIB, tmp_path / "gate"), server.remote(), content)
            sizes = [int(r.headers["Content-Length"]) for r in server.seen("PATCH")]
            assert sizes == [CHUNK, CHUNK, 5 * MIB + 1]

    def test_cut_chunk_goes_on_where_the_registry_says(self, file, content):
        with memory_registry() as server:

            def keep_part(handler):
                session = handler.path.rpartition("/")[2].partition("?")[0]
                server.uploads[session] += handler.rfile.read(MIB)
                handler.hang_up()
                return True

            server.inject("PATCH", keep_part)
            check(remote_tool(server.remote(), "stream", file(), MIB), server.remote(), content)
            starts = [int(r.headers["Content-Range"].partition("-")[0]) for r in server.seen("PATCH")]
            assert starts == [0, MIB, MIB + CHUNK, MIB + 2 * CHUNK] and len(server.seen("POST")) == 1

    def test_lost_session_is_begun_again(self, file, content):
        with memory_registry() as server:
            server.inject("PATCH", lambda handler: False, answer(404))
            check(remote_tool(server.remote(), "stream", file(), MIB), server.remote(), content)
            assert len(server.seen("POST")) == 2

    def test_registry_without_chunks_gets_it_at_once_at_the_end(self, file, content):
        with memory_registry(chunks=False) as server:
            check(remote_tool(server.remote(), "stream", file(), MIB), server.remote(), content)

    def test_small_blob_is_sent_in_one_request(self, file, content):
        with memory_registry() as server:
            check(remote_tool(server.remote(), "stream", file(100_000), 999), server.remote(), content[:100_000])
            assert not server.seen("PATCH") and len(server.seen("PUT")) == 1

    def test_small_blob_that_is_there_is_not_sent(self, file):
        with memory_registry() as server:
            remote_tool(server.remote(), "put", file(100_000))
            assert remote_tool(server.remote(), "stream", file(100_000), 999)["uploaded"] == 0

    def test_blob_that_is_never_complete_is_not_stored(self, file):
        with memory_registry() as server:
            failure = remote_tool(server.remote(), "stream", file(), 0)
            assert failure.code == errno.EIO and "never be complete" in failure.message
            assert not server.repository().blobs and not server.seen("PUT")


class TestDirectory:
    @pytest.mark.parametrize("size", SIZES)
    def test_it_is_there_in_the_end_and_nothing_else(self, tmp_path, file, content, size):
        (tmp_path / "d").mkdir()
        check(remote_tool(f"dir:{tmp_path}/d", "stream", file(size), 700_001), f"dir:{tmp_path}/d", content[:size])
        assert len([p for p in (tmp_path / "d").rglob("*") if p.is_file()]) == 1

    def test_blob_that_is_never_complete_leaves_nothing(self, tmp_path, file):
        (tmp_path / "d").mkdir()
        assert remote_tool(f"dir:{tmp_path}/d", "stream", file(), 0).code == errno.EIO
        assert not [p for p in (tmp_path / "d").rglob("*") if p.is_file()]


class TestObjectStorage:
    @pytest.fixture
    def remote(self, tmp_path, monkeypatch):
        with versitygw(tmp_path) as s3:
            for name in ("AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_S3"):
                monkeypatch.delenv(name, raising=False)
            for name, value in s3.environment.items():
                monkeypatch.setenv(name, value)
            s3.bucket("bucket")
            yield "s3://bucket/prefix"

    def test_it_is_there_in_the_end(self, remote, file, content):
        check(remote_tool(remote, "stream", file(), MIB), remote, content)
        assert remote_tool(remote, "stream", file(), MIB)["uploaded"] == 0

    def test_blob_that_is_never_complete_is_not_stored(self, remote, file):
        assert remote_tool(remote, "stream", file(), 0).code == errno.EIO
