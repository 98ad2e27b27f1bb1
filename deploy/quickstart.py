# SPDX-License-Identifier: Apache-2.0
"""The measured part of ./quickstart: one image, once through zeropull and runc, once through containerd."""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from support import containerd, debian, images, runc  # noqa: E402
from support.registry import registry  # noqa: E402
from support.zeropull import Failed as ZeropullFailed  # noqa: E402
from support.zeropull import Zeropull  # noqa: E402

REPOSITORY = "quickstart/image"
OUTPUT_SECONDS = 120


class Failed(Exception):
    """Something a person should be told in one line."""


def say(text):
    print(f"quickstart: {text}", file=sys.stderr, flush=True)


@contextmanager
def work_directory():
    """A temporary directory in which nothing stays mounted."""
    (debian.CACHE / "tmp").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=debian.CACHE / "tmp", prefix="quickstart-") as directory:
        try:
            yield Path(directory)
        finally:
            containerd.unmount_below(directory)


def first_output(command, begin):
    """Runs a command; returns (seconds from `begin` to its first output, its first line)."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    line = process.stdout.readline()
    seconds = time.monotonic() - begin
    rest = process.communicate(timeout=OUTPUT_SECONDS)[0]
    if process.returncode != 0 or not line:
        raise Failed(f"{command[0]} ended with {process.returncode}: {(line + rest).decode(errors='replace').strip()}")
    return seconds, line.decode(errors="replace").rstrip()


def push(source, served):
    """Copies the image for this platform, as it is, to the registry."""
    reference = served.reference(REPOSITORY)
    subprocess.run(["skopeo", "copy", "--quiet", "--dest-tls-verify=false", source, reference], check=True)
    return reference


def timed(function, *arguments):
    begin = time.monotonic()
    result = function(*arguments)
    return time.monotonic() - begin, result


def image_facts(reference):
    """(compressed bytes, layers, the part of the config that says how to run it) of the pushed image."""
    inspect = ["skopeo", "inspect", "--tls-verify=false"]
    manifest = json.loads(subprocess.check_output([*inspect, "--raw", reference]))
    config = json.loads(subprocess.check_output([*inspect, "--config", reference])).get("config") or {}
    if not (config.get("Entrypoint") or config.get("Cmd")):
        raise Failed("the image has no command to run")
    return sum(layer["size"] for layer in manifest["layers"]), len(manifest["layers"]), config


def measure_zeropull(zeropull, reference, config, work):
    build, _ = timed(zeropull.build, reference)
    begin = time.monotonic()
    with zeropull.mounted(reference, work / "snapshot") as snapshot:
        attach = time.monotonic() - begin
        with runc.prepared(snapshot, config, work / "bundle") as command:
            output, line = first_output(command, begin)
    begin = time.monotonic()
    with zeropull.mounted(reference, work / "snapshot"):
        again = time.monotonic() - begin
    size = sum(path.stat().st_size for path in zeropull.store.rglob("*") if path.suffix in (".erofs", ".zst", ".idx"))
    return {"build": build, "attach": attach, "again": again, "output": output, "line": line, "size": size}


def measure_containerd(daemon, reference):
    name = reference.removeprefix("docker://")
    begin = time.monotonic()
    daemon.pull(name)
    pull = time.monotonic() - begin
    output, line = first_output(daemon.command("run", "--rm", name, uuid.uuid4().hex[:12]), begin)
    return {"pull": pull, "output": output, "line": line}


def print_table(size, layers, ours, theirs):
    rows = [
        ("image in the registry", f"{size / 1e6:.1f} MB, {layers} layers", ""),
        ("snapshot in the store", f"{ours['size'] / 1e6:.1f} MB", ""),
        ("", "zeropull", "containerd"),
        ("snapshot build, once for all nodes", f"{ours['build']:.2f} s", "–"),
        ("pull and unpack, on each node", "–", f"{theirs['pull']:.2f} s"),
        ("attach, first time (devices unpacked)", f"{ours['attach']:.2f} s", "–"),
        ("attach, again", f"{ours['again']:.3f} s", "–"),
        ("attach or pull, to first output", f"{ours['output']:.2f} s", f"{theirs['output']:.2f} s"),
    ]
    print()
    for label, left, right in rows:
        print(f"  {label:40}{left:>22}{right:>14}".rstrip())
    print(f"\n  the container said: {ours['line']}")


def main(arguments):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with ExitStack() as stack:
        work = stack.enter_context(work_directory())
        if arguments:
            source = arguments[0]
        else:
            say("making a Python image from Debian packages (kept in " + str(debian.CACHE) + ")")
            source = images.source("python")
        served = stack.enter_context(registry(work))
        say(f"pushing {source} to a registry on {served.host}")
        reference = push(source, served)
        size, layers, config = image_facts(reference)
        os.sync()  # so that neither pays for what was written before
        say("zeropull: building the snapshot, attaching it, starting a container with runc")
        ours = measure_zeropull(Zeropull(work / "store"), reference, config, work)
        os.sync()
        say("containerd: pulling and running the same image")
        theirs = measure_containerd(stack.enter_context(containerd.containerd()), reference)
        if ours["line"] != theirs["line"]:
            say(f"note: the two containers' first lines differ: {ours['line']!r}, {theirs['line']!r}")
        print_table(size, layers, ours, theirs)
    return 0


def failure(error):
    """What a person is told of an error, in one line."""
    if isinstance(error, subprocess.CalledProcessError):
        return f"{error.cmd[0]} ended with {error.returncode}"
    return str(error) or type(error).__name__


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(130)
    except Exception as error:
        say(failure(error))
        # what was cut short may fail while it is cleaned up
        sys.exit(130 if isinstance(error.__context__, KeyboardInterrupt) else 1)
