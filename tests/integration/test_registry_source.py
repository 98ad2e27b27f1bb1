# SPDX-License-Identifier: Apache-2.0
"""docker:// against a real registry, and against one that misbehaves in every way we know of."""
import base64
import errno
import json
import os
import random
import re
import shutil
import subprocess
import threading
import time

import pytest

from support import oci
from support.fault_registry import Tokens, fault_registry
from support.registry import registry
from support.serving import hang_up
from support.source_dump import SOURCE_DUMP, Failure, check_layers, source_dump
from support.tls import self_signed

BLOB_SIZE = 3_000_000


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    """Two images of two layers: oci:latest, oci:docker, and a multi-platform index oci:multi."""
    layout = oci.Layout(tmp_path_factory.mktemp("layout"))
    content = random.Random(1).randbytes(BLOB_SIZE)
    tars = [
        oci.tar_bytes(lambda tar: tar.file("big", content)),
        oci.tar_bytes(lambda tar: tar.file("small", b"x")),
    ]
    layers = [layout.add_raw_layer(oci.compress(tar, "gzip"), tar=tar) for tar in tars]
    layout.add_image("latest", layers)
    layout.add_image("docker", layers, docker=True)
    arm = layout.add_image("arm", layers[1:], change_config=lambda c: c.update(architecture="arm64", variant="v8"))
    entries = [
        {**descriptor(layout, layout_tag(layout, "latest")), "platform": {"os": "linux", "architecture": "amd64"}},
        {**descriptor(layout, arm), "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}},
    ]
    layout.tag_manifest("multi", index_of(entries), oci.INDEX)
    return layout


def layout_tag(layout, tag):
    index = json.loads(layout.index_path.read_text())
    return next(
        m["digest"] for m in index["manifests"] if m["annotations"]["org.opencontainers.image.ref.name"] == tag
    )


def descriptor(layout, digest, media_type=oci.MANIFEST):
    size = (layout.blobs / digest.removeprefix("sha256:")).stat().st_size
    return {"mediaType": media_type, "digest": digest, "size": size}


def index_of(entries):
    return json.dumps({"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": entries}).encode()


@pytest.fixture
def private_layout(layout, tmp_path):
    """A copy that a test may change."""
    shutil.copytree(layout.directory, tmp_path / "layout")
    return oci.Layout(tmp_path / "layout")


def skopeo_digest(reference, *options):
    """The digest of the platform's manifest, as skopeo resolves it."""
    raw = subprocess.run(
        ["skopeo", "inspect", "--raw", "--tls-verify=false", *options, reference], check=True, capture_output=True
    ).stdout
    return oci.sha256(raw)


@pytest.fixture(scope="module")
def open_registry(layout, tmp_path_factory):
    with registry(tmp_path_factory.mktemp("registry")) as server:
        server.push(f"oci:{layout.directory}:latest", "a/b")
        server.push(f"oci:{layout.directory}:latest", "a/b", "docker", "--format=v2s2")
        server.push(f"oci:{layout.directory}:multi", "a/b", "multi")
        yield server


class TestRealRegistry:
    @pytest.mark.parametrize("tag", ["latest", "docker"])
    def test_image_is_the_one_skopeo_resolves(self, open_registry, layout, tag):
        dump = source_dump(open_registry.reference("a/b", tag), "-p", "linux/amd64")
        assert dump["manifest_digest"] == skopeo_digest(open_registry.reference("a/b", tag))
        assert dump["name"] == open_registry.reference("a/b", tag)
        assert dump["media_type"] == (oci.DOCKER_MANIFEST if tag == "docker" else oci.MANIFEST)
        check_layers(dump, layout.layers("latest"))

    @pytest.mark.parametrize("architecture,tag", [("amd64", "latest"), ("arm64", "arm")])
    def test_index_leads_to_the_platforms_manifest(self, open_registry, layout, architecture, tag):
        dump = source_dump(open_registry.reference("a/b", "multi"), "-p", f"linux/{architecture}")
        assert dump["manifest_digest"] == layout_tag(layout, tag)
        assert dump["platform"] == f"linux/{architecture}"
        config = subprocess.run(
            [
                "skopeo", "inspect", "--config", "--raw", "--tls-verify=false", f"--override-arch={architecture}",
                open_registry.reference("a/b", "multi"),
            ],
            check=True, capture_output=True,
        ).stdout  # fmt: skip
        assert dump["config_digest"] == oci.sha256(config)
        check_layers(dump, layout.layers(tag))

    def test_missing_platform_names_what_there_is(self, open_registry):
        failure = source_dump(open_registry.reference("a/b", "multi"), "-p", "linux/s390x")
        assert failure.code == errno.ENOENT
        assert "linux/amd64, linux/arm64" in failure.message

    def test_manifest_without_index_is_taken_for_any_architecture(self, open_registry):
        dump = source_dump(open_registry.reference("a/b"), "-p", "linux/s390x")
        assert dump["platform"] == "linux/amd64"
        assert dump["notices"] == [
            f"{open_registry.reference('a/b')}: the image is for linux/amd64, not for linux/s390x"
        ]

    def test_required_platform_is_required_without_an_index_too(self, open_registry):
        failure = source_dump(open_registry.reference("a/b"), "-r", "-p", "linux/s390x")
        assert failure.code == errno.ENOENT and failure.hint and not failure.notices
        assert "the image is for linux/amd64, not for linux/s390x" in failure.message
        for architecture in ("amd64", "x86_64"):
            dump = source_dump(open_registry.reference("a/b"), "-r", "-p", f"linux/{architecture}")
            assert dump["platform"] == "linux/amd64" and dump["notices"] == []

    def test_image_that_names_no_architecture_is_for_the_required_one(self, private_layout):
        layers = private_layout.layers("latest")
        private_layout.add_image("plain", layers, change_config=lambda c: c.pop("architecture"))
        dump = source_dump(f"oci:{private_layout.directory}:plain", "-r", "-p", "linux/s390x")
        assert dump["platform"] == "linux/s390x" and dump["notices"] == []

    def test_digest_names_an_image(self, open_registry, layout):
        digest = layout_tag(layout, "latest")
        assert source_dump(f"docker://{open_registry.host}/a/b@{digest}")["manifest_digest"] == digest

    @pytest.mark.parametrize("name", ["a/b:none", "no/such:latest", "a/b@sha256:" + 64 * "0"])
    def test_missing_image_is_told(self, open_registry, name):
        failure = source_dump(f"docker://{open_registry.host}/{name}")
        assert failure.code == errno.ENOENT
        assert name in failure.message and failure.hint

    def test_nobody_listening_is_an_error(self, tmp_path):
        with registry(tmp_path) as server:
            reference = server.reference("a/b")
        assert source_dump(reference).code == errno.ECONNREFUSED


@pytest.fixture(scope="module")
def basic_registry(layout, tmp_path_factory):
    with registry(tmp_path_factory.mktemp("registry"), users={"alice": "s3cret:x"}) as server:
        server.push(f"oci:{layout.directory}:latest", "a/b")
        yield server


class TestBasic:
    def test_credentials_open_the_door(self, basic_registry, layout):
        check_layers(source_dump(basic_registry.reference("a/b"), "-u", "alice:s3cret:x"), layout.layers("latest"))

    @pytest.mark.parametrize("options", [[], ["-u", "alice:wrong"]])
    def test_without_them_the_hint_says_how_to_log_in(self, basic_registry, options):
        failure = source_dump(basic_registry.reference("a/b"), *options)
        assert failure.code == errno.EACCES
        assert f"docker login {basic_registry.host}" in failure.hint
        assert "wrong" not in failure.message

    def test_auth_file_is_read(self, basic_registry, layout, tmp_path):
        auth = base64.b64encode(b"alice:s3cret:x").decode()
        (tmp_path / ".docker").mkdir()
        (tmp_path / ".docker" / "config.json").write_text(json.dumps({"auths": {basic_registry.host: {"auth": auth}}}))
        check_layers(source_dump(basic_registry.reference("a/b"), home=tmp_path), layout.layers("latest"))
        file = tmp_path / ".docker" / "config.json"
        check_layers(source_dump(basic_registry.reference("a/b"), "-a", file), layout.layers("latest"))

    def test_what_skopeo_login_wrote_is_understood(self, basic_registry, layout, tmp_path):
        subprocess.run(
            [
                "skopeo", "login", "--tls-verify=false", "-u", "alice", "-p", "s3cret:x", "--authfile",
                tmp_path / "auth.json", basic_registry.host,
            ],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        dump = source_dump(basic_registry.reference("a/b"), "-a", tmp_path / "auth.json")
        check_layers(dump, layout.layers("latest"))


@pytest.fixture(scope="module")
def tls_registry(layout, certificate, tmp_path_factory):
    with registry(tmp_path_factory.mktemp("registry"), tls=certificate) as server:
        server.push(f"oci:{layout.directory}:latest", "a/b")
        yield server


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return self_signed(tmp_path_factory.mktemp("tls"))


class TestTls:
    def test_known_authority_is_trusted(self, tls_registry, certificate, layout):
        check_layers(source_dump(tls_registry.reference("a/b"), "-c", certificate[0]), layout.layers("latest"))

    def test_unknown_authority_is_refused(self, tls_registry):
        failure = source_dump(tls_registry.reference("a/b"))
        assert failure.code == errno.EPROTO
        assert "certificate is not trusted" in failure.message and failure.hint

    def test_named_authority_takes_the_place_of_the_systems(self, tls_registry, certificate, tmp_path):
        """The registry's own is made one of the system's, and another one is named."""
        system = tmp_path / "system"
        system.mkdir()
        shutil.copy(certificate[0], system / "test.pem")
        subprocess.run(["openssl", "rehash", system], check=True)
        other = tmp_path / "other"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=other", "-keyout", tmp_path / "key",
             "-out", other],
            check=True, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        shutil.copy(other, system / "ca-certificates.crt")
        command = f"mount --bind {system} /etc/ssl/certs && exec {SOURCE_DUMP} {tls_registry.reference('a/b')}"

        def run(options):
            in_namespace = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
            result = subprocess.run([*in_namespace, "sh", "-c", f"{command} {options}"], capture_output=True, text=True)
            return json.loads(result.stdout)

        assert run("")["layers"]
        assert "certificate is not trusted" in run(f"-c {other}")["message"]

    def test_verification_can_be_switched_off(self, tls_registry, layout):
        check_layers(source_dump(tls_registry.reference("a/b"), "-k"), layout.layers("latest"))


class TestTokens:
    @pytest.mark.parametrize("member", ["token", "access_token"])
    def test_anonymous_token_is_fetched_once(self, layout, member):
        with fault_registry(layout, Tokens(member=member)) as server:
            check_layers(source_dump(server.reference()), layout.layers("latest"))
            assert [r.path for r in server.seen("/token")] == ["/token?service=test&scope=repository%3Aa%2Fb%3Apull"]

    def test_credentials_go_to_the_realm_only(self, layout):
        with fault_registry(layout, Tokens(user="u:p")) as server:
            check_layers(source_dump(server.reference(), "-u", "u:p"), layout.layers("latest"))
            basic = [r for r in server.requests if r.headers.get("Authorization", "").startswith("Basic")]
            assert basic and all(r.path.startswith("/token") for r in basic)

    def test_refused_credentials_are_told(self, layout):
        with fault_registry(layout, Tokens(user="u:p")) as server:
            failure = source_dump(server.reference(), "-u", "u:wrong")
            assert failure.code == errno.EACCES
            assert "incorrect username or password" in failure.message
            assert len(server.seen("/token")) == 1

    def test_identity_token_is_exchanged_by_post(self, layout, tmp_path):
        with fault_registry(layout, Tokens(user="u:p", refresh_token="id+tok=")) as server:
            auth_file = tmp_path / "config.json"
            auth_file.write_text(json.dumps({"auths": {server.host: {"identitytoken": "id+tok="}}}))
            check_layers(source_dump(server.reference(), "-a", auth_file), layout.layers("latest"))
            assert server.seen("/token")[0].method == "POST"

    def test_token_that_expires_is_renewed(self, layout):
        """Each token is good for one request: every second one gets a 401."""
        with fault_registry(layout, Tokens(uses=1)) as server:
            check_layers(source_dump(server.reference(), "-1"), layout.layers("latest"))
            assert len(server.tokens.issued) > 2

    def test_credentials_are_looked_up_once(self, layout, tmp_path):
        """A confined process cannot run a helper again when its token expires."""
        helper = tmp_path / "docker-credential-once"
        helper.write_text(f"#!/bin/sh\necho >> {tmp_path}/runs\necho '{{\"Username\":\"u\",\"Secret\":\"p\"}}'\n")
        helper.chmod(0o755)
        (tmp_path / "config.json").write_text('{"credsStore":"once"}')
        with fault_registry(layout, Tokens(user="u:p", uses=1)) as server:
            dump = source_dump(server.reference(), "-1", "-a", tmp_path / "config.json", path=tmp_path)
            check_layers(dump, layout.layers("latest"))
            assert len(server.tokens.issued) > 2
            assert (tmp_path / "runs").read_text() == "\n"

    def test_credentials_that_rotate_are_looked_up_again(self, layout, tmp_path):
        helper = tmp_path / "docker-credential-rotating"
        helper.write_text(
            f"#!/bin/sh\necho >> {tmp_path}/runs\n"
            f'echo "{{\\"Username\\":\\"u\\",\\"Secret\\":\\"p$(wc -l < {tmp_path}/runs)\\"}}"\n'
        )
        helper.chmod(0o755)
        (tmp_path / "config.json").write_text('{"credsStore":"rotating"}')

        def rotate(handler):
            handler.server.tokens.user = "u:p2"
            return False

        with fault_registry(layout, Tokens(user="u:p1", uses=1)) as server:
            server.inject("/token", let_pass, rotate)
            dump = source_dump(server.reference(), "-1", "-a", tmp_path / "config.json", path=tmp_path)
            check_layers(dump, layout.layers("latest"))

    def test_token_that_expires_in_mid_transfer_is_renewed(self, layout):
        with fault_registry(layout, Tokens(uses=3)) as server:
            server.inject(f"blobs/{layout.layers('latest')[0].digest}", let_pass, cut_after(1_000_000))
            check_layers(source_dump(server.reference(), "-1"), layout.layers("latest"))

    def test_token_is_renewed_before_it_expires(self, layout):
        with fault_registry(layout, Tokens(expires_in=1)) as server:
            check_layers(source_dump(server.reference()), layout.layers("latest"))
            refused = len([r for r in server.seen("/v2/a/b") if "Authorization" not in r.headers])
            assert refused == 1 and len(server.tokens.issued) > 1

    @pytest.mark.parametrize("expires_in", [0, -1, -1e300, 1e300, 9223372036854775807])
    def test_absurd_lifetimes_of_tokens_are_bounded(self, layout, expires_in):
        with fault_registry(layout, Tokens(expires_in=expires_in)) as server:
            check_layers(source_dump(server.reference()), layout.layers("latest"))
            assert len(server.tokens.issued) == 1

    def test_threads_whose_token_is_refused_fetch_one_together(self, private_layout):
        count = 8
        tars = [oci.tar_bytes(lambda tar, i=i: tar.file(f"f{i}", b"x")) for i in range(count)]
        layers = [private_layout.add_raw_layer(oci.compress(tar, "gzip"), tar=tar) for tar in tars]
        private_layout.add_image("many", layers)
        all_ask = threading.Barrier(count, timeout=30)

        def refuse(handler):
            all_ask.wait()
            challenge = f'Bearer realm="http://{handler.server.host}/token",service="test"'
            handler.error(401, "UNAUTHORIZED", "expired", [("WWW-Authenticate", challenge)])
            return True

        with fault_registry(private_layout, Tokens()) as server:
            server.inject("blobs/", let_pass, *[refuse] * count)  # the config's passes
            check_layers(source_dump(server.reference("many")), private_layout.layers("many"))
            assert len(server.tokens.issued) == 2

    def test_token_that_is_never_accepted_ends(self, layout):
        with fault_registry(layout, Tokens(uses=0)) as server:
            failure = source_dump(server.reference(), "-1")
            assert failure.code == errno.EACCES
            assert len(server.tokens.issued) == 1

    def test_credentials_are_not_sent_to_an_insecure_realm(self, layout):
        with fault_registry(layout, Tokens(realm="http://registry.example/token")) as server:
            failure = source_dump(server.reference(), "-u", "u:p")
            assert failure.code == errno.EACCES
            assert "registry.example" in failure.message and "not safe" in failure.message

    @pytest.mark.parametrize("answer", [b"{}", b"[]", b"{\"token\":7}", b"{\"token\":\"a\\r\\nX: y\"}", b"<html>"])
    def test_malformed_token_is_refused(self, layout, answer):
        with fault_registry(layout, Tokens()) as server:
            server.inject("/token", lambda handler: handler.answer(200, answer) or True)
            failure = source_dump(server.reference())
            assert failure.code == errno.EBADMSG and "token" in failure.message


def let_pass(handler):
    return False


def cut_after(size):
    """Promises all, sends `size` bytes, hangs up."""

    def fault(handler):
        body = handler.server.blob(handler.path.rpartition("/")[2])
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[:size])
        handler.hang_up()
        return True

    return fault


