# SPDX-License-Identifier: Apache-2.0
"""s3:// against a real S3 server, and through a proxy that misbehaves."""
import errno
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from support import oci
from support.fault_proxy import fault_proxy
from support.remote_tool import ARTIFACT, artifact_manifest, command, environment, remote_tool
from support.serving import hang_up
from support.source_dump import Failure
from support.versitygw import versitygw

SUBJECT = {"mediaType": oci.MANIFEST, "digest": oci.sha256(b"image"), "size": 5}
REFERRERS = f"referrers/{SUBJECT['digest'].removeprefix('sha256:')}/{ARTIFACT}"
LARGE = 80_000_000  # three parts
PUT_BLOB, PUT_PART = r"^PUT .*/blobs/sha256/[0-9a-f]+$", r"^PUT .*partNumber="


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with versitygw(tmp_path_factory.mktemp("s3")) as s3:
        yield s3


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return make_file(tmp_path_factory.mktemp("large") / "large", LARGE)


def use(monkeypatch, variables):
    for name in ("AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_S3", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))


@pytest.fixture
def bucket(server, monkeypatch, request):
    """A bucket of the test's own, as a directory; the environment leads to its server."""
    use(monkeypatch, server.environment)
    number = len(list(server.storage.iterdir()))
    directory = server.bucket(f"bucket-{number}")
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def remote(bucket):
    return f"s3://{bucket.name}/some/prefix"


@pytest.fixture
def proxy(server, bucket, monkeypatch):
    with fault_proxy(server.url) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy


def make_file(path, size, seed=1):
    path.write_bytes(random.Random(seed).randbytes(size))
    return path, oci.sha256(path.read_bytes())


def publish(remote, directory, **more):
    body = artifact_manifest(SUBJECT, **more)
    (directory / "manifest").write_bytes(body)
    return remote_tool(remote, "publish", directory / "manifest"), body


def find(remote, artifact_type=ARTIFACT):
    found = remote_tool(remote, "find", SUBJECT["digest"], artifact_type)
    return found if isinstance(found, Failure) else [artifact["digest"] for artifact in found]


def error(status, code, message="m", more=""):
    """An S3 error document as the answer; what the client was sending is read before."""

    def act(handler):
        handler.read_body()
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>".encode()
        handler.answer(status, body, [("Content-Type", "application/xml")])
        return True

    return act


class TestContent:
    def test_blobs_come_back(self, remote, tmp_path, bucket):
        path, digest = make_file(tmp_path / "file", 3_000_000)
        (tmp_path / "empty").touch()
        stored = remote_tool(remote, "put", path, tmp_path / "empty")
        assert stored[0] == {"digest": digest, "size": 3_000_000, "uploaded": 3_000_000, "was_there": False}
        assert remote_tool(remote, "put", path)[0]["was_there"]
        assert remote_tool(remote, "whole", digest, 3_000_000) == {"digest": digest, "size": 3_000_000}
        part = path.read_bytes()[1_234_567 : 1_234_567 + 100_000]
        assert remote_tool(remote, "get", digest, 3_000_000, 1_234_567, 100_000)["digest"] == oci.sha256(part)
        assert remote_tool(remote, "has", oci.sha256(b""), 0) is True
        assert (bucket / "some/prefix/blobs/sha256" / digest[7:]).read_bytes() == path.read_bytes()

    def test_large_blobs_go_in_parts(self, remote, large, proxy, server, bucket):
        path, digest = large
        assert remote_tool(remote, "put", path)[0]["uploaded"] == LARGE
        assert len(proxy.seen(PUT_PART)) == 3
        assert remote_tool(remote, "whole", digest, LARGE)["digest"] == digest
        assert server.leftovers(bucket.name) == []

    @pytest.mark.parametrize("prefix", ["", "/a b", "/ü+~'(x)!*", "/a%2Fb&c=d?e#f", "/deep/er/"])
    def test_prefixes_may_be_unusual(self, bucket, tmp_path, prefix):
        remote = f"s3://{bucket.name}{prefix}"
        path, digest = make_file(tmp_path / "file", 1000)
        remote_tool(remote, "put", path)
        assert remote_tool(remote, "whole", digest, 1000)["digest"] == digest
        assert (bucket / prefix.strip("/") / "blobs/sha256" / digest[7:]).exists()
        published, _ = publish(remote, tmp_path)
        assert find(remote) == [published]
        assert remote_tool(remote, "name") == remote.rstrip("/")

    def test_a_directory_copied_to_a_bucket_is_the_same_remote(self, bucket, tmp_path):
        (tmp_path / "dir").mkdir()
        path, digest = make_file(tmp_path / "file", 1000)
        remote_tool(f"dir:{tmp_path / 'dir'}", "put", path)
        published, _ = publish(f"dir:{tmp_path / 'dir'}", tmp_path)
        shutil.copytree(tmp_path / "dir", bucket / "copy")
        assert remote_tool(f"s3://{bucket.name}/copy", "whole", digest, 1000)["digest"] == digest
        assert find(f"s3://{bucket.name}/copy") == [published]

    def test_other_size_is_another_blob(self, remote, tmp_path):
        path, digest = make_file(tmp_path / "file", 1000)
        remote_tool(remote, "put", path)
        assert remote_tool(remote, "has", digest, 999) is False
        assert remote_tool(remote, "whole", digest, 999).code == errno.EBADMSG
        assert remote_tool(remote, "whole", digest, 1001).code == errno.EBADMSG

    def test_missing_blobs_are_told(self, remote):
        failure = remote_tool(remote, "whole", oci.sha256(b"x"), 1)
        assert failure.code == errno.ENOENT and "NoSuchKey" in failure.message and remote in failure.message


