# SPDX-License-Identifier: Apache-2.0
"""The range reader against real servers, and against one that misbehaves in every way we know of."""
import errno
import json
import random
import re
import subprocess
import threading
import time

import pytest

from support import oci
from support.fault_proxy import fault_proxy
from support.fault_registry import Tokens, fault_registry
from support.hook import until
from support.nginx import nginx
from support.registry import registry
from support.remote_tool import command, environment, remote_tool
from support.source_dump import Failure
from support.tls import self_signed
from support.versitygw import versitygw

KIB, MIB = 1 << 10, 1 << 20
SIZE = 20 * MIB
CONTENT = random.Random(1).randbytes(SIZE)
DIGEST = oci.sha256(CONTENT)
BLOB = f"blobs/{DIGEST}"
# So far apart that each is a request of its own.
SPREAD = [(i * MIB + i, 10_000 + i) for i in range(19)]
MANY = [(i * 350 * KIB, 5_000 + i) for i in range(57)]


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    layout = oci.Layout(tmp_path_factory.mktemp("layout"))
    layout.put(CONTENT)
    return layout


@pytest.fixture(scope="module")
def file(layout):
    return layout.blobs / DIGEST.removeprefix("sha256:")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def server(layout):
    with fault_registry(layout) as server:
        yield server


def remote(server):
    return f"docker://{server.host}/a/b"


def read(name, ranges, *options, digest=DIGEST, size=SIZE):
    """ranges: (start, length) or (start, length, flags)."""
    return remote_tool(name, "ranges", digest, size, *words(ranges), options=options)


def words(ranges):
    return [f"{r[0]}+{r[1]}{r[2] if len(r) > 2 else ''}" for r in ranges]


def check(answer, ranges):
    assert not isinstance(answer, Failure), answer
    for range_, result in zip(ranges, answer["reads"], strict=True):
        assert result.get("digest") == oci.sha256(CONTENT[range_[0] : range_[0] + range_[1]]), (range_, result)
    assert answer["delivered"] == sum(r[1] for r in ranges)


def failures(answer):
    return {r.get("code", 0) for r in answer["reads"]}


def asked(server):
    """The ranges that were asked for."""
    return [r.headers.get("Range") for r in server.seen(BLOB)]


def answer(status, *headers):
    def fault(handler):
        handler.error(status, "CODE", "message", headers)
        return True

    return fault


def serve_part(handler, count=None, body=CONTENT):
    """Begins to answer the range that was asked for, with `count` of its bytes."""
    start, end = re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers["Range"]).groups()
    part = body[int(start) : int(end) + 1]
    handler.send_response(206)
    handler.send_header("Content-Range", f"bytes {start}-{end}/{len(body)}")
    handler.send_header("Content-Length", str(len(part)))
    handler.end_headers()
    handler.wfile.write(part[:count])
    handler.wfile.flush()


def cut_after(count):
    def fault(handler):
        serve_part(handler, count)
        handler.hang_up()
        return True

    return fault


