# SPDX-License-Identifier: Apache-2.0
"""oci:, oci-archive: and docker-archive:, against what skopeo makes of the same files, and malformed ones."""
import errno
import io
import json
import os
import random
import subprocess
import tarfile

import pytest

from support import oci
from support.source_dump import check_layers, source_dump


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    layout = oci.Layout(tmp_path_factory.mktemp("layout"))
    content = random.Random(1).randbytes(3_000_000)
    tars = [
        oci.tar_bytes(lambda tar: tar.file("big", content)),
        oci.tar_bytes(lambda tar: tar.file("small", b"x")),
    ]
    layout.add_image("v1", [layout.add_raw_layer(oci.compress(tar, "gzip"), tar=tar) for tar in tars])
    return layout


def skopeo_copy(source, target):
    subprocess.run(["skopeo", "copy", "--quiet", str(source), str(target)], check=True)


def skopeo_manifest_digest(reference):
    raw = subprocess.run(["skopeo", "inspect", "--raw", reference], check=True, capture_output=True).stdout
    return oci.sha256(raw)


def write_tar(path, entries):
    """entries: (name, bytes) or (name, TarInfo type, link target)."""
    with tarfile.open(path, "w") as tar:
        for name, *rest in entries:
            info = tarfile.TarInfo(name)
            if len(rest) == 1:
                info.size = len(rest[0])
                tar.addfile(info, io.BytesIO(rest[0]))
            else:
                info.type, info.linkname = rest
                tar.addfile(info)
    return path


def docker_image(tars, blobs=None):
    """(config bytes, manifest.json bytes, layer names) of a docker archive."""
    diff_ids = [oci.sha256(tar) for tar in tars]
    config = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    names = [f"{i}/layer.tar" for i in range(len(tars))]
    manifest = [{"Config": "config.json", "RepoTags": ["acme/web:1"], "Layers": names}]
    return json.dumps(config).encode(), json.dumps(manifest).encode(), names


TARS = [oci.tar_bytes(lambda tar: tar.file("a", b"a" * 5000)), oci.tar_bytes(lambda tar: tar.file("b", b"b"))]


class TestLayout:
    def test_tag_names_an_image(self, layout):
        dump = source_dump(f"oci:{layout.directory}:v1")
        assert dump["manifest_digest"] == skopeo_manifest_digest(f"oci:{layout.directory}:v1")
        assert dump["name"] == f"oci:{layout.directory}:v1"
        check_layers(dump, layout.layers("v1"))

    def test_relative_path_becomes_absolute(self, layout):
        assert source_dump(f"oci:{os.path.relpath(layout.directory)}")["name"] == f"oci:{layout.directory}"

    def test_without_tag_there_must_be_one_image(self, layout, tmp_path):
        assert source_dump(f"oci:{layout.directory}")["manifest_digest"]
        two = oci.Layout(tmp_path / "two")
        layers = [two.add_raw_layer(TARS[0])]
        two.add_image("one", layers)
        two.add_image("other", layers, config={"Env": []})
        failure = source_dump(f"oci:{tmp_path}/two")
        assert failure.code == errno.EINVAL and "one, other" in failure.hint

    def test_missing_tag_names_what_there_is(self, layout):
        failure = source_dump(f"oci:{layout.directory}:nope")
        assert failure.code == errno.ENOENT and "v1" in failure.hint

    def test_what_umoci_makes_is_read(self, tmp_path):
        subprocess.run(["umoci", "init", "--layout", tmp_path / "l"], check=True)
        subprocess.run(["umoci", "new", "--image", f"{tmp_path}/l:t"], check=True)
        dump = source_dump(f"oci:{tmp_path}/l:t")
        assert dump["layers"] == [] and dump["manifest_digest"] == skopeo_manifest_digest(f"oci:{tmp_path}/l:t")

    @pytest.mark.parametrize(
        "name,what", [("oci-layout", "oci-layout"), ("index.json", "index.json"), ("blobs", "blobs/sha256/")]
    )
    def test_missing_part_is_told(self, layout, tmp_path, name, what):
        subprocess.run(["cp", "-r", layout.directory, tmp_path / "l"], check=True)
        subprocess.run(["rm", "-r", tmp_path / "l" / name], check=True)
        failure = source_dump(f"oci:{tmp_path}/l")
        assert failure.code == errno.EBADMSG and what in failure.message

    def test_later_major_version_is_not_supported(self, layout, tmp_path):
        subprocess.run(["cp", "-r", layout.directory, tmp_path / "l"], check=True)
        (tmp_path / "l" / "oci-layout").write_text('{"imageLayoutVersion":"2.0.0"}')
        assert source_dump(f"oci:{tmp_path}/l").code == errno.ENOTSUP

    def test_damaged_blob_is_refused(self, tmp_path):
        layout = oci.Layout(tmp_path / "l")
        layout.add_image("t", [layout.add_raw_layer(TARS[0]), layout.add_raw_layer(TARS[1])])
        blob = layout.layers("t")[1].path
        blob.write_bytes(blob.read_bytes()[:-1] + b"x")
        assert source_dump(f"oci:{tmp_path}/l").code == errno.EBADMSG
        blob.write_bytes(blob.read_bytes() + b"x")
        assert source_dump(f"oci:{tmp_path}/l").code == errno.EBADMSG

    def test_nothing_outside_is_read(self, tmp_path):
        layout = oci.Layout(tmp_path / "l")
        layout.add_image("t", [layout.add_raw_layer(TARS[0])])
        blob = layout.layers("t")[0].path
        blob.rename(tmp_path / "outside")
        blob.symlink_to(tmp_path / "outside")
        failure = source_dump(f"oci:{tmp_path}/l")
        assert failure.code == errno.EBADMSG and "a link that leads out of the layout" in failure.message
        blob.unlink()
        os.mkfifo(blob)
        assert source_dump(f"oci:{tmp_path}/l").code == errno.EBADMSG

    def test_archive_given_as_directory_gets_a_hint(self, tmp_path):
        file = write_tar(tmp_path / "x.tar", [("a", b"")])
        assert "oci-archive:" in source_dump(f"oci:{file}").hint


