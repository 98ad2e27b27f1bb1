# SPDX-License-Identifier: Apache-2.0
"""Prometheus's text format, version 0.0.4, read strictly: https://prometheus.io/docs/instrumenting/exposition_formats/
A family's lines stand together, HELP and TYPE in front; counters end in _total; histograms are cumulative and whole."""
import re
import urllib.request
from collections import defaultdict

_SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$')
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')
_PARTS = ("_bucket", "_sum", "_count")


def _labels(text):
    found = _LABEL.findall(text or "")
    assert "".join(f'{name}="{value}",' for name, value in found).rstrip(",") == (text or ""), text
    assert len({name for name, _ in found}) == len(found), text
    return tuple(sorted(found))


def _family(name, types):
    for part in _PARTS:
        if name.endswith(part) and types.get(name.removesuffix(part)) == "histogram":
            return name.removesuffix(part)
    return name


class Metrics:
    def __init__(self, text):
        assert text.endswith("\n")
        self.types, self.values, helps, closed, current = {}, {}, set(), set(), None
        for line in text.splitlines():
            if line.startswith(("# HELP ", "# TYPE ")):
                _, what, name, rest = line.split(" ", 3)
                if what == "HELP":
                    assert name not in helps and rest, line
                    helps.add(name)
                else:
                    assert name not in self.types and rest in ("counter", "gauge", "histogram"), line
                    self.types[name] = rest
            elif not line.startswith("#") and line:
                match = _SAMPLE.match(line)
                assert match, line
                name, labels, value = match.group(1), _labels(match.group(2)), float(match.group(3))
                family = _family(name, self.types)
                assert family in helps and family in self.types, line
                assert family not in closed, f"{family} is in two places"
                if current not in (None, family):
                    closed.add(current)
                current = family
                assert (name, labels) not in self.values, line
                assert value >= 0, line
                self.values[name, labels] = value
        self._check()

    def _check(self):
        for name, kind in self.types.items():
            assert (kind == "counter") == name.endswith("_total"), name
            if kind == "histogram":
                self._check_histogram(name)

    def _check_histogram(self, name):
        series = defaultdict(list)
        for (sample, labels), value in self.values.items():
            if sample == f"{name}_bucket":
                rest = tuple(pair for pair in labels if pair[0] != "le")
                series[rest].append((float(dict(labels)["le"].replace("+Inf", "inf")), value))
        assert series, name
        for rest, buckets in series.items():
            assert buckets == sorted(buckets) and [v for _, v in buckets] == sorted(v for _, v in buckets), (name, rest)
            assert buckets[-1][0] == float("inf") and buckets[-1][1] == self.values[f"{name}_count", rest]
            assert (f"{name}_sum", rest) in self.values

    def get(self, name, **labels):
        """None: there is no such sample."""
        return self.values.get((name, tuple(sorted(labels.items()))))


def fetch(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return Metrics(answer.read().decode())
