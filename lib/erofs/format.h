/* SPDX-License-Identifier: Apache-2.0
 *
 * The EROFS on-disk format as far as it is used here: sizes, offsets, numbers. All integers are
 * little-endian. Source: the kernel's Documentation/filesystems/erofs.rst and on-disk header.
 */
#ifndef ZP_EROFS_FORMAT_H
#define ZP_EROFS_FORMAT_H

#include "layer/tree.h"

#define EROFS_SUPER_OFFSET 1024u
#define EROFS_SUPER_SIZE 128u
#define EROFS_MAGIC 0xE0F5E1E2u

/* superblock fields, from EROFS_SUPER_OFFSET */
enum {
        SB_MAGIC = 0,             /* u32 */
        SB_CHECKSUM = 4,          /* u32, crc32c of this block from the superblock on, this field as 0 */
        SB_FEATURE_COMPAT = 8,    /* u32 */
        SB_BLOCK_BITS = 12,       /* u8 */
        SB_EXTENSION_SLOTS = 13,  /* u8 */
        SB_ROOT_NID = 14,         /* u16 */
        SB_INODES = 16,           /* u64 */
        SB_BUILD_TIME = 24,       /* u64 */
        SB_BUILD_TIME_NS = 32,    /* u32 */
        SB_BLOCKS = 36,           /* u32 */
        SB_META_BLOCK = 40,       /* u32 */
        SB_XATTR_BLOCK = 44,      /* u32 */
        SB_UUID = 48,             /* 16 bytes */
        SB_VOLUME_NAME = 64,      /* 16 bytes */
        SB_FEATURE_INCOMPAT = 80, /* u32 */
        SB_COMPRESSION = 84,      /* u16 */
        SB_EXTRA_DEVICES = 86,    /* u16 */
        SB_DEVICE_SLOT = 88,      /* u16, the table's offset / EROFS_DEVICE_SIZE */
        SB_DIR_BLOCK_BITS = 90,   /* u8, more than the block's */
};

#define EROFS_COMPAT_CHECKSUM 0x1u
#define EROFS_COMPAT_MTIME 0x2u
#define EROFS_INCOMPAT_CHUNKED 0x4u
#define EROFS_INCOMPAT_DEVICES 0x8u

/* device table slot */
#define EROFS_DEVICE_SIZE 128u
enum { DEVICE_TAG = 0 /* 64 bytes */, DEVICE_BLOCKS = 64 /* u32 */, DEVICE_MAPPED_BLOCK = 68 /* u32 */ };
#define EROFS_DEVICE_TAG_SIZE 64u
/* behind the superblock */
#define EROFS_DEVICE_TABLE_OFFSET (EROFS_SUPER_OFFSET + EROFS_SUPER_SIZE)

/* A nid counts slots of 32 bytes from the metadata area on. */
#define EROFS_SLOT_SIZE 32u

/* extended inode */
#define EROFS_INODE_SIZE 64u
enum {
        INODE_FORMAT = 0,      /* u16: bit 0 extended, bits 1-3 layout */
        INODE_XATTR_COUNT = 2, /* u16: 0, or 1 + (bytes of xattrs - 12) / 4 */
        INODE_MODE = 4,        /* u16 */
        INODE_SIZE = 8,        /* u64 */
        INODE_UNION = 16,      /* u32: block address, device number, or chunk format */
        INODE_NUMBER = 20,     /* u32 */
        INODE_UID = 24,        /* u32 */
        INODE_GID = 28,        /* u32 */
        INODE_MTIME = 32,      /* u64 */
        INODE_MTIME_NS = 40,   /* u32 */
        INODE_NLINK = 44,      /* u32 */
};
#define EROFS_FORMAT_EXTENDED 1u
#define EROFS_LAYOUT_PLAIN 0u
#define EROFS_LAYOUT_INLINE 2u
#define EROFS_LAYOUT_CHUNK 4u

/* chunk format (low 16 bits of INODE_UNION) and index */
#define EROFS_CHUNK_BITS_MASK 0x1fu
#define EROFS_CHUNK_INDEXES 0x20u
#define EROFS_CHUNK_INDEX_SIZE 8u
enum { CHUNK_DEVICE = 2 /* u16, 0: the primary */, CHUNK_BLOCK = 4 /* u32 */ };
#define EROFS_NULL_BLOCK UINT32_MAX

/* xattrs: a header of 12 bytes (the fifth the number of shared ids), ids of 4, then entries aligned to 4 */
#define EROFS_XATTR_HEADER_SIZE 12u
#define EROFS_XATTR_SHARED_COUNT 4u
#define EROFS_XATTR_ID_SIZE 4u
#define EROFS_XATTR_ENTRY_SIZE 4u
enum { XATTR_NAME_SIZE = 0 /* u8 */, XATTR_INDEX = 1 /* u8 */, XATTR_VALUE_SIZE = 2 /* u16 */ };

/* directory entry */
#define EROFS_DIRENT_SIZE 12u
enum { DIRENT_NID = 0 /* u64 */, DIRENT_NAME_OFFSET = 8 /* u16 */, DIRENT_TYPE = 10 /* u8 */ };

/* The namespace a number stands for. A prefix that ends in '.' is followed by the rest of the name, the
 * others are whole names. */
struct zp_erofs_xattr_prefix {
        uint8_t index;
        const char *prefix;
};
#define ZP_EROFS_XATTR_PREFIXES                                                                      \
        {                                                                                            \
                { 1, "user." }, { 2, "system.posix_acl_access" }, { 3, "system.posix_acl_default" }, \
                        { 4, "trusted." }, { 6, "security." },                                       \
        }

/* How a layer's own facts are kept in its metadata; neither can come from an image, whose trusted.*
 * attributes containerd ignores. The second is ours: overlayfs has no word for it. */
#define ZP_XATTR_OPAQUE "trusted.overlay.opaque"
#define ZP_XATTR_IMPLIED "trusted.zeropull.implied"
/* Its values: the layer has no entry for the directory; or has one, which came after something in it. */
#define ZP_IMPLIED_ALWAYS "y"
#define ZP_IMPLIED_FIRST "first"

#endif