def answer(status, body=b"", *headers):
    return lambda handler: handler.answer(status, body, headers) or True


def whole_blob(handler):
    """Ignores a Range."""
    handler.answer(200, handler.server.blob(handler.path.rpartition("/")[2]))
    return True


def big_blob(layout):
    return f"blobs/{layout.layers('latest')[0].digest}"


class TestBrokenTransfers:
    def test_cut_transfer_goes_on_where_it_was_cut(self, layout):
        with fault_registry(layout) as server:
            server.inject(big_blob(layout), cut_after(1_000_000))
            check_layers(source_dump(server.reference()), layout.layers("latest"))
            ranges = [r.headers.get("Range") for r in server.seen(big_blob(layout))]
            assert ranges == [None, "bytes=1000000-"]

    def test_many_cuts_are_survived_while_there_is_progress(self, layout):
        def next_part(handler):
            body = handler.server.blob(handler.path.rpartition("/")[2])
            start = int(handler.headers.get("Range", "bytes=0-")[6:-1])
            handler.send_response(206 if start else 200)
            if start:
                handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            handler.send_header("Content-Length", str(len(body) - start))
            handler.end_headers()
            handler.wfile.write(body[start : start + 400_000])
            handler.hang_up()
            return True

        with fault_registry(layout) as server:
            server.inject(big_blob(layout), *[next_part] * 7)
            check_layers(source_dump(server.reference()), layout.layers("latest"))
            assert len(server.seen(big_blob(layout))) == 8

    def test_ignored_range_is_skipped(self, layout):
        with fault_registry(layout) as server:
            server.inject(big_blob(layout), cut_after(1_000_000), whole_blob)
            check_layers(source_dump(server.reference()), layout.layers("latest"))

    def test_transfer_cut_behind_its_last_byte_is_complete(self, layout):
        def too_long(handler):
            body = handler.server.blob(handler.path.rpartition("/")[2])
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(body) + 1))
            handler.end_headers()
            handler.wfile.write(body)
            handler.hang_up()
            return True

        with fault_registry(layout) as server:
            server.inject(big_blob(layout), too_long)
            check_layers(source_dump(server.reference()), layout.layers("latest"))

    @pytest.mark.parametrize("content_range", ["bytes 2000000-2999999/*", "bytes x", None])
    def test_wrong_range_is_refused(self, layout, content_range):
        def wrong_range(handler):
            headers = [("Content-Range", content_range)] if content_range else []
            handler.answer(206, b"x" * 1000, headers)
            return True

        with fault_registry(layout) as server:
            server.inject(big_blob(layout), cut_after(1_000_000), wrong_range)
            assert source_dump(server.reference()).code == errno.EPROTO

    def test_endless_trouble_ends(self, layout):
        with fault_registry(layout) as server:
            server.inject(big_blob(layout), *[cut_after(0)] * 100)
            failure = source_dump(server.reference())
            assert failure.code == errno.EIO
            assert 3 <= len(server.seen(big_blob(layout))) <= 10

    @pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
    def test_passing_trouble_passes(self, layout, status):
        with fault_registry(layout) as server:
            server.inject("manifests/", answer(status, b"busy"))
            server.inject(big_blob(layout), answer(status))
            check_layers(source_dump(server.reference()), layout.layers("latest"))

    def test_retry_after_is_honoured(self, layout):
        with fault_registry(layout) as server:
            server.inject(big_blob(layout), answer(429, b"", ("Retry-After", "2")))
            start = time.monotonic()
            check_layers(source_dump(server.reference()), layout.layers("latest"))
            assert time.monotonic() - start >= 2

    def test_rate_limit_is_told(self, layout):
        with fault_registry(layout) as server:
            body = b'{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}'
            server.inject("manifests/", *[answer(429, body)] * 100)
            failure = source_dump(server.reference())
            assert failure.code == errno.EBUSY
            assert "pull rate limit" in failure.message and failure.hint

    def test_connection_reset_before_any_answer_is_retried(self, layout):
        with fault_registry(layout) as server:
            server.inject("manifests/", hang_up)
            check_layers(source_dump(server.reference()), layout.layers("latest"))

    def test_trickle_counts_as_broken(self, layout):
        """One byte every 50 ms, against a limit of 1 KiB/s over 400 ms."""

        def trickle(handler):
            handler.send_response(200)
            handler.send_header("Content-Length", "3000000")
            handler.end_headers()
            for _ in range(1000):
                handler.wfile.write(b"x")
                handler.wfile.flush()
                if handler.server.stop_trickle.wait(0.05):
                    break
            handler.close_connection = True
            return True

        with fault_registry(layout) as server:
            server.stop_trickle = threading.Event()
            server.inject("manifests/", *[trickle] * 100)
            failure = source_dump(server.reference(), "-s", 400)
            server.stop_trickle.set()
            assert failure.code == errno.ETIMEDOUT

    def test_cancellation_is_prompt(self, layout):
        done = threading.Event()

        def never(handler):
            done.wait(60)
            return hang_up(handler)

        with fault_registry(layout) as server:
            server.inject("manifests/", never)
            start = time.monotonic()
            failure = source_dump(server.reference(), "-t", 300)
            done.set()
            assert failure.code == errno.ECANCELED
            assert time.monotonic() - start < 25

    def test_cancellation_interrupts_waiting_for_the_next_attempt(self, layout):
        with fault_registry(layout) as server:
            server.inject("manifests/", *[answer(429, b"", ("Retry-After", "50"))] * 10)
            start = time.monotonic()
            assert source_dump(server.reference(), "-t", 300).code == errno.ECANCELED
            assert time.monotonic() - start < 25