class TestRealServers:
    @pytest.fixture(scope="class")
    def registry(self, tmp_path_factory, file):
        with registry(tmp_path_factory.mktemp("registry"), users={"me": "secret"}) as server:
            options = ("-u", "me:secret")
            assert not isinstance(
                remote_tool(f"docker://{server.host}/a/b", "put", file, options=options), Failure
            )
            yield server

    def test_registry_serves_many_ranges_at_once(self, registry):
        answer = read(remote(registry), MANY, "-u", "me:secret")
        check(answer, MANY)
        assert answer["connections"] <= 20

    def test_registry_serves_what_nobody_waits_for_in_few_requests(self, registry):
        ranges = [(*range_, "a") for range_ in MANY]
        answer = read(remote(registry), ranges, "-u", "me:secret")
        check(answer, ranges)
        assert answer["requests"] <= 6 and answer["connections"] <= 3
        assert answer["received"] < answer["delivered"] + 300 * len(MANY)

    def test_registry_without_credentials_refuses(self, registry):
        answer = read(remote(registry), SPREAD)
        assert failures(answer) == {errno.EACCES}
        assert "asks for a user and password" in answer["reads"][0]["message"]

    def test_registry_has_no_such_blob(self, registry):
        answer = read(remote(registry), SPREAD, "-u", "me:secret", digest=oci.sha256(b"other"))
        assert failures(answer) == {errno.ENOENT}

    def test_directory_serves_ranges(self, tmp_path, file):
        remote_tool(f"dir:{tmp_path}", "put", file)
        check(read(f"dir:{tmp_path}", SPREAD * 5 + [(0, SIZE)]), SPREAD * 5 + [(0, SIZE)])
        assert failures(read(f"dir:{tmp_path}", SPREAD, digest=oci.sha256(b"other"))) == {errno.ENOENT}
        assert failures(read(f"dir:{tmp_path}", SPREAD, size=SIZE + 1)) == {errno.EBADMSG}

    @pytest.fixture
    def bucket(self, tmp_path, monkeypatch, file):
        with versitygw(tmp_path) as s3:
            for name in ("AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_S3"):
                monkeypatch.delenv(name, raising=False)
            for name, value in s3.environment.items():
                monkeypatch.setenv(name, value)
            s3.bucket("bucket")
            assert not isinstance(remote_tool("s3://bucket/prefix", "put", file), Failure)
            yield s3

    def test_object_storage_serves_ranges(self, bucket):
        check(read("s3://bucket/prefix", MANY), MANY)
        assert failures(read("s3://bucket/prefix", SPREAD, digest=oci.sha256(b"other"))) == {errno.ENOENT}

    def test_busy_object_storage_is_asked_again(self, bucket, monkeypatch):
        with fault_proxy(bucket.url) as proxy:
            monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
            slow_down = b"<Error><Code>SlowDown</Code></Error>"
            proxy.inject("^GET", *[lambda handler: handler.answer(503, slow_down) or True] * 5)
            answer = read("s3://bucket/prefix", SPREAD)
            check(answer, SPREAD)
            assert answer["retries"] == 5

    def test_wrong_key_is_refused(self, bucket, monkeypatch):
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        assert failures(read("s3://bucket/prefix", SPREAD)) == {errno.EACCES}


class TestHttp2:
    @pytest.fixture
    def upstream(self, tmp_path, file):
        with registry(tmp_path) as server:
            remote_tool(remote(server), "put", file)
            yield server

    def test_one_connection_carries_many_ranges(self, upstream, tmp_path, certificate):
        with nginx(tmp_path, upstream.url, certificate) as proxy:
            result = read(f"docker://{proxy.host}/a/b", SPREAD, "-c", certificate[0], "-r", "3")
            assert [r["digest"] for r in result["reads"]] == [
                oci.sha256(CONTENT[start : start + size]) for start, size in SPREAD
            ] * 3
            assert result["connections"] == 1
            assert result["http2_requests"] > 2 * len(SPREAD)  # the last ones need not have ended
            of_ranges = lambda: [r for r in proxy.requests() if r["range"]]  # noqa: E731
            until(lambda: len(of_ranges()) >= 3 * len(SPREAD), 20)  # they are logged after they were answered
            ranges = of_ranges()
            assert {r["protocol"] for r in ranges} == {"HTTP/2.0"}
            assert len({r["connection"] for r in ranges}) == 1
            assert len(ranges) == 3 * len(SPREAD)

    def test_connections_that_the_server_ends_again_and_again_do_no_harm(self, upstream, tmp_path, certificate):
        with nginx(tmp_path, upstream.url, certificate, extra="keepalive_requests 7;") as proxy:
            check(read(f"docker://{proxy.host}/a/b", MANY, "-c", certificate[0]), MANY)
            assert len({r["connection"] for r in proxy.requests(36)}) > 5  # of 7 each

    def test_server_without_http2_gets_several_connections(self, upstream, tmp_path, certificate):
        with nginx(tmp_path, upstream.url, certificate, http2=False) as proxy:
            result = read(f"docker://{proxy.host}/a/b", MANY, "-c", certificate[0], "-n", "4")
            check(result, MANY)
            assert 2 <= result["connections"] <= 4 and result["http2_requests"] == 0

    def test_untrusted_certificate_is_refused(self, upstream, tmp_path, certificate):
        with nginx(tmp_path, upstream.url, certificate) as proxy:
            assert failures(read(f"docker://{proxy.host}/a/b", SPREAD)) == {errno.EPROTO}


