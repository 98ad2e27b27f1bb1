# SPDX-License-Identifier: Apache-2.0
"""Runs inside a container, alone: reads files cold in one way, over and over, and checks what it gets.

`python3 container_load.py read|map|exec EXPECTED STOP [SEED]`: EXPECTED has a line `sha256  path` a file; it goes on
until STOP exists, and has read twice. The first line is `begun`, each failure is a line, and the last line is `done COUNT`.
"""
import hashlib
import mmap
import os
import random
import subprocess
import sys


def drop(path):
    """Out of the page cache: the next read is the device's."""
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def read(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def mapped(path):
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as memory:
        return hashlib.sha256(memory).hexdigest()


def by_program(path):
    """A program that is itself on the device, with its libraries: a page that cannot be had would kill it."""
    for program in ("/usr/bin/sha256sum", "/usr/bin/env", "/bin/sh"):
        drop(program)
    command = ["/bin/sh", "-c", 'env sha256sum "$0"; exit $?', path]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return result.stdout.split(" ")[0] if result.returncode == 0 else f"status {result.returncode}: {result.stdout}"


def main(how, expected, stop, seed="1"):
    how = {"read": read, "map": mapped, "exec": by_program}[how]
    with open(expected) as lines:
        files = [line.rstrip("\n").split("  ", 1) for line in lines]
    rng, count = random.Random(int(seed)), 0
    print("begun", flush=True)
    while count < 2 or not os.path.exists(stop):
        digest, path = rng.choice(files)
        try:
            drop(path)
            got = how(path)
        except OSError as error:
            got = str(error)
        if got != digest:
            print(f"{path}: {got}", flush=True)
        count += 1
    print(f"done {count}")


if __name__ == "__main__":
    main(*sys.argv[1:])
