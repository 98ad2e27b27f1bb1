# SPDX-License-Identifier: Apache-2.0
"""Debian's chromium, driven by its chromedriver over the W3C WebDriver protocol."""
import json
import os
import re
import shutil
import subprocess
import urllib.request
from contextlib import contextmanager

import pytest

from .hook import until

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
TAB, ENTER = "\ue004", "\ue007"


class Browser:
    def __init__(self, url):
        self.url = url
        self.session = None

    def call(self, method, path, body=None):
        data = None if method == "GET" else json.dumps(body or {}).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.load(answer)["value"]

    def open(self, width, height):
        arguments = ["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", f"--window-size={width},{height}"]
        if os.geteuid() == 0:
            arguments.append("--no-sandbox")
        capabilities = {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        answer = self.call("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
        self.session = "/session/" + answer["sessionId"]

    def go(self, url):
        self.call("POST", self.session + "/url", {"url": url})

    def run(self, script, *arguments):
        return self.call("POST", self.session + "/execute/sync", {"script": script, "args": list(arguments)})

    def text(self):
        return self.run("return document.body.innerText")

    def press(self, keys):
        """Keys go to whatever has the focus."""
        active = self.call("GET", self.session + "/element/active")[ELEMENT]
        self.call("POST", f"{self.session}/element/{active}/value", {"text": keys})

    def complaints(self):
        return [
            entry["message"]
            for entry in self.call("POST", self.session + "/se/log", {"type": "browser"})
            if entry["level"] == "SEVERE"
        ]

    def requested(self):
        """URLs of all requests so far."""
        entries = self.call("POST", self.session + "/se/log", {"type": "performance"})
        messages = [json.loads(entry["message"])["message"] for entry in entries]
        return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]

    def close(self):
        if self.session:
            self.call("DELETE", self.session)


@contextmanager
def browser(width=1200, height=900):
    driver = shutil.which("chromedriver")
    if not driver:
        pytest.skip("no chromedriver (packages chromium, chromium-driver)")
    process = subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    made = None
    try:
        for line in process.stdout:
            if found := re.search(r"started successfully on port (\d+)", line):
                made = Browser(f"http://127.0.0.1:{found[1]}")
                break
        made.open(width, height)
        yield made
    finally:
        if made:
            made.close()
        process.terminate()
        process.wait(20)


def shows(page, text, timeout_s=120):
    until(lambda: text in page.text(), timeout_s, page.text)