class TestTogether:
    """What waits for one server with one place."""

    def hold_first(self, server, *ranges, options=()):
        """Reads the ranges when a first read has taken the only place; what was asked for after it."""
        hold = threading.Event()
        server.inject(BLOB, lambda handler: hold.wait(60) and False)
        all_ranges = [(SIZE - 1, 1), *ranges]
        reading = command(remote(server), "ranges", DIGEST, SIZE, *words(all_ranges), options=("-n", "1", *options))
        with subprocess.Popen(reading, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()) as process:
            assert process.stderr.readline() == "all are asked for\n"
            while not server.seen(BLOB):
                assert process.poll() is None
                time.sleep(0.01)
            hold.set()
            result = json.loads(process.communicate(timeout=180)[0])
        return result, all_ranges

    def test_neighbours_travel_in_one_request(self, server):
        result, ranges = self.hold_first(server, *[(i * 4096, 4096) for i in random.Random(1).sample(range(100), 100)])
        check(result, ranges)
        assert asked(server)[1:] == [f"bytes=0-{100 * 4096 - 1}"]

    def test_small_gaps_are_swallowed_and_large_ones_not(self, server):
        result, ranges = self.hold_first(server, (0, 1000), (1000 + 64 * KIB, 1000), (2001 + 128 * KIB, 1000))
        check(result, ranges)
        assert sorted(asked(server)[1:]) == [f"bytes=0-{1999 + 64 * KIB}", f"bytes={2001 + 128 * KIB}-{3000 + 128 * KIB}"]
        assert result["received"] == 1 + 2000 + 64 * KIB + 1000

    def test_no_request_is_longer_than_its_limit(self, server):
        result, ranges = self.hold_first(server, *[(i * MIB, MIB) for i in range(16)])
        check(result, ranges)
        assert asked(server)[1:] == [f"bytes=0-{8 * MIB - 1}", f"bytes={8 * MIB}-{16 * MIB - 1}"]

    def test_overlapping_reads_are_all_filled(self, server):
        ranges = [(0, 5000), (1000, 100), (1000, 9000), (0, 1), (4999, 2), (500, 500), (1000, 100)]
        result, ranges = self.hold_first(server, *ranges)
        check(result, ranges)
        assert asked(server)[1:] == ["bytes=0-9999"]

    def test_demand_comes_before_ahead_before_background(self, server):
        ranges = [(i * MIB, 100, kind) for i, kind in enumerate("bbaaddbad", 1)]
        result, ranges = self.hold_first(server, *ranges)
        check(result, ranges)
        order = [kind for _, kind in sorted((r["place"], range_[2]) for r, range_ in zip(result["reads"][1:], ranges[1:]))]
        assert order == list("dddaaabbb")

    def test_what_lies_before_and_is_less_urgent_delays_nothing(self, server):
        result, ranges = self.hold_first(server, (0, 1000, "b"), (1000, 1000, "d"), (2000, 1000, "b"))
        check(result, ranges)
        assert asked(server)[1:] == ["bytes=1000-2999", "bytes=0-999"]

    def test_raised_read_overtakes(self, server):
        result, ranges = self.hold_first(server, *[(i * MIB, 100, "b^" if i == 5 else "b") for i in range(1, 7)])
        check(result, ranges)
        assert result["reads"][5]["place"] == 1

    def test_cancelled_reads_are_never_asked_for(self, server):
        result, ranges = self.hold_first(server, (MIB, 100), (2 * MIB, 100, "d!"), (3 * MIB, 100))
        assert [r.get("code", 0) for r in result["reads"]] == [0, 0, errno.ECANCELED, 0]
        assert asked(server)[1:] == [f"bytes={i * MIB}-{i * MIB + 99}" for i in (1, 3)]

    @pytest.mark.parametrize("kind, size, most", [
        ("b", 100, 1), ("a", 100, 1), ("b", 900_000, 2), ("a", 900_000, 2), ("d", 100, 4),
    ])  # fmt: skip
    def test_less_urgent_reads_leave_places(self, server, kind, size, most):
        """Two go at a time, the second when there is a MiB to ask for."""
        active, peak, changed = 0, 0, threading.Condition()

        def count(handler):
            nonlocal active, peak
            with changed:
                active += 1
                peak = max(peak, active)
                changed.notify_all()
                if len(server.seen(BLOB)) > 1:  # nothing goes beside the first one
                    changed.wait_for(lambda: peak >= most, 8)
                changed.wait_for(lambda: peak > most, 0.3)
                active -= 1
            return False

        server.inject(BLOB, *[count] * 12)
        ranges = [(i * MIB, size, kind) for i in range(12)]
        check(read(remote(server), ranges, "-n", "4"), ranges)
        assert peak == most


