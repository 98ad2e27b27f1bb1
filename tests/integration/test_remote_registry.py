# SPDX-License-Identifier: Apache-2.0
"""docker:// as a remote: against real registries, and against one that misbehaves in every way we know of."""
import base64
import errno
import json
import random
import re
import subprocess
import threading
import time
from pathlib import Path

import pytest

from support import oci
from support.cutting_proxy import cutting_proxy
from support.fault_registry import Tokens
from support.memory_registry import memory_registry
from support.registry import distribution_3, registry
from support.remote_tool import (
    ARTIFACT,
    EMPTY,
    artifact_manifest,
    command,
    descriptor,
    environment,
    remote_tool,
)
from support.serving import hang_up
from support.source_dump import Failure

MIB = 1 << 20
CHUNK = 16 * MIB  # of an upload
SUBJECT = descriptor(b'{"an":"image"}', oci.MANIFEST)
TAG = SUBJECT["digest"].replace(":", "-")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """name: path, of blobs to put."""
    directory = tmp_path_factory.mktemp("files")
    contents = {
        "empty": b"",
        "config": EMPTY,
        "small": random.Random(1).randbytes(3_000_000),
        "big": random.Random(2).randbytes(2 * CHUNK + 5 * MIB + 1),
    }
    for name, content in contents.items():
        (directory / name).write_bytes(content)
    return {name: directory / name for name in contents}


def content(files, name):
    return files[name].read_bytes()


def digest(files, name):
    return oci.sha256(content(files, name))


def put(server, files, *names, **options):
    return remote_tool(server.remote(), "put", *[files[name] for name in names], **options)


def check_blob(server, files, name, repository="a/b"):
    assert server.repository(repository).blobs[digest(files, name)] == content(files, name)


def published(manifest):
    return {
        "digest": oci.sha256(manifest),
        "size": len(manifest),
        "mediaType": oci.MANIFEST,
        "artifactType": json.loads(manifest)["artifactType"],
    }


def publish(remote, tmp_path, manifest, **options):
    file = tmp_path / "manifest"
    file.write_bytes(manifest)
    return remote_tool(remote, "publish", file, **options)


def find(remote, artifact_type=ARTIFACT, subject=SUBJECT):
    return remote_tool(remote, "find", subject["digest"], artifact_type)


class TestNames:
    @pytest.mark.parametrize(
        "name,expected",
        [
            ("docker://localhost:5000/a/b", "docker://localhost:5000/a/b"),
            ("docker://busybox", "docker://docker.io/library/busybox"),
            ("docker://ghcr.io/a/b", "docker://ghcr.io/a/b"),
        ],
    )
    def test_name_is_normalised(self, name, expected):
        assert remote_tool(name, "name") == expected

    @pytest.mark.parametrize(
        "name",
        [
            "docker://", "docker://localhost:5000", "docker://h.example/a:tag", "docker://h.example/A",
            f"docker://h.example/a@sha256:{'0' * 64}", "ftp://h/a", "h.example/a",
        ],
    )  # fmt: skip
    def test_what_is_no_repository_is_refused(self, name):
        assert remote_tool(name, "name").code == errno.EINVAL


@pytest.fixture(scope="module", params=["docker-registry", "distribution 3"])
def real(request, tmp_path_factory):
    program = "docker-registry" if request.param == "docker-registry" else distribution_3()
    with registry(tmp_path_factory.mktemp("registry"), program=program) as server:
        yield server


