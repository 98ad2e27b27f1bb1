# SPDX-License-Identifier: Apache-2.0
"""The merge of layers against the kernel's overlayfs: the same random layers, as metadata files merged by us and as
directories mounted by overlayfs, must look the same. Needs root."""
import copy
import os
import random
import stat

import pytest

from support import erofs
from support.erofs import Device, directory, regular, symlink, whiteout

NAMES = [b"a", b"b", b"c", b"dir", b"etc", b"x y"]
SEEDS = range(60)


def random_xattrs(rng):
    return {f"user.{name}": rng.randbytes(rng.randint(0, 20)) for name in rng.sample("pqr", rng.randint(0, 2))}


def random_attributes(rng):
    return {"uid": rng.randint(0, 5), "gid": rng.randint(0, 5), "mtime_ns": rng.randint(0, 2 * 10**18)}


def random_entry(rng, files, is_lowest):
    choice = rng.random()
    if choice < 0.15 and files:
        return rng.choice(files)  # one more name
    if choice < 0.30 and not is_lowest:
        return whiteout()
    if choice < 0.40:
        return symlink(rng.choice([b"a", b"../b", b"/dir", b"nowhere"]), **random_attributes(rng))
    if choice < 0.45:
        return erofs.Node(stat.S_IFIFO | 0o600, **random_attributes(rng))
    node = regular(rng.randbytes(rng.choice([0, 1, 100, 5000])), rng.choice([0o644, 0o755, 0o4711]),
                   xattrs=random_xattrs(rng), **random_attributes(rng))
    files.append(node)
    return node


def random_directory(rng, parent, files, depth, is_lowest):
    node = directory(rng.choice([0o755, 0o700, 0o1777, 0o2775]), xattrs=random_xattrs(rng), **random_attributes(rng))
    node.opaque = not is_lowest and rng.random() < 0.2
    node.implied = rng.random() < 0.1
    node.inherits = not node.implied and rng.random() < 0.1
    if node.implied:
        node.mode, node.uid, node.gid, node.mtime_ns, node.xattrs = stat.S_IFDIR | 0o755, 0, 0, 0, {}
        if parent.mode & stat.S_ISGID:
            node.gid = parent.gid
    fill(rng, node, files, depth, is_lowest)
    return node


def fill(rng, node, files, depth, is_lowest):
    for name in rng.sample(NAMES, rng.randint(0 if depth else 2, len(NAMES))):
        is_dir = depth < 4 and rng.random() < 0.45
        node.children[name] = random_directory(rng, node, files, depth + 1, is_lowest) if is_dir else random_entry(rng, files, is_lowest)


def random_layer(rng, is_lowest):
    root = directory(implied=True)
    root.opaque = rng.random() < 0.2
    fill(rng, root, [], 0, is_lowest)
    return root


def lookup(root, path):
    """lstat in a layer's directory; None: absent. NotADirectoryError: through a file."""
    node = root
    for name in path:
        if node.kind != stat.S_IFDIR:
            raise NotADirectoryError
        node = node.children.get(name)
        if node is None:
            return None
    return node


def follow(root, path):
    """containerd's fs.RootPath, for layers whose links do not lead to links: the path with the links replaced."""
    for _ in range(256):
        for i in range(1, len(path) + 1):
            node = lookup(root, path[:i])
            if node is None:
                return path
            if node.kind == stat.S_IFLNK:
                base = [] if node.data.startswith(b"/") else path[:i - 1]
                parts = []
                for part in [*base, *node.data.split(b"/"), *path[i:]]:
                    if part == b"..":
                        parts = parts[:-1]
                    elif part not in (b"", b"."):
                        parts.append(part)
                path = parts
                break
        else:
            return path
    raise RecursionError


class Ambiguous(Exception):
    """What containerd makes of it depends on the order of the entries, which the layer's tree does not tell."""


def find_below(unpacked, path):
    """The directory whose attributes containerd copies to one that it has to make: that of the first layer below which
    has the path, if it has a directory there."""
    for below in reversed(unpacked):
        found = lookup(below, follow(below, path))
        if found is not None:
            return found if found.kind == stat.S_IFDIR else None
    return None


def unpack_implied(layers):
    """The layers as they lie on containerd's disk, with all that directories have from lower layers."""
    unpacked = []
    for layer in layers:
        result = copy.deepcopy(layer)
        pending = [([], result, None, None)]
        while pending:
            path, node, parent, below_parent = pending.pop()
            below = find_below(unpacked, path) if path and (node.implied or node.inherits) else None
            if node.implied and below:
                node.mode, node.uid, node.gid = below.mode, below.uid, below.gid
                node.mtime_ns, node.xattrs = below.mtime_ns, below.xattrs
            elif node.implied and below_parent and below_parent.mode & stat.S_ISGID:  # Linux gives it the group
                if not parent.implied and below_parent.gid != node.gid:
                    raise Ambiguous
                node.gid = below_parent.gid
            elif node.inherits and below:
                node.xattrs = {**below.xattrs, **node.xattrs}
            pending += [(path + [name], child, node, below) for name, child in node.children.items()
                        if child.kind == stat.S_IFDIR]
        unpacked.append(result)
    return unpacked


def write_directory(node, path, written):
    """Puts a model on disk as an overlayfs lower layer."""
    for name, child in node.children.items():
        target = os.path.join(path, name)
        if child in written:
            os.link(written[child], target, follow_symlinks=False)
            continue
        if child.kind == stat.S_IFDIR:
            os.mkdir(target)
            write_directory(child, target, written)
            if child.opaque:
                os.setxattr(target, "trusted.overlay.opaque", b"y")
        elif child.kind == stat.S_IFLNK:
            os.symlink(child.data, target)
        elif child.kind == stat.S_IFREG:
            with open(target, "wb") as file:
                file.write(child.data)
        else:
            os.mknod(target, child.mode, child.rdev)
        if child.kind != stat.S_IFDIR:
            written[child] = target
        set_attributes(child, target)


