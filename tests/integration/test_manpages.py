# SPDX-License-Identifier: Apache-2.0
"""Every command has a man page, which tells of every option, and scdoc takes it."""
import re
import shutil
import subprocess

import pytest

from support.programs import BUILD, SOURCE, ZEROPULL

PAGES = SOURCE / "docs" / "man"
DAEMONS = {
    "zeropull-controller": BUILD / "controller" / "zeropull-controller",
    "zeropull-hook": BUILD / "registry-hook" / "zeropull-hook",
    "zeropull-node": BUILD / "controller" / "node" / "zeropull-node",
    "zeropull-snapshotter": BUILD / "snapshotter" / "zeropull-snapshotter",
}


def help_of(*arguments):
    return subprocess.run([ZEROPULL, *arguments, "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout


def commands():
    section = help_of().split("Commands:\n")[1].split("\n\n")[0]
    return [line.split()[0] for line in section.splitlines()]


def options_of(text):
    """[(letter or None, name, argument or None)] out of the help."""
    lines = text.split("Options:\n")[1].split("\n\n")[0].splitlines()
    found = [re.match(r"  (?:-(\w), |    )--([\w-]+)(?: ?([A-Z\[][^ ]*))?  ?", line) for line in lines]
    assert all(found), lines
    return [match.groups() for match in found]


def page_of(name):
    return (PAGES / f"{name}.1.scd").read_text()


def test_help_knows_the_commands():
    assert {"build", "list", "verify"} <= set(commands())


@pytest.mark.parametrize("command", [None, *(commands() if ZEROPULL.exists() else [])])
def test_page_mentions_each_option(command):
    page = page_of(f"zeropull-{command}" if command else "zeropull")
    text = help_of(command) if command else help_of()
    missing = [name for _, name, _ in options_of(text) if f"*--{name}*" not in page]
    missing += [letter for letter, _, _ in options_of(text) if letter and f"*-{letter}*" not in page]
    assert missing == []


@pytest.mark.parametrize("command", commands() if ZEROPULL.exists() else [])
def test_page_mentions_no_option_that_is_not_there(command):
    known = {name for _, name, _ in options_of(help_of(command))}
    described = re.findall(r"^(?:\*-\w\*, )?\*--([\w-]+)\*", page_of(f"zeropull-{command}"), re.MULTILINE)
    assert set(described) <= known


def test_every_page_is_of_a_command_and_is_installed():
    names = {"zeropull", *(f"zeropull-{command}" for command in commands())}
    assert {path.name.removesuffix(".1.scd") for path in PAGES.glob("*.1.scd")} == names
    listed = (PAGES / "meson.build").read_text()
    assert all(f"'{command}'" in listed for command in commands())
    assert all(f"*{command}*" in page_of("zeropull") for command in commands())


@pytest.mark.parametrize("name", DAEMONS)
def test_page_of_a_daemon_has_its_options_and_no_others(name):
    text = subprocess.run([DAEMONS[name], "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout
    page = (PAGES / f"{name}.8.scd").read_text()
    options = re.findall(r"^  (?:-\w, |    )--([\w-]+)", text, re.MULTILINE)
    described = re.findall(r"\*--([\w-]+)\*", page.split("# OPTIONS")[1].split("\n# ")[0])
    assert set(options) == set(described) != set()
    assert f"'{name}'" in (PAGES / "meson.build").read_text()


def test_every_page_of_section_8_is_of_a_daemon():
    assert {path.name.removesuffix(".8.scd") for path in PAGES.glob("*.8.scd")} == set(DAEMONS)


@pytest.mark.skipif(not shutil.which("scdoc"), reason="no scdoc (package scdoc)")
@pytest.mark.parametrize("path", sorted(PAGES.glob("*.scd")), ids=lambda path: path.name)
def test_scdoc_takes_the_page(path):
    with open(path, "rb") as page:
        made = subprocess.run(["scdoc"], stdin=page, stdout=subprocess.PIPE, check=True).stdout
    assert b".SH NAME" in made and b".SH EXAMPLES" in made