def asked_ranges(handler):
    return [tuple(map(int, part.split("-"))) for part in handler.headers["Range"].removeprefix("bytes=").split(",")]


def parts(ranges, body=CONTENT, boundary="x y", head="Content-Range: bytes {}-{}/{}"):
    text = b""
    for start, end in ranges:
        text += f"\r\n--{boundary}\r\nContent-Type: a/b\r\n{head.format(start, end, len(body))}\r\n\r\n".encode()
        text += body[start : end + 1]
    return text + f"\r\n--{boundary}--\r\n".encode()


def several(handler, change=lambda ranges: ranges, content_type='multipart/byteranges; boundary="x y"', **how):
    """Answers one range or several."""
    ranges = asked_ranges(handler)
    if len(ranges) == 1:
        serve_part(handler)
    else:
        handler.answer(206, parts(change(ranges), **how), [("Content-Type", content_type)])
    return True


def begin_several(handler, end):
    """Promises an answer of several ranges, and gives what is before `end` of it: an index, or a function of the text."""
    text = parts(asked_ranges(handler))
    handler.send_response(206)
    handler.send_header("Content-Type", 'multipart/byteranges; boundary="x y"')
    handler.send_header("Content-Length", str(len(text)))
    handler.end_headers()
    handler.wfile.write(text[: end(text) if callable(end) else end])
    handler.wfile.flush()