def set_attributes(node, target):
    os.lchown(target, node.uid, node.gid)
    if node.kind != stat.S_IFLNK:
        os.chmod(target, stat.S_IMODE(node.mode))
    for name, value in node.xattrs.items():
        os.setxattr(target, name, value, follow_symlinks=False)
    os.utime(target, ns=(0, node.mtime_ns), follow_symlinks=False)


def overlay_view(layers, work):
    """What overlayfs shows of layers given as models."""
    lower = []
    for i, layer in enumerate(layers):
        path = work / f"l{i}"
        path.mkdir()
        write_directory(layer, os.fsencode(path), {})
        if layer.opaque:
            os.setxattr(path, "trusted.overlay.opaque", b"y")
        lower.insert(0, str(path))
    (work / "nothing").mkdir()  # overlayfs wants two lower layers when there is no upper one
    lower.append(str(work / "nothing"))
    with erofs.mounted("overlay", work / "view", "overlay", f"lowerdir={':'.join(lower)}") as view:
        return erofs.observe(view, d_types=False, order=False)


def merged_view(layers, work):
    """What the kernel shows of our merge."""
    files, devices = [], []
    for i, layer in enumerate(layers):
        device = Device(f"layer {i}")
        erofs.make(erofs.describe(layer, [device]), work / f"layer-{i}.erofs", "--layer")
        (work / f"device-{i}").write_bytes(device.data)
        files.append(work / f"layer-{i}.erofs")
        devices.append(work / f"device-{i}")
    erofs.merge(work / "merged.erofs", files)
    with erofs.mounted_with_devices(work / "merged.erofs", devices, work / "merged") as view:
        return erofs.observe(view)


def check_same(layers, work):
    left, right = overlay_view(unpack_implied(layers), work), merged_view(layers, work)
    # the root has no attributes of its own, and hard-link groups are named for their first name
    for key in ("mode", "uid", "gid", "mtime", "xattrs"):
        left[b""][key] = right[b""][key]
    assert erofs.differences(left, right) == []
    return right


@pytest.mark.parametrize("seed", SEEDS)
def test_random_layers_look_as_under_overlayfs(work, seed):
    rng = random.Random(seed)
    layers = [random_layer(rng, i == 0) for i in range(rng.randint(1, 5))]
    try:
        unpack_implied(layers)
    except (NotADirectoryError, RecursionError):  # containerd's unpack fails
        with pytest.raises(RuntimeError, match="not a directory|symbolic links"):
            merged_view(layers, work)
        return
    except Ambiguous:
        with pytest.raises(RuntimeError, match="ambiguous|not a directory"):
            merged_view(layers, work)
        return
    check_same(layers, work)


def tree(**children):
    node = directory()
    node.children = {name.encode(): child for name, child in children.items()}
    return node


def root(**children):
    node = tree(**children)
    node.implied = True
    return node


def test_opaque_mark_on_a_layers_root_hides_nothing(work):
    """containerd's unpack can leave one there ('.wh..wh..opq' at the top); overlayfs looks at it for no root."""
    upper = root(new=regular(b"new"))
    upper.opaque = True
    seen = check_same([root(old=regular(b"old"), dir=tree(a=regular(b"a"))), upper], work)
    assert b"old" in seen and b"dir/a" in seen


def test_link_count_stays_when_a_name_is_removed(work):
    shared = regular(b"shared" * 1000)
    seen = check_same([root(one=shared, two=shared, three=shared), root(two=whiteout())], work)
    assert seen[b"one"]["nlink"] == 3 and seen[b"one"]["group"] == seen[b"three"]["group"]


def test_directory_removed_and_made_again_is_new(work):
    seen = check_same([root(d=tree(old=regular(b"1"))), root(d=whiteout()), root(d=tree(new=regular(b"2")))], work)
    assert set(seen) == {b"", b"d", b"d/new"}


def test_file_between_directories_ends_the_merge(work):
    seen = check_same([root(d=tree(old=regular(b"1"))), root(d=regular(b"f")), root(d=tree(new=regular(b"2")))], work)
    assert set(seen) == {b"", b"d", b"d/new"}


def test_same_layer_twice(work):
    def layer():
        node = root(d=tree(x=regular(b"x" * 9000)))
        node.children[b"d"].implied = True
        return node

    below = root(d=directory(0o711, uid=7, xattrs={"user.k": b"v"}))
    seen = check_same([below, layer(), layer()], work)
    assert seen[b"d"]["uid"] == 7


def test_implied_directory_through_a_link(work):
    """The path below leads through a symbolic link: its target's attributes count."""
    below = root(usr=tree(lib=directory(0o750, uid=9)), lib=symlink(b"usr/lib"))
    above = root(lib=directory())
    above.children[b"lib"].implied = True
    seen = check_same([below, above], work)
    assert seen[b"lib"]["mode"] == stat.S_IFDIR | 0o750 and seen[b"lib"]["uid"] == 9


def test_entry_after_its_implied_directory_keeps_lower_xattrs(work):
    below = root(d=directory(0o711, xattrs={"user.p": b"low", "user.q": b"low"}))
    above = root(d=directory(0o755, uid=3, xattrs={"user.q": b"own", "user.r": b"own"}))
    above.children[b"d"].inherits = True
    seen = check_same([below, above], work)
    assert set(seen[b"d"]["xattrs"]) == {"user.p", "user.q", "user.r"} and seen[b"d"]["uid"] == 3