class TestRealRegistry:
    def test_blobs_go_there_and_come_back(self, real, files):
        remote = f"docker://{real.host}/round/trip"
        for entry in remote_tool(remote, "put", *files.values()):
            assert not entry["was_there"] and entry["uploaded"] == entry["size"]
        for name in files:
            size = len(content(files, name))
            assert remote_tool(remote, "has", digest(files, name), size) is True
            assert remote_tool(remote, "whole", digest(files, name), size) == {
                "digest": digest(files, name),
                "size": size,
            }
        assert all(entry["was_there"] for entry in remote_tool(remote, "put", *files.values()))

    def test_parts_are_read(self, real, files):
        remote, blob = f"docker://{real.host}/parts", content(files, "small")
        remote_tool(remote, "put", files["small"])
        for offset, length in [(0, 1), (0, len(blob)), (1000, 2_000_000), (len(blob) - 1, 1), (5, 0)]:
            part = remote_tool(remote, "get", oci.sha256(blob), len(blob), offset, length)
            assert part == {"digest": oci.sha256(blob[offset : offset + length]), "size": length}

    def test_unknown_blob_and_repository_are_told(self, real, files):
        remote = f"docker://{real.host}/nothing/here"
        assert remote_tool(remote, "has", digest(files, "small"), 3_000_000) is False
        assert remote_tool(remote, "whole", digest(files, "small"), 3_000_000).code == errno.ENOENT
        assert find(remote) == []

    def test_blob_of_another_repository_is_mounted(self, real, files):
        remote_tool(f"docker://{real.host}/source", "put", files["small"])
        target = f"docker://{real.host}/target"
        assert remote_tool(target, "put", files["small"], options=["-m", "source"])[0]["uploaded"] == 0
        assert remote_tool(target, "has", digest(files, "small"), 3_000_000) is True
        other = remote_tool(target, "put", files["big"], options=["-m", "no/such"])
        assert other[0]["uploaded"] == len(content(files, "big"))

    def test_artifact_is_published_beside_its_image(self, real, files, tmp_path):
        """The image stays what it was, and skopeo copies the artifact."""
        layout = oci.Layout(tmp_path / "layout")
        layer = layout.add_raw_layer(oci.compress(oci.tar_bytes(lambda tar: tar.file("x", b"x")), "gzip"))
        image = layout.add_image("latest", [layer])
        real.push(f"oci:{layout.directory}:latest", "beside")
        remote = f"docker://{real.host}/beside"
        subject = {"mediaType": oci.MANIFEST, "digest": image, "size": (layout.blobs / image[7:]).stat().st_size}
        manifests = [artifact_manifest(subject, [content(files, "small")], annotations={"n": n}) for n in "12"]
        remote_tool(remote, "put", files["config"], files["small"])
        assert find(remote, subject=subject) == []
        for manifest in [*manifests, manifests[0]]:
            assert publish(remote, tmp_path, manifest) == oci.sha256(manifest)
        assert find(remote, subject=subject) == [published(manifest) for manifest in manifests]
        assert find(remote, "application/vnd.other", subject=subject) == []
        first = published(manifests[0])
        assert remote_tool(remote, "manifest", first["digest"], first["size"]) == manifests[0].decode()

        copy = tmp_path / "copy"
        subprocess.run(
            ["skopeo", "copy", "--quiet", "--src-tls-verify=false", f"{remote}@{first['digest']}", f"oci:{copy}"],
            check=True,
        )
        assert (copy / "blobs" / "sha256" / first["digest"][7:]).read_bytes() == manifests[0]
        assert (copy / "blobs" / "sha256" / digest(files, "small")[7:]).read_bytes() == content(files, "small")
        raw = subprocess.run(
            ["skopeo", "inspect", "--raw", "--tls-verify=false", f"{remote}:latest"], check=True, capture_output=True
        ).stdout
        assert oci.sha256(raw) == image

    def test_manifest_without_its_blobs_is_refused(self, real, tmp_path):
        failure = publish(f"docker://{real.host}/halves", tmp_path, artifact_manifest(SUBJECT, [b"missing"]))
        assert "MANIFEST_BLOB_UNKNOWN" in failure.message

    def test_two_publishers_at_once_keep_both_entries(self, real, files, tmp_path):
        """Under two names for the same registry they do not know of each other."""
        names = [f"docker://127.0.0.1:{real.host.split(':')[1]}", f"docker://localhost:{real.host.split(':')[1]}"]
        remote_tool(f"{names[0]}/race", "put", files["config"])
        for run in range(20):
            subject = descriptor(f"image {run}".encode(), oci.MANIFEST)
            manifests = [artifact_manifest(subject, annotations={"by": name}) for name in names]
            processes = []
            for i, (name, manifest) in enumerate(zip(names, manifests, strict=True)):
                (tmp_path / f"m{i}").write_bytes(manifest)
                arguments = command(f"{name}/race", "publish", tmp_path / f"m{i}")
                processes.append(subprocess.Popen(arguments, stdout=subprocess.DEVNULL, env=environment()))
            assert [process.wait(60) for process in processes] == [0, 0]
            found = find(f"{names[0]}/race", subject=subject)
            assert sorted(f["digest"] for f in found) == sorted(map(oci.sha256, manifests)), f"run {run}"


@pytest.fixture(params=[200_000, CHUNK + 5 * MIB, 2 * CHUNK + 6 * MIB - 100])
def cut_off(request, real):
    """A proxy in front of the registry: its first connections end after so many bytes to the registry."""
    with cutting_proxy(real.host, request.param, cuts=2) as host:
        yield host


class TestRealRegistryBehindBrokenLine:
    def test_upload_survives_cut_connections(self, cut_off, tmp_path):
        file = tmp_path / "file"
        file.write_bytes(random.randbytes(2 * CHUNK + 5 * MIB + 1))
        remote = f"docker://{cut_off}/cut"
        assert not isinstance(remote_tool(remote, "put", file), Failure)
        blob = oci.sha256_file(file)
        assert remote_tool(remote, "whole", blob, file.stat().st_size)["digest"] == blob


class TestBasic:
    def test_credentials_are_needed_and_used(self, files, tmp_path):
        with registry(tmp_path, users={"alice": "s3cret"}) as server:
            remote = f"docker://{server.host}/a/b"
            assert remote_tool(remote, "put", files["small"]).code == errno.EACCES
            answer = remote_tool(remote, "put", files["small"], files["big"], options=["-u", "alice:s3cret"])
            assert [entry["was_there"] for entry in answer] == [False, False]


