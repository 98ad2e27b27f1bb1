/* SPDX-License-Identifier: Apache-2.0
 *
 * Images for tests of the guess: trees in memory whose files have their content inline. What a guess names is told in
 * one string.
 */
#ifndef ZP_TEST_GUESS_FIXTURE_H
#define ZP_TEST_GUESS_FIXTURE_H

#include <elf.h>
#include <errno.h>

#include "../layer/tree-fixture.h"
#include "builder/guess/guess.h"

#define KIB(n) (UINT64_C(n) << 10)
#define MIB(n) (UINT64_C(n) << 20)

struct image {
        struct zp_tree *tree;
        struct zp_profile *profile; /* of the last guess */
        struct zp_error err;
        /* The one file whose content is not in the tree: zeros behind `head`. */
        const struct zp_inode *outside;
        const void *head;
        size_t head_size;
        int outside_result; /* of reading it */
        struct zp_cancel cancel;
};

static inline int image_setup(void **state) {
        struct image *image = calloc(1, sizeof *image);
        *state = image;
        return image && (image->tree = zp_tree_new()) ? 0 : -1;
}

static inline int image_teardown(void **state) {
        struct image *image = *state;
        zp_profile_free(image->profile);
        zp_tree_free(image->tree);
        free(image);
        return 0;
}

#define image_test(name) cmocka_unit_test_setup_teardown(name, image_setup, image_teardown)

/* ---- files ---- */

/* Puts a file that is executable there, or in the place of what a test put there before. */
static inline struct zp_inode *put_bytes(struct image *image, const char *path, const void *data, size_t size) {
        struct zp_inode *inode = add(image->tree, path, S_IFREG | 0755);
        void *copy = zp_tree_alloc(image->tree, size);
        inode->data = memcpy(copy, data, size);
        inode->size = size;
        return inode;
}

static inline struct zp_inode *put_text(struct image *image, const char *path, const char *text) {
        return put_bytes(image, path, text, strlen(text));
}

/* Files that have nothing to tell. */
static inline void put_list(struct image *image, const char *const *paths) {
        for (; *paths; paths++)
                put_text(image, *paths, "\n");
}
#define put_files(image, ...) put_list(image, (const char *const[]){ __VA_ARGS__, NULL })

/* A file of that size whose content is not in the tree. */
static inline struct zp_inode *put_outside(struct image *image, const char *path, uint64_t size, const void *head,
                                           size_t head_size) {
        struct zp_inode *inode = add(image->tree, path, S_IFREG | 0755);
        inode->size = size;
        image->outside = inode;
        image->head = head;
        image->head_size = head_size;
        return inode;
}

static inline int read_outside(void *context, const struct zp_inode *inode, uint64_t offset, void *buffer, size_t size,
                               struct zp_error *err) {
        struct image *image = context;
        assert_true(offset <= inode->size && size <= inode->size - offset);
        if (inode != image->outside)
                return -ENODATA;
        if (image->outside_result < 0)
                return zp_error_set(err, -image->outside_result, "disk");
        for (size_t i = 0; i < size; i++)
                ((uint8_t *) buffer)[i] =
                        offset + i < image->head_size ? ((const uint8_t *) image->head)[offset + i] : 0;
        return 0;
}

/* ---- ELF files ---- */

#define ELF_ADDRESS UINT64_C(0x400000)
enum { LOAD, INTERPRETER, DYNAMIC, MORE, ELF_SEGMENTS };

/* A whole file; 64-bit little-endian, as the tests are. */
struct elf_file {
        Elf64_Ehdr header;
        Elf64_Phdr segments[ELF_SEGMENTS];
        Elf64_Dyn dynamic[16];
        char strings[512];
};

struct elf_parts {
        const char *interpreter, *run_path, *r_path;
        const char *needed[8];
};

static inline uint64_t elf_add_string(struct elf_file *elf, size_t *used, const char *text) {
        size_t at = *used;
        *used += strlen(text) + 1;
        assert_true(*used <= sizeof elf->strings);
        strcpy(elf->strings + at, text);
        return at;
}

