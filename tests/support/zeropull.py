# SPDX-License-Identifier: Apache-2.0
"""The zeropull command, as a test calls it: always with a store, never with a person's settings."""
import json
import os
import subprocess
from contextlib import contextmanager
from pathlib import Path

from .programs import ZEROPULL

OK, FAILED, USAGE, NOT_FOUND, REFUSED, UNCHECKED = range(6)

# What a crash or a sanitizer leaves on stderr.
_CRASH_MARKS = ("AddressSanitizer", "runtime error:", "LeakSanitizer", "Assertion", "stack smashing", "Traceback")


class Failed(Exception):
    """zeropull ended with another exit code than asked for."""


# Asked by a small process of its own: a child's peak counts what its parent held when it was forked.
_PEAK_OF = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


class Zeropull:
    def __init__(self, store, environment=None):
        self.store = Path(store)
        self.environment = {**os.environ, "HOME": "/nonexistent", **(environment or {})}
        self.prefix = []

    def command(self, *arguments):
        return [*self.prefix, ZEROPULL, "--store", self.store, *arguments]

    def start(self, *arguments, **options):
        """Starts it and returns the Popen."""
        options.setdefault("env", self.environment)
        return subprocess.Popen(
            self.command(*arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
        )

    def peak(self, *arguments):
        """Runs it; returns exit code, peak memory in KiB, and stderr."""
        command = ["/usr/bin/python3", "-c", _PEAK_OF, *map(str, self.command(*arguments))]
        result = subprocess.run(command, capture_output=True, text=True, check=True, env=self.environment)
        code, peak_kib = map(int, result.stdout.split())
        return code, peak_kib, result.stderr

    def run(self, *arguments, timeout=300, **options):
        """Runs it; returns CompletedProcess with text. Fails the test when it crashed."""
        options.setdefault("env", self.environment)
        result = subprocess.run(
            self.command(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=timeout,
            **options,
        )
        result.stderr = result.stderr.decode(errors="backslashreplace")
        crash = result.returncode < 0 or result.returncode > 128 + 32 or UNCHECKED < result.returncode <= 128
        assert not crash and not any(mark in result.stderr for mark in _CRASH_MARKS), (
            f"zeropull {arguments} crashed ({result.returncode}):\n{result.stderr}"
        )
        return result

    def expect(self, code, *arguments, **options):
        """Runs it and insists on the exit code; returns the CompletedProcess."""
        result = self.run(*arguments, **options)
        if result.returncode != code:
            raise Failed(f"zeropull {arguments}: exit {result.returncode}, not {code}:\n{result.stderr}")
        return result

    def ok(self, *arguments, **options):
        """Runs it, insists on success, returns stdout as text."""
        return self.expect(OK, *arguments, **options).stdout.decode(errors="surrogateescape")

    def json(self, *arguments):
        return json.loads(self.ok(*arguments, "--json"))

    def build(self, source, *options):
        return self.ok("build", source, *options)

    @contextmanager
    def mounted(self, image, directory):
        """The snapshot mounted at `directory`, which is made and removed."""
        Path(directory).mkdir()
        self.ok("mount", image, str(directory))
        try:
            yield Path(directory)
        finally:
            self.ok("umount", str(directory))
            Path(directory).rmdir()

    # What is in the store, as docs/store.md says.

    def image_directories(self):
        return sorted((self.store / "images").iterdir()) if (self.store / "images").exists() else []

    def layer_directories(self):
        return sorted((self.store / "layers").iterdir()) if (self.store / "layers").exists() else []

    def device_directories(self):
        return sorted((self.store / "devices").iterdir()) if (self.store / "devices").exists() else []

    def leftovers(self):
        """What lies in tmp/: nothing, unless a build is at work or was killed."""
        return sorted((self.store / "tmp").iterdir()) if (self.store / "tmp").exists() else []

    def files(self):
        """{relative path: bytes} of everything that a build wrote and that must be the same on every machine."""
        found = {}
        for top in ("devices", "layers", "images"):
            for path in sorted((self.store / top).rglob("*")):
                if path.is_file() and path.name != "device.map":  # a cache
                    found[str(path.relative_to(self.store))] = path.read_bytes()
        return found


def error_lines(stderr):
    """The lines of stderr that tell of the error: progress and hints left out."""
    return [line for line in stderr.splitlines() if line.startswith("zeropull: ")]
