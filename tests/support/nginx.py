# SPDX-License-Identifier: Apache-2.0
"""nginx before another server: TLS and HTTP/2."""
import json
import shutil
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .listening import ended, started

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

    def requests(self, count=1):
        """What has been asked, oldest first: protocol, connection, range, status, verified, tag. A request is logged after
        it was answered: so many are waited for."""
        deadline = time.monotonic() + 60
        while (text := self.log.read_text()).count("\n") < count:
            assert time.monotonic() < deadline, f"{count} requests are not logged: {text}"
            time.sleep(0.01)
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def program():
    return shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin")


def _start(directory, **settings):
    def start(port):
        (directory / "nginx.conf").write_text(CONFIGURATION.format(directory=directory, port=port, **settings))
        return subprocess.Popen(
            [program(), "-c", directory / "nginx.conf", "-e", directory / "error.log"], stderr=subprocess.DEVNULL
        )

    return started(start, directory / "error.log")


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
        ended(process)