class TestArtifacts:
    def test_artifacts_are_found_by_subject_and_type(self, remote, tmp_path):
        assert find(remote) == []
        first, body = publish(remote, tmp_path)
        second, _ = publish(remote, tmp_path, annotations={"a": "b"})
        publish(remote, tmp_path, artifact_type="application/vnd.other")
        assert sorted(find(remote)) == sorted([first, second])
        assert find(remote, "application/vnd.none") == []
        assert remote_tool(remote, "manifest", first, len(body)) == body.decode()

    def test_finding_is_one_request(self, remote, proxy, tmp_path):
        publish(remote, tmp_path)
        before = len(proxy.requests)
        assert len(find(remote)) == 1
        assert len(proxy.requests) == before + 1

    def test_publishing_again_sends_nothing(self, remote, proxy, tmp_path):
        publish(remote, tmp_path)
        assert len(proxy.seen("^PUT ")) == 2
        publish(remote, tmp_path)
        assert len(proxy.seen("^PUT ")) == 2

    def test_the_artifact_shows_last(self, remote, proxy, tmp_path):
        proxy.inject(f"^PUT .*{REFERRERS}", *[error(403, "AccessDenied")] * 5)
        failure, _ = publish(remote, tmp_path)
        assert failure.code == errno.EACCES
        assert find(remote) == []

    def test_listings_go_on_over_pages(self, remote, proxy, bucket, tmp_path):
        folder = bucket / "some/prefix" / REFERRERS
        published, _ = publish(remote, tmp_path)
        for number in range(1100):
            (folder / f"-other-{number}").touch()
        later = [f"{number:064x}" for number in range(3)]
        for name in later:
            (folder / name).write_text("x")
            os.utime(folder / name, (time.time() + 60, time.time() + 60))  # listings tell whole seconds
        assert find(remote)[0] == published
        assert sorted(find(remote)[1:]) == ["sha256:" + name for name in later]
        assert len(proxy.seen("^GET .*continuation-token=")) == 2

    def test_too_many_are_refused(self, remote, bucket):
        folder = bucket / "some/prefix" / REFERRERS
        folder.mkdir(parents=True)
        for number in range(1001):
            (folder / f"{number:064x}").touch()
        assert find(remote).code == errno.EFBIG

    @pytest.mark.parametrize(
        "body",
        [
            b"", b"<a", b"<!DOCTYPE x [<!ENTITY y 'z'>]><ListBucketResult>&y;</ListBucketResult>",
            b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        ],
    )  # fmt: skip
    def test_strange_listings_are_refused(self, remote, proxy, body):
        proxy.inject("list-type", lambda handler: handler.answer(200, body) or True)
        assert find(remote).code in (errno.EBADMSG, errno.EPROTO)

    def test_an_endless_listing_ends(self, remote, proxy):
        body = (
            b"<ListBucketResult><IsTruncated>true</IsTruncated>"
            b"<NextContinuationToken>x</NextContinuationToken></ListBucketResult>"
        )
        proxy.inject("list-type", *[lambda handler: handler.answer(200, body) or True] * 1000)
        assert find(remote).code == errno.EFBIG
        assert len(proxy.requests) <= 100


