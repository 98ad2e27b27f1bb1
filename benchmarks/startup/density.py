# SPDX-License-Identifier: Apache-2.0
"""How many: containers of one image, and images on one node."""
import json
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from support import debian, images, oci, ship
from support.zeropull import Zeropull

from . import nodes
from .client import Starter

AT_ONCE = 6
SLEEP = ["sleep", "600"]
REST_SECONDS = 50  # until idle devices are closed


def _in_parallel(function, items):
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        return list(pool.map(function, items))


def _start_all(node, repository, names):
    model = node.new_name()
    node.ctr("run", "--detach", "--null-io", "--snapshotter", node.snapshotter, node.reference(repository), model, *SLEEP)
    with Starter(node, model) as starter:
        start = time.monotonic()
        _in_parallel(starter.start, names)
        seconds = time.monotonic() - start
    _remove_all(node, [model])
    return seconds


def _remove_all(node, names):
    _in_parallel(lambda name: node.ctr("tasks", "delete", "--force", name), names)
    _in_parallel(lambda name: node.ctr("containers", "delete", name), names)


def runc_alone(directory, names):
    """What runc needs for so many containers of one root file system, with nothing else in its way."""
    bundle, root = directory / "bundle", directory / "runc"
    for part in ("rootfs", "upper", "work"):
        (bundle / part).mkdir(parents=True)
    directories = f"lowerdir={debian.base()[1]},upperdir={bundle / 'upper'},workdir={bundle / 'work'}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", directories, bundle / "rootfs"], check=True)
    subprocess.run(["runc", "spec", "--bundle", bundle], check=True)
    spec = json.loads((bundle / "config.json").read_text())
    spec["process"].update(terminal=False, args=SLEEP)
    (bundle / "config.json").write_text(json.dumps(spec))

    def start(name):
        command = ["runc", "--root", root, "run", "--detach", "--bundle", bundle, name]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    begin = time.monotonic()
    _in_parallel(start, names)
    seconds = time.monotonic() - begin
    _in_parallel(lambda name: subprocess.run(["runc", "--root", root, "delete", "--force", name], check=True), names)
    return seconds


def many(server, image, count):
    """Seconds until so many containers run, a few being started at a time."""
    seconds, repository = {}, f"plain/{image}"
    for tool in ("overlayfs", "zeropull"):
        with nodes.node(server, tool) as node:
            node.pull(repository)
            names = [node.new_name() for _ in range(count)]
            node.run(repository, ["echo", "ready"])
            seconds[tool] = _start_all(node, repository, names)
            _remove_all(node, names)
            if tool == "zeropull":
                seconds["runc alone"] = runc_alone(node.directory, names)
    return {"count": count, "image": image, "seconds": seconds}


# --- memory ----------------------------------------------------------------------------------------------


def _processes(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def _resident(pids):
    """KiB of all together. Pss counts a page that processes share once; anonymous is what is no file's."""
    sums = {"Rss": 0, "Pss": 0, "anonymous": 0}
    for pid in pids:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        status = Path(f"/proc/{pid}/status").read_text()
        for name in ("Rss", "Pss"):
            sums[name] += int(re.search(rf"^{name}:\s+(\d+)", rollup, re.M)[1])
        sums["anonymous"] += int(re.search(r"^RssAnon:\s+(\d+)", status, re.M)[1])
    return sums


def memory(server, work, count):
    """The daemon's processes with so many images mounted, of each of which a file has been read."""
    layout, builder = oci.Layout(Path(work) / "many"), Zeropull(Path(work) / "builder")
    base = oci.Layout(images.layout("busybox")).layers("busybox")
    chains = []
    for number in range(count):
        tar = oci.tar_bytes(ship.fill_app(number, 300_000))
        own = layout.add_raw_layer(oci.compress(tar, "gzip"), tar=tar)
        layout.add_image(f"v{number}", [*base, own])
        chains.append([layer.diff_id for layer in [*base, own]])
        server.push(f"oci:{layout.directory}:v{number}", f"many/{number}")
        builder.ok("build", f"--push=docker://{server.host}/many/{number}", f"oci:{layout.directory}:v{number}")
    with nodes.node(server, "zeropull") as node:
        for number, diff_ids in enumerate(chains):
            node.pull(f"many/{number}")
            node.ctr("snapshots", "--snapshotter", "zeropull", "prepare", f"mounted-{number}", nodes.chain_id(diff_ids))
        # beside those of the images, there is that of the node's programs
        mounts = [mounted for mounted in (node.daemon.root / "mounts").iterdir() if (mounted / "app").exists()]
        if len(mounts) != count:
            raise nodes.Failed(f"{len(mounts)} of {count} images are mounted")
        for mounted in mounts:
            assert len((mounted / "app/main").read_bytes()) == 300_000
        kib = _resident(_processes(node.daemon.process.pid))
        time.sleep(REST_SECONDS)
        rest = _resident(_processes(node.daemon.process.pid))
    return {"images": count, "kib": kib, "kibAtRest": rest}