class TestOciArchive:
    def test_same_image_as_in_the_directory(self, layout, tmp_path):
        skopeo_copy(f"oci:{layout.directory}:v1", f"oci-archive:{tmp_path}/a.tar:v1")
        for name in [f"oci-archive:{tmp_path}/a.tar:v1", f"oci-archive:{tmp_path}/a.tar"]:
            dump = source_dump(name)
            assert dump["manifest_digest"] == skopeo_manifest_digest(f"oci:{layout.directory}:v1")
            assert dump["name"] == name
            check_layers(dump, layout.layers("v1"))

    def test_names_with_a_leading_dot_are_found(self, layout, tmp_path):
        subprocess.run(["tar", "-C", layout.directory, "-cf", tmp_path / "a.tar", "."], check=True)
        check_layers(source_dump(f"oci-archive:{tmp_path}/a.tar"), layout.layers("v1"))

    def test_compressed_archive_gets_a_hint(self, layout, tmp_path):
        subprocess.run(["tar", "-C", layout.directory, "-czf", tmp_path / "a.tgz", "."], check=True)
        failure = source_dump(f"oci-archive:{tmp_path}/a.tgz")
        assert failure.code == errno.ENOTSUP and "gzip -d" in failure.hint

    def test_name_that_occurs_twice_is_refused(self, layout, tmp_path):
        index = layout.index_path.read_bytes()
        version = (layout.directory / "oci-layout").read_bytes()
        entries = [("oci-layout", version), ("index.json", index), ("./index.json", index)]
        failure = source_dump(f"oci-archive:{write_tar(tmp_path / 'a.tar', entries)}")
        assert failure.code == errno.EBADMSG and "more than one" in failure.message

    def test_truncated_archive_is_refused(self, layout, tmp_path):
        subprocess.run(["tar", "-C", layout.directory, "-cf", tmp_path / "a.tar", "."], check=True)
        os.truncate(tmp_path / "a.tar", 2_000_000)
        assert source_dump(f"oci-archive:{tmp_path}/a.tar").code == errno.EBADMSG

    @pytest.mark.parametrize("path", ["/nonexistent", "/", "/dev/null", ""])
    def test_what_is_no_file_is_told(self, path):
        assert source_dump(f"oci-archive:{path}").message


@pytest.fixture(scope="module")
def archive(layout, tmp_path_factory):
    path = tmp_path_factory.mktemp("docker") / "a.tar"
    skopeo_copy(f"oci:{layout.directory}:v1", f"docker-archive:{path}:acme/web:1")
    return path