class TestWhoAndWhere:
    def test_hosts_may_name_the_bucket(self, tmp_path, monkeypatch):
        with versitygw(tmp_path, "--virtual-domain", "s3.localhost") as server:
            use(monkeypatch, server.environment)
            server.bucket("acme")
            port = server.url.rpartition(":")[2]
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://s3.localhost:{port}")
            monkeypatch.setenv("AWS_S3_ADDRESSING_STYLE", "virtual")
            path, digest = make_file(tmp_path / "file", 1000)
            remote_tool("s3://acme/p", "put", path)
            assert (server.storage / "acme/p/blobs/sha256" / digest[7:]).exists()
            published, _ = publish("s3://acme/p", tmp_path)
            assert find("s3://acme/p") == [published]

    def test_tls_with_an_authority_of_our_own(self, tmp_path, monkeypatch):
        subprocess.run(
            [
                "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-days", "2", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", tmp_path / "key",
                "-out", tmp_path / "certificate",
            ],
            check=True, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        with versitygw(tmp_path, tls=(tmp_path / "certificate", tmp_path / "key")) as server:
            use(monkeypatch, server.environment)
            server.bucket("acme")
            path, digest = make_file(tmp_path / "file", 1000)
            failure = remote_tool("s3://acme", "put", path)
            assert failure.code == errno.EPROTO and "certificate" in failure.message
            assert remote_tool("s3://acme", "put", path, options=("-c", tmp_path / "certificate"))
            monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "certificate"))
            assert remote_tool("s3://acme", "whole", digest, 1000)["digest"] == digest

    def test_another_region_is_signed_for(self, tmp_path, monkeypatch):
        with versitygw(tmp_path, "--region", "eu-test-1") as server:
            use(monkeypatch, server.environment)
            server.bucket("acme")
            failure = find("s3://acme")
            assert failure.code == errno.EACCES and "eu-test-1" in failure.message + failure.hint
            monkeypatch.setenv("AWS_REGION", "eu-test-1")
            assert find("s3://acme") == []

    def test_a_wrong_secret_is_told(self, remote, monkeypatch):
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
        for verb in (("has", oci.sha256(b"x"), 1), ("whole", oci.sha256(b"x"), 1), ("find", oci.sha256(b"x"), ARTIFACT)):
            failure = remote_tool(remote, *verb)
            assert failure.code == errno.EACCES
            assert "SignatureDoesNotMatch" in failure.message and "AWS_SECRET_ACCESS_KEY" in failure.hint

    def test_secrets_are_in_no_message(self, remote, monkeypatch):
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
        failure = find(remote)
        assert "wrong-secret" not in failure.message + failure.hint

    def test_without_a_key_requests_are_not_signed(self, remote, proxy, monkeypatch):
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        failure = find(remote)
        assert failure.code == errno.EACCES and "AWS_ACCESS_KEY_ID" in failure.hint
        assert "Authorization" not in proxy.requests[0].headers

    def test_session_tokens_go_along(self, remote, proxy, monkeypatch):
        monkeypatch.setenv("AWS_SESSION_TOKEN", "FwoGZXIvYXdz/+==")
        failure = find(remote)  # the server knows no such tokens
        assert failure.code in (errno.EACCES, errno.EIO) and "InvalidToken" in failure.message
        assert "AWS_SESSION_TOKEN" in failure.hint
        headers = {name.title(): value for name, value in proxy.requests[0].headers.items()}
        assert headers["X-Amz-Security-Token"] == "FwoGZXIvYXdz/+=="
        assert "x-amz-security-token" in headers["Authorization"]

    def test_a_wrong_clock_is_told(self, remote):
        result = subprocess.run(
            ["faketime", "-f", "-2h", *command(remote, "find", SUBJECT["digest"], ARTIFACT)],
            capture_output=True, text=True, env=environment(),
        )  # fmt: skip
        assert result.returncode == 1
        assert "RequestTimeTooSkewed" in result.stdout and "clock" in result.stdout

    def test_a_missing_bucket_is_told(self, server, bucket, tmp_path):
        path, _ = make_file(tmp_path / "file", 1000)
        for failure in (remote_tool("s3://no-such-bucket", "put", path), find("s3://no-such-bucket")):
            assert failure.code == errno.ENOENT
            assert "NoSuchBucket" in failure.message and "no-such-bucket" in failure.hint

    def test_a_server_that_is_not_there_is_told(self, remote, monkeypatch):
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        failure = find(remote)
        assert failure.code == errno.ECONNREFUSED and "127.0.0.1" in failure.message

    def test_redirects_are_not_followed(self, remote, proxy):
        away = [("Location", "http://127.0.0.1:1/")]
        proxy.inject("list-type", lambda handler: handler.answer(307, b"", away) or True)
        failure = find(remote)
        assert failure.code == errno.EIO and "307" in failure.message and "AWS_REGION" in failure.hint