class TestSeveralRanges:
    """Reads that nobody waits for, of many places, go in one request."""

    RANGES = [(i * MIB, 1000 + i, "a") for i in (7, 3, 5, 4, 1)]
    SEVERAL = "bytes=" + ",".join(f"{start}-{start + size - 1}" for start, size, _ in RANGES)

    def read(self, server, *actions, ranges=RANGES):
        server.inject(BLOB, lambda handler: time.sleep(0.3) or serve_part(handler) or True, *actions)
        result = read(remote(server), [(0, 1), *ranges], "-n", "1")
        check(result, [(0, 1), *ranges])
        return result

    def test_they_are_asked_for_in_their_order(self, server):
        result = self.read(server, several)
        assert asked(server)[1:] == [self.SEVERAL]
        assert result["connections"] == 1

    def test_neighbours_are_one_range(self, server):
        self.read(server, several, ranges=[(MIB, 10, "a"), (3 * MIB, 10, "a"), (MIB + 10, 10, "a"), (MIB - 10, 10, "a")])
        assert asked(server)[1:] == [f"bytes={MIB - 10}-{MIB + 19},{3 * MIB}-{3 * MIB + 9}"]

    def test_they_may_come_in_another_order(self, server):
        self.read(server, lambda handler: several(handler, sorted))
        assert len(asked(server)) == 2

    def test_neighbours_may_come_together(self, server):
        near = [(MIB + i * 1500, 1000, "a") for i in range(4)]
        self.read(server, lambda handler: several(handler, lambda _: [(MIB, MIB + 5500)]), ranges=near)
        assert len(asked(server)) == 2

    def test_the_connection_is_used_again(self, server):
        many = [(i * 300 * KIB, 1000, "a") for i in range(60)]
        result = self.read(server, *[several] * 9, ranges=many)
        assert len(asked(server)) == 3 and result["connections"] == 1

    @pytest.mark.parametrize("action", [
        lambda handler: handler.answer(200, CONTENT),
        lambda handler: handler.answer(206, CONTENT[:10], [("Content-Range", f"bytes 0-9/{SIZE}")]),
        lambda handler: several(handler, content_type="multipart/byteranges"),
        lambda handler: several(handler, content_type="multipart/byteranges; boundary=" + "x" * 71),
        lambda handler: several(handler, content_type="multipart/byteranges; boundary=other"),
        lambda handler: several(handler, head="X: {}{}{}"),
        lambda handler: several(handler, head="Content-Range: bytes {1}-{0}/{2}"),
        lambda handler: several(handler, head="X: " + "x" * 5000 + "\r\nContent-Range: bytes {}-{}/{}"),
        lambda handler: several(handler, head="X: y\r\n" * 50 + "Content-Range: bytes {}-{}/{}"),
        lambda handler: several(handler, lambda ranges: [(10, 20)]),
        lambda handler: several(handler, lambda ranges: [(0, 19 * MIB)]),
        lambda handler: several(handler, lambda ranges: [(0, 99_999)] * 100),
        lambda handler: several(handler, lambda ranges: ranges[:2]),
        lambda handler: several(handler, body=CONTENT + b"x"),
        lambda handler: handler.error(416, "RANGE", "x"),
        lambda handler: handler.error(400, "RANGE", "x"),
        lambda handler: handler.error(501, "RANGE", "x"),
    ])  # fmt: skip
    def test_server_that_does_not_serve_them_is_asked_for_one_at_a_time(self, server, action):
        result = self.read(server, lambda handler: action(handler) or True)
        assert asked(server)[1] == self.SEVERAL and "," not in "".join(asked(server)[2:])
        assert result["retries"] == 0 and result["received"] < MIB

    def test_cut_answer_goes_on_where_it_was_cut(self, server):
        def cut(handler):
            begin_several(handler, lambda text: text.index(CONTENT[3 * MIB : 3 * MIB + 100]) + 200)
            handler.hang_up()
            return True

        result = self.read(server, cut)
        rest = self.SEVERAL.replace(f"{7 * MIB}-{7 * MIB + 1006},{3 * MIB}-", f"{3 * MIB + 200}-")
        assert sorted(asked(server)[2:]) == sorted(f"bytes={range_}" for range_ in rest[6:].split(","))
        assert result["retries"] == 1

    @pytest.mark.parametrize("action", [answer(500), answer(503), answer(429), cut_after(0), lambda handler: handler.hang_up()])
    def test_server_that_fails_only_with_several_is_asked_for_one(self, server, action):
        def fail(handler):
            return "," in handler.headers["Range"] and (action(handler) or True)

        server.inject(BLOB, *[fail] * 100)
        many = [(i * 300 * KIB, 1000, "a") for i in range(1, 60)]
        result = read(remote(server), [(0, 1), *many])
        check(result, [(0, 1), *many])
        assert len([range_ for range_ in asked(server) if "," in range_]) <= 2

    def test_raised_read_of_a_failed_request_is_asked_for_at_once(self, server):
        """It does not wait for the others' time to try again."""
        def fail(handler):
            return "," in handler.headers["Range"] and (time.sleep(1) or answer(503)(handler))

        server.inject(BLOB, *[fail] * 100)
        ranges = [(0, 1), *self.RANGES[:-1], (*self.RANGES[-1][:2], "a^")]
        check(read(remote(server), ranges, "-n", "1"), ranges)

    @pytest.mark.parametrize("status", [404, 403])
    def test_what_is_not_about_the_form_is_not_held_against_it(self, server, status):
        self.read(server, answer(status))
        assert len(asked(server)) == 2 + len(self.RANGES)

    def test_next_reads_go_together_again(self, server):
        one_by_one = [lambda handler: False] * (len(self.RANGES) + 1)
        server.inject(BLOB, lambda handler: time.sleep(0.3), answer(404), *one_by_one, several)
        result = read(remote(server), [(0, 1), *self.RANGES], "-n", "1", "-r", "2")
        assert failures(result) == {0}
        assert asked(server).count(self.SEVERAL) == 2

    def test_end_that_does_not_come_holds_nobody_up(self, server):
        def endless(handler):
            begin_several(handler, -6)
            time.sleep(8)
            return True

        start = time.monotonic()
        many = [(i * 300 * KIB, 1000, "a") for i in range(1, 40)]
        self.read(server, endless, several, ranges=many)
        assert time.monotonic() - start < 7

    def test_lost_blob_is_told(self, server):
        server.inject(BLOB, *[answer(404)] * 100)
        assert failures(read(remote(server), [(0, 1), *self.RANGES], "-n", "1")) == {errno.ENOENT}


