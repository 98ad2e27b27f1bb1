/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the content of regular files ends up. A small tar is written by hand, its files are stored, and what the
 * extents say is read back from the pack.
 */
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

struct archive {
        uint8_t *data;
        size_t size, given;
        size_t piece; /* how much the input gives at once */
};

static void add_file(struct archive *a, const char *name, const void *data, size_t size) {
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

static int64_t give(void *context, const uint8_t **data, struct zp_error *err) {
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
        struct zp_pack *pack;
};

static struct stored store(struct archive *a) {
        struct stored s;
        struct zp_pool *pool;
        struct zp_pack_writer *writer;
        struct zp_content *content;
        struct zp_tar *tar;
        struct zp_apply_stats stats;
        struct zp_error err = { 0 };
        zp_autoclose int index_fd = memfd_create("index", MFD_CLOEXEC);
        s.pack_fd = memfd_create("pack", MFD_CLOEXEC);
        assert_int_equal(zp_pool_new(2, &pool, &err), 0);
        assert_int_equal(zp_pack_writer_new(s.pack_fd, "pack", NULL, pool, &writer, &err), 0);
        assert_int_equal(zp_content_new(writer, &content, &err), 0);
        assert_int_equal(zp_tar_new(give, a, &tar, &err), 0);
        if (zp_layer_apply(tar, zp_content_store, content, &s.tree, &stats, &err) < 0)
                fail_msg("%s", err.message);
        assert_int_equal(zp_pack_writer_finish(writer, index_fd, "index", &s.info, &err), 0);
        zp_tar_free(tar);
        zp_content_free(content);
        zp_pack_writer_free(writer);
        zp_pool_free(pool);
        uint8_t *index = malloc(s.info.index_size);
        assert_int_equal(zp_pread_all(index_fd, index, s.info.index_size, 0, "index", &err), 0);
        assert_int_equal(zp_pack_open(s.pack_fd, "pack", index, s.info.index_size, &s.info.index_digest, &s.pack, &err),
                         0);
        free(index);
        free(a->data);
        return s;
}

static void drop(struct stored *s) {
        zp_pack_close(s->pack);
        close(s->pack_fd);
        zp_tree_free(s->tree);
}

static const struct zp_inode *find(const struct stored *s, const char *name) {
        return zp_tree_lookup(s->tree, zp_tree_root(s->tree), name, strlen(name))->inode;
}

static void assert_content(const struct stored *s, const char *name, const uint8_t *want, size_t size) {
        const struct zp_inode *inode = find(s, name);
        uint8_t *have = calloc(1, size + ZP_BLOCK_SIZE);
        size_t at = 0;
        for (uint32_t i = 0; i < inode->extent_count; i++) {
                size_t part = inode->extents[i].blocks * ZP_BLOCK_SIZE;
                if (inode->extents[i].block != ZP_HOLE)
                        assert_int_equal(
                                zp_pack_read(s->pack, inode->extents[i].block * ZP_BLOCK_SIZE, have + at, part, NULL),
                                0);
                at += part;
        }
        assert_int_equal(inode->size, size);
        assert_memory_equal(inode->data ? inode->data : have, want, size);
        free(have);
}

static uint8_t *noise(size_t size, unsigned seed) {
        uint8_t *data = malloc(size);
        for (size_t i = 0; i < size; i++)
                data[i] = (uint8_t) ((seed = seed * 1103515245u + 12345u) >> 16) | 1;
        return data;
}

static void small_files_lie_in_the_metadata_and_others_on_whole_blocks(void **state) {
        (void) state;
        zp_autofree uint8_t *data = noise(10000, 1);
        struct archive a = { .piece = 700 };
        add_file(&a, "tiny", data, ZP_INLINE_FILE_MAX);
        add_file(&a, "small", data, ZP_INLINE_FILE_MAX + 1);
        add_file(&a, "more", data + 1, 9000);
        struct stored s = store(&a);
        assert_content(&s, "tiny", data, ZP_INLINE_FILE_MAX);
        assert_content(&s, "small", data, ZP_INLINE_FILE_MAX + 1);
        assert_content(&s, "more", data + 1, 9000);
        assert_int_equal(find(&s, "tiny")->extent_count, 0);
        assert_int_equal(find(&s, "small")->extents[0].block, 0);
        assert_int_equal(find(&s, "more")->extents[0].block, 1);
        assert_int_equal(s.info.device_size, (1 + 3) * ZP_BLOCK_SIZE);
        drop(&s);
}

static void equal_contents_are_stored_once_whatever_their_size(void **state) {
        (void) state;
        zp_autofree uint8_t *data = noise(3 * MIB, 2);
        struct archive a = { .piece = 5000 };
        add_file(&a, "big", data, 3 * MIB);
        add_file(&a, "small", data, 9000);
        add_file(&a, "big2", data, 3 * MIB);
        add_file(&a, "other", data + 1, 9000);
        add_file(&a, "small2", data, 9000);
        data[2 * MIB] ^= 2;
        add_file(&a, "big3", data, 3 * MIB); /* same size, other content: must not be lost */
        struct stored s = store(&a);
        assert_content(&s, "big3", data, 3 * MIB);
        data[2 * MIB] ^= 2;
        assert_content(&s, "big", data, 3 * MIB);
        assert_content(&s, "big2", data, 3 * MIB);
        assert_content(&s, "other", data + 1, 9000);
        assert_int_equal(find(&s, "small2")->extents[0].block, find(&s, "small")->extents[0].block);
        assert_int_equal(s.info.device_size, 2 * 3 * MIB + 2 * 3 * ZP_BLOCK_SIZE);
        drop(&s);
}

static void long_runs_of_zeros_are_holes(void **state) {
        (void) state;
        size_t size = 6 * MIB + 100;
        zp_autofree uint8_t *data = calloc(1, size);
        data[2 * MIB + 5] = 1; /* the third MiB is no hole */
        data[5 * MIB - 1] = 1; /* nor is the fifth */
        for (size_t piece = 1000; piece <= 10 * MIB; piece *= 100) {
                struct archive a = { .piece = piece };
                add_file(&a, "sparse", data, size);
                add_file(&a, "empty", "", 0);
                struct stored s = store(&a);
                const struct zp_inode *inode = find(&s, "sparse");
                assert_content(&s, "sparse", data, size);
                assert_int_equal(inode->extent_count, 5);
                assert_true(inode->extents[0].block == ZP_HOLE && inode->extents[0].blocks == 2 * MIB / ZP_BLOCK_SIZE);
                assert_int_equal(s.info.device_size, 2 * MIB);
                assert_int_equal(find(&s, "empty")->extent_count, 0);
                drop(&s);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(small_files_lie_in_the_metadata_and_others_on_whole_blocks),
                cmocka_unit_test(equal_contents_are_stored_once_whatever_their_size),
                cmocka_unit_test(long_runs_of_zeros_are_holes),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