class TestBrokenTransfers:
    @pytest.mark.parametrize("fault", [error(503, "SlowDown"), error(500, "InternalError"), hang_up])
    def test_passing_trouble_passes(self, remote, proxy, tmp_path, fault):
        path, digest = make_file(tmp_path / "file", 300_000)
        for method in ("HEAD", "PUT", "GET"):
            proxy.inject(f"^{method} ", fault)
        assert remote_tool(remote, "put", path)[0]["digest"] == digest
        assert remote_tool(remote, "whole", digest, 300_000)["digest"] == digest
        proxy.inject("list-type", fault)
        assert find(remote) == []

    def test_trouble_that_stays_is_told(self, remote, proxy, tmp_path):
        path, _ = make_file(tmp_path / "file", 300_000)
        proxy.inject(PUT_BLOB, *[error(503, "SlowDown", "Please reduce your request rate.")] * 100)
        failure = remote_tool(remote, "put", path)
        assert failure.code == errno.EBUSY and "SlowDown: Please reduce your request rate." in failure.message
        assert 3 <= len(proxy.seen(PUT_BLOB)) <= 10

    def test_a_cut_download_goes_on_where_it_was_cut(self, remote, proxy, tmp_path):
        path, digest = make_file(tmp_path / "file", 3_000_000)
        remote_tool(remote, "put", path)
        proxy.inject("^GET ", *[lambda handler: handler.forward(cut_after=1_000_000)] * 2)
        assert remote_tool(remote, "whole", digest, 3_000_000)["digest"] == digest
        ranges = [request.headers.get("Range") for request in proxy.seen("^GET ")]
        assert ranges == [None, "bytes=1000000-", "bytes=2000000-"]

    def test_a_part_goes_on_to_its_own_end(self, remote, proxy, tmp_path):
        path, digest = make_file(tmp_path / "file", 3_000_000)
        remote_tool(remote, "put", path)
        proxy.inject("^GET ", lambda handler: handler.forward(cut_after=100_000))
        wanted = oci.sha256(path.read_bytes()[500_000:1_500_000])
        assert remote_tool(remote, "get", digest, 3_000_000, 500_000, 1_000_000)["digest"] == wanted
        ranges = [request.headers.get("Range") for request in proxy.seen("^GET ")]
        assert ranges == ["bytes=500000-1499999", "bytes=600000-1499999"]

    def test_an_upload_that_is_cut_is_sent_again(self, remote, proxy, tmp_path):
        path, digest = make_file(tmp_path / "file", 3_000_000)

        def cut(handler):
            handler.rfile.read(1_000_000)
            return hang_up(handler)

        proxy.inject(PUT_BLOB, cut)
        stored = remote_tool(remote, "put", path)[0]
        assert stored["uploaded"] > 3_000_000
        assert remote_tool(remote, "whole", digest, 3_000_000)["digest"] == digest

    def test_a_lost_answer_is_no_failure(self, remote, proxy, large, tmp_path):
        """The server has done it, but the client does not learn that."""
        path, digest = make_file(tmp_path / "file", 300_000)
        large_path, large_digest = large
        proxy.inject(PUT_BLOB, lambda handler: handler.forward(cut_after=0))
        proxy.inject("^POST .*uploadId=", lambda handler: handler.forward(cut_after=0))
        remote_tool(remote, "put", path)
        assert remote_tool(remote, "has", digest, 300_000) is True
        assert remote_tool(remote, "put", large_path)[0]["digest"] == large_digest
        assert remote_tool(remote, "whole", large_digest, LARGE)["digest"] == large_digest

    def test_damage_on_the_way_up_is_found_and_repaired(self, remote, proxy, tmp_path):
        path, digest = make_file(tmp_path / "file", 300_000)

        def damage(handler):
            body = bytearray(handler.read_body())
            body[1000] ^= 1
            return handler.forward(bytes(body))

        proxy.inject(PUT_BLOB, damage)
        assert remote_tool(remote, "put", path)[0]["digest"] == digest
        assert remote_tool(remote, "whole", digest, 300_000)["digest"] == digest
        other, _ = make_file(tmp_path / "other", 300_000, seed=2)
        proxy.inject(PUT_BLOB, *[damage] * 100)
        failure = remote_tool(remote, "put", other)
        assert failure.code == errno.EIO and "SHA256" in failure.message

    def test_damage_on_the_way_down_is_found(self, remote, proxy, tmp_path):
        path, digest = make_file(tmp_path / "file", 300_000)
        remote_tool(remote, "put", path)
        proxy.inject("^GET ", lambda handler: handler.forward(change=lambda body: body[:-1] + bytes([body[-1] ^ 1])))
        failure = remote_tool(remote, "whole", digest, 300_000)
        assert failure.code == errno.EBADMSG and digest in failure.message

    def test_ignored_ranges_are_cut_to_size(self, remote, proxy, tmp_path):
        path, digest = make_file(tmp_path / "file", 300_000)
        remote_tool(remote, "put", path)

        def ignore(handler):
            del handler.headers["Range"]
            return handler.forward()

        proxy.inject("^GET ", ignore)
        wanted = oci.sha256(path.read_bytes()[100_000:200_000])
        assert remote_tool(remote, "get", digest, 300_000, 100_000, 100_000)["digest"] == wanted

    def test_expired_credentials_are_not_tried_again(self, remote, proxy, tmp_path):
        path, _ = make_file(tmp_path / "file", 300_000)
        proxy.inject(PUT_BLOB, *[error(400, "ExpiredToken", "The provided token has expired.")] * 10)
        failure = remote_tool(remote, "put", path)
        assert "The provided token has expired." in failure.message and "AWS_SESSION_TOKEN" in failure.hint
        assert len(proxy.seen(PUT_BLOB)) == 1

    def test_a_server_that_stops_sending_is_given_up(self, remote, proxy, tmp_path):
        done = threading.Event()
        proxy.inject("list-type", *[lambda handler: done.wait(60) and hang_up(handler)] * 100)
        failure = remote_tool(remote, "find", SUBJECT["digest"], ARTIFACT, options=("-s", 200))
        done.set()
        assert failure.code == errno.ETIMEDOUT