@pytest.fixture
def never():
    """A fault that gives no answer while the test runs."""
    done = threading.Event()

    def fault(handler):
        done.wait(60)
        return hang_up(handler)

    yield fault
    done.set()


class TestWaiting:
    """Nobody is left to wonder what is waited for."""

    def test_silence_is_told_while_it_lasts(self, layout, never):
        with fault_registry(layout) as server:
            server.inject("manifests/", *[never] * 10)
            failure = source_dump(server.reference(), "-s", 900)
            assert failure.code == errno.ETIMEDOUT and "does not answer" in failure.message
            assert any(re.fullmatch(rf"{server.host}: no answer for \d s", line) for line in failure.notices)
            assert f"{server.host}: the server does not answer; trying again (2 of 5)" in failure.notices

    def test_transfer_that_stops_is_told(self, layout, never):
        def stop(handler):
            body = handler.server.blob(handler.path.rpartition("/")[2])
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body[:1_000_000])
            handler.wfile.flush()
            return never(handler)

        with fault_registry(layout) as server:
            server.inject(big_blob(layout), stop)
            dump = source_dump(server.reference(), "-s", 900)
            check_layers(dump, layout.layers("latest"))
            assert any(re.fullmatch(rf"{server.host}: nothing has come for \d s", line) for line in dump["notices"])

    def test_what_goes_well_needs_no_words(self, layout):
        with fault_registry(layout, Tokens()) as server:
            assert source_dump(server.reference(), "-p", "linux/amd64")["notices"] == []

    def test_time_that_a_server_asks_for_is_told(self, layout):
        with fault_registry(layout) as server:
            server.inject("manifests/", answer(503, b"", ("Retry-After", "1")))
            (notice,) = source_dump(server.reference(), "-p", "linux/amd64")["notices"]
            assert notice == f"{server.host}: the server answered 503 and asks to wait 1 s; trying again (2 of 5)"

    @pytest.mark.parametrize("path", ["manifests/", "blobs/", "/token"])
    def test_too_long_a_time_is_not_waited_for(self, layout, path):
        with fault_registry(layout, Tokens()) as server:
            server.inject(path, *[answer(503, b"", ("Retry-After", "100000"))] * 10)
            start = time.monotonic()
            failure = source_dump(server.reference())
            assert "asks to wait 28 h" in failure.message
            assert time.monotonic() - start < 20 and not failure.notices

    def test_reading_is_cancelled_apart_from_the_source(self, layout, never):
        with fault_registry(layout) as server:
            server.inject(big_blob(layout), never)
            start = time.monotonic()
            assert source_dump(server.reference(), "-T", 300).code == errno.ECANCELED
            assert time.monotonic() - start < 25


