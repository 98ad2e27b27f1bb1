/* SPDX-License-Identifier: Apache-2.0
 *
 * An image whose start is guessed: its config, a program, a library, a script, a Python module, and settings, separated
 * by the byte 0x1e. Whatever they say, what is named lies in files of the image, is not too much, and the same each
 * time.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/digest.h"
#include "builder/guess/guess.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NAMED_MAX (UINT64_C(96) << 20)

/* The files of each part. */
static const char *const places[][4] = {
        { "bin/program", "usr/bin/python3.11", "opt/lib/python3.11/b.so", "opt/java/bin/java" },
        { "lib/libone.so", "opt/lib/libtwo.so", "opt/java/lib/server/libjvm.so" },
        { "bin/script", "opt/main.py", "etc/program/settings" },
        { "usr/lib/python3.11/a.py", "usr/lib/python3.11/p/__init__.py", "usr/lib/python3.11/p/c.py" },
        { "etc/ld.so.conf", "etc/ld.so.conf.d/a.conf", "opt/pyvenv.cfg" },
};
static const char *const links[][2] = {
        { "bin/python3", "../usr/bin/python3.11" },
        { "bin/java", "/opt/java/bin/java" },
        { "opt/bin/python", "/bin/python3" },
        { "lib/round", "round" },
};
#define PARTS (sizeof places / sizeof *places)

/* Starts all of it, where the input's own config is none. */
static const char start_all[] =
        "{\"config\":{\"Env\":[\"PATH=/opt/bin:/bin\",\"LD_LIBRARY_PATH=/opt/lib\",\"PYTHONPATH=/opt\"],"
        "\"WorkingDir\":\"/opt\",\"Entrypoint\":[\"program\",\"script\",\"/bin/java\",\"python\",\"main.py\"],"
        "\"Cmd\":[\"python3\",\"-m\",\"p\",\"a:x\",\"import p.c\"]}}";

struct part {
        const uint8_t *data;
        size_t size;
};

static struct part next_part(const uint8_t **data, size_t *size) {
        const uint8_t *end = *size ? memchr(*data, 0x1e, *size) : NULL;
        struct part part = { *data, end ? (size_t) (end - *data) : *size };
        *data += part.size + (end != NULL);
        *size -= part.size + (end != NULL);
        return part;
}

static struct zp_inode *add(struct zp_tree *tree, const char *path, uint32_t mode) {
        struct zp_inode *inode = zp_tree_root(tree);
        for (size_t size; *path; path += size + (path[size] == '/')) {
                size = strcspn(path, "/");
                struct zp_dentry *dentry = zp_tree_lookup(tree, inode, path, size);
                struct zp_inode *fresh = NULL;
                int r = dentry ? 0 : zp_tree_new_inode(tree, path[size] ? S_IFDIR | 0755 : mode, &fresh, NULL);
                if (fresh)
                        r = zp_tree_link(tree, inode, path, size, fresh, NULL);
                if (r < 0)
                        abort();
                inode = dentry ? dentry->inode : fresh;
        }
        return inode;
}

/* The number of a part is its files' only extent. */
static struct zp_tree *make_tree(const struct part parts[PARTS]) {
        struct zp_tree *tree = zp_tree_new();
        for (size_t i = 0; i < PARTS; i++)
                for (size_t k = 0; k < sizeof *places / sizeof **places && places[i][k]; k++) {
                        struct zp_inode *inode = add(tree, places[i][k], S_IFREG | 0755);
                        inode->extents = zp_tree_alloc(tree, sizeof *inode->extents);
                        inode->extents[0].block = i;
                        inode->size = parts[i].size;
                }
        for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
                struct zp_inode *inode = add(tree, links[i][0], S_IFLNK | 0777);
                inode->data = (const uint8_t *) links[i][1];
                inode->size = strlen(links[i][1]);
        }
        return tree;
}

static int read_part(void *context, const struct zp_inode *inode, uint64_t offset, void *buffer, size_t size,
                     struct zp_error *err) {
        const struct part *parts = context, *part = &parts[inode->extents[0].block];
        (void) err;
        assert(offset <= part->size && size <= part->size - offset);
        if (size)
                memcpy(buffer, part->data + offset, size);
        return 0;
}

static void check_entries(struct zp_tree *tree, const struct zp_profile *profile) {
        uint32_t count;
        const struct zp_profile_entry *entries = zp_profile_entries(profile, &count);
        uint64_t named = 0;
        for (uint32_t i = 0; i < count; i++) {
                const struct zp_inode *inode = add(tree, entries[i].path, 0);
                assert(S_ISREG(inode->mode));
                assert(entries[i].offset < inode->size && entries[i].length <= inode->size - entries[i].offset);
                named += entries[i].length;
        }
        assert(named <= NAMED_MAX);
}

static int guess(const struct part parts[PARTS], const char *config, size_t size, struct zp_digest *out) {
        zp_auto(zp_tree_free) struct zp_tree *tree = make_tree(parts);
        zp_auto(zp_profile_free) struct zp_profile *profile = NULL;
        struct zp_error err = { 0 };
        const struct zp_guess_image image = { .tree = tree, .read = read_part, .context = (void *) parts };
        int r = zp_guess(&image, config, size, &profile, &err);
        assert(r == 0 ? profile != NULL : err.message[0] != '\0');
        if (r < 0)
                return r;
        check_entries(tree, profile);
        return zp_profile_digest(profile, out, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct part parts[PARTS];
        struct zp_digest first, second;
        struct part config = next_part(&data, &size);
        for (size_t i = 0; i < PARTS; i++)
                parts[i] = next_part(&data, &size);
        int r = guess(parts, (const char *) config.data, config.size, &first);
        if (r < 0) {
                config = (struct part){ (const uint8_t *) start_all, strlen(start_all) };
                r = guess(parts, start_all, config.size, &first);
                assert(r == 0);
        }
        r = guess(parts, (const char *) config.data, config.size, &second);
        assert(r == 0 && memcmp(&first, &second, sizeof first) == 0);
        return 0;
}
