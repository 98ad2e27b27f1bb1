# SPDX-License-Identifier: Apache-2.0
"""What is measured on a node; each function begins with one that has nothing and returns {name: figure}."""
from . import nodes, peers, subjects

WARM_ROUNDS, DISK_ROUNDS = 24, 6


def _variant(tool):
    """(snapshotter, kind of repository) of a tool's name."""
    if tool in peers.TOOLS:
        return peers.TOOLS[tool], peers.TOOLS[tool]
    return {"zeropull": ("zeropull", "plain"), "zeropull, profile": ("zeropull", "profiled")}.get(tool, (tool, "plain"))


def _fresh(server, tool, subject):
    snapshotter, kind = _variant(tool)
    return nodes.node(server, snapshotter), f"{kind}/{subject.name}"


def _start(server, tool, subject, begin):
    """From nothing to where begin(node, repository) ends."""
    context, repository = _fresh(server, tool, subject)
    bytes_fetched = []
    with context as node:
        with nodes.counting(bytes_fetched):
            pull = node.pull(repository)
            run = begin(node, repository)
    return {"pull": pull, "run": run, "total": pull + run, "bytes": bytes_fetched[0]}


def output(server, tool, subject):
    """To the first output."""
    return _start(server, tool, subject, lambda node, repository: node.run(repository, subject.start))


def attach(server, tool, subject):
    """Pull, Prepare and mount, and nothing more: no program is started."""
    context, repository = _fresh(server, tool, subject)
    bytes_fetched = []
    with context as node:
        with nodes.counting(bytes_fetched):
            pull, mount = node.pull_by_client(repository), node.mount(subjects.diff_ids(subject.name))
    return {"pull": pull, "mount": mount, "total": pull + mount, "bytes": bytes_fetched[0]}


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
        node.run(node.programs, ["echo", "ready"])
        disk = node.run(repository, subjects.READ_ALL, until_end=True)
        memory = node.run(repository, subjects.READ_ALL, until_end=True)
    return {"pull": pull, "run": run, "total": pull + run, "bytes": bytes_fetched[0], "disk": disk, "memory": memory}


def warm(server, tools, subject):
    """{tool: {figure: [seconds]}} of starts on one node that has the image of each tool, by turns: until the first output
    and the first HTTP answer with everything in memory, and until the first output with everything on the disk."""
    begins = {"output": lambda node, repository: node.run(repository, subject.start)}
    if subject.serve:
        begins["http"] = lambda node, repository: node.serve(repository, subject.serve)
    figures = {tool: {name: [] for name in [*begins, "disk"]} for tool in tools}

    def start(node, tool, name, into):
        node.snapshotter, kind = _variant(tool)
        seconds = begins[name](node, f"{kind}/{subject.name}")
        figures[tool][into].append(seconds)

    with nodes.node(server, "zeropull") as node:
        for tool in tools:
            node.snapshotter, kind = _variant(tool)
            node.pull(f"{kind}/{subject.name}")
            for begin in begins.values():
                begin(node, f"{kind}/{subject.name}")
        for number in range(WARM_ROUNDS):
            for tool in _turned(tools, number):
                for name in begins:
                    start(node, tool, name, name)
        for number in range(DISK_ROUNDS):
            for tool in _turned(tools, number):
                nodes.drop_caches()
                node.snapshotter = "zeropull"
                node.run("programs", ["echo", "ready"])
                start(node, tool, "output", "disk")
    return figures


def _turned(tools, number):
    """Each comes first, and after each other, as often: what one leaves to be done delays the next."""
    first = number % len(tools)
    order = [*tools[first:], *tools[:first]]
    return order[::-1] if number // len(tools) % 2 else order