class TestParts:
    def test_only_the_part_that_broke_is_sent_again(self, remote, proxy, large):
        path, digest = large
        proxy.inject("^PUT .*partNumber=2", hang_up, error(503, "SlowDown"))
        remote_tool(remote, "put", path)
        numbers = [request.path.partition("partNumber=")[2][0] for request in proxy.seen(PUT_PART)]
        assert numbers == ["1", "2", "2", "2", "3"]
        assert remote_tool(remote, "whole", digest, LARGE)["digest"] == digest

    def test_an_error_in_a_good_answer_is_an_error(self, remote, proxy, large, server, bucket):
        path, digest = large
        proxy.inject("^POST .*uploadId=", error(200, "InternalError"))
        remote_tool(remote, "put", path)
        assert remote_tool(remote, "whole", digest, LARGE)["digest"] == digest
        shutil.rmtree(bucket / "some")
        proxy.inject("^POST .*uploadId=", error(200, "AccessDenied"))
        assert remote_tool(remote, "put", path).code == errno.EIO
        assert remote_tool(remote, "has", digest, LARGE) is False
        assert server.leftovers(bucket.name) == []

    def test_a_server_may_take_its_time_to_finish(self, remote, proxy, large):
        """Amazon's says 200 at once, and sends a space now and then while it puts the parts together."""
        path, digest = large
        proxy.inject("^POST .*uploadId=", lambda handler: handler.forward(dawdle_s=2))
        assert remote_tool(remote, "put", path, options=("-s", 400))[0]["digest"] == digest
        assert len(proxy.seen("^POST .*uploadId=")) == 1
        assert remote_tool(remote, "whole", digest, LARGE)["digest"] == digest

    def test_a_failure_leaves_nothing(self, remote, proxy, large, server, bucket):
        path, digest = large
        proxy.inject("^PUT .*partNumber=2", *[error(403, "AccessDenied")] * 10)
        assert remote_tool(remote, "put", path).code == errno.EACCES
        assert len(proxy.seen("^DELETE .*uploadId=")) == 1
        assert server.leftovers(bucket.name) == []
        assert remote_tool(remote, "has", digest, LARGE) is False

    def test_a_cancelled_upload_leaves_nothing(self, remote, proxy, large, server, bucket):
        done = threading.Event()
        proxy.inject("^PUT .*partNumber=2", lambda handler: done.wait(60) and hang_up(handler))
        start = time.monotonic()
        failure = remote_tool(remote, "put", large[0], options=("-t", 1500))
        done.set()
        assert failure.code == errno.ECANCELED and time.monotonic() - start < 20
        assert server.leftovers(bucket.name) == []

    def test_a_killed_uploads_parts_are_used(self, remote, proxy, large, server, bucket):
        path, digest = large
        reached, done = threading.Event(), threading.Event()

        def wait(handler):
            reached.set()
            return done.wait(60) and hang_up(handler)

        proxy.inject("^PUT .*partNumber=3", wait)
        process = subprocess.Popen(command(remote, "put", path), stdout=subprocess.DEVNULL, env=environment())
        assert reached.wait(60)
        process.send_signal(signal.SIGKILL)
        process.wait()
        done.set()
        assert remote_tool(remote, "has", digest, LARGE) is False
        assert server.leftovers(bucket.name) != []
        stored = remote_tool(remote, "put", path)[0]
        assert stored["uploaded"] < LARGE / 2
        assert len(proxy.seen("^PUT .*partNumber=1")) == 1
        assert remote_tool(remote, "whole", digest, LARGE)["digest"] == digest
        assert server.leftovers(bucket.name) == []

    def test_parts_with_other_bytes_are_not_used(self, remote, proxy, large, tmp_path, monkeypatch):
        """Somebody began an upload of the same name with something else."""
        path, digest = large
        done = threading.Event()

        def damage_and_stop(handler):
            return done.wait(60) and hang_up(handler)

        def other(body):
            return body.replace(b"&#34;", b"").replace(b"&quot;", b"").replace(b"<ETag>", b"<ETag>0")

        proxy.inject("^PUT .*partNumber=2", damage_and_stop)
        process = subprocess.Popen(command(remote, "put", path), stdout=subprocess.DEVNULL, env=environment())
        while not proxy.seen("^PUT .*partNumber=2") and process.poll() is None:
            done.wait(0.05)
        process.kill()
        process.wait()
        done.set()
        proxy.inject("^GET .*part-number-marker", lambda handler: handler.forward(change=other))
        assert remote_tool(remote, "put", path)[0]["uploaded"] == LARGE
        assert remote_tool(remote, "whole", digest, LARGE)["digest"] == digest

    def test_two_writers_of_one_blob_both_succeed(self, remote, large, server, bucket):
        path, digest = large
        with ThreadPoolExecutor(3) as pool:
            results = list(pool.map(lambda _: remote_tool(remote, "put", path), range(3)))
        assert not [result for result in results if isinstance(result, Failure)]
        assert remote_tool(remote, "whole", digest, LARGE)["digest"] == digest
        assert server.leftovers(bucket.name) == []

    def test_servers_that_list_no_uploads_will_do(self, remote, proxy, large):
        path, digest = large
        proxy.inject("^GET .*[?&]uploads", *[error(501, "NotImplemented")] * 10)
        assert remote_tool(remote, "put", path)[0]["digest"] == digest


class TestKilled:
    def test_nothing_half_is_ever_seen(self, remote, large, server, bucket):
        """kill -9 after ever longer times, until a put survives."""
        path, digest = large
        killed = 0
        for round_number in range(1, 200):
            process = subprocess.Popen(
                command(remote, "put", path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()
            )
            try:
                process.wait(round_number * 0.1)
                break
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                killed += 1
            if remote_tool(remote, "has", digest, LARGE) is True:
                break
        assert killed > 2
        assert remote_tool(remote, "put", path)[0]["digest"] == digest
        assert remote_tool(remote, "whole", digest, LARGE)["digest"] == digest
        assert server.leftovers(bucket.name) == []