class TestTokens:
    def test_token_covers_pushing_and_looking_at_once(self, files):
        with memory_registry(Tokens()) as server:
            put(server, files, "small", "config")
            check_blob(server, files, "small")
            assert len(server.tokens.issued) <= 4  # one to look, one to push as well; each thread may have asked

    def test_token_that_is_good_for_two_requests_is_renewed(self, files):
        with memory_registry(Tokens(uses=2)) as server:
            put(server, files, "big")
            check_blob(server, files, "big")

    def test_renewed_token_is_good_for_all_that_was_granted(self, files):
        """What is refused only looks; the next request pushes."""
        with memory_registry(Tokens()) as server:
            server.inject("PATCH", cut_after(MIB))
            server.inject("GET .*/uploads/", expire)
            put(server, files, "big")
            check_blob(server, files, "big")
            assert len(server.tokens.issued) == 3  # to look, to push, and after it was not good any more

    def test_mount_asks_for_the_source_too(self, files):
        with memory_registry(Tokens()) as server:
            remote_tool(server.remote("source/x"), "put", files["small"])
            answer = put(server, files, "small", options=["-m", "source/x"])
            assert answer[0]["uploaded"] == 0
            check_blob(server, files, "small")
            assert "repository%3Asource%2Fx%3Apull" in server.seen("GET /token")[-1].path

    def test_source_that_may_not_be_read_is_sent(self, files):
        with memory_registry(Tokens(), denied=("secret",)) as server:
            answer = put(server, files, "small", "config", options=["-m", "secret"])
            assert [entry["uploaded"] for entry in answer] == [3_000_000, 2]
            check_blob(server, files, "small")

    def test_repository_that_may_not_be_written_is_told(self, files):
        with memory_registry(Tokens(), denied=("a/b",)) as server:
            assert put(server, files, "small").code == errno.EACCES

    def test_token_that_runs_out_in_mid_upload_is_renewed(self, files):
        with memory_registry(Tokens()) as server:
            server.inject("PATCH", let_pass, expire)
            assert put(server, files, "big")[0]["uploaded"] >= len(content(files, "big"))
            check_blob(server, files, "big")

    def test_uploads_elsewhere_see_no_credentials(self, files):
        with memory_registry() as storage:
            with memory_registry(Tokens(user="u:p"), location=f"http://{storage.host}") as server:
                storage.uploads = server.uploads
                storage.behaviour.location = f"http://{storage.host}"
                storage.repositories = server.repositories
                put(server, files, "big", options=["-u", "u:p"])
                check_blob(server, files, "big")
                assert len(storage.seen("PATCH")) == 3
                assert not [r for r in storage.requests if "Authorization" in r.headers]

    def test_challenge_from_elsewhere_is_not_answered(self, files):
        with memory_registry(Tokens()) as storage:
            with memory_registry(Tokens(user="u:p"), location=f"http://{storage.host}") as server:
                failure = put(server, files, "big", options=["-u", "u:p"])
                assert failure.code == errno.EACCES and "another server" in failure.message
                assert not storage.seen("/token")


def let_pass(handler):
    return False


def expire(handler):
    """All tokens issued so far are worth nothing from now on."""
    handler.server.tokens.left.clear()
    return False


def answer(status, body=b"", *headers):
    return lambda handler: handler.answer(status, body, headers) or True


def session(handler):
    return handler.path.rpartition("/")[2].partition("?")[0]


def cut_after(size):
    """The session gets `size` bytes of a chunk, then the connection ends."""

    def fault(handler):
        handler.server.uploads[session(handler)] += handler.read_body(size)
        handler.hang_up()
        return True

    return fault


def do_and_hang_up(handler):
    """The request is carried out, its answer lost."""
    handler.wfile, kept = open("/dev/null", "wb"), handler.wfile
    handler.read_body()
    handler._route(handler.body)
    handler.wfile.close()
    handler.wfile = kept
    return hang_up(handler)


