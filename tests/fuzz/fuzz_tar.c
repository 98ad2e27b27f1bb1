/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as the tar of a layer, read and applied. The first byte chooses how the rest is cut into
 * pieces; whole or in pieces, the outcome must be the same. Checksums are put right on the way, or
 * hardly any mutation would get past the first header.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "layer/apply.h"
#include "tar-checksums.h"

struct input {
        const uint8_t *data;
        size_t size, at, piece;
        uint8_t *handed_out; /* a copy of the right size: reads past a piece are caught */
};

static int64_t next_piece(void *context, const uint8_t **data, struct zp_error *err) {
        struct input *input = context;
        size_t size = input->size - input->at;
        (void) err;
        if (size > input->piece)
                size = input->piece;
        free(input->handed_out);
        input->handed_out = malloc(size ? size : 1);
        memcpy(input->handed_out, input->data + input->at, size);
        input->at += size;
        *data = input->handed_out;
        return (int64_t) size;
}

/* Takes the content in and forgets it; holes may be huge. */
static int consume(void *context, const char *path, struct zp_tar *tar, struct zp_tree *tree, struct zp_inode *inode,
                   struct zp_error *err) {
        (void) path;
        const uint8_t *data;
        uint64_t size, total = 0, *sum = context;
        int r;
        (void) tree;
        while ((r = zp_tar_data(tar, &data, &size, err)) > 0) {
                assert(size > 0);
                total += size;
                for (uint64_t i = 0; data && i < size; i++)
                        *sum = *sum * 31 + data[i];
        }
        assert(r < 0 || total == inode->size);
        return r;
}

static uint64_t digest_directory(const struct zp_inode *dir, uint64_t sum) {
        uint32_t count = 0;
        for (const struct zp_dentry *child = dir->first_child; child; child = child->next, count++) {
                const struct zp_inode *inode = child->inode;
                assert(child->parent == dir && inode->nlink > 0);
                assert(child->name_size > 0 && strlen(child->name) == child->name_size && !strchr(child->name, '/'));
                sum = sum * 31 + inode->number + inode->mode + inode->uid + (uint64_t) inode->mtime_s;
                for (const struct zp_xattr *x = inode->xattrs; x; x = x->next)
                        sum = sum * 31 + x->value_size;
                if (S_ISDIR(inode->mode))
                        sum = digest_directory(inode, sum);
        }
        assert(count == dir->child_count);
        return sum;
}

static uint64_t outcome(const uint8_t *data, size_t size, size_t piece) {
        struct input input = { .data = data, .size = size, .piece = piece };
        struct zp_apply_stats stats;
        struct zp_error err = { 0 };
        struct zp_tree *tree = NULL;
        struct zp_tar *tar;
        uint64_t sum = 0;

        if (zp_tar_new(next_piece, &input, &tar, &err) < 0)
                abort();
        int r = zp_layer_apply(tar, consume, &sum, &tree, &stats, &err);
        assert(r == 0 ? tree != NULL : err.code == -r && err.message[0] != '\0');
        assert(r != 0 || input.at == size);
        if (r == 0)
                sum = digest_directory(zp_tree_root(tree), sum);
        zp_tree_free(tree);
        zp_tar_free(tar);
        free(input.handed_out);
        return sum ^ (uint64_t) -r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        if (size == 0)
                return 0;
        uint8_t *copy = malloc(size);
        memcpy(copy, data + 1, size - 1);
        fix_checksums(copy, size - 1);
        uint64_t whole = outcome(copy, size - 1, SIZE_MAX);
        uint64_t pieces = outcome(copy, size - 1, 1 + (size_t) data[0] * 7);
        assert(whole == pieces);
        free(copy);
        return 0;
}
