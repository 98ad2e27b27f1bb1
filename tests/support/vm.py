# SPDX-License-Identifier: Apache-2.0
"""Boots a disk under qemu with Debian's own kernel: nothing is installed, the kernel's package is only unpacked."""
import gzip
import io
import shlex
import stat
import subprocess
from pathlib import Path

from . import debian

META_PACKAGE = "linux-image-cloud-amd64"
MODULES = ("virtio_pci", "virtio_blk", "erofs")
BOOT_SECONDS = 900

_INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /disk
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
for module in {modules}; do /bin/busybox insmod /modules/$module || echo "insmod $module failed"; done
echo "kernel $(/bin/busybox uname -r)"
/bin/busybox mount -t erofs -o ro /dev/vda /disk || {{ echo MOUNT-FAILED; /bin/busybox poweroff -f; }}
/bin/busybox mount --bind /dev /disk/dev
/bin/busybox mount -t proc proc /disk/proc
/bin/busybox env -i {environment} /bin/busybox chroot /disk {command} 2>&1
echo "STATUS $?"
/bin/busybox poweroff -f
"""

_INIT_PROGRAM = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t tmpfs tmp /tmp
/bin/busybox mount -t cgroup2 cgroup /sys/fs/cgroup
/bin/busybox env -i {environment} {program} 2>&1
echo "STATUS $?"
/bin/busybox poweroff -f
"""


def kernel():
    """(bzImage, module directory) of the newest cloud kernel that Debian 12 has."""
    text = subprocess.run(["apt-cache", "depends", META_PACKAGE], stdout=subprocess.PIPE, text=True, check=True).stdout
    package = next(line.split()[1] for line in text.splitlines() if "Depends: linux-image-" in line)
    directory = debian.CACHE / package
    deb = debian.download(package)
    with debian.locked("kernel"):
        if not directory.exists():
            debian.publish(directory, lambda out: debian.run_logged(["dpkg-deb", "-x", deb, out]))
    (image,) = (directory / "boot").glob("vmlinuz-*")
    (modules,) = (directory / "lib" / "modules").iterdir()
    return image, modules


def _modules_in_order(directory):
    """Files of MODULES and what they need, each after what it needs."""
    files = {path.name.removesuffix(".ko").replace("-", "_"): path for path in directory.rglob("*.ko")}
    order = []

    def add(name):
        if name not in files or files[name] in order:
            return
        depends = subprocess.run(
            ["/sbin/modinfo", "-F", "depends", files[name]], stdout=subprocess.PIPE, text=True, check=True
        ).stdout.strip()
        for needed in depends.split(",") if depends else []:
            add(needed.replace("-", "_"))
        order.append(files[name])

    for name in MODULES:
        add(name)
    return order


def _cpio(entries):
    """A newc archive of (name, mode, data)."""
    out = io.BytesIO()
    for number, (name, mode, data) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        name = name.encode() + b"\0"
        fields = [number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0]
        out.write(b"070701" + b"".join(b"%08X" % field for field in fields) + name)
        out.write(bytes(-out.tell() % 4) + data)
        out.write(bytes(-out.tell() % 4))
    return out.getvalue()


def _busybox(work):
    with debian.locked("busybox-unpacked"):
        subprocess.run(["dpkg-deb", "-x", debian.download("busybox-static"), work / "busybox"], check=True)
    return (work / "busybox" / "bin" / "busybox").read_bytes()


def boot(disk, config, work):
    """Boots, mounts the disk read-only, runs the image's command in it; returns (exit status or None, console)."""
    image, module_directory = kernel()
    modules = _modules_in_order(module_directory)
    init = _INIT.format(
        modules=" ".join(path.name for path in modules),
        environment=shlex.join(config.get("Env", [])),
        command=shlex.join(config.get("Entrypoint", []) + config.get("Cmd", [])),
    )
    files = {f"modules/{path.name}": path for path in modules}
    return _run(image, init, files, Path(work), ["-drive", f"file={disk},format=raw,if=virtio,readonly=on"])


def run_program(program, environment, work):
    """Boots and runs a dynamically linked program of this machine as root, with cgroups of version 2; returns as boot."""
    image, _ = kernel()
    init = _INIT_PROGRAM.format(
        environment=shlex.join(f"{name}={value}" for name, value in environment.items()), program=f"/{Path(program).name}"
    )
    listed = subprocess.run(["ldd", program], stdout=subprocess.PIPE, text=True, check=True).stdout
    libraries = [word for line in listed.splitlines() for word in line.split() if word.startswith("/")]
    files = {Path(program).name: program, **{library.lstrip("/"): library for library in libraries}}
    return _run(image, init, files, Path(work), [])


def _run(image, init, files, work, options):
    """Boots an initrd of busybox and the files ({name: path}) with /init of that text."""
    parents = {str(parent) for name in files for parent in Path(name).parents} - {"."}
    directories = sorted(parents | {"bin", "dev"})
    entries = [(name, stat.S_IFDIR | 0o755, b"") for name in directories]
    entries.append(("bin/busybox", stat.S_IFREG | 0o755, _busybox(work)))
    entries += [(name, stat.S_IFREG | 0o755, Path(path).read_bytes()) for name, path in files.items()]
    entries.append(("init", stat.S_IFREG | 0o755, init.encode()))
    (work / "initrd").write_bytes(gzip.compress(_cpio(entries), 1))
    command = ["qemu-system-x86_64", "-accel", "tcg", "-m", "512", "-nodefaults", "-no-reboot", "-display", "none"]
    command += ["-serial", "stdio", "-kernel", image, "-initrd", work / "initrd"]
    command += ["-append", "console=ttyS0 quiet panic=-1 rdinit=/init", *options]
    result = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=BOOT_SECONDS
    )
    console = result.stdout.decode(errors="replace").replace("\r", "")
    statuses = [line.split()[1] for line in console.splitlines() if line.startswith("STATUS ")]
    return (int(statuses[-1]) if statuses else None), console
