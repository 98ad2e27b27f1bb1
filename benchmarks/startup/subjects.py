# SPDX-License-Identifier: Apache-2.0
"""The images that are started, and what is asked of them; published in a registry with and without a profile."""
import hashlib
import random
import subprocess
from dataclasses import dataclass
from pathlib import Path

from support import images, oci
from support.zeropull import Zeropull

PORT = 8080
_FLASK = (
    "import numpy, flask; app = flask.Flask('app'); app.route('/')(lambda: str(numpy.arange(10).sum())); "
    f"app.run(port={PORT})"
)
# Debian's package logs to a directory that the image has not, and listens at port 80.
_NGINX = f"mkdir -p /var/log/nginx && sed -i 's/ 80 / {PORT} /' /etc/nginx/sites-enabled/default && exec nginx -g 'daemon off;'"
READ_ALL = ["sh", "-c", "find / -xdev -type f -exec cat {} + >/dev/null; echo all read"]
LARGE_FILE = 2800 << 20


@dataclass
class Subject:
    name: str
    serve: list = None  # what answers HTTP at PORT
    reads_all: bool = False

    @property
    def start(self):
        return images.config(self.name)["Cmd"]


ALL = {
    subject.name: subject
    for subject in [
        Subject("nginx", serve=["sh", "-c", _NGINX], reads_all=True),
        Subject("python", serve=["python3", "-c", _FLASK]),
        Subject("node", reads_all=True),
        Subject("jdk", reads_all=True),
        Subject("large"),
    ]
}
SHORT = ["nginx"]
FULL = ["nginx", "python", "node", "jdk", "large"]


@images.image("large")
def _large(maker):
    """Python and a file of nearly 3 GB that does not compress, as a model has it. It is made of pieces that are
    compressed once, and differs every 16 MiB."""
    maker.layers += oci.Layout(images.layout("python")).layers("python")
    chunk, digest = 16 << 20, hashlib.sha256()
    pieces = [random.Random(seed).randbytes(chunk - 4096) for seed in range(8)]
    members = [oci.compress(piece, "gzip", 1) for piece in pieces]
    blob = maker.directory / "large"
    with open(blob, "wb") as out:

        def put(data, member=None):
            digest.update(data)
            out.write(member or oci.compress(data, "gzip", 1))

        put(oci.tar_header("model.bin", LARGE_FILE))
        for number in range(LARGE_FILE // chunk):
            put(random.Random(-number - 1).randbytes(4096))
            put(pieces[number % 8], members[number % 8])
        put(bytes(1024))
    maker.layers.append(
        oci.Layer(blob, oci.sha256_file(blob), blob.stat().st_size, "sha256:" + digest.hexdigest(), oci.LAYER["gzip"])
    )
    maker.config = images.config("python")


def _record(zeropull, subject, work):
    """A profile of all that is measured but reading every file."""
    source, parts = images.source(subject.name), []
    runs = [["--", *subject.start]]
    if subject.serve:
        # a server does not end by itself, and one that does is what a profile can be recorded of
        runs.append(["--seconds", "4", source, "--", *subject.serve])
    for number, run in enumerate(runs):
        part = work / f"{subject.name}.{number}.profile"
        rest = run if run[0] == "--seconds" else [source, *run]
        zeropull.ok("profile", "record", "--read-ahead", "--output", part, *rest)
        parts.append(part)
    whole = work / f"{subject.name}.profile"
    zeropull.ok("profile", "merge", "--output", whole, *parts)
    return whole


def publish(server, names, work):
    """Puts each image into the registry, in plain/NAME and, with the snapshot of a profiled build, profiled/NAME. And one
    as `programs`, with its snapshot: what has started it has its programs in memory."""
    work = Path(work)
    server.push(images.source("busybox"), "programs")
    Zeropull(work / "programs").ok("build", f"--push=docker://{server.host}/programs", images.source("busybox"))
    for name in names:
        subject, source = ALL[name], images.source(name)
        plain, profiled = Zeropull(work / "plain" / name), Zeropull(work / "profiled" / name)
        for kind in ("plain", "profiled"):
            server.push(source, f"{kind}/{name}")
        plain.ok("build", f"--push=docker://{server.host}/plain/{name}", source, timeout=1200)
        profile = _record(plain, subject, work)
        profiled.ok("build", f"--push=docker://{server.host}/profiled/{name}", "--profile", profile, source, timeout=1200)
        for store in (plain.store, profiled.store):
            subprocess.run(["rm", "-rf", store], check=True)


def size_of(name):
    """Bytes of the image's compressed layers."""
    return sum(layer.size for layer in oci.Layout(images.layout(name)).layers(name))


def diff_ids(name):
    return [layer.diff_id for layer in oci.Layout(images.layout(name)).layers(name)]