class TestUploads:
    @pytest.mark.parametrize("location", ["relative", "absolute"])
    def test_location_is_followed_with_its_query(self, files, location):
        with memory_registry(location=location) as server:
            put(server, files, "big", "small", "empty")
            for name in ("big", "small", "empty"):
                check_blob(server, files, name)
            ranges = [r.headers["Content-Range"] for r in server.seen("PATCH")]
            size = len(content(files, "big"))
            assert ranges == [f"0-{CHUNK - 1}", f"{CHUNK}-{2 * CHUNK - 1}", f"{2 * CHUNK}-{size - 1}"]

    def test_chunks_are_as_large_as_the_registry_wants(self, files):
        with memory_registry(chunk_min=20 * MIB) as server:
            put(server, files, "big")
            check_blob(server, files, "big")
            assert len(server.seen("PATCH")[0].body) == 20 * MIB

    def test_registry_without_chunks_gets_all_in_one(self, files):
        with memory_registry(chunks=False) as server:
            put(server, files, "big")
            check_blob(server, files, "big")

    def test_cut_chunk_goes_on_where_it_was_cut(self, files):
        with memory_registry() as server:
            server.inject("PATCH", let_pass, cut_after(5 * MIB))
            put(server, files, "big")
            check_blob(server, files, "big")
            starts = [int(r.headers["Content-Range"].split("-")[0]) for r in server.seen("PATCH")]
            assert starts[:3] == [0, CHUNK, CHUNK + 5 * MIB]

    def test_chunk_whose_answer_was_lost_is_not_sent_again(self, files):
        with memory_registry() as server:
            server.inject("PATCH", do_and_hang_up)
            assert put(server, files, "big")[0]["uploaded"] == len(content(files, "big"))
            check_blob(server, files, "big")

    def test_lost_session_is_opened_anew(self, files):
        with memory_registry() as server:
            server.inject("PATCH", let_pass, cut_after(MIB))
            server.inject("GET .*/uploads/", answer(404))
            put(server, files, "big")
            check_blob(server, files, "big")
            assert len(server.seen("POST .*/uploads/")) == 2

    def test_offset_that_is_not_the_registrys_is_corrected(self, files):
        """416: another offset than the one sent is true."""

        def forget_half(handler):
            handler.read_body()
            data = handler.server.uploads[session(handler)]
            del data[CHUNK // 2 :]
            return handler.answer(416) or True

        with memory_registry() as server:
            server.inject("PATCH", let_pass, forget_half)
            put(server, files, "big")
            check_blob(server, files, "big")
            assert [int(r.headers["Content-Range"].split("-")[0]) for r in server.seen("PATCH")][2] == CHUNK // 2

    def test_chunk_that_is_taken_in_part_goes_on_there(self, files):
        def take_part(handler):
            handler.read_body()
            handler.server.uploads[session(handler)] += handler.body[:MIB]
            return handler.answer(202, b"", handler.upload_headers("a/b", session(handler))) or True

        with memory_registry() as server:
            server.inject("PATCH", take_part)
            put(server, files, "big")
            check_blob(server, files, "big")

    @pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
    def test_passing_trouble_passes(self, files, status):
        with memory_registry() as server:
            for request in ("HEAD", "POST", "PATCH", "PUT"):
                server.inject(request, answer(status))
            put(server, files, "big")
            check_blob(server, files, "big")

    def test_retry_after_is_honoured(self, files):
        with memory_registry() as server:
            server.inject("PATCH", answer(429, b"", ("Retry-After", "2")))
            start = time.monotonic()
            put(server, files, "big")
            assert time.monotonic() - start >= 2
            check_blob(server, files, "big")

    @pytest.mark.parametrize("name", ["small", "big"])
    def test_lost_last_answer_is_found_out(self, files, name):
        with memory_registry() as server:
            server.inject("PUT", do_and_hang_up)
            assert put(server, files, name)[0]["uploaded"] == len(content(files, name))
            check_blob(server, files, name)
            assert len(server.seen("PUT")) <= 2

    @pytest.mark.parametrize("request_", ["POST", "PATCH", "PUT"])
    def test_endless_trouble_ends(self, files, request_):
        with memory_registry() as server:
            server.inject(request_, *[hang_up] * 100)
            failure = put(server, files, "big")
            assert failure.code == errno.EIO and digest(files, "big") in failure.message
            assert 3 <= len(server.seen(request_)) <= 10

    def test_registry_that_never_takes_a_byte_ends(self, files):
        def take_nothing(handler):
            handler.read_body()
            return handler.answer(202, b"", handler.upload_headers("a/b", session(handler))) or True

        with memory_registry() as server:
            server.inject("PATCH", *[take_nothing] * 100)
            assert put(server, files, "big").code == errno.EPROTO
            assert len(server.seen("PATCH")) <= 10

    @pytest.mark.parametrize("text", ["0-99999999999", "5-10", "x", "0-18446744073709551616"])
    def test_impossible_offset_is_refused(self, files, text):
        with memory_registry() as server:
            server.inject("PATCH", *[lambda h: h.read_body() and h.answer(202, b"", [("Range", text)]) or True] * 100)
            assert put(server, files, "big").code == errno.EPROTO

    def test_other_digest_in_the_answer_is_refused(self, files):
        with memory_registry() as server:
            server.inject("PUT", answer(201, b"", ("Docker-Content-Digest", "sha256:" + 64 * "0")))
            failure = put(server, files, "big")
            assert failure.code == errno.EBADMSG

    def test_damage_on_the_way_is_told_by_the_registry(self, files):
        def damage(handler):
            handler.read_body()
            handler.body = b"x" + handler.body[1:]
            return handler._route(handler.body) or True

        with memory_registry() as server:
            server.inject("PATCH", *[damage, let_pass, let_pass] * 2)  # all chunks of two attempts
            assert "DIGEST_INVALID" in put(server, files, "big").message
            assert digest(files, "big") not in server.repository().blobs
            assert len(server.seen("POST")) == 2

    @pytest.mark.parametrize("name", ["small", "big"])
    def test_registry_that_doubts_a_digest_once_is_asked_again(self, files, name):
        """Distribution 3 says so to one of two writers that end the same blob at the same moment."""
        with memory_registry() as server:
            server.inject("PUT", answer(400, b'{"errors":[{"code":"DIGEST_INVALID","message":"no"}]}'))
            assert put(server, files, name)[0]["digest"] == digest(files, name)
            assert digest(files, name) in server.repository().blobs

    def test_doubted_blob_that_is_there_meanwhile_is_not_sent_again(self, files):
        def other_writer(handler):
            handler.server.repository().blobs[digest(files, "small")] = content(files, "small")
            return answer(400, b"{}")(handler)

        with memory_registry() as server:
            server.inject("PUT", other_writer)
            put(server, files, "small")
            assert len(server.seen("PUT")) == 1 and len(server.seen("POST")) == 1

    @pytest.mark.parametrize("location", ["file:///etc/passwd", "http://user@127.0.0.1/", "gopher://x/"])
    def test_unusable_location_is_refused(self, files, location):
        with memory_registry() as server:
            server.inject("POST", answer(202, b"", ("Location", location)))
            assert put(server, files, "big").code == errno.EPROTO

    def test_missing_location_is_told(self, files):
        with memory_registry() as server:
            server.inject("POST", answer(202))
            assert "Location" in put(server, files, "small").message

    def test_redirected_chunk_keeps_its_method(self, files):
        with memory_registry() as storage, memory_registry() as server:
            storage.uploads, storage.repositories = server.uploads, server.repositories

            def elsewhere(handler):
                handler.read_body()
                return handler.answer(307, b"", [("Location", f"http://{storage.host}{handler.path}")]) or True

            server.inject("PATCH", elsewhere)
            put(server, files, "big")
            check_blob(server, files, "big")
            assert storage.seen("PATCH")[0].body == content(files, "big")[:CHUNK]

    def test_redirection_to_a_get_is_refused(self, files):
        with memory_registry() as server:
            server.inject("POST", answer(302, b"", ("Location", "/v2/")))
            assert put(server, files, "small").code == errno.EPROTO

    def test_registry_that_stops_reading_counts_as_broken(self, files):
        """The first bytes are taken, then nothing more happens."""
        done = threading.Event()

        def stall(handler):
            handler.rfile.read(1000)
            done.wait(60)
            return hang_up(handler)

        with memory_registry() as server:
            server.inject("PATCH", *[stall] * 100)
            failure = put(server, files, "big", options=["-s", "400"])
            done.set()
            assert failure.code == errno.ETIMEDOUT

    def test_slow_last_answer_is_waited_for(self, files):
        """Some registries look at the whole blob before they answer: longer than a stall."""
        done = threading.Event()

        def think(handler):
            done.wait(1.5)
            return False

        with memory_registry() as server:
            server.inject("PUT", think)
            put(server, files, "big", options=["-s", "500"])
            check_blob(server, files, "big")
            assert len(server.seen("PUT")) == 1

    def test_cancellation_is_prompt(self, files):
        done = threading.Event()

        def never(handler):
            done.wait(60)
            return hang_up(handler)

        with memory_registry() as server:
            server.inject("PATCH", never)
            start = time.monotonic()
            failure = put(server, files, "big", options=["-t", "500"])
            done.set()
            assert failure.code == errno.ECANCELED
            assert time.monotonic() - start < 25

    def test_memory_is_bounded(self, tmp_path):
        """A blob far larger than what the sender may hold."""
        file = tmp_path / "huge"
        with open(file, "wb") as out:
            out.truncate(256 * MIB)
        peaks = []

        def look(handler):
            status = Path(f"/proc/{process.pid}/status").read_text()
            peaks.append(int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]))
            return False

        with memory_registry() as server:
            server.inject("PUT", look)
            process = subprocess.Popen(
                command(server.remote(), "put", file), env=environment(), stdout=subprocess.DEVNULL
            )
            assert process.wait(60) == 0
        assert peaks and peaks[0] < 150 * 1024


