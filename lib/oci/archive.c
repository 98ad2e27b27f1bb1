/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/archive.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/bytes.h"
#include "base/file.h"
#include "base/limits.h"
#include "layer/tar.h"

#define PIECE_SIZE (64u << 10)
#define ENTRIES_MAX 100000u /* an archive of images has a few per layer */
#define NAMES_MAX (UINT64_C(64) << 20)

struct entry {
        const char *name, *target; /* target: of a link, as a name in the archive; else NULL */
        uint64_t offset, size;
};

struct zp_archive {
        int fd;
        char *path;
        struct zp_arena arena;
        struct entry *entries; /* by name */
        size_t count, capacity;
};

/* Feeds the tar reader. Data that it only passes over is not read: zeros stand in for it. */
struct feed {
        const struct zp_archive *archive;
        const struct zp_cancel *cancel;
        uint64_t position, file_size;
        uint64_t data_start, data_end; /* of the entry it is at */
        uint8_t piece[PIECE_SIZE];
};

static int64_t next_piece(void *context, const uint8_t **data, struct zp_error *err) {
        static const uint8_t zeros[1 << 20];
        struct feed *feed = context;
        int r = zp_check_cancel(feed->cancel, err);
        if (r < 0)
                return r;
        uint64_t left = feed->file_size - feed->position, size;
        if (feed->position >= feed->data_start && feed->position < feed->data_end) {
                size = zp_min_u64(sizeof zeros, zp_min_u64(left, feed->data_end - feed->position));
                *data = zeros;
        } else {
                size = zp_min_u64(PIECE_SIZE, left);
                r = zp_pread_all(feed->archive->fd, feed->piece, (size_t) size, feed->position, feed->archive->path,
                                 err);
                *data = feed->piece;
        }
        feed->position += size;
        return r < 0 ? r : (int64_t) size;
}

/* "./a//b/../c" → "a/c", in place. False: it leads out of the archive. */
static bool clean_name(char *name) {
        char *out = name;
        for (char *p = name; *p;) {
                size_t size = strcspn(p, "/");
                if (size == 2 && p[0] == '.' && p[1] == '.') {
                        if (out == name)
                                return false;
                        while (out > name && *--out != '/')
                                ;
                } else if (size > 0 && !(size == 1 && p[0] == '.')) {
                        if (out > name)
                                *out++ = '/'; /* never before p: a slash was passed */
                        memmove(out, p, size);
                        out += size;
                }
                p += size;
                p += *p == '/';
        }
        *out = '\0';
        return true;
}

/* The name that a link in the archive stands for; NULL: out of memory. Leading out: "". */
static char *resolve_link(const char *name, char type, const char *target) {
        const char *slash = strrchr(name, '/');
        bool from_top = type == '1' || target[0] == '/' || !slash;
        char *full = from_top ? strdup(target) : zp_format("%.*s/%s", (int) (slash - name), name, target);
        if (full && !clean_name(full))
                full[0] = '\0';
        return full;
}

static int add_entry(struct zp_archive *archive, const struct zp_tar_entry *tar_entry, struct zp_error *err) {
        bool is_link = tar_entry->type == '1' || tar_entry->type == '2';
        if (tar_entry->type != '0' && !is_link)
                return 0;
        if (archive->count == ENTRIES_MAX || archive->arena.used_bytes > NAMES_MAX)
                return zp_error_set(err, E2BIG, "too many files in the archive");
        if (archive->count == archive->capacity) {
                size_t capacity = archive->capacity ? 2 * archive->capacity : 64;
                struct entry *grown = reallocarray(archive->entries, capacity, sizeof *grown);
                if (!grown)
                        return zp_error_errno(err, ENOMEM, "archive");
                archive->entries = grown;
                archive->capacity = capacity;
        }
        char *name = zp_arena_copy(&archive->arena, tar_entry->path, tar_entry->path_size);
        if (!name)
                return zp_error_errno(err, ENOMEM, "archive");
        if (!clean_name(name))
                return 0;
        struct entry entry = { .name = name, .offset = tar_entry->data_offset, .size = (uint64_t) tar_entry->size };
        if (is_link) {
                zp_autofree char *target = resolve_link(name, tar_entry->type, tar_entry->link_target);
                entry.target = target ? zp_arena_copy(&archive->arena, target, strlen(target)) : NULL;
                if (!entry.target)
                        return zp_error_errno(err, ENOMEM, "archive");
        }
        archive->entries[archive->count++] = entry;
        return 0;
}

static int by_name(const void *a, const void *b) {
        return strcmp(((const struct entry *) a)->name, ((const struct entry *) b)->name);
}

/* Passes over an entry's data. A sparse file does not lie in one run of the archive, and the zeros that stand in for
 * its data have hidden what follows. */
static int skip_data(struct zp_tar *tar, const struct zp_tar_entry *entry, struct zp_error *err) {
        const uint8_t *data;
        uint64_t size;
        int r;
        while ((r = zp_tar_data(tar, &data, &size, err)) > 0) {
                if (data)
                        continue;
                zp_error_set(err, ENOTSUP, "'%s' is stored as a sparse file", entry->path);
                zp_error_hint(err, "write the archive again without tar's --sparse");
                return -ENOTSUP;
        }
        return r < 0 ? zp_tar_blame(entry, err) : 0;
}

