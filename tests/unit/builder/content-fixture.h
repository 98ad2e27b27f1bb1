/* SPDX-License-Identifier: Apache-2.0
 *
 * Layers for the tests: a small tar is written by hand, its files are stored, and what the extents say is read back
 * from the packs.
 */
#ifndef CONTENT_FIXTURE_H
#define CONTENT_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "builder/content.h"
#include "pack/reader.h"

#define MIB (1u << 20)
#define FRAME (64u << 10)

struct archive {
        uint8_t *data;
        size_t size, given;
        size_t piece; /* how much the input gives at once */
};

static inline void add_file(struct archive *a, const char *name, const void *data, size_t size) {
        size_t padded = (size_t) zp_round_up(size, 512);
        a->data = realloc(a->data, a->size + 512 + padded);
        char *header = (char *) a->data + a->size;
        memset(header, 0, 512 + padded);
        snprintf(header, 100, "%s", name);
        memcpy(header + 100, "0000644", 7);
        snprintf(header + 124, 12, "%011zo", size);
        memcpy(header + 257, "ustar\00000", 8);
        memset(header + 148, ' ', 8);
        header[156] = '0';
        unsigned sum = 0;
        for (int i = 0; i < 512; i++)
                sum += (uint8_t) header[i];
        snprintf(header + 148, 8, "%06o", sum);
        memcpy(header + 512, data, size);
        a->size += 512 + padded;
}

static inline int64_t give(void *context, const uint8_t **data, struct zp_error *err) {
        (void) err;
        struct archive *a = context;
        size_t part = a->size - a->given < a->piece ? a->size - a->given : a->piece;
        *data = a->data + a->given;
        a->given += part;
        return (int64_t) part;
}

struct stored {
        struct zp_tree *tree;
        struct zp_pack_info info;
        int pack_fd;
        struct zp_pack *pack; /* of its own device */
        /* by device number: NULL for those that are not there */
        struct zp_pack *devices[ZP_PLACING_DEVICES_MAX];
        uint16_t device_count;
};

static inline struct zp_pack_writer *new_writer(int fd, struct zp_pool *pool) {
        struct zp_pack_options options = { .frame_size = FRAME };
        struct zp_pack_writer *writer = NULL;
        assert_int_equal(zp_pack_writer_new(fd, "pack", &options, pool, &writer, NULL), 0);
        return writer;
}

/* Stores all files of the archive, which it frees. `base` are the packs that the options' table is of. */
static inline struct stored store_with(struct archive *a, const struct zp_placing_options *options,
                                       struct zp_pack *const *base, unsigned threads) {
        struct stored s = { 0 };
        struct zp_pool *pool;
        struct zp_placing *placing;
        struct zp_content *content;
        struct zp_tar *tar;
        struct zp_apply_stats stats;
        struct zp_error err = { 0 };
        uint16_t numbers[ZP_PLACING_DEVICES_MAX];
        zp_autoclose int index_fd = memfd_create("index", MFD_CLOEXEC), rest_fd = memfd_create("rest", MFD_CLOEXEC);
        s.pack_fd = memfd_create("pack", MFD_CLOEXEC);
        assert_int_equal(zp_pool_new(threads, &pool, &err), 0);
        struct zp_pack_writer *front = new_writer(s.pack_fd, pool), *rest = new_writer(rest_fd, pool);
        struct zp_pack_writer *used = options && options->profile ? rest : front;
        assert_int_equal(zp_placing_new(used, options, &placing, &err), 0);
        assert_int_equal(zp_content_new(used, placing, &content, &err), 0);
        assert_int_equal(zp_tar_new(give, a, &tar, &err), 0);
        if (zp_layer_apply(tar, zp_content_store, content, &s.tree, &stats, &err) < 0)
                fail_msg("%s", err.message);
        bool has_hot = zp_placing_has_hot(placing);
        assert_int_equal(zp_placing_finish(placing, has_hot ? front : NULL, numbers, &s.device_count, &err), 0);
        used = has_hot ? front : used;
        assert_int_equal(zp_pack_writer_finish(used, index_fd, "index", &s.info, &err), 0);
        if (used == rest) {
                close(s.pack_fd);
                s.pack_fd = zp_steal_fd(&rest_fd);
        }
        zp_tar_free(tar);
        zp_content_free(content);
        zp_placing_free(placing);
        zp_pack_writer_free(front);
        zp_pack_writer_free(rest);
        zp_pool_free(pool);
        uint8_t *index = malloc(s.info.index_size);
        assert_int_equal(zp_pread_all(index_fd, index, s.info.index_size, 0, "index", &err), 0);
        assert_int_equal(zp_pack_open(s.pack_fd, "pack", index, s.info.index_size, &s.info.index_digest, &s.pack, &err),
                         0);
        assert_true(s.device_count == 0 || numbers[0] != ZP_PLACING_OWN || s.info.device_size > 0);
        for (uint16_t i = 0; i < s.device_count; i++)
                s.devices[i] = numbers[i] == ZP_PLACING_OWN ? s.pack : base[numbers[i]];
        free(index);
        free(a->data);
        return s;
}

static inline struct stored store(struct archive *a) {
        return store_with(a, NULL, NULL, 2);
}

static inline void drop(struct stored *s) {
        zp_pack_close(s->pack);
        close(s->pack_fd);
        zp_tree_free(s->tree);
}

static inline const struct zp_inode *find(const struct stored *s, const char *name) {
        struct zp_dentry *dentry = zp_tree_lookup(s->tree, zp_tree_root(s->tree), name, strlen(name));
        assert_non_null(dentry);
        return dentry->inode;
}

static inline void assert_content(const struct stored *s, const char *name, const uint8_t *want, size_t size) {
        const struct zp_inode *inode = find(s, name);
        uint8_t *have = calloc(1, size + ZP_BLOCK_SIZE);
        size_t at = 0;
        for (uint32_t i = 0; i < inode->extent_count; i++) {
                const struct zp_extent *extent = &inode->extents[i];
                size_t part = extent->blocks * ZP_BLOCK_SIZE;
                assert_true(at + part <= size + ZP_BLOCK_SIZE);
                if (extent->block != ZP_HOLE) {
                        assert_true(extent->device < s->device_count);
                        assert_int_equal(zp_pack_read(s->devices[extent->device], extent->block * ZP_BLOCK_SIZE,
                                                      have + at, part, NULL),
                                         0);
                }
                at += part;
        }
        assert_int_equal(inode->size, size);
        assert_int_equal(at, inode->data ? 0 : zp_round_up(size, ZP_BLOCK_SIZE));
        assert_memory_equal(inode->data ? inode->data : have, want, size);
        /* what is behind the end of a file shows when it is mapped */
        assert_true(zp_is_zero(have + size, inode->data ? 0 : at - size));
        free(have);
}

static inline uint8_t *noise(size_t size, unsigned seed) {
        uint8_t *data = malloc(size + 1);
        for (size_t i = 0; i < size; i++)
                data[i] = (uint8_t) ((seed = seed * 1103515245u + 12345u) >> 16) | 1;
        return data;
}

#endif
