# SPDX-License-Identifier: Apache-2.0
"""`zeropull key` beside the openssl program."""
import hashlib
import json
import os
import pty
import subprocess

import pytest

from support.programs import ZEROPULL
from support.zeropull import FAILED, NOT_FOUND, OK, USAGE


def run(*arguments, expect=OK, **environment):
    result = subprocess.run(
        [ZEROPULL, "key", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
        start_new_session=True,  # no terminal to ask on
    )
    assert result.returncode == expect, result.stderr
    return result


def openssl(*arguments):
    return subprocess.run(["openssl", *map(str, arguments)], stdout=subprocess.PIPE, check=True).stdout


def id_of(public):
    return "sha256:" + hashlib.sha256(openssl("pkey", "-pubin", "-in", public, "-outform", "DER")).hexdigest()


def on_terminal(arguments, answers):
    """Runs the command with a terminal of its own and types the answers. Returns (exit code, what the terminal saw)."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(ZEROPULL, ["zeropull", "key", *map(str, arguments)])
    seen = b""
    for answer in (*answers, None):
        while answer is None or not seen.endswith(b": "):
            try:
                part = os.read(terminal, 4096)
            except OSError:  # the other end is closed
                part = b""
            if not part:
                break
            seen += part
        if answer is not None:
            seen += b"|"
            os.write(terminal, answer.encode() + b"\n")
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen.decode()


def test_generate_makes_a_pair_that_openssl_knows(tmp_path):
    key, public = tmp_path / "k", tmp_path / "k.pub"
    result = run("generate", key)
    assert result.stdout == id_of(public) + "\n"
    assert "not encrypted" in result.stderr
    assert key.stat().st_mode & 0o777 == 0o600
    assert openssl("pkey", "-in", key, "-pubout") == public.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["k", "k.pub"]


def test_show_tells_the_same_of_both_halves(tmp_path):
    key, public = tmp_path / "k", tmp_path / "k.pub"
    openssl("genpkey", "-algorithm", "ed25519", "-out", key)
    openssl("pkey", "-in", key, "-pubout", "-out", public)
    for file, is_private in ((key, True), (public, False)):
        assert run("show", "-q", file).stdout == id_of(public) + "\n"
        assert run("show", "--public", file).stdout == public.read_text()
        assert json.loads(run("show", "--json", file).stdout) == {
            "id": id_of(public),
            "private": is_private,
            "encrypted": False,
            "publicKey": public.read_text(),
        }
        text = run("show", file).stdout
        assert id_of(public) in text and public.read_text() in text
        assert ("private" in text) == is_private


@pytest.mark.parametrize("there", ["k", "k.pub"])
def test_nothing_is_overwritten(there, tmp_path):
    (tmp_path / there).write_text("precious")
    result = run("generate", tmp_path / "k", expect=FAILED)
    assert "exists already" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "precious"


def test_a_passphrase_comes_from_a_file_or_the_environment(tmp_path):
    (tmp_path / "pass").write_text("open sesame\nsecond line\n")
    (tmp_path / "wrong").write_text("open barley\n")
    made = json.loads(run("generate", "--json", "--passphrase-file", tmp_path / "pass", tmp_path / "a").stdout)
    assert made["encrypted"] and made["id"] == id_of(tmp_path / "a.pub")
    run("generate", "--encrypt", tmp_path / "b", ZEROPULL_PASSPHRASE="open sesame")
    for name in ("a", "b"):
        public = (tmp_path / f"{name}.pub").read_bytes()
        assert openssl("pkey", "-in", tmp_path / name, "-passin", "pass:open sesame", "-pubout") == public
        assert "encrypted" in run("show", "--passphrase-file", tmp_path / "pass", tmp_path / name).stdout
        assert run("show", "-q", tmp_path / name, ZEROPULL_PASSPHRASE="open sesame").stdout
        wrong = run("show", "--passphrase-file", tmp_path / "wrong", tmp_path / name, expect=FAILED)
        assert "passphrase is wrong" in wrong.stderr
        assert "no terminal" in run("show", tmp_path / name, expect=FAILED).stderr
    assert "empty" in run("generate", "-e", tmp_path / "c", expect=FAILED, ZEROPULL_PASSPHRASE="").stderr
    assert "no terminal" in run("generate", "-e", tmp_path / "c", expect=FAILED).stderr
    run("generate", "--passphrase-file", tmp_path / "absent", tmp_path / "c", expect=FAILED)
    assert not (tmp_path / "c").exists() and not (tmp_path / "c.pub").exists()


def test_a_passphrase_is_asked_for_and_not_shown(tmp_path):
    code, seen = on_terminal(["generate", "-e", tmp_path / "k"], ["open sesame", "open sesame"])
    assert code == OK and "open sesame" not in seen and seen.count("|") == 2
    code, seen = on_terminal(["show", tmp_path / "k"], ["open sesame"])
    assert code == OK and id_of(tmp_path / "k.pub") in seen and "open sesame" not in seen
    code, seen = on_terminal(["show", tmp_path / "k"], ["wrong"])
    assert code == FAILED and "passphrase is wrong" in seen
    code, seen = on_terminal(["generate", "-e", tmp_path / "l"], ["open sesame", "open barley"])
    assert code == FAILED and "differ" in seen and not (tmp_path / "l").exists()


def test_what_is_no_ed25519_key_is_refused(tmp_path):
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", tmp_path / "ec")
    assert "only Ed25519" in run("show", tmp_path / "ec", expect=FAILED).stderr
    (tmp_path / "text").write_text("no key\n")
    assert "no PEM block" in run("show", tmp_path / "text", expect=FAILED).stderr
    run("show", tmp_path / "absent", expect=FAILED)
    run("erase", tmp_path / "text", expect=USAGE)
