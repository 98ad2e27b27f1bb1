# SPDX-License-Identifier: Apache-2.0
"""Tables for people, and how far the goals are."""
import statistics
import sys

from . import peers


def progress(row):
    if "failed" in row:
        print(f"  {_failure(row)}", file=sys.stderr, flush=True)
        return
    names = ("pull", "mount", "run", "total", "output", "http", "disk", "memory")
    seconds = ", ".join(f"{name} {_median(row[name]):.3f}" for name in names if name in row)
    fetched = f", {row['bytes'] / 1e6:.1f} MB" if "bytes" in row else ""
    print(f"  {row['what']} {row['image']} {row['tool']} {row['speed'] or 'unshaped'}: {seconds}{fetched}",
          file=sys.stderr, flush=True)


def _failure(row):
    return f"{row['what']} {row['image']} {row['tool']} {row['speed'] or 'unshaped'} failed: {row['failed']}"


def _median(value):
    return statistics.median(value) if isinstance(value, list) else value


class Rows:
    def __init__(self, rows):
        self.rows = rows

    def of(self, **wanted):
        return [row for row in self.rows if all(row[key] == value for key, value in wanted.items())]

    def median(self, figure, **wanted):
        """None: not measured."""
        values = [row[figure] for row in self.of(**wanted) if figure in row]
        flat = [v for value in values for v in (value if isinstance(value, list) else [value])]
        return statistics.median(flat) if flat else None

    def names(self, key):
        return list(dict.fromkeys(row[key] for row in self.rows))


def _cell(value, scale=1, digits=2):
    return f"{'–':>9}" if value is None else f"{value / scale:9.{digits}f}"


_TABLES = [
    ("attach", "pull, prepare and mount, ms", [("total", 1e-3, 0)]),
    ("attach", "of that, the pull, ms", [("pull", 1e-3, 0)]),
    ("output", "from nothing to the first output, s", [("total", 1, 2)]),
    ("output", "MB over the network until then", [("bytes", 1e6, 1)]),
    ("http", "from nothing to the first HTTP answer, s", [("total", 1, 2)]),
    ("http", "MB over the network until then", [("bytes", 1e6, 1)]),
    ("warm", "to the first output, everything being in memory, s", [("output", 1, 3)]),
    ("warm", "to the first output, everything being on the disk, s", [("disk", 1, 3)]),
    ("warm", "to the first HTTP answer, everything being in memory, s", [("http", 1, 3)]),
    ("read", "from nothing to having read every file, s", [("total", 1, 2)]),
    ("read", "MB over the network until then", [("bytes", 1e6, 1)]),
    ("read", "every file again from the disk, s", [("disk", 1, 2)]),
    ("read", "every file again from memory, s", [("memory", 1, 2)]),
]


def tables(result):
    rows = Rows(result["rows"])
    tools = rows.names("tool")
    for what, title, figures in _TABLES:
        if not rows.of(what=what):
            continue
        for speed in rows.names("speed"):
            if not rows.of(what=what, speed=speed):
                continue
            print(f"\n{title} ({f'{speed} Mbit/s' if speed else 'unshaped'})")
            print(f"{'':24}" + "".join(f"{tool[-18:]:>19}" for tool in tools))
            for image in rows.names("image"):
                if not rows.of(what=what, image=image, speed=speed):
                    continue
                label = f"{image} ({result['sizes'][image] / 1e6:.0f} MB)"
                cells = "".join(
                    f"{_cell(rows.median(figure, what=what, speed=speed, image=image, tool=tool), scale, digits):>19}"
                    for figure, scale, digits in figures for tool in tools
                )
                print(f"{label:24}{cells}")
    _ratios(rows, result)
    _others(result)


def _ratio(rows, title, figure, tool, against, other, other_figure=None, **wanted):
    ours = rows.median(figure, tool=tool, **wanted)
    theirs = rows.median(other_figure or figure, tool=against, **{**wanted, **other})
    if ours and theirs:
        print(f"  {title}: {ours / theirs:.2f}")


def _ratios(rows, result):
    print("\nratios")
    for tool in ("zeropull", "zeropull, profile"):
        for speed in rows.names("speed"):
            at = f"{tool}, {f'{speed} Mbit/s' if speed else 'unshaped'}"
            by_size = sorted(rows.names("image"), key=result["sizes"].get)
            attached = [rows.median("total", what="attach", tool=tool, speed=speed, image=i) for i in by_size]
            attached = [seconds for seconds in attached if seconds]
            if len(attached) > 1:
                print(f"  {at}: attach, slowest image to fastest: {max(attached) / min(attached):.2f}")
                print(f"  {at}: attach, largest of these to smallest: {attached[-1] / attached[0]:.2f}")
            for image in rows.names("image"):
                wanted = {"image": image, "speed": speed}
                for what in ("output", "http"):
                    warm = {"what": "warm", "speed": None}
                    _ratio(rows, f"{at}, {image}: {what}, cold to overlayfs from memory", "total", tool, "overlayfs",
                           warm, what, what=what, **wanted)
                    if what == "output":
                        _ratio(rows, f"{at}, {image}: {what}, cold to overlayfs from the disk", "total", tool, "overlayfs",
                               warm, "disk", what=what, **wanted)
                for figure in ("total", "disk", "memory"):
                    _ratio(rows, f"{at}, {image}: read, {figure} to overlayfs's", figure, tool, "overlayfs", {}, what="read", **wanted)
    for image in rows.names("image"):
        for figure in ("output", "http", "disk"):
            _ratio(rows, f"zeropull, {image}: warm, {figure} to overlayfs's", figure, "zeropull", "overlayfs", {}, what="warm",
                   image=image)


def _others(result):
    if many := result.get("many"):
        print(f"\n{many['count']} containers of {many['image']}, s: " +
              ", ".join(f"{name} {seconds:.1f}" for name, seconds in many["seconds"].items()))
    if memory := result.get("memory"):
        for when, key in (("", "kib"), (" and at rest", "kibAtRest")):
            print(f"\n{memory['images']} images mounted{when}; MiB of the daemon's processes: " +
                  ", ".join(f"{name} {kib / 1024:.1f}" for name, kib in memory[key].items()))
    print()
    for row in result["rows"]:
        if "failed" in row:
            print(_failure(row))
    if missing := [tool for tool in peers.TOOLS if tool not in result["tools"]]:
        print(f"not measured: {', '.join(missing)} (not in PATH)")