class TestWrongContent:
    def test_other_bytes_are_refused(self, layout):
        with fault_registry(layout) as server:
            blob = server.blob(layout.layers("latest")[0].digest)
            server.inject(big_blob(layout), answer(200, blob[:-1] + bytes([blob[-1] ^ 1])))
            failure = source_dump(server.reference())
            assert failure.code == errno.EBADMSG and layout.layers("latest")[0].digest in failure.message

    @pytest.mark.parametrize("change", [lambda b: b + b"x", lambda b: b[:-1], lambda b: b""])
    def test_other_size_is_refused(self, layout, change):
        with fault_registry(layout) as server:
            server.inject(big_blob(layout), answer(200, change(server.blob(layout.layers("latest")[0].digest))))
            assert source_dump(server.reference()).code == errno.EBADMSG

    def test_damage_hidden_by_a_resumption_is_found(self, layout):
        """The first part is another blob's: each transfer alone looks good."""

        def other_start(handler):
            handler.send_response(200)
            handler.send_header("Content-Length", "3000000")
            handler.end_headers()
            handler.wfile.write(b"y" * 1_000_000)
            handler.hang_up()
            return True

        with fault_registry(layout) as server:
            server.inject(big_blob(layout), other_start)
            assert source_dump(server.reference()).code == errno.EBADMSG

    def test_manifest_that_is_not_the_digests_is_refused(self, layout):
        with fault_registry(layout) as server:
            server.inject("manifests/sha256", answer(200, server.blob(layout_tag(layout, "docker"))))
            failure = source_dump(f"docker://{server.host}/a/b@{layout_tag(layout, 'latest')}")
            assert failure.code == errno.EBADMSG and "damaged" in failure.message

    def test_manifest_below_an_index_is_checked(self, layout):
        with fault_registry(layout) as server:
            server.inject("manifests/sha256", answer(200, server.blob(layout_tag(layout, "docker"))))
            assert source_dump(server.reference("multi"), "-p", "linux/amd64").code == errno.EBADMSG

    def test_registrys_own_digest_finds_damage_on_the_way(self, layout):
        with fault_registry(layout) as server:
            body = server.blob(layout_tag(layout, "latest"))
            server.inject("manifests/", answer(200, body, ("Docker-Content-Digest", "sha256:" + 64 * "0")))
            assert source_dump(server.reference()).code == errno.EBADMSG

    def test_damaged_config_is_refused(self, layout):
        config = layout.manifest("latest")["config"]
        with fault_registry(layout) as server:
            server.inject(f"blobs/{config['digest']}", answer(200, b"x" * config["size"]))
            failure = source_dump(server.reference())
            assert failure.code == errno.EBADMSG and config["digest"] in failure.message

    def test_endless_manifest_is_cut_off(self, layout):
        with fault_registry(layout) as server:
            server.inject("manifests/", answer(200, b" " * (9 << 20)))
            assert source_dump(server.reference()).code == errno.EFBIG

    def test_endless_headers_are_cut_off(self, layout):
        with fault_registry(layout) as server:
            server.inject("manifests/", answer(200, b"{}", *[(f"X-{i}", "y" * 8000) for i in range(40)]))
            assert source_dump(server.reference()).code == errno.EPROTO

    def test_endless_error_page_is_cut_off(self, layout):
        with fault_registry(layout) as server:
            server.inject("manifests/", answer(404, b"x" * (20 << 20)))
            assert source_dump(server.reference()).code == errno.ENOENT

    def test_control_characters_of_a_server_do_not_reach_the_terminal(self, layout):
        body = json.dumps({"errors": [{"code": "DENIED", "message": "a\x1b[31mb\nc"}]}).encode()
        with fault_registry(layout) as server:
            server.inject("manifests/", answer(403, body))
            failure = source_dump(server.reference())
            assert failure.code == errno.EACCES and "a?[31mb?c" in failure.message

    def test_schema_1_is_not_supported(self, layout):
        body = json.dumps({"schemaVersion": 1, "name": "a/b", "tag": "x", "fsLayers": [], "history": []}).encode()
        media_type = "application/vnd.docker.distribution.manifest.v1+prettyjws"
        with fault_registry(layout) as server:
            server.inject("manifests/", answer(200, body, ("Content-Type", media_type)))
            failure = source_dump(server.reference())
            assert failure.code == errno.ENOTSUP and "schema 1" in failure.message

    def test_layer_count_must_match_the_config(self, private_layout):
        private_layout.add_image(
            "bad", private_layout.layers("latest"), change_config=lambda c: c["rootfs"]["diff_ids"].pop()
        )
        with fault_registry(private_layout) as server:
            failure = source_dump(server.reference("bad"))
            assert failure.code == errno.EBADMSG and "2 layers" in failure.message

    def test_nested_indexes_are_followed_to_a_limit(self, private_layout):
        platform = {"os": "linux", "architecture": "amd64"}
        digest, media_type = layout_tag(private_layout, "latest"), oci.MANIFEST
        for depth in range(1, 6):
            entry = {**descriptor(private_layout, digest, media_type), "platform": platform}
            digest, media_type = private_layout.tag_manifest(f"depth{depth}", index_of([entry]), oci.INDEX), oci.INDEX
        with fault_registry(private_layout) as server:
            dump = source_dump(server.reference("depth4"), "-p", "linux/amd64")
            assert dump["manifest_digest"] == layout_tag(private_layout, "latest")
            assert source_dump(server.reference("depth5"), "-p", "linux/amd64").code == errno.EBADMSG

    def test_entry_without_platform_is_checked_by_its_config(self, private_layout):
        entry = descriptor(private_layout, layout_tag(private_layout, "latest"))
        private_layout.tag_manifest("plain", index_of([entry]), oci.INDEX)
        with fault_registry(private_layout) as server:
            assert source_dump(server.reference("plain"), "-p", "linux/amd64")["platform"] == "linux/amd64"
            assert source_dump(server.reference("plain"), "-p", "linux/s390x").code == errno.ENOENT


