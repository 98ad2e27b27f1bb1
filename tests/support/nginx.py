# SPDX-License-Identifier: Apache-2.0
"""nginx before another server: TLS and HTTP/2."""
import json
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CONFIGURATION = """
daemon off;
master_process off;
pid {directory}/pid;
error_log {directory}/error.log;
events {{}}
http {{
    log_format json escape=json
        '{{"protocol": "$server_protocol", "connection": "$connection", "range": "$http_range", '
        '"status": "$status", "verified": "$ssl_client_verify", "tag": "$http_x_test"}}';
    access_log {directory}/access.log json;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    client_max_body_size 0;
    server {{
        listen 127.0.0.1:{port} ssl{http2};
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        {extra}
        location / {{
            proxy_pass {upstream};
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-Proto https;
        }}
    }}
}}
"""


@dataclass
class Nginx:
    host: str
    log: Path

    def requests(self):
        """What has been asked, oldest first: protocol, connection, range, status, verified, tag."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


def program():
    return shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin")


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _start(directory, deadline_s=20, **settings):
    """The server takes no port 0: one that was free is tried, and another when somebody else was faster."""
    for _ in range(5):
        port = _free_port()
        (directory / "nginx.conf").write_text(CONFIGURATION.format(directory=directory, port=port, **settings))
        process = subprocess.Popen(
            [program(), "-c", directory / "nginx.conf", "-e", directory / "error.log"], stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + deadline_s
        while time.monotonic() < deadline and process.poll() is None:
            if _listens(port):
                return process, port
            time.sleep(0.05)
        process.kill()
        process.wait()
    raise RuntimeError("nginx did not start: " + (directory / "error.log").read_text(errors="replace")[-1000:])


@contextmanager
def nginx(directory, upstream, tls, http2=True, extra=""):
    """Passes all to the server at the URL `upstream`. tls: (certificate, key) files. extra: lines of its server block."""
    directory = Path(directory) / "nginx"
    directory.mkdir()
    process, port = _start(
        directory, certificate=tls[0], key=tls[1], upstream=upstream, http2=" http2" if http2 else "", extra=extra
    )
    try:
        yield Nginx(f"127.0.0.1:{port}", directory / "access.log")
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
