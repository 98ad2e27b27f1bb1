# SPDX-License-Identifier: Apache-2.0
"""hosts.toml: mirrors of a registry and how to reach them, with two registries of our own."""
import errno
import random
import shutil
import socket

import pytest

from support import oci
from support.connect_proxy import connect_proxy
from support.fault_registry import Tokens, fault_registry
from support.memory_registry import memory_registry
from support.nginx import nginx
from support.registry import registry
from support.remote_tool import ARTIFACT, EMPTY, artifact_manifest, descriptor, remote_tool
from support.source_dump import Failure, check_layers, source_dump
from support.tls import self_signed


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    layout = oci.Layout(tmp_path_factory.mktemp("layout"))
    content = random.Random(1).randbytes(1_000_000)
    tars = [oci.tar_bytes(lambda tar: tar.file("big", content)), oci.tar_bytes(lambda tar: tar.file("small", b"x"))]
    layout.add_image("latest", [layout.add_raw_layer(oci.compress(tar, "gzip"), tar=tar) for tar in tars])
    return layout


@pytest.fixture
def origin(layout):
    with fault_registry(layout) as server:
        yield server


@pytest.fixture
def mirror(layout):
    with fault_registry(layout) as server:
        yield server


@pytest.fixture
def dead():
    """Host and port where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{probe.getsockname()[1]}"


class Hosts:
    def __init__(self, directory):
        self.directory = directory

    def write(self, registry, text):
        folder = self.directory / registry
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "hosts.toml").write_text(text)
        return folder

    def dump(self, name, *options, **more):
        return source_dump(name, "-H", self.directory, *options, **more)

    def tool(self, name, *arguments, options=()):
        return remote_tool(name, *arguments, options=("-H", self.directory, *options))


@pytest.fixture
def hosts(tmp_path):
    return Hosts(tmp_path / "certs.d")


def host(url, **fields):
    lines = [f'[host."{url}"]'] + [f"  {key} = {value}" for key, value in fields.items()]
    return "\n".join(lines) + "\n"


def paths(server):
    return [r.path for r in server.requests if r.path != "/v2/"]


def answer(status):
    def fault(handler):
        handler.error(status, "CODE", "message")
        return True

    return fault


class TestPulling:
    def test_mirror_serves_all_when_the_registry_is_away(self, hosts, mirror, layout):
        hosts.write("nowhere.invalid", host(f"http://{mirror.host}"))
        dump = hosts.dump("docker://nowhere.invalid/a/b:latest")
        check_layers(dump, layout.layers("latest"))
        assert len(paths(mirror)) == 4
        assert all(path.endswith("?ns=nowhere.invalid") for path in paths(mirror))

    def test_mirror_that_may_only_pull_does_not_say_what_a_tag_means(self, hosts, origin, mirror, layout):
        hosts.write(origin.host, host(f"http://{mirror.host}", capabilities='["pull"]'))
        check_layers(hosts.dump(origin.reference()), layout.layers("latest"))
        assert paths(origin) == ["/v2/a/b/manifests/latest"]
        assert len(paths(mirror)) == 3 and all("/blobs/" in path for path in paths(mirror))

    def test_next_mirror_and_then_the_server_are_asked_for_what_is_missing(self, hosts, origin, mirror, layout, tmp_path):
        with fault_registry(oci.Layout(tmp_path / "empty")) as empty:
            hosts.write(origin.host, host(f"http://{empty.host}") + host(f"http://{mirror.host}"))
            mirror.inject("/blobs/", answer(404))
            dump = hosts.dump(origin.reference())
            check_layers(dump, layout.layers("latest"))
            assert len(paths(empty)) == 4 and len(paths(mirror)) == 4 and len(paths(origin)) == 1
            assert sum("asking the next server" in line for line in dump["notices"]) == 5

    @pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
    def test_mirror_that_refuses_is_passed_over(self, hosts, origin, mirror, layout, status):
        hosts.write(origin.host, host(f"http://{mirror.host}"))
        mirror.inject("", *[answer(status)] * 100)
        dump = hosts.dump(origin.reference())
        check_layers(dump, layout.layers("latest"))
        assert len(paths(origin)) == 4

    def test_mirror_that_is_away_is_told_and_left_out(self, hosts, origin, dead, layout):
        hosts.write(origin.host, host(f"http://{dead}"))
        dump = hosts.dump(origin.reference())
        check_layers(dump, layout.layers("latest"))
        told = [line for line in dump["notices"] if dead in line]
        assert len(told) == 1 and "asking the next server" in told[0]

    def test_transfer_that_a_mirror_breaks_off_goes_on_at_the_server(self, hosts, origin, mirror, layout):
        blob = layout.layers("latest")[0].digest

        def cut(handler):
            body = handler.server.blob(blob)
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body[:500_000])
            handler.hang_up()
            return True

        hosts.write(origin.host, host(f"http://{mirror.host}"))
        mirror.inject(blob, cut)
        check_layers(hosts.dump(origin.reference()), layout.layers("latest"))
        assert [r.headers.get("Range") for r in origin.seen(blob)] == ["bytes=500000-"]

    def test_wrong_content_of_a_mirror_is_refused(self, hosts, origin, mirror, layout):
        blob = layout.layers("latest")[0].digest
        hosts.write(origin.host, host(f"http://{mirror.host}"))
        mirror.inject(blob, lambda handler: handler.answer(200, bytes(len(mirror.blob(blob)))) or True)
        assert hosts.dump(origin.reference()).code == errno.EBADMSG

    def test_credentials_of_the_registry_stay_with_it(self, hosts, layout):
        with fault_registry(layout, Tokens(user="me:secret")) as origin, fault_registry(
            layout, Tokens(user="me:secret")
        ) as mirror:
            hosts.write(origin.host, host(f"http://{mirror.host}"))
            check_layers(hosts.dump(origin.reference(), "-u", "me:secret"), layout.layers("latest"))
            assert mirror.requests and not any(r.headers.get("Authorization") for r in mirror.requests)

    def test_mirror_is_logged_in_to_by_its_own_name(self, hosts, layout, dead, tmp_path):
        with fault_registry(layout, Tokens(user="me:secret")) as mirror:
            hosts.write(dead, host(f"http://{mirror.host}"))
            (tmp_path / "auth").write_text('{"auths": {"%s": {"auth": "bWU6c2VjcmV0"}}}' % mirror.host)
            check_layers(hosts.dump(f"docker://{dead}/a/b:latest", "-a", tmp_path / "auth"), layout.layers("latest"))

    def test_server_takes_the_registrys_place(self, hosts, mirror, layout):
        hosts.write("_default", f'server = "http://{mirror.host}"')
        check_layers(hosts.dump("docker://nowhere.invalid/a/b:latest"), layout.layers("latest"))

    def test_path_is_overridden(self, hosts, layout, tmp_path_factory, certificate):
        with fault_registry(layout) as upstream, nginx(
            tmp_path_factory.mktemp("n"), f"http://{upstream.host}", certificate,
            extra=f"location /strange/api/ {{ proxy_pass http://{upstream.host}/v2/; }}",
        ) as proxy:  # fmt: skip
            url = f"https://{proxy.host}/strange/api"
            hosts.write("nowhere.invalid", host(url, override_path="true", skip_verify="true"))
            check_layers(hosts.dump("docker://nowhere.invalid/a/b:latest"), layout.layers("latest"))

    def test_malformed_file_is_told_with_its_line(self, hosts, origin):
        folder = hosts.write(origin.host, "server = 'x'\n[host\n")
        failure = hosts.dump(origin.reference())
        assert failure.code == errno.EIO and f"{folder}/hosts.toml:2: " in failure.message


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return self_signed(tmp_path_factory.mktemp("tls"))


class TestTls:
    @pytest.fixture
    def proxy(self, origin, tmp_path, certificate):
        """Wants to see a certificate."""
        extra = f"ssl_client_certificate {certificate[0]}; ssl_verify_client optional;"
        with nginx(tmp_path, f"http://{origin.host}", certificate, extra=extra) as proxy:
            yield proxy

    def test_authority_certificate_and_headers_are_the_hosts(self, hosts, proxy, certificate, layout):
        folder = hosts.write(
            "nowhere.invalid",
            host(f"https://{proxy.host}", ca='"ca.pem"', client='[["client.cert", "client.key"]]')
            + f'  [host."https://{proxy.host}".header]\n  X-Test = "here"\n',
        )
        shutil.copy(certificate[0], folder / "ca.pem")
        shutil.copy(certificate[0], folder / "client.cert")
        shutil.copy(certificate[1], folder / "client.key")
        check_layers(hosts.dump("docker://nowhere.invalid/a/b:latest"), layout.layers("latest"))
        assert {(r["verified"], r["tag"]) for r in proxy.requests()} == {("SUCCESS", "here")}

    def test_dockers_files_do_the_same(self, hosts, proxy, certificate, layout):
        folder = hosts.directory / (proxy.host.replace(":", "_") + "_")
        folder.mkdir(parents=True)
        shutil.copy(certificate[0], folder / "ca.crt")
        shutil.copy(certificate[0], folder / "client.cert")
        shutil.copy(certificate[1], folder / "client.key")
        check_layers(hosts.dump(f"docker://{proxy.host}/a/b:latest"), layout.layers("latest"))
        assert {r["verified"] for r in proxy.requests() if r["status"] == "200"} == {"SUCCESS"}

    def test_unknown_authority_is_refused_unless_told_otherwise(self, hosts, proxy, dead, layout):
        hosts.write(dead, host(f"https://{proxy.host}"))
        dump = hosts.dump(f"docker://{dead}/a/b:latest")
        assert isinstance(dump, Failure) and any("certificate is not trusted" in line for line in dump.notices)
        hosts.write(dead, host(f"https://{proxy.host}", skip_verify="true"))
        check_layers(hosts.dump(f"docker://{dead}/a/b:latest"), layout.layers("latest"))

    def test_headers_do_not_follow_a_redirect(self, hosts, origin, mirror, layout):
        blob = layout.layers("latest")[0].digest

        def redirect(handler):
            handler.answer(307, b"", [("Location", f"http://{origin.host}/storage/{blob}")])
            return True

        mirror.inject(blob, redirect)
        text = host(f"http://{mirror.host}") + f'[host."http://{mirror.host}".header]\nX-Secret = "s"\n'
        hosts.write("nowhere.invalid", text)
        check_layers(hosts.dump("docker://nowhere.invalid/a/b:latest"), layout.layers("latest"))
        assert all(r.headers.get("X-Secret") == "s" for r in mirror.requests)
        assert origin.requests and not any("X-Secret" in r.headers for r in origin.requests)


class TestWhatIsOneServersOwn:
    """Client certificate, skip_verify, proxy: of the server that hosts.toml says it of, not of where that leads."""

    @pytest.fixture
    def elsewhere(self, origin, tmp_path, certificate):
        """Asks for a certificate, and has one that nobody knows unless told."""
        (tmp_path / "elsewhere").mkdir()
        extra = f"ssl_client_certificate {certificate[0]}; ssl_verify_client optional;"
        with nginx(tmp_path / "elsewhere", f"http://{origin.host}", certificate, extra=extra) as proxy:
            yield proxy

    @pytest.fixture
    def secure(self, mirror, tmp_path, certificate):
        """The mirror, by TLS."""
        (tmp_path / "secure").mkdir()
        extra = f"ssl_client_certificate {certificate[0]}; ssl_verify_client optional;"
        with nginx(tmp_path / "secure", f"http://{mirror.host}", certificate, extra=extra) as proxy:
            yield proxy

    def lead(self, mirror, elsewhere, layout):
        blob = layout.layers("latest")[0].digest
        location = [("Location", f"https://{elsewhere.host}/storage/{blob}")]
        mirror.inject(blob, *[lambda handler: handler.answer(307, b"", location) or True] * 20)
        return blob

    def with_certificate(self, hosts, server, certificate):
        folder = hosts.write("nowhere.invalid", host(f"https://{server.host}", ca='"ca.pem"', client='[["c", "k"]]'))
        for source, name in ((certificate[0], "ca.pem"), (certificate[0], "c"), (certificate[1], "k")):
            shutil.copy(source, folder / name)

    def test_certificate_is_not_shown_to_where_a_redirect_leads(self, hosts, secure, elsewhere, mirror, certificate, layout):
        self.lead(mirror, elsewhere, layout)
        self.with_certificate(hosts, secure, certificate)
        check_layers(hosts.dump("docker://nowhere.invalid/a/b:latest"), layout.layers("latest"))
        assert {r["verified"] for r in secure.requests()} == {"SUCCESS"}
        assert {r["verified"] for r in elsewhere.requests()} == {"NONE"}

    def test_certificate_is_not_shown_by_a_range_reader(self, hosts, secure, elsewhere, mirror, certificate, layout):
        blob = self.lead(mirror, elsewhere, layout)
        self.with_certificate(hosts, secure, certificate)
        size = (layout.blobs / blob.removeprefix("sha256:")).stat().st_size
        answer = hosts.tool("docker://nowhere.invalid/a/b", "ranges", blob, size, "0+100", "500000+100")
        assert all("digest" in read for read in answer["reads"])
        assert {r["verified"] for r in secure.requests()} == {"SUCCESS"}
        assert {r["verified"] for r in elsewhere.requests()} == {"NONE"}

    def test_certificate_is_not_shown_to_a_token_server(self, hosts, elsewhere, layout, tmp_path, certificate):
        (tmp_path / "own").mkdir()
        with fault_registry(layout, Tokens()) as server, fault_registry(layout, server.tokens) as issuer:
            extra = f"ssl_client_certificate {certificate[0]}; ssl_verify_client optional;"
            with nginx(tmp_path, f"http://{issuer.host}", certificate, extra=extra) as tokens, nginx(
                tmp_path / "own", f"http://{server.host}", certificate, extra=extra
            ) as secure:
                server.tokens.realm = f"https://{tokens.host}/token"
                self.with_certificate(hosts, secure, certificate)
                check_layers(hosts.dump("docker://nowhere.invalid/a/b:latest"), layout.layers("latest"))
                assert {r["verified"] for r in secure.requests()} == {"SUCCESS"}
                assert {r["verified"] for r in tokens.requests()} == {"NONE"}

    def test_unverified_is_only_the_server_itself(self, hosts, secure, elsewhere, mirror, layout):
        self.lead(mirror, elsewhere, layout)
        hosts.write("nowhere.invalid", host(f"https://{secure.host}", skip_verify="true"))
        failure = hosts.dump("docker://nowhere.invalid/a/b:latest")
        assert isinstance(failure, Failure) and any("certificate is not trusted" in line for line in failure.notices)
        assert secure.requests() and not elsewhere.requests(0)

    def test_proxy_is_only_the_way_to_the_server_itself(self, hosts, origin, mirror, layout):
        blob = layout.layers("latest")[0].digest
        location = [("Location", f"http://{origin.host}/storage/{blob}")]
        mirror.inject(blob, lambda handler: handler.answer(307, b"", location) or True)
        with connect_proxy(mirror.host) as proxy:
            hosts.write("nowhere.invalid", host("http://mirror.invalid", proxy=f'"http://{proxy.host}"'))
            check_layers(hosts.dump("docker://nowhere.invalid/a/b:latest"), layout.layers("latest"))
            assert proxy.requests and all("mirror.invalid" in path for _, path, _ in proxy.requests)
        assert origin.seen(blob)

    def test_upload_that_leads_elsewhere_shows_no_certificate(self, hosts, tmp_path, certificate):
        (tmp_path / "registry").mkdir()
        (tmp_path / "blob").write_bytes(b"x")
        extra = f"ssl_client_certificate {certificate[0]}; ssl_verify_client optional;"
        with memory_registry() as server, nginx(tmp_path, f"http://{server.host}", certificate, extra=extra) as other:
            server.behaviour.location = f"https://{other.host}"
            with nginx(tmp_path / "registry", f"http://{server.host}", certificate, extra=extra) as secure:
                self.with_certificate(hosts, secure, certificate)
                put = hosts.tool("docker://nowhere.invalid/a/b", "put", tmp_path / "blob")
                assert put[0]["was_there"] is False
                assert {r["verified"] for r in secure.requests()} == {"SUCCESS"}
                assert other.requests() and {r["verified"] for r in other.requests()} == {"NONE"}


class TestPushing:
    @pytest.fixture
    def real(self, tmp_path):
        with registry(tmp_path / "origin") as server:
            yield server

    def test_blobs_and_artifacts_go_to_the_server(self, hosts, real, mirror, tmp_path):
        """Although the mirror has the blob: it is the server that must have it."""
        name = f"docker://{real.host}/a/b"
        (tmp_path / "blob").write_bytes(EMPTY)
        mirror.layout.put(EMPTY)
        hosts.write(real.host, host(f"http://{mirror.host}", capabilities='["pull", "resolve"]'))
        assert hosts.tool(name, "put", tmp_path / "blob")[0]["was_there"] is False
        subject = descriptor(b"{}\n", oci.MANIFEST)
        (tmp_path / "manifest").write_bytes(artifact_manifest(subject))
        assert not isinstance(hosts.tool(name, "publish", tmp_path / "manifest"), Failure)
        assert paths(mirror) == []
        found = hosts.tool(name, "find", subject["digest"], ARTIFACT)
        assert len(found) == 1  # the mirror knows of none

    def test_first_that_may_be_pushed_to_gets_all_or_nothing(self, hosts, real, tmp_path):
        (tmp_path / "blob").write_bytes(b"x")
        with memory_registry() as mirror:
            hosts.write(real.host, host(f"http://{mirror.host}"))
            mirror.inject("POST", *[answer(403)] * 9)
            failure = hosts.tool(f"docker://{real.host}/a/b", "put", tmp_path / "blob")
            assert failure.code == errno.EACCES and mirror.seen("POST")
        assert not list(real.storage.rglob("data"))

    def test_without_the_capability_nothing_is_pushed(self, hosts, mirror, tmp_path):
        hosts.write("x.invalid", f'server = "http://{mirror.host}"\ncapabilities = ["pull", "resolve"]')
        (tmp_path / "blob").write_bytes(b"x")
        failure = hosts.tool("docker://x.invalid/a/b", "put", tmp_path / "blob")
        assert failure.code == errno.EACCES and "hosts.toml" in failure.hint


class TestRanges:
    def read(self, hosts, name, layout):
        layer = layout.layers("latest")[0].digest
        body = (layout.blobs / layer.removeprefix("sha256:")).read_bytes()
        ranges = [(i * 100_000, 100) for i in range(9)]
        answer = hosts.tool(name, "ranges", layer, len(body), *[f"{s}+{n}" for s, n in ranges], options=("-d", "10000"))
        assert [r.get("digest") for r in answer["reads"]] == [oci.sha256(body[s : s + n]) for s, n in ranges], answer
        return layer

    def test_mirror_serves_ranges(self, hosts, mirror, layout):
        hosts.write("nowhere.invalid", host(f"http://{mirror.host}"))
        self.read(hosts, "docker://nowhere.invalid/a/b", layout)

    @pytest.mark.parametrize("status", [401, 403, 404, 416, 429, 500])
    def test_server_is_asked_when_the_mirror_refuses(self, hosts, origin, mirror, layout, status):
        hosts.write(origin.host, host(f"http://{mirror.host}"))
        mirror.inject("blobs", *[answer(status)] * 100)
        layer = self.read(hosts, f"docker://{origin.host}/a/b", layout)
        assert origin.seen(layer)

    def test_server_is_asked_when_the_mirror_is_away(self, hosts, origin, dead, layout):
        hosts.write(origin.host, host(f"http://{dead}"))
        self.read(hosts, f"docker://{origin.host}/a/b", layout)

    def test_mirror_whose_blob_has_another_size_is_passed_over(self, hosts, origin, mirror, layout):
        hosts.write(origin.host, host(f"http://{mirror.host}"))
        mirror.inject("blobs", *[lambda h: h.answer(206, b"x" * 100, [("Content-Range", "bytes 0-99/100")]) or True] * 100)
        self.read(hosts, f"docker://{origin.host}/a/b", layout)

    def test_away_mirror_is_tried_again_while_all_are_away(self, hosts, mirror, dead, layout):
        """The server never comes back; the mirror does."""
        hosts.write(dead, host(f"http://{mirror.host}"))
        mirror.inject("blobs", *[answer(503)] * 9)
        self.read(hosts, f"docker://{dead}/a/b", layout)