class TestRedirects:
    @staticmethod
    def to(url):
        return lambda handler: handler.answer(307, b"", [("Location", url(handler))]) or True

    def test_authorization_stays_with_its_origin(self, layout):
        """Same host name, another port: another origin."""
        digest = layout.layers("latest")[0].digest
        with fault_registry(layout) as storage, fault_registry(layout, Tokens()) as server:
            server.inject(big_blob(layout), self.to(lambda _: f"http://{storage.host}/storage/{digest}"))
            check_layers(source_dump(server.reference()), layout.layers("latest"))
            (request,) = storage.seen("/storage/")
            assert "Authorization" not in request.headers
            assert server.seen(big_blob(layout))[0].headers["Authorization"].startswith("Bearer")

    def test_authorization_goes_along_within_the_registry(self, layout):
        digest = layout.layers("latest")[0].digest
        with fault_registry(layout, Tokens()) as server:
            server.inject(big_blob(layout), self.to(lambda _: f"/storage/{digest}"))
            check_layers(source_dump(server.reference()), layout.layers("latest"))
            (request,) = server.seen("/storage/")
            assert request.headers["Authorization"].startswith("Bearer")

    def test_another_servers_challenge_gets_no_credentials(self, layout):
        digest = layout.layers("latest")[0].digest
        with fault_registry(layout, Tokens()) as other, fault_registry(layout) as server:
            server.inject(big_blob(layout), self.to(lambda _: f"http://{other.host}/v2/a/b/blobs/{digest}"))
            failure = source_dump(server.reference(), "-u", "u:p")
            assert failure.code == errno.EACCES and "another server" in failure.message
            assert not other.seen("/token")

    def test_resumption_starts_from_the_registry(self, layout):
        """A signed URL may have expired: it is not asked again."""
        digest = layout.layers("latest")[0].digest
        with fault_registry(layout) as storage, fault_registry(layout, Tokens()) as server:
            server.inject(big_blob(layout), *[self.to(lambda _: f"http://{storage.host}/storage/{digest}")] * 2)
            storage.inject("/storage/", cut_after(1_000_000))
            check_layers(source_dump(server.reference()), layout.layers("latest"))
            assert len(server.seen(big_blob(layout))) == 2
            assert [r.headers.get("Range") for r in storage.seen("/storage/")] == [None, "bytes=1000000-"]

    def test_loops_end(self, layout):
        with fault_registry(layout) as server:
            server.inject("manifests/", *[self.to(lambda handler: handler.path)] * 100)
            assert source_dump(server.reference()).code == errno.EPROTO
            assert len(server.seen("manifests/")) <= 20

    @pytest.mark.parametrize("target", ["file:///etc/passwd", "gopher://127.0.0.1/", "http://u:p@127.0.0.1/", "http://["])
    def test_strange_targets_are_refused(self, layout, target):
        with fault_registry(layout) as server:
            server.inject("manifests/", self.to(lambda _: target))
            failure = source_dump(server.reference())
            assert isinstance(failure, Failure) and failure.code == errno.EPROTO