class TestReading:
    @pytest.fixture
    def server(self, files):
        with memory_registry() as server:
            server.repository().blobs[digest(files, "small")] = content(files, "small")
            yield server

    def get(self, server, files, offset, length):
        blob = content(files, "small")
        part = remote_tool(server.remote(), "get", oci.sha256(blob), len(blob), offset, length)
        if not isinstance(part, Failure):
            assert part == {"digest": oci.sha256(blob[offset : offset + length]), "size": length}
        return part

    def test_range_has_both_its_ends(self, server, files):
        self.get(server, files, 1000, 500)
        self.get(server, files, 0, 500)
        self.get(server, files, 0, 3_000_000)
        assert [r.headers.get("Range") for r in server.seen("GET .*/blobs/")] == [
            "bytes=1000-1499", "bytes=0-499", None,
        ]  # fmt: skip

    def test_cut_range_goes_on(self, server, files):
        def cut(handler):
            body = content(files, "small")
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes 1000000-1999999/{len(body)}")
            handler.send_header("Content-Length", "1000000")
            handler.end_headers()
            handler.wfile.write(body[1_000_000:1_300_000])
            handler.hang_up()
            return True

        server.inject("GET .*/blobs/", cut)
        self.get(server, files, 1_000_000, 1_000_000)
        assert server.seen("GET .*/blobs/")[1].headers["Range"] == "bytes=1300000-1999999"

    def test_ignored_range_is_skipped_to(self, server, files):
        server.inject("GET .*/blobs/", lambda h: h.answer(200, content(files, "small")) or True)
        self.get(server, files, 1_000_000, 1000)

    def test_range_that_is_answered_in_part_goes_on(self, server, files):
        def half(handler):
            body = content(files, "small")
            headers = [("Content-Range", f"bytes 0-999999/{len(body)}")]
            handler.answer(206, body[:1_000_000], headers)
            return True

        server.inject("GET .*/blobs/", half)
        self.get(server, files, 0, 2_000_000)

    @pytest.mark.parametrize("content_range", ["bytes 2000-2999/3000000", "bytes x", None])
    def test_other_range_is_refused(self, server, files, content_range):
        headers = [("Content-Range", content_range)] if content_range else []
        server.inject("GET .*/blobs/", lambda h: h.answer(206, b"x" * 1000, headers) or True)
        assert self.get(server, files, 1000, 1000).code == errno.EPROTO

    def test_too_much_is_refused(self, server, files):
        headers = [("Content-Range", "bytes 1000-1999/3000000")]
        server.inject("GET .*/blobs/", lambda h: h.answer(206, b"x" * 1001, headers) or True)
        assert self.get(server, files, 1000, 1000).code == errno.EBADMSG

    def test_any_flipped_byte_of_a_whole_blob_is_found(self, server, files):
        blob = content(files, "small")
        for position in (0, 1_234_567, len(blob) - 1):
            server.repository().blobs[oci.sha256(blob)] = (
                blob[:position] + bytes([blob[position] ^ 1]) + blob[position + 1 :]
            )
            failure = remote_tool(server.remote(), "whole", oci.sha256(blob), len(blob))
            assert failure.code == errno.EBADMSG and oci.sha256(blob) in failure.message

    def test_blob_of_another_size_is_not_had(self, server, files):
        failure = remote_tool(server.remote(), "has", digest(files, "small"), 5)
        assert failure.code == errno.EBADMSG

    def test_part_outside_the_blob_is_refused(self, server, files):
        assert self.get(server, files, 2_999_999, 2).code == errno.ERANGE
        assert self.get(server, files, (1 << 64) - 1, 2).code == errno.ERANGE


