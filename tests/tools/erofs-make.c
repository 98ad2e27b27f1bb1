/* SPDX-License-Identifier: Apache-2.0
 *
 * erofs-make [--flat] [--layer] OUT < DESCRIPTION: writes the EROFS metadata of a tree that is described line
 * by line, words separated by spaces, names and values in hex. Inode 0 is the root, the others are numbered
 * from 1 in the order of their lines. Prints the number of blocks.
 *
 *   device DIFFID BLOCKS               the next device
 *   inode MODE UID GID SECONDS NANOSECONDS [MAJOR MINOR]     (MODE in octal)
 *   root MODE UID GID SECONDS NANOSECONDS
 *   link PARENT NAME INODE             the inode's name (a directory's before those of its children)
 *   nlink INODE COUNT                  instead of what its names give
 *   data INODE VALUE                   link target or inline content
 *   extents INODE SIZE [BLOCK:BLOCKS:DEVICE]…     BLOCK '-' is a hole
 *   xattr INODE NAME [VALUE]
 *   opaque INODE | implied INODE | inherits INODE
 */
#include <ctype.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/limits.h"
#include "erofs/writer.h"

struct maker {
        struct zp_tree *tree;
        struct zp_inode **inodes;
        size_t count, capacity;
        struct zp_erofs_device devices[ZP_LIMIT_LAYERS];
        uint16_t device_count;
        struct zp_error err;
        unsigned line;
        char *cursor; /* rest of the line */
};

static void fail(const struct maker *m, const char *what) {
        fprintf(stderr, "erofs-make: line %u: %s%s%s\n", m->line, what, m->err.code ? ": " : "", m->err.message);
        exit(1);
}

static void check(const struct maker *m, int result) {
        if (result < 0)
                fail(m, "refused");
}

static char *word(struct maker *m) {
        char *next = strsep(&m->cursor, " ");
        return next && *next ? next : NULL;
}

static uint64_t number(struct maker *m, int base) {
        char *text = word(m), *end;
        if (!text)
                fail(m, "a number is missing");
        uint64_t value = *text == '-' ? (uint64_t) strtoll(text, &end, base) : strtoull(text, &end, base);
        if (*end)
                fail(m, "not a number");
        return value;
}

static struct zp_inode *inode(struct maker *m) {
        uint64_t index = number(m, 10);
        if (index >= m->count)
                fail(m, "no such inode");
        return m->inodes[index];
}

static unsigned hex_digit(char c) {
        return isdigit((unsigned char) c) ? (unsigned) (c - '0') : (unsigned) (c - 'a' + 10);
}

/* Decodes in place and ends with a NUL. */
static char *bytes(struct maker *m, size_t *size) {
        static char empty[1];
        char *text = word(m);
        *size = 0;
        if (!text)
                return empty;
        for (const char *p = text; p[0] && p[1]; p += 2)
                text[(*size)++] = (char) (hex_digit(p[0]) << 4 | hex_digit(p[1]));
        text[*size] = '\0';
        return text;
}

static void remember(struct maker *m, struct zp_inode *fresh) {
        if (m->count == m->capacity) {
                m->capacity = m->capacity ? 2 * m->capacity : 64;
                m->inodes = reallocarray(m->inodes, m->capacity, sizeof(struct zp_inode *));
                if (!m->inodes)
                        fail(m, "out of memory");
        }
        m->inodes[m->count++] = fresh;
}

static void set_attributes(struct maker *m, struct zp_inode *target, uint32_t mode) {
        target->mode = mode;
        target->uid = (uint32_t) number(m, 10);
        target->gid = (uint32_t) number(m, 10);
        target->mtime_s = (int64_t) number(m, 10);
        target->mtime_ns = (uint32_t) number(m, 10);
}

static void do_device(struct maker *m) {
        if (m->device_count == ZP_LIMIT_LAYERS)
                fail(m, "too many devices");
        struct zp_erofs_device *device = &m->devices[m->device_count++];
        const char *hex = word(m);
        if (!hex || !zp_digest_parse_hex(hex, &device->digest))
                fail(m, "bad device");
        device->blocks = number(m, 10);
}

static void do_inode(struct maker *m) {
        struct zp_inode *fresh;
        uint32_t mode = (uint32_t) number(m, 8);
        check(m, zp_tree_new_inode(m->tree, mode, &fresh, &m->err));
        set_attributes(m, fresh, mode);
        if (S_ISCHR(mode) || S_ISBLK(mode)) {
                fresh->rdev_major = (uint32_t) number(m, 10);
                fresh->rdev_minor = (uint32_t) number(m, 10);
        }
        remember(m, fresh);
}

