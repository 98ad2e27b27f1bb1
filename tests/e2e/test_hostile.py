# SPDX-License-Identifier: Apache-2.0
"""Odd and hostile images: each becomes exactly what containerd shows, or is refused with one clear error.

What containerd refuses is refused, and what it accepts is accepted, but for the cases that say why not. Whatever
happens: no crash, nothing left in the store, and it does not take long.
"""
import resource
import shutil
import time

import pytest

from support import oci
from support.containerd import ContainerdError
from support.hostile import CASES, write
from support.programs import treecmp
from support.zeropull import FAILED, OK, REFUSED, error_lines

SECONDS = 20  # of the processors'


def processor_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.fixture(scope="module")
def reference(containerd):
    """Imports a case into containerd; returns the image's name, or the text of the error."""

    def run(layout, tag):
        try:
            return containerd.import_layout(layout, tag), None
        except ContainerdError as error:
            return None, str(error)

    return run


def check_refusal(zeropull, result, case):
    assert result.returncode in (FAILED, REFUSED), result.stderr
    lines = error_lines(result.stderr)
    assert len(lines) == 1, result.stderr
    assert f"oci:{zeropull.store.parent}/layout:case" in lines[0] and len(lines[0]) < 2500, lines[0]
    assert lines[0].isprintable(), lines[0]
    assert case.names in lines[0], lines[0]
    assert zeropull.image_directories() == []
    assert zeropull.json("list") == []


@pytest.mark.parametrize("name", CASES)
def test_identical_or_refused(name, zeropull, work, reference, containerd):
    case = CASES[name]
    write(oci.Layout(work / "layout"), "case", case)
    begin = processor_seconds()
    epoch = int(time.time())
    result = zeropull.run("build", f"oci:{work / 'layout'}:case", timeout=3 * SECONDS)
    assert processor_seconds() - begin < SECONDS
    assert zeropull.leftovers() == []
    if result.returncode != OK:
        check_refusal(zeropull, result, case)
    if case.refuse_only:
        assert result.returncode != OK, "this must not be accepted"
        return
    image, refusal = reference(work / "layout", "case")
    if refusal:
        assert result.returncode != OK or case.lenient, f"containerd refuses it: {refusal[-500:]}"
        return
    try:
        if result.returncode != OK:
            assert case.strict, f"containerd accepts it: {error_lines(result.stderr)[0]}"
            return
        with containerd.mounted(image) as left, zeropull.mounted(f"oci:{work / 'layout'}:case", work / "mnt") as right:
            assert treecmp(left, right, "--ignore-dir-mtime-after", epoch) == []
    finally:
        containerd.remove(image)
        shutil.rmtree(work / "layout")