class TestReferrersApi:
    def test_registry_with_the_api_gets_no_tag(self, tmp_path):
        with memory_registry() as server:
            manifest = artifact_manifest(SUBJECT)
            publish(server.remote(), tmp_path, manifest)
            assert find(server.remote()) == [published(manifest)]
            assert server.repository().tags == {}
            assert len(server.seen("/referrers/")) == 1

    @pytest.mark.parametrize("filters", [True, False])
    def test_other_types_are_left_out_and_pages_followed(self, tmp_path, filters):
        with memory_registry(page=2, filters=filters) as server:
            mine = [artifact_manifest(SUBJECT, annotations={"n": str(n)}) for n in range(5)]
            for manifest in mine:
                server.put_manifest(artifact_manifest(SUBJECT, artifact_type="application/other", blobs=[manifest]))
                server.put_manifest(manifest)
            assert find(server.remote()) == [published(manifest) for manifest in mine]

    def test_half_of_the_api_is_helped_by_the_tag(self, tmp_path):
        """go-containerregistry 0.20."""
        with memory_registry(half_referrers=True, filters=False) as server:
            manifest = artifact_manifest(SUBJECT)
            assert find(server.remote()) == []
            publish(server.remote(), tmp_path, manifest)
            assert find(server.remote()) == [published(manifest)]
            assert find(server.remote(), "application/other") == []

    def test_endless_pages_end(self):
        with memory_registry() as server:
            index = json.dumps({"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": []}).encode()
            headers = [("Content-Type", oci.INDEX), ("Link", '<?again>; rel="next"')]
            server.inject("/referrers/", *[answer(200, index, *headers)] * 1000)
            assert find(server.remote()).code == errno.EFBIG

    def test_too_many_artifacts_are_refused(self):
        with memory_registry() as server:
            entries = [
                {**descriptor(str(n).encode(), oci.MANIFEST), "artifactType": ARTIFACT} for n in range(1001)
            ]
            index = json.dumps({"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": entries}).encode()
            server.inject("/referrers/", answer(200, index, ("Content-Type", oci.INDEX)))
            assert find(server.remote()).code == errno.EFBIG

    @pytest.mark.parametrize("entry", [7, {}, {"artifactType": 7}, {"artifactType": "x", "digest": 7}])
    def test_strange_entries_of_others_do_no_harm(self, entry):
        with memory_registry() as server:
            good = {**descriptor(b"x", oci.MANIFEST), "artifactType": ARTIFACT}
            index = json.dumps({"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": [entry, good, good]}).encode()
            server.inject("/referrers/", answer(200, index, ("Content-Type", oci.INDEX)))
            assert find(server.remote()) == [good]

    @pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"manifests":7}'])
    def test_malformed_answer_is_told(self, body):
        with memory_registry() as server:
            server.inject("/referrers/", answer(200, body, ("Content-Type", oci.INDEX)))
            assert find(server.remote()).code == errno.EBADMSG

    def test_manifest_of_another_subject_is_not_published(self, tmp_path):
        with memory_registry() as server:
            server.inject("manifests/", answer(500))
            manifest = artifact_manifest({"mediaType": oci.MANIFEST, "digest": "sha256:1", "size": 1})
            assert isinstance(publish(server.remote(), tmp_path, manifest), Failure)
            assert server.requests == []

    def test_other_manifest_than_asked_for_is_refused(self):
        with memory_registry() as server:
            manifest = artifact_manifest(SUBJECT)
            for wrong in (manifest[:-1] + b" ", manifest + b" ", b""):
                server.inject("manifests/", answer(200, wrong))
                failure = remote_tool(server.remote(), "manifest", oci.sha256(manifest), len(manifest))
                assert failure.code == errno.EBADMSG


