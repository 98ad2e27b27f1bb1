# SPDX-License-Identifier: Apache-2.0
"""The list of suites in tests/meson.build is written by hand."""
from support.programs import SOURCE


def test_every_file_of_tests_is_run():
    listed = (SOURCE / "tests" / "meson.build").read_text()
    files = (SOURCE / "tests" / "e2e").glob("test_*.py")
    assert [file.stem for file in files if f"'e2e/{file.stem.removeprefix('test_')}'" not in listed] == []