class TestTokens:
    def test_expired_token_is_renewed_once_for_all(self, layout):
        """Each token is good for 12 requests: after it has run out those under way are sent again with another."""
        with fault_registry(layout, Tokens(uses=12)) as server:
            check(read(remote(server), MANY), MANY)
            assert 5 <= len(server.tokens.issued) <= 7
            assert len(server.seen("/token")) == len(server.tokens.issued)

    def test_token_that_lives_a_second_is_used(self, layout):
        with fault_registry(layout, Tokens(expires_in=1)) as server:
            check(read(remote(server), SPREAD), SPREAD)

    def test_refused_credentials_end_all(self, layout):
        with fault_registry(layout, Tokens(user="me:right")) as server:
            answer = read(remote(server), SPREAD, "-u", "me:wrong")
            assert failures(answer) == {errno.EACCES}

    def test_token_server_in_trouble_is_asked_again(self, layout):
        with fault_registry(layout, Tokens()) as server:
            server.inject("/token", answer(503), answer(503))
            check(read(remote(server), SPREAD), SPREAD)

    def test_token_that_is_never_accepted_ends(self, layout):
        with fault_registry(layout, Tokens(uses=0)) as server:
            assert failures(read(remote(server), SPREAD[:2])) == {errno.EACCES}


class TestRedirects:
    @pytest.fixture
    def storage(self, layout):
        with fault_registry(layout) as storage:
            yield storage

    def redirect(self, storage, query=""):
        location = ("Location", f"http://{storage.host}/storage/{DIGEST}{query}")
        return answer(307, location)

    def test_storage_is_remembered_and_sees_no_token(self, layout, storage):
        with fault_registry(layout, Tokens()) as server:
            server.inject(BLOB, lambda handler: False, *[self.redirect(storage)] * 100)  # the first is a 401
            answer = read(remote(server), SPREAD[:1], "-r", "10")
            assert {r["digest"] for r in answer["reads"]} == {oci.sha256(CONTENT[: SPREAD[0][1]])}
            assert len(storage.seen("/storage/")) == 10
            assert not any("Authorization" in r.headers for r in storage.requests)
            assert len(server.seen(BLOB)) == 2

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 503])
    def test_registry_is_asked_again_when_the_storage_refuses(self, server, storage, status):
        server.inject(BLOB, *[self.redirect(storage)] * 100)
        storage.inject("/storage/", *[lambda handler: False] * 3, answer(status))
        answer_ = read(remote(server), SPREAD[:1], "-r", "6")
        assert {r.get("digest") for r in answer_["reads"]} == {oci.sha256(CONTENT[: SPREAD[0][1]])}
        assert len(server.seen(BLOB)) == 2 and len(storage.seen("/storage/")) == 7

    def test_refusal_of_a_fresh_place_is_told(self, server, storage):
        server.inject(BLOB, *[self.redirect(storage)] * 100)
        storage.inject("/storage/", *[answer(403)] * 100)
        result = read(remote(server), SPREAD[:1])
        assert failures(result) == {errno.EACCES} and "another server" in result["reads"][0]["message"]

    def test_endless_redirects_end(self, server):
        server.inject(BLOB, *[lambda handler: answer(302, ("Location", handler.path))(handler)] * 100)
        result = read(remote(server), SPREAD[:1])
        assert failures(result) == {errno.EPROTO} and len(server.seen(BLOB)) == 11

    @pytest.mark.parametrize("location", ["ftp://127.0.0.1/x", "file:///etc/passwd", "http://me:pw@127.0.0.1/x"])
    def test_strange_places_are_not_visited(self, server, location):
        server.inject(BLOB, *[answer(302, ("Location", location))] * 5)
        assert failures(read(remote(server), SPREAD[:1])) == {errno.EPROTO}