static inline struct elf_file make_elf(struct elf_parts parts) {
        struct elf_file elf = {
                .header = { .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
                            .e_type = ET_DYN,
                            .e_machine = EM_X86_64,
                            .e_version = EV_CURRENT,
                            .e_phoff = offsetof(struct elf_file, segments),
                            .e_ehsize = sizeof(Elf64_Ehdr),
                            .e_phentsize = sizeof(Elf64_Phdr),
                            .e_phnum = ELF_SEGMENTS },
        };
        elf.segments[LOAD] = (Elf64_Phdr){
                .p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_vaddr = ELF_ADDRESS, .p_filesz = sizeof elf
        };
        size_t used = 1, tags = 0; /* the first string is the empty one */
        if (parts.interpreter) {
                uint64_t at = offsetof(struct elf_file, strings) + elf_add_string(&elf, &used, parts.interpreter);
                elf.segments[INTERPRETER] =
                        (Elf64_Phdr){ .p_type = PT_INTERP, .p_offset = at, .p_filesz = strlen(parts.interpreter) + 1 };
        }
        for (size_t i = 0; i < sizeof parts.needed / sizeof *parts.needed && parts.needed[i]; i++)
                elf.dynamic[tags++] =
                        (Elf64_Dyn){ DT_NEEDED, { .d_val = elf_add_string(&elf, &used, parts.needed[i]) } };
        if (parts.run_path)
                elf.dynamic[tags++] =
                        (Elf64_Dyn){ DT_RUNPATH, { .d_val = elf_add_string(&elf, &used, parts.run_path) } };
        if (parts.r_path)
                elf.dynamic[tags++] = (Elf64_Dyn){ DT_RPATH, { .d_val = elf_add_string(&elf, &used, parts.r_path) } };
        elf.dynamic[tags++] = (Elf64_Dyn){ DT_STRTAB, { .d_ptr = ELF_ADDRESS + offsetof(struct elf_file, strings) } };
        elf.segments[DYNAMIC] = (Elf64_Phdr){ .p_type = PT_DYNAMIC,
                                              .p_offset = offsetof(struct elf_file, dynamic),
                                              .p_vaddr = ELF_ADDRESS + offsetof(struct elf_file, dynamic),
                                              .p_filesz = sizeof elf.dynamic };
        return elf;
}

/* put_elf(image, "bin/a", .needed = { "liba.so" }) */
static inline struct zp_inode *put_parts(struct image *image, const char *path, struct elf_parts parts) {
        struct elf_file elf = make_elf(parts);
        return put_bytes(image, path, &elf, sizeof elf);
}
#define put_elf(image, path, ...) put_parts(image, path, (struct elf_parts){ __VA_ARGS__ })

/* Libraries that need no others. */
static inline void put_library_list(struct image *image, const char *const *paths) {
        for (; *paths; paths++)
                put_elf(image, *paths, 0);
}
#define put_libraries(image, ...) put_library_list(image, (const char *const[]){ __VA_ARGS__, NULL })

/* ---- guesses ---- */

/* Each guess has the inodes' `scratch` to itself. */
static inline void forget(const struct zp_inode *directory) {
        for (const struct zp_dentry *child = directory->first_child; child; child = child->next) {
                child->inode->scratch = 0;
                forget(child->inode);
        }
}

/* `config` is what stands in the config's "config", with ' for ". */
static inline int try_guess(struct image *image, const char *config) {
        zp_autofree char *text = zp_format("{'config':{%s}}", config);
        const struct zp_guess_image guessed = {
                .tree = image->tree, .read = read_outside, .context = image, .cancel = &image->cancel
        };
        for (char *c = text; *c; c++)
                *c = *c == '\'' ? '"' : *c;
        zp_profile_free(image->profile);
        image->profile = NULL;
        forget(zp_tree_root(image->tree));
        return zp_guess(&guessed, text, strlen(text), &image->profile, &image->err);
}

/* Of one entry: its path, and what of the file it is when it is not all: "path[offset+length]". */
static inline void tell_entry(struct image *image, const struct zp_profile_entry *entry, struct zp_buffer *out) {
        const struct zp_inode *inode = add(image->tree, entry->path, S_IFREG);
        assert_true(entry->offset < inode->size && entry->length <= inode->size - entry->offset);
        zp_buffer_text(out, out->size ? " " : "");
        zp_buffer_text(out, entry->path);
        if (entry->length == inode->size)
                return;
        zp_autofree char *part =
                zp_format("[%llu+%llu]", (unsigned long long) entry->offset, (unsigned long long) entry->length);
        zp_buffer_text(out, part);
}

/* What is guessed is exactly that, in this order. */
static inline void assert_guess(struct image *image, const char *config, const char *expected) {
        zp_autobuffer struct zp_buffer text = { 0 };
        uint32_t count;
        if (try_guess(image, config) < 0)
                fail_msg("%s", image->err.message);
        const struct zp_profile_entry *entries = zp_profile_entries(image->profile, &count);
        zp_buffer_text(&text, "");
        for (uint32_t i = 0; i < count; i++)
                tell_entry(image, &entries[i], &text);
        assert_string_equal(text.data, expected);
}

static inline bool is_named(const struct image *image, const char *path) {
        uint32_t count;
        return zp_profile_find(image->profile, path, &count) != NULL;
}

static inline uint64_t named_bytes(const struct image *image) {
        uint32_t count;
        const struct zp_profile_entry *entries = zp_profile_entries(image->profile, &count);
        uint64_t sum = 0;
        for (uint32_t i = 0; i < count; i++)
                sum += entries[i].length;
        return sum;
}

#endif
