/* SPDX-License-Identifier: Apache-2.0
 *
 * Every limit on what arrives from outside, with its reason. Sizes in bytes.
 */
#ifndef ZP_BASE_LIMITS_H
#define ZP_BASE_LIMITS_H

#include <stdint.h>

/* Manifests, indexes and configs: registries accept 4 MiB; more is not an image but an attack. */
#define ZP_LIMIT_JSON_SIZE (UINT64_C(8) << 20)
/* Nesting of JSON documents we read: the deepest known (image config) is 5. */
#define ZP_LIMIT_JSON_DEPTH 64
/* Nested image indexes. The specification allows nesting; real ones have one level. */
#define ZP_LIMIT_INDEX_DEPTH 4
/* Layers of an image: overlayfs on containerd's nodes stops at 128 (mount options in one page), and
 * docker refuses more than 127. */
#define ZP_LIMIT_LAYERS 128
/* Devices that a layer refers to: its own, and some of earlier versions of it. */
#define ZP_LIMIT_LAYER_DEVICES 32
/* Devices of a snapshot: those of its layers together. */
#define ZP_LIMIT_DEVICES 256
/* Entries (inodes + names) of one layer: bounds the builder's memory; the largest images we know of
 * have under a million. */
#define ZP_LIMIT_LAYER_ENTRIES UINT32_C(4000000)
/* Entries of all layers of an image: they are in memory together while they are merged, 600 bytes each. */
#define ZP_LIMIT_IMAGE_ENTRIES UINT64_C(8000000)
/* Layer metadata of all layers of an image, in memory together as well. */
#define ZP_LIMIT_IMAGE_METADATA (UINT64_C(4) << 30)
/* Bytes of names, link targets and xattrs of one layer, held in memory while it is converted. */
#define ZP_LIMIT_LAYER_METADATA (UINT64_C(1) << 30)
/* A metadata file (layer.erofs, snapshot.erofs): held in memory while it is read; 4 million files with all that
 * ZP_LIMIT_LAYER_METADATA allows stay below. */
#define ZP_LIMIT_METADATA_SIZE (UINT64_C(4) << 30)
/* A file in a layer: EROFS with 32-bit block addresses of 4 KiB reaches 16 TiB. */
#define ZP_LIMIT_FILE_SIZE (UINT64_C(8) << 40)
/* The uncompressed tar of one layer (a compression bomb stops here at the latest). */
#define ZP_LIMIT_LAYER_SIZE (UINT64_C(8) << 40)
/* Linux's own limits, which containerd's unpack meets as well. */
#define ZP_LIMIT_NAME 255
#define ZP_LIMIT_PATH 4096
#define ZP_LIMIT_DEPTH 2048 /* directories in each other: what fits into a path of 4096 bytes */
#define ZP_LIMIT_SYMLINK 4095
#define ZP_LIMIT_SYMLINKS_FOLLOWED 255
#define ZP_LIMIT_XATTR_NAME 255
#define ZP_LIMIT_XATTR_VALUE 65535 /* Linux: 65536; EROFS has 16 bits for it */
#define ZP_LIMIT_XATTRS_PER_FILE 255
/* A PAX extended header: Go's archive/tar, which containerd uses, stops at 1 MiB. */
#define ZP_LIMIT_PAX_HEADER (UINT64_C(1) << 20)
/* Frames in a pack: 4 TiB of device in 1 MiB frames, an index of 160 MiB. */
#define ZP_LIMIT_PACK_FRAMES UINT32_C(4194304)
/* A frame's uncompressed size; also bounds a reader's memory. */
#define ZP_LIMIT_FRAME_SIZE (UINT32_C(4) << 20)
/* Blocks of the devices that a build compares with: 64 GiB, which takes 256 MiB of hashes and 128 MiB of table. */
#define ZP_LIMIT_BASE_BLOCKS UINT32_C(16777216)
/* Devices that a layer may refer to besides its own: each is one more file to attach. */
#define ZP_LIMIT_BASE_DEVICES 16
/* A start-up profile: a start that touches more ranges of files than this gains nothing from their order. */
#define ZP_LIMIT_PROFILE_ENTRIES UINT32_C(131072)
#define ZP_LIMIT_PROFILE_SIZE (UINT64_C(32) << 20)
/* Prefetch ranges of a snapshot: a reader asks for each by a request of its own. */
#define ZP_LIMIT_PREFETCH_RANGES 1024
/* Artifacts of one image that are looked at, newest first, until one will do: each may cost a round trip. */
#define ZP_LIMIT_ARTIFACTS 16u

#endif