class TestTrouble:
    def test_cut_transfer_goes_on_where_it_was_cut(self, server):
        server.inject(BLOB, cut_after(MIB), cut_after(MIB))
        result = read(remote(server), [(10, 4 * MIB)])
        check(result, [(10, 4 * MIB)])
        last = 4 * MIB + 9
        assert asked(server) == [f"bytes={10 + i * MIB}-{last}" for i in range(3)]
        assert result["retries"] == 2 and result["received"] == 4 * MIB

    def test_neighbours_of_a_cut_one_are_not_read_twice(self, server):
        """Reads that were complete before the cut are done; the one that was cut goes on."""
        ranges = [(i * MIB, MIB) for i in range(4)]
        server.inject(BLOB, lambda handler: time.sleep(0.3) or cut_after(0)(handler))
        server.inject(BLOB, cut_after(MIB + 1000))
        result = read(remote(server), ranges, "-n", "1")
        check(result, ranges)
        assert result["received"] == 4 * MIB

    def test_wrong_bytes_pass_for_the_index_to_find(self, server):
        other = bytes(SIZE)
        server.inject(BLOB, lambda handler: serve_part(handler, body=other) or True)
        result = read(remote(server), SPREAD[:1])
        assert result["reads"][0]["digest"] == oci.sha256(bytes(SPREAD[0][1]))

    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
    def test_passing_trouble_passes(self, server, status):
        server.inject(BLOB, answer(status), answer(status))
        check(read(remote(server), SPREAD[:1]), SPREAD[:1])
        assert len(server.seen(BLOB)) == 3

    def test_retry_after_is_honoured_by_all(self, server):
        server.inject(BLOB, answer(429, ("Retry-After", "2")))
        start = time.monotonic()
        check(read(remote(server), SPREAD, "-n", "1"), SPREAD)
        assert 2 <= time.monotonic() - start < 25
        assert len(server.seen(BLOB)) == len(SPREAD) + 1

    def test_longer_wait_than_there_is_time_for_ends_at_once(self, server):
        server.inject(BLOB, *[answer(429, ("Retry-After", "3600"))] * 100)
        start = time.monotonic()
        assert failures(read(remote(server), SPREAD[:1], "-d", "60000")) == {errno.EBUSY}
        assert time.monotonic() - start < 25

    def test_longer_wait_than_there_is_time_for_leaves_others_an_attempt(self, server):
        server.inject(BLOB, answer(429, ("Retry-After", "3600")))
        result = read(remote(server), SPREAD[:3], "-n", "1", "-d", "10000")
        assert failures(result) == {0, errno.EBUSY}
        assert [r.get("digest") is None for r in result["reads"]].count(True) == 1

    def test_endless_trouble_ends_with_the_time(self, server):
        server.inject(BLOB, *[answer(503)] * 100)
        start = time.monotonic()
        result = read(remote(server), SPREAD[:3], "-d", "4000")
        assert failures(result) <= {errno.ETIMEDOUT, errno.EIO}
        assert "503" in result["reads"][0]["message"]
        assert time.monotonic() - start < 25

    def test_stalled_transfer_is_repeated_on_a_new_connection(self, server):
        never, ports = threading.Event(), []

        def trickle(handler):
            ports.append(handler.client_address[1])
            serve_part(handler, 5000)
            for byte in CONTENT[5000:5100]:
                handler.wfile.write(bytes([byte]))
                handler.wfile.flush()
                if never.wait(0.1):
                    break
            return True

        server.inject(BLOB, trickle)
        server.inject(BLOB, lambda handler: ports.append(handler.client_address[1]))
        result = read(remote(server), [(0, 100_000)], "-s", "1000")
        never.set()
        check(result, [(0, 100_000)])
        first, second = asked(server)
        assert first == "bytes=0-99999" and int(second[6:-6]) >= 5000
        assert len(set(ports)) == 2

    def test_silent_server_ends_with_the_time(self, server):
        never = threading.Event()
        server.inject(BLOB, *[lambda handler: never.wait(120)] * 100)
        start = time.monotonic()
        result = read(remote(server), SPREAD[:1], "-d", "1500")
        never.set()
        assert failures(result) == {errno.ETIMEDOUT} and time.monotonic() - start < 25

    def test_nobody_there_ends_with_the_time(self, layout):
        with fault_registry(layout) as server:
            name = remote(server)
        result = read(name, SPREAD, "-d", "1500")
        assert failures(result) == {errno.ETIMEDOUT}
        assert "onnect" in result["reads"][0]["message"]

    def test_interrupted_reader_cancels_all(self, server):
        never = threading.Event()
        server.inject(BLOB, *[lambda handler: never.wait(120)] * 100)
        start = time.monotonic()
        result = read(remote(server), SPREAD, "-t", "500")
        never.set()
        assert failures(result) == {errno.ECANCELED} and time.monotonic() - start < 25

    def test_short_answers_are_followed_by_more(self, server):
        def short(handler):
            start = int(re.match(r"bytes=(\d+)-", handler.headers["Range"])[1])
            part = CONTENT[start : start + 100_000]
            handler.answer(206, part, [("Content-Range", f"bytes {start}-{start + len(part) - 1}/{SIZE}")])
            return True

        server.inject(BLOB, *[short] * 3)
        check(read(remote(server), [(0, 350_000)]), [(0, 350_000)])
        assert len(server.seen(BLOB)) == 4