static void do_root(struct maker *m) {
        struct zp_inode *root = zp_tree_root(m->tree);
        set_attributes(m, root, (uint32_t) number(m, 8));
        root->is_implied = false;
}

static void do_link(struct maker *m) {
        struct zp_inode *dir = inode(m);
        size_t size;
        const char *name = bytes(m, &size);
        check(m, zp_tree_link(m->tree, dir, name, size, inode(m), &m->err));
}

static void do_nlink(struct maker *m) {
        struct zp_inode *target = inode(m);
        target->nlink = (uint32_t) number(m, 10);
}

static void do_data(struct maker *m) {
        struct zp_inode *target = inode(m);
        size_t size;
        const char *value = bytes(m, &size);
        char *copy = zp_tree_alloc(m->tree, size + 1);
        if (!copy)
                fail(m, "out of memory");
        memcpy(copy, value, size + 1);
        target->data = (const uint8_t *) copy;
        target->size = size;
}

static void do_extents(struct maker *m) {
        struct zp_inode *target = inode(m);
        target->size = number(m, 10);
        size_t room = m->cursor ? strlen(m->cursor) / 2 + 1 : 1;
        target->extents = zp_tree_alloc(m->tree, room * sizeof *target->extents);
        if (!target->extents)
                fail(m, "out of memory");
        for (char *text; (text = word(m));) {
                struct zp_extent *extent = &target->extents[target->extent_count++];
                char *end = text;
                extent->block = *text == '-' ? ZP_HOLE : strtoull(text, &end, 10);
                end += *text == '-';
                extent->blocks = *end == ':' ? strtoull(end + 1, &end, 10) : 0;
                extent->device = *end == ':' ? (uint16_t) strtoul(end + 1, &end, 10) : 0;
                if (*end || extent->blocks == 0)
                        fail(m, "bad extent");
        }
}

static void do_xattr(struct maker *m) {
        struct zp_inode *target = inode(m);
        size_t name_size, value_size;
        const char *name = bytes(m, &name_size), *value = bytes(m, &value_size);
        check(m, zp_tree_set_xattr(m->tree, target, name, value, (uint32_t) value_size, &m->err));
}

static void do_opaque(struct maker *m) {
        inode(m)->is_opaque = true;
}

static void do_implied(struct maker *m) {
        inode(m)->is_implied = true;
}

static void do_inherits(struct maker *m) {
        inode(m)->inherits_xattrs = true;
}

static const struct {
        const char *name;
        void (*run)(struct maker *m);
} verbs[] = { { "device", do_device }, { "inode", do_inode },     { "root", do_root },        { "link", do_link },
              { "nlink", do_nlink },   { "data", do_data },       { "extents", do_extents },  { "xattr", do_xattr },
              { "opaque", do_opaque }, { "implied", do_implied }, { "inherits", do_inherits } };

static void read_line(struct maker *m, char *line) {
        m->cursor = line;
        const char *verb = word(m);
        for (size_t i = 0; verb && i < sizeof verbs / sizeof verbs[0]; i++) {
                if (strcmp(verb, verbs[i].name) == 0) {
                        verbs[i].run(m);
                        return;
                }
        }
        fail(m, "unknown verb");
}

static void read_description(struct maker *m) {
        zp_autofree char *line = NULL;
        size_t capacity = 0;
        for (ssize_t size; (size = getline(&line, &capacity, stdin)) > 0;) {
                m->line++;
                if (line[size - 1] == '\n')
                        line[size - 1] = '\0';
                read_line(m, line);
        }
}

int main(int argc, char **argv) {
        struct maker m = { .tree = zp_tree_new() };
        struct zp_erofs_options options = { .layout = ZP_EROFS_DEVICE_TABLE };
        struct zp_erofs_result result;
        const char *out = NULL;
        for (int i = 1; i < argc; i++) {
                if (strcmp(argv[i], "--flat") == 0)
                        options.layout = ZP_EROFS_FLAT;
                else if (strcmp(argv[i], "--layer") == 0)
                        options.is_layer = true;
                else
                        out = argv[i];
        }
        if (!out || !m.tree) {
                fputs("usage: erofs-make [--flat] [--layer] OUT < DESCRIPTION\n", stderr);
                return 2;
        }
        remember(&m, zp_tree_root(m.tree));
        read_description(&m);
        options.devices = m.devices;
        options.device_count = m.device_count;
        zp_autoclose int fd = open(out, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        if (fd < 0)
                fail(&m, "cannot create the output");
        check(&m, zp_erofs_write(m.tree, &options, fd, out, &result, &m.err));
        printf("%" PRIu64 "\n", result.blocks);
        free(m.inodes);
        zp_tree_free(m.tree);
        return 0;
}
