# SPDX-License-Identifier: Apache-2.0
"""Reports of starts (report_starts): when the hook is away, and when what was left to report is no report."""
import os
import time
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from support import oci
from support.hook import until
from support.pulls import pull
from support.registry import registry
from support.serving import serving
from support.ship import fill_app, make_image
from support.snapshotter import mounted, settings, snapshotter
from support.zeropull import Zeropull

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


class Answers(BaseHTTPRequestHandler):
    """503 so many times as the server says, and then 200; when, what was asked, and the body are kept."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.append((time.monotonic(), self.path, body))
        self.send_response(503 if len(self.server.posts) <= self.server.refusals else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@contextmanager
def hook_that_refuses(times):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.posts, server.refusals = [], times
    with serving(server):
        yield server


@contextmanager
def reporting_node(work, hook, names):
    """The daemon with images in its store, and what places them: {name: (the file to leave reads in, its device)}."""
    url = f"http://127.0.0.1:{hook.server_address[1]}"
    layout = oci.Layout(work / "layout")
    with registry(work) as server, snapshotter(work, *settings(work, f"report_starts: {{url: '{url}'}}")) as daemon:
        builder, zeropull, places = Zeropull(work / "builder"), Zeropull(daemon.root / "store"), {}
        for seed, name in enumerate(names):
            known = {*zeropull.device_directories(), *zeropull.image_directories()}
            make_image(layout, name, fill_app(seed))
            server.push(f"oci:{layout.directory}:{name}", name)
            builder.build(f"oci:{layout.directory}:{name}", f"--push=docker://{server.host}/{name}")
            zeropull.ok("pull", "--policy", str(work / "policy.yaml"), f"docker://{server.host}/{name}")
            (device,), (image,) = set(zeropull.device_directories()) - known, set(zeropull.image_directories()) - known
            places[name] = (daemon.root / "starts" / image.name, device.name[:16])
        yield daemon, places


def leave(work, places, texts):
    """All at once, as the data plane does: by renaming."""
    for name, text in texts.items():
        (work / name).write_text(text)
    for name in texts:
        (work / name).rename(places[name][0])


def test_hook_that_is_away_is_asked_less_and_less_and_of_one_report_each_time(work):
    with hook_that_refuses(2) as hook, reporting_node(work, hook, ["one", "two", "three"]) as (daemon, places):
        leave(work, places, {name: f"{device} 0 8192\n" for name, (_, device) in places.items()})
        until(lambda: not any(file.exists() for file, _ in places.values()), 60, daemon.log)
        assert len(hook.posts) == 2 + 3
        first, second, third = (when for when, _, _ in hook.posts[:3])
        assert second - first > 1.5 and third - second > 3.5
        assert sorted(path.rpartition("/")[2] for _, path, _ in hook.posts[2:]) == sorted(places)
        assert all(b"app/main" in body or b"bin/tool01" in body for _, _, body in hook.posts)


def test_reports_of_nodes_that_had_a_part_say_so_to_the_hook(work):
    with hook_that_refuses(0) as hook, reporting_node(work, hook, ["part", "whole"]) as (daemon, places):
        partly = {name: "partial\n" if name == "part" else "" for name in places}
        leave(work, places, {name: f"{partly[name]}{device} 0 8192\n" for name, (_, device) in places.items()})
        until(lambda: len(hook.posts) == 2, 30, daemon.log)
        paths = {urlsplit(path).query.rpartition("/")[2]: body for _, path, body in hook.posts}
        assert sorted(paths) == ["part&partial=true", "whole"]
        assert all(body.count(b"\n") > 0 and b"partial" not in body for body in paths.values())


def test_what_is_no_list_of_reads_is_not_reported(work):
    with hook_that_refuses(0) as hook, reporting_node(work, hook, ["one"]) as (daemon, places):
        file, device = places["one"]
        for line in (f"{device} 0 8192", f"{device} 0 -1\n", f"1{device} 0 8192\n", f"{device} 0  8192\n"):
            told = daemon.log().count("malformed")
            leave(work, places, {"one": f"{device} 0 4096\n{line}"})
            until(lambda: not file.exists(), 30, daemon.log)
            until(lambda: daemon.log().count("malformed") == told + 1, 30, daemon.log)
        assert hook.posts == []


def test_images_that_are_only_pulled_keep_no_start_from_being_reported(world, work):
    size, read = 2_000_000, 200_000
    images = [world.image_of_noise(f"web{n}", n, size, read) for n in range(10)]  # more than are noted at a time
    with hook_that_refuses(0) as hook:
        reports = f"report_starts: {{url: 'http://127.0.0.1:{hook.server_address[1]}', seconds: 1}}"
        with snapshotter(work, *settings(work, "check_rights: false", "complete: never", reports)) as daemon, closing(daemon.client()) as api:
            names = [pull(api, image)[-1] for image in images]
            until(lambda: daemon.statistics()["fetched_bytes"] >= read * len(images), 60, daemon.log)
            with mounted(api.view("v", names[-1]), work / "m") as root:
                assert len((root / "noise").read_bytes()) == size
                until(lambda: hook.posts, 30, daemon.log)
    ((_, path, body),) = hook.posts
    assert urlsplit(path).query.endswith("/web9") and b"/noise" in body