class TestDockerArchive:
    @pytest.mark.parametrize("suffix", ["", ":acme/web:1", ":docker.io/acme/web:1", ":@0"])
    def test_manifest_is_the_one_skopeo_makes(self, archive, layout, suffix):
        dump = source_dump(f"docker-archive:{archive}{suffix}")
        assert dump["manifest_digest"] == skopeo_manifest_digest(f"docker-archive:{archive}")
        diff_ids = [layer.diff_id for layer in layout.layers("v1")]
        assert [layer["received"] for layer in dump["layers"]] == diff_ids

    @pytest.mark.parametrize("suffix", [":acme/web", ":other:1", ":@1", ":@18446744073709551615"])
    def test_other_names_are_not_found(self, archive, suffix):
        assert source_dump(f"docker-archive:{archive}{suffix}").code == errno.ENOENT

    @pytest.mark.parametrize("suffix", [":@", ":@x", ":UPPER", ":@-1"])
    def test_malformed_names_are_refused(self, archive, suffix):
        assert source_dump(f"docker-archive:{archive}{suffix}").code == errno.EINVAL

    @pytest.mark.parametrize(
        "compression,before", [("gzip", b""), ("zstd", b""), ("zstd", b"\x50\x2a\x4d\x18\x04\0\0\0skip")]
    )
    def test_layers_compressed_inside_are_given_as_tar(self, tmp_path, compression, before):
        config, manifest, names = docker_image(TARS)
        entries = [(name, before + oci.compress(tar, compression)) for name, tar in zip(names, TARS, strict=True)]
        file = write_tar(tmp_path / "a.tar", [*entries, ("config.json", config), ("manifest.json", manifest)])
        dump = source_dump(f"docker-archive:{file}")
        assert [layer["received"] for layer in dump["layers"]] == [oci.sha256(tar) for tar in TARS]
        assert [layer["size"] for layer in dump["layers"]] == [len(tar) for tar in TARS]
        if compression == "gzip":
            assert dump["manifest_digest"] == skopeo_manifest_digest(f"docker-archive:{file}")

    @pytest.mark.parametrize("kind,target", [(tarfile.SYMTYPE, "../0/layer.tar"), (tarfile.LNKTYPE, "0/layer.tar")])
    def test_layer_that_is_a_link_to_another_is_found(self, tmp_path, kind, target):
        """Old versions of docker wrote equal layers so."""
        config, manifest, names = docker_image([TARS[0], TARS[0]])
        entries = [(names[0], TARS[0]), (names[1], kind, target), ("config.json", config), ("manifest.json", manifest)]
        dump = source_dump(f"docker-archive:{write_tar(tmp_path / 'a.tar', entries)}")
        assert [layer["received"] for layer in dump["layers"]] == [oci.sha256(TARS[0])] * 2

    @pytest.mark.parametrize("target", ["/etc/passwd", "../../../../etc/passwd", "layer.tar", "../1/layer.tar", ""])
    def test_links_stay_in_the_archive(self, tmp_path, target):
        config, manifest, names = docker_image(TARS)
        entries = [(names[0], TARS[0]), (names[1], tarfile.SYMTYPE, target)]
        entries += [("config.json", config), ("manifest.json", manifest)]
        failure = source_dump(f"docker-archive:{write_tar(tmp_path / 'a.tar', entries)}")
        assert failure.code in (errno.ENOENT, errno.EBADMSG)

    def test_damaged_layer_is_refused(self, tmp_path):
        config, manifest, names = docker_image(TARS)
        entries = [(names[0], TARS[0]), (names[1], TARS[1][:-1] + b"x")]
        entries += [("config.json", config), ("manifest.json", manifest)]
        assert source_dump(f"docker-archive:{write_tar(tmp_path / 'a.tar', entries)}").code == errno.EBADMSG

    def test_one_of_several_images_must_be_named(self, tmp_path):
        config, manifest, names = docker_image(TARS)
        second = {**json.loads(manifest)[0], "RepoTags": ["acme/web:2"]}
        manifest = json.dumps([*json.loads(manifest), second]).encode()
        entries = [*zip(names, TARS, strict=True), ("config.json", config), ("manifest.json", manifest)]
        file = write_tar(tmp_path / "a.tar", entries)
        assert source_dump(f"docker-archive:{file}").code == errno.EINVAL
        assert source_dump(f"docker-archive:{file}:acme/web:2")["layers"]
        assert source_dump(f"docker-archive:{file}:@1")["layers"]

    @pytest.mark.parametrize(
        "manifest", [b"", b"{}", b"[]", b"[7]", b'[{"Config":7}]', b'[{"Config":"config.json","Layers":[7,8]}]']
    )
    def test_malformed_manifest_is_refused(self, tmp_path, manifest):
        config, _, _ = docker_image(TARS)
        file = write_tar(tmp_path / "a.tar", [("config.json", config), ("manifest.json", manifest)])
        assert source_dump(f"docker-archive:{file}").code in (errno.EBADMSG, errno.EINVAL)

    def test_oci_archive_gets_a_hint(self, tmp_path):
        file = write_tar(tmp_path / "a.tar", [("oci-layout", b"{}")])
        assert "oci-archive:" in source_dump(f"docker-archive:{file}").hint
