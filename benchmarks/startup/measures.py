# SPDX-License-Identifier: Apache-2.0
"""What is measured on a node; each function begins with one that has nothing and returns {name: figure}."""
import time

from . import nodes, subjects

WARM_STARTS = 5


def _variant(tool):
    """(snapshotter, kind of repository) of a tool's name."""
    return {"zeropull": ("zeropull", "plain"), "zeropull, profile": ("zeropull", "profiled")}.get(tool, (tool, "plain"))


def _fresh(server, tool, subject):
    snapshotter, kind = _variant(tool)
    return nodes.node(server, snapshotter), f"{kind}/{subject.name}"


def _start(server, tool, subject, begin):
    """From nothing to where begin(node, repository) ends; then the same again, with everything in memory."""
    context, repository = _fresh(server, tool, subject)
    bytes_fetched, warm = [], []
    with context as node:
        with nodes.counting(bytes_fetched):
            pull = node.pull(repository)
            run = begin(node, repository)
        for _ in range(WARM_STARTS):
            warm.append(begin(node, repository))
    return {"pull": pull, "run": run, "total": pull + run, "bytes": bytes_fetched[0], "warm": warm}


def output(server, tool, subject):
    """To the first output."""
    return _start(server, tool, subject, lambda node, repository: node.run(repository, subject.start))


def attach(server, tool, subject):
    """Pull, Prepare and mount, and nothing more."""
    context, repository = _fresh(server, tool, subject)
    bytes_fetched = []
    with context as node:
        start = time.monotonic()
        node.ctr("version")
        command = time.monotonic() - start
        with nodes.counting(bytes_fetched):
            pull, mount = node.pull(repository), node.mount(subjects.diff_ids(subject.name))
    return {"pull": pull, "mount": mount, "total": pull + mount, "bytes": bytes_fetched[0], "command": command}


def serve(server, tool, subject):
    """To the first answer of a server in the container."""
    return _start(server, tool, subject, lambda node, repository: node.serve(repository, subject.serve))


def read_all(server, tool, subject):
    """From nothing to the end of a container that reads every file; then again from the disk, and again from memory."""
    context, repository = _fresh(server, tool, subject)
    bytes_fetched = []
    with context as node:
        with nodes.counting(bytes_fetched):
            pull = node.pull(repository)
            run = node.run(repository, subjects.READ_ALL, until_end=True)
        nodes.drop_caches()
        node.run("programs", ["echo", "ready"])
        disk = node.run(repository, subjects.READ_ALL, until_end=True)
        memory = node.run(repository, subjects.READ_ALL, until_end=True)
    return {"pull": pull, "run": run, "total": pull + run, "bytes": bytes_fetched[0], "disk": disk, "memory": memory}