class TestServersThatDoOtherwise:
    def whole(self, handler):
        handler.answer(200, CONTENT)
        return True

    def test_ignored_range_near_the_start_is_read_past(self, server):
        server.inject(BLOB, *[self.whole] * 100)
        ranges = [(1000, 1000), (5 * MIB, 1000)]
        result = read(remote(server), ranges, "-n", "1")
        check(result, ranges)
        assert result["received"] < 8 * MIB

    def test_ignored_range_far_from_the_start_is_refused(self, server):
        server.inject(BLOB, *[self.whole] * 100)
        result = read(remote(server), [(9 * MIB, 1000)])
        assert failures(result) == {errno.ENOTSUP} and "ignores Range" in result["reads"][0]["message"]
        assert result["received"] == 0

    @pytest.mark.parametrize(
        "content_range",
        ["bytes 0-99/%d" % SIZE, "bytes 1000-1100/%d" % SIZE, "bytes 1001-1099/%d" % SIZE, "bytes x", "bytes */1", None],
    )
    def test_wrong_range_is_refused(self, server, content_range):
        headers = [("Content-Range", content_range)] if content_range else []
        server.inject(BLOB, lambda handler: handler.answer(206, bytes(100), headers) or True)
        assert failures(read(remote(server), [(1000, 100)])) == {errno.EPROTO}

    @pytest.mark.parametrize("size", [SIZE - 1, SIZE + 1])
    def test_blob_of_another_size_is_refused(self, server, size):
        assert failures(read(remote(server), [(1000, 100)], size=size)) == {errno.EBADMSG}
        assert failures(read(remote(server), [(0, size)], size=size)) == {errno.EBADMSG}

    def test_range_past_what_is_there_is_refused(self, server):
        assert failures(read(remote(server), [(SIZE + 5, 100)], size=SIZE + 1000)) == {errno.EBADMSG}

    def test_error_page_for_a_blob_is_refused(self, server):
        server.inject(BLOB, lambda handler: handler.answer(200, b"<html>please log in</html>") or True)
        assert failures(read(remote(server), [(0, 100)])) == {errno.EBADMSG}

    def test_endless_headers_end(self, server):
        def endless(handler):
            handler.send_response(206)
            for i in range(5000):
                handler.send_header(f"X-{i}", "x" * 100)
            handler.end_headers()
            return True

        server.inject(BLOB, endless)
        assert failures(read(remote(server), [(0, 100)])) == {errno.EPROTO}


def test_range_outside_the_blob_is_not_accepted(server):
    assert read(remote(server), [(SIZE, 1)]).code == errno.ERANGE
    assert read(remote(server), [(SIZE - 1, 2)]).code == errno.ERANGE
    assert read(remote(server), [(2**64 - 1, 2)]).code == errno.ERANGE
