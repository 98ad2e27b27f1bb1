# SPDX-License-Identifier: Apache-2.0
"""HTTP_PROXY, HTTPS_PROXY, NO_PROXY. The registry's name leads nowhere, but for the proxy."""
import random

import pytest

from support import oci
from support.connect_proxy import connect_proxy
from support.fault_registry import fault_registry
from support.nginx import nginx
from support.remote_tool import remote_tool
from support.source_dump import Failure, check_layers, source_dump
from support.tls import self_signed

NAME = "registry.invalid"


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    layout = oci.Layout(tmp_path_factory.mktemp("layout"))
    tar = oci.tar_bytes(lambda tar: tar.file("big", random.Random(1).randbytes(300_000)))
    layout.add_image("latest", [layout.add_raw_layer(oci.compress(tar, "gzip"), tar=tar)])
    return layout


@pytest.fixture
def server(layout):
    with fault_registry(layout) as server:
        yield server


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


def dump(*options):
    return source_dump(f"docker://{NAME}/a/b:latest", "-H", "", *options)


def test_plain_http_goes_by_the_proxy(server, layout, environment):
    with connect_proxy(server.host) as proxy:
        environment.setenv("HTTP_PROXY", f"http://{proxy.host}")
        check_layers(dump("-h"), layout.layers("latest"))
        assert all(path.startswith(f"http://{NAME}/v2/") for _, path, _ in proxy.requests)


def test_https_goes_through_the_proxy(server, layout, environment, tmp_path):
    with nginx(tmp_path, f"http://{server.host}", self_signed(tmp_path)) as tls, connect_proxy(tls.host) as proxy:
        environment.setenv("HTTPS_PROXY", proxy.host)
        check_layers(dump("-k"), layout.layers("latest"))
        assert {(method, path) for method, path, _ in proxy.requests} == {("CONNECT", f"{NAME}:443")}


def test_ranges_share_one_connection_through_the_proxy(server, layout, environment, tmp_path):
    blob = layout.layers("latest")[0].digest
    body = (layout.blobs / blob.removeprefix("sha256:")).read_bytes()
    with nginx(tmp_path, f"http://{server.host}", self_signed(tmp_path)) as tls, connect_proxy(tls.host) as proxy:
        environment.setenv("HTTPS_PROXY", proxy.host)
        ranges = [f"{i * 100_000}+100" for i in range(3)]
        answer = remote_tool(f"docker://{NAME}/a/b", "ranges", blob, len(body), *ranges, options=("-k", "-H", ""))
        assert [r["digest"] for r in answer["reads"]] == [oci.sha256(body[i * 100_000 :][:100]) for i in range(3)]
        assert len(proxy.requests) == 1


def test_proxy_gets_its_credentials_and_nobody_else(server, layout, environment):
    with connect_proxy(server.host, "me:s3cret") as proxy:
        environment.setenv("HTTP_PROXY", f"http://me:s3cret@{proxy.host}")
        check_layers(dump("-h"), layout.layers("latest"))
        assert not any("Proxy-Authorization" in r.headers for r in server.requests)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_credentials_are_never_told(server, layout, environment, scheme):
    with connect_proxy(server.host, "me:other") as proxy:
        environment.setenv(f"{scheme.upper()}_PROXY", f"http://me:s3cret@{proxy.host}")
        failure = dump(*["-h"] if scheme == "http" else [])
        assert isinstance(failure, Failure) and "407" in failure.message
        assert "s3cret" not in str(failure)


@pytest.mark.parametrize("value", ["http://me:s3cret@127.0.0.1:port", "gopher://me:s3cret@127.0.0.1", "http://me:s3cret@"])
def test_malformed_proxy_is_told_without_its_credentials(environment, value):
    environment.setenv("HTTPS_PROXY", value)
    failure = dump()
    assert "HTTPS_PROXY" in failure.message and "s3cret" not in str(failure)


def test_proxy_that_is_away_is_told_without_its_credentials(environment):
    environment.setenv("HTTPS_PROXY", "http://me:s3cret@proxy.invalid:3128")
    failure = dump()
    assert "proxy.invalid" in failure.message and "s3cret" not in str(failure)


def test_this_machine_is_reached_directly(server, layout, environment):
    environment.setenv("HTTP_PROXY", "http://proxy.invalid")
    check_layers(source_dump(server.reference(), "-H", ""), layout.layers("latest"))


def test_exceptions_are_reached_directly(server, environment):
    with connect_proxy(server.host) as proxy:
        environment.setenv("HTTP_PROXY", f"http://{proxy.host}")
        environment.setenv("NO_PROXY", "other.example,.invalid")
        assert "resolve" in dump("-h").message and not proxy.requests


def test_hosts_toml_has_the_last_word(server, layout, environment, tmp_path):
    with connect_proxy(server.host) as proxy:
        environment.setenv("HTTP_PROXY", "http://elsewhere.invalid")
        environment.setenv("NO_PROXY", "*")
        (tmp_path / NAME).mkdir()
        (tmp_path / NAME / "hosts.toml").write_text(f'server = "http://{NAME}"\nproxy = "http://{proxy.host}"\n')
        check_layers(source_dump(f"docker://{NAME}/a/b:latest", "-H", tmp_path), layout.layers("latest"))


def test_mirror_that_fails_behind_its_proxy_is_passed_over(server, layout, tmp_path):
    """The proxy says 200 before the mirror shows a certificate that nobody trusts."""
    with (
        connect_proxy(server.host) as proxy,
        nginx(tmp_path, f"http://{server.host}", self_signed(tmp_path)) as tls,
        connect_proxy(tls.host) as of_mirror,
    ):
        (tmp_path / NAME).mkdir()
        (tmp_path / NAME / "hosts.toml").write_text(
            f'server = "http://{NAME}"\nproxy = "http://{proxy.host}"\n'
            f'[host."https://mirror.invalid"]\nproxy = "http://{of_mirror.host}"\n'
        )
        check_layers(source_dump(f"docker://{NAME}/a/b:latest", "-H", tmp_path), layout.layers("latest"))
        assert of_mirror.requests