static int build_index(struct zp_archive *archive, struct feed *feed, struct zp_error *err) {
        zp_auto(zp_tar_free) struct zp_tar *tar = NULL;
        struct zp_tar_entry entry;
        int r = zp_tar_new(next_piece, feed, &tar, err);
        if (r < 0)
                return r;
        while ((r = zp_tar_next(tar, &entry, err)) > 0) {
                r = add_entry(archive, &entry, err);
                if (r < 0)
                        return r;
                bool has_data = entry.type == '0' && entry.size > 0;
                feed->data_start = has_data ? entry.data_offset : 0;
                feed->data_end = has_data ? entry.data_offset + (uint64_t) entry.size : 0;
                if (has_data && (r = skip_data(tar, &entry, err)) < 0)
                        return r;
        }
        if (r == 0 && archive->count > 0)
                qsort(archive->entries, archive->count, sizeof *archive->entries, by_name);
        return r;
}

static int check_compression(int fd, uint64_t size, const char *path, struct zp_error *err) {
        static const uint8_t gzip[] = { 0x1f, 0x8b }, zstd[] = { 0x28, 0xb5, 0x2f, 0xfd }, bzip2[] = "BZh",
                             xz[] = "\xfd"
                                    "7zXZ";
        uint8_t start[6] = { 0 };
        int r = zp_pread_all(fd, start, (size_t) zp_min_u64(size, sizeof start), 0, path, err);
        if (r < 0)
                return r;
        const char *tool = NULL;
        if (memcmp(start, gzip, sizeof gzip) == 0)
                tool = "gzip";
        else if (memcmp(start, zstd, sizeof zstd) == 0)
                tool = "zstd";
        else if (memcmp(start, bzip2, 3) == 0)
                tool = "bzip2";
        else if (memcmp(start, xz, 5) == 0)
                tool = "xz";
        if (!tool)
                return 0;
        zp_error_set(err, ENOTSUP, "'%s' is compressed as a whole, and cannot be read at random", path);
        zp_error_hint(err, "decompress it first: `%s -d`", tool);
        return -ENOTSUP;
}

int zp_archive_open(const char *path, const struct zp_cancel *cancel, struct zp_archive **out, struct zp_error *err) {
        zp_auto(zp_archive_close) struct zp_archive *archive = calloc(1, sizeof *archive);
        zp_autofree struct feed *feed = calloc(1, sizeof *feed);
        if (archive)
                archive->fd = -1;
        if (!archive || !feed)
                return zp_error_errno(err, ENOMEM, "open '%s'", path);
        archive->path = strdup(path);
        archive->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        struct stat st;
        if (archive->fd < 0 || fstat(archive->fd, &st) < 0)
                return zp_error_errno(err, errno, "open '%s'", path);
        if (!archive->path)
                return zp_error_errno(err, ENOMEM, "open '%s'", path);
        if (S_ISDIR(st.st_mode)) {
                zp_error_errno(err, EISDIR, "open '%s'", path);
                zp_error_hint(err, "for an image layout in a directory use oci:DIR");
                return -EISDIR;
        }
        if (!S_ISREG(st.st_mode))
                return zp_error_set(err, EINVAL, "open '%s': not a regular file", path);
        *feed = (struct feed){ .archive = archive, .cancel = cancel, .file_size = (uint64_t) st.st_size };
        int r = check_compression(archive->fd, feed->file_size, path, err);
        if (r < 0)
                return r;
        r = build_index(archive, feed, err);
        if (r < 0) {
                zp_error_wrap(err, "'%s'", path);
                return r;
        }
        *out = zp_steal(&archive);
        return 0;
}

void zp_archive_close(struct zp_archive *archive) {
        if (archive->fd >= 0)
                close(archive->fd);
        free(archive->path);
        free(archive->entries);
        zp_arena_clear(&archive->arena);
        free(archive);
}

/* The one entry of the name, or an error. */
static int look_up(const struct zp_archive *archive, const char *name, const struct entry **out, struct zp_error *err) {
        const struct entry key = { .name = name };
        const struct entry *found =
                archive->count ? bsearch(&key, archive->entries, archive->count, sizeof key, by_name) : NULL;
        if (!found)
                return zp_error_set(err, ENOENT, "the archive has no file '%s'", name);
        bool is_first = found == archive->entries || strcmp(found[-1].name, name) != 0;
        bool is_last = found == archive->entries + archive->count - 1 || strcmp(found[1].name, name) != 0;
        if (!is_first || !is_last)
                return zp_error_set(err, EBADMSG, "the archive has more than one file '%s'", name);
        *out = found;
        return 0;
}

int zp_archive_find(const struct zp_archive *archive, const char *name, struct zp_extent *out, struct zp_error *err) {
        const struct entry *entry;
        zp_autofree char *clean = strdup(name);
        if (!clean)
                return zp_error_errno(err, ENOMEM, "archive");
        if (!clean_name(clean))
                return zp_error_set(err, EBADMSG, "'%s' leads out of the archive", name);
        int r = look_up(archive, clean, &entry, err);
        if (r == 0 && entry->target)
                r = look_up(archive, entry->target, &entry, err);
        if (r == 0 && entry->target)
                r = zp_error_set(err, EBADMSG, "'%s' is a link to a link", name);
        if (r == 0)
                *out = (struct zp_extent){ .fd = archive->fd, .offset = entry->offset, .size = entry->size };
        return r;
}