def index_at(server):
    return json.loads(server.repository().manifests[server.repository().tags[TAG]][1])


def digests_at(server):
    return [entry["digest"] for entry in index_at(server)["manifests"]]


def foreign_index(*manifests, **more):
    entries = [{**descriptor(m, oci.MANIFEST), "artifactType": "application/vnd.foreign", "x": [1]} for m in manifests]
    return json.dumps({"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": entries, **more}).encode()


def data_of(manifest):
    return base64.b64encode(manifest).decode()


class TestFallbackTag:
    def test_only_the_newest_of_a_type_has_its_manifest_in_itself(self, tmp_path):
        with memory_registry(referrers=False) as server:
            foreign = {**descriptor(b"{}", oci.MANIFEST), "artifactType": "application/vnd.foreign", "data": data_of(b"{}")}
            server.put_manifest(b"{}")
            before = {"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": [foreign]}
            server.put_manifest(json.dumps(before).encode(), TAG, oci.INDEX)
            manifests = [artifact_manifest(SUBJECT, annotations={"n": str(number)}) for number in range(3)]
            for manifest in manifests:
                publish(server.remote(), tmp_path, manifest)
            assert [entry.get("data") for entry in index_at(server)["manifests"]] == [
                foreign["data"], None, None, data_of(manifests[2]),
            ]  # fmt: skip

    def test_long_list_has_no_manifest_in_it(self, tmp_path):
        with memory_registry(referrers=False) as server:
            server.put_manifest(b"{}")
            server.put_manifest(foreign_index(b"{}", annotations={"long": "x" * (1 << 20)}), TAG, oci.INDEX)
            manifest = artifact_manifest(SUBJECT)
            publish(server.remote(), tmp_path, manifest)
            assert index_at(server)["manifests"][1] == published(manifest)
            assert find(server.remote()) == [published(manifest)]

    def test_long_manifest_is_not_in_its_entry(self, tmp_path):
        with memory_registry(referrers=False) as server:
            publish(server.remote(), tmp_path, artifact_manifest(SUBJECT, annotations={"long": "x" * (64 << 10)}))
            assert "data" not in index_at(server)["manifests"][0]

    def test_entry_describes_the_manifest(self, tmp_path):
        with memory_registry(referrers=False) as server:
            manifest = artifact_manifest(SUBJECT, annotations={"a": "b"})
            publish(server.remote(), tmp_path, manifest)
            assert index_at(server) == {
                "schemaVersion": 2,
                "mediaType": oci.INDEX,
                "manifests": [{**published(manifest), "annotations": {"a": "b"}, "data": data_of(manifest)}],
            }
            assert server.seen(f"PUT .*/manifests/{TAG}")[0].headers["Content-Type"] == oci.INDEX
            assert find(server.remote()) == [published(manifest)]

    @pytest.mark.parametrize("etags", [True, False])
    def test_entries_of_others_are_kept_as_they_are(self, tmp_path, etags):
        with memory_registry(referrers=False, etags=etags) as server:
            server.put_manifest(b'{"foreign":1}')
            before = foreign_index(b'{"foreign":1}', annotations={"k": "v"})
            server.put_manifest(before, TAG, oci.INDEX)
            manifest = artifact_manifest(SUBJECT)
            publish(server.remote(), tmp_path, manifest)
            expected = json.loads(before)
            expected["manifests"].append({**published(manifest), "data": data_of(manifest)})
            assert index_at(server) == expected
            assert ("If-Match" in server.seen(f"PUT .*{TAG}")[0].headers) == etags

    def test_publishing_again_writes_nothing(self, tmp_path):
        with memory_registry(referrers=False) as server:
            manifest = artifact_manifest(SUBJECT)
            publish(server.remote(), tmp_path, manifest)
            publish(server.remote(), tmp_path, manifest)
            assert len(server.seen(f"PUT .*{TAG}")) == 1

    def test_entry_that_a_slow_writer_has_overwritten_is_put_back(self, tmp_path):
        """Another reads before us and writes after us, without our entry and without those that it did not see."""
        with memory_registry(referrers=False) as server:
            for foreign in (b'{"foreign":1}', b'{"foreign":2}'):
                server.put_manifest(foreign)
            server.put_manifest(foreign_index(b'{"foreign":1}'), TAG, oci.INDEX)

            def write_late(handler):
                handler.read_body()
                handler._route(handler.body)
                server.put_manifest(foreign_index(b'{"foreign":2}'), TAG, oci.INDEX)
                return True

            server.inject(f"PUT .*{TAG}", write_late, write_late)
            manifest = artifact_manifest(SUBJECT)
            publish(server.remote(), tmp_path, manifest)
            expected = [oci.sha256(m) for m in (b'{"foreign":1}', b'{"foreign":2}', manifest)]
            assert sorted(digests_at(server)) == sorted(expected)

    def test_writer_in_between_is_noticed_by_its_etag(self, tmp_path):
        with memory_registry(referrers=False, etags=True) as server:
            server.put_manifest(b'{"foreign":1}')
            server.put_manifest(b'{"foreign":2}')
            server.put_manifest(foreign_index(b'{"foreign":1}'), TAG, oci.INDEX)

            def write_early(handler):
                server.put_manifest(foreign_index(b'{"foreign":1}', b'{"foreign":2}'), TAG, oci.INDEX)
                return False

            server.inject(f"PUT .*{TAG}", write_early)
            manifest = artifact_manifest(SUBJECT)
            publish(server.remote(), tmp_path, manifest)
            assert digests_at(server) == [oci.sha256(m) for m in (b'{"foreign":1}', b'{"foreign":2}', manifest)]

    def test_endless_overwriting_ends(self, tmp_path):
        with memory_registry(referrers=False) as server:
            server.inject(f"PUT .*{TAG}", *[answer(201)] * 1000)
            assert publish(server.remote(), tmp_path, artifact_manifest(SUBJECT)).code == errno.EBUSY

    def test_entry_whose_manifest_is_gone_does_not_stand_in_the_way(self, tmp_path):
        with memory_registry(referrers=False) as server:
            server.put_manifest(b'{"foreign":1}')
            server.put_manifest(foreign_index(b'{"foreign":1}', b'{"deleted":1}'), TAG, oci.INDEX)
            manifest = artifact_manifest(SUBJECT)
            publish(server.remote(), tmp_path, manifest)
            assert digests_at(server) == [oci.sha256(b'{"foreign":1}'), oci.sha256(manifest)]

    def test_tag_that_finds_the_image_itself_holds_nothing(self, tmp_path):
        """GitLab."""
        image = b'{"an":"image"}'
        with memory_registry(referrers=False, tag_is_digest=True) as server:
            server.put_manifest(image)
            assert find(server.remote()) == []

    def test_tag_of_another_meaning_is_left_alone(self, tmp_path):
        with memory_registry(referrers=False) as server:
            other = server.put_manifest(b'{"some":"thing"}', TAG)
            assert publish(server.remote(), tmp_path, artifact_manifest(SUBJECT)).code == errno.EEXIST
            assert server.repository().tags[TAG] == other
            assert find(server.remote()) == []

    @pytest.mark.parametrize("body", [b"{", b"[]", b'{"mediaType":"%s"}' % oci.INDEX.encode()])
    def test_damaged_index_is_not_overwritten(self, tmp_path, body):
        with memory_registry(referrers=False) as server:
            server.put_manifest(body, TAG, oci.INDEX)
            assert publish(server.remote(), tmp_path, artifact_manifest(SUBJECT)).code == errno.EBADMSG
            assert server.repository().manifests[server.repository().tags[TAG]][1] == body

    @pytest.mark.parametrize("status", [400, 404, 405, 501])
    def test_registry_that_knows_no_referrers_is_asked_for_the_tag(self, tmp_path, status):
        with memory_registry(referrers=False) as server:
            manifest = artifact_manifest(SUBJECT)
            publish(server.remote(), tmp_path, manifest)
            server.inject("/referrers/", answer(status))
            assert find(server.remote()) == [published(manifest)]

    def test_what_one_repository_shows_is_not_believed_of_the_next(self):
        with memory_registry() as server:
            manifest = artifact_manifest(SUBJECT)
            index = {"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": [published(manifest)]}
            server.put_manifest(json.dumps(index).encode(), TAG, oci.INDEX, "somebodys/own")
            server.put_manifest(manifest, repository="a/b")
            server.inject("/v2/somebodys/own/referrers/", *[answer(404)] * 9)
            look = ["find", SUBJECT["digest"], ARTIFACT]
            own = server.remote("somebodys/own")
            assert remote_tool(own, *look, options=["-b", own]) == [published(manifest)]
            assert len(server.seen("/v2/somebodys/own/referrers/")) == 1  # the second time it is known
            assert remote_tool(server.remote(), *look, options=["-b", own]) == [published(manifest)]
            assert len(server.seen("/v2/a/b/referrers/")) == 1

    def test_page_for_people_is_no_answer(self, tmp_path):
        with memory_registry(referrers=False) as server:
            manifest = artifact_manifest(SUBJECT)
            publish(server.remote(), tmp_path, manifest)
            server.inject("/referrers/", answer(200, b"<html>", ("Content-Type", "text/html")))
            assert find(server.remote()) == [published(manifest)]

    def test_publishers_on_one_machine_take_turns(self, tmp_path):
        with memory_registry(referrers=False) as server:
            manifests = [artifact_manifest(SUBJECT, annotations={"n": str(n)}) for n in range(4)]
            processes = []
            for n, manifest in enumerate(manifests):
                (tmp_path / f"m{n}").write_bytes(manifest)
                arguments = command(server.remote(), "publish", tmp_path / f"m{n}")
                processes.append(subprocess.Popen(arguments, stdout=subprocess.DEVNULL, env=environment()))
            assert [process.wait(60) for process in processes] == [0] * 4
            assert sorted(digests_at(server)) == sorted(map(oci.sha256, manifests))
            assert len(server.seen(f"PUT .*{TAG}")) == 4
