# SPDX-License-Identifier: Apache-2.0
"""Kubernetes' own programs, built from the Go module proxy when they are first wanted; etcd is Debian's."""
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from .go_tools import TOOLS

VERSION = "v1.33.4"
COMMANDS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl")
DEBIAN = {"etcd": "etcd-server", "containerd": "containerd", "runc": "runc", "ip": "iproute2"}
CNI = Path("/usr/lib/cni")


def missing():
    """Why no cluster can run on this machine; None when one can, given Go or what it has built before."""
    if os.geteuid() != 0:
        return "a kubelet needs root"
    for program, package in DEBIAN.items():
        if not shutil.which(program):
            return f"no {program} (Debian's {package})"
    return None if CNI.is_dir() else f"no {CNI} (Debian's containernetworking-plugins)"


def _module(directory, environment):
    """Makes a Go module of which the commands can be built. They cannot be `go install`ed: the go.mod of k8s.io/kubernetes
    takes the libraries that are developed in its own tree from there, which only the main module may say. This main module
    takes the published ones: v0.X.Y belongs to v1.X.Y."""
    found = subprocess.run(["go", "mod", "download", "-json", f"k8s.io/kubernetes@{VERSION}"],
                           cwd="/", env=environment, capture_output=True, check=True)  # fmt: skip
    theirs = Path(json.loads(found.stdout)["GoMod"]).read_text()
    go = re.search(r"^go (\S+)$", theirs, re.MULTILINE)[1]
    staged = sorted(set(re.findall(r"(k8s\.io/\S+) => \./staging/", theirs)))
    lines = ["module test/kubernetes", f"go {go}", f"require k8s.io/kubernetes {VERSION}"]
    lines += [f"replace {name} => {name} v0.{VERSION.removeprefix('v1.')}" for name in staged]
    (directory / "go.mod").write_text("\n".join(lines) + "\n")


def _build(directory):
    """All commands in one run of the compiler, so that what they have in common is compiled once."""
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod", "GOSUMDB": "off"}
    version = f"-X k8s.io/component-base/version.gitVersion={VERSION}"
    packages = [f"k8s.io/kubernetes/cmd/{name}" for name in COMMANDS]
    with tempfile.TemporaryDirectory() as module:
        _module(Path(module), environment)
        subprocess.run(["go", "build", "-trimpath", "-ldflags", f"-s -w {version}", "-o", f"{directory}/", *packages],
                       cwd=module, env=environment, capture_output=True, check=True)  # fmt: skip


def programs(may_build):
    """The directory with COMMANDS; made, in minutes, when that may be and Go is there. None: there is none."""
    directory = TOOLS / f"kubernetes-{VERSION}"
    if directory.exists():
        return directory
    if not may_build or not shutil.which("go"):
        return None
    TOOLS.mkdir(parents=True, exist_ok=True)
    # Built aside: two test runs may come here at once, and one that is stopped leaves nothing half-made.
    aside = Path(tempfile.mkdtemp(dir=TOOLS, prefix=".kubernetes-"))
    try:
        _build(aside)
        aside.chmod(0o755)
        os.replace(aside, directory)
    except subprocess.CalledProcessError as error:
        raise RuntimeError(error.stderr.decode(errors="replace")[-4000:]) from error
    except OSError:
        if not directory.exists():  # else another run was faster
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return directory
