/* SPDX-License-Identifier: Apache-2.0
 *
 * The tar reader's stream side: pieces of input become header blocks, meta entries ('x', 'L', 'K') are
 * folded into the entry they precede, and data is handed out without copying. Follows Go's archive/tar
 * (1.26), down to what it does with a truncated end.
 */
#include "layer/tar.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "layer/tar-internal.h"

/* Memory that a meta entry's data is gathered in. */
struct buffer {
        char *data;
        size_t size, capacity;
};

struct zp_tar {
        zp_tar_input input;
        void *context;
        const uint8_t *next; /* unread part of the current piece */
        size_t left;
        uint64_t offset; /* of `next` in the archive */
        bool input_ended, archive_ended;
        int failed; /* errno of the first failure: nothing works after it */

        uint8_t block[ZP_TAR_BLOCK]; /* a header that straddles pieces */
        uint64_t data_left;          /* stored bytes of the current entry not read yet */
        uint32_t padding;            /* behind them */

        struct zp_tar_header header;
        struct buffer pax_data, long_name, long_link, sparse_data;
        struct zp_pax pax;

        bool is_sparse;
        struct zp_tar_fragments fragments;
        size_t fragment;        /* the next one, or the one we are in */
        int64_t position, size; /* within the expanded file */
        uint64_t header_offset; /* of the latest header, for messages */
};

int zp_tar_new(zp_tar_input input, void *context, struct zp_tar **out, struct zp_error *err) {
        struct zp_tar *tar = calloc(1, sizeof *tar);

        if (!tar)
                return zp_error_errno(err, ENOMEM, "tar reader");
        tar->input = input;
        tar->context = context;
        *out = tar;
        return 0;
}

void zp_tar_free(struct zp_tar *tar) {
        if (!tar)
                return;
        free(tar->pax_data.data);
        free(tar->long_name.data);
        free(tar->long_link.data);
        free(tar->sparse_data.data);
        free(tar->fragments.items);
        zp_pax_clear(&tar->pax);
        free(tar);
}

/* --- input --- */

/* Makes sure that there is something to read: 1, 0 at the end, or a negative errno. */
static int fill(struct zp_tar *tar, struct zp_error *err) {
        if (tar->left > 0)
                return 1;
        if (tar->input_ended)
                return 0;
        int64_t size = tar->input(tar->context, &tar->next, err);
        if (size < 0)
                return (int) size;
        if (size == 0) {
                tar->input_ended = true;
                return 0;
        }
        tar->left = (size_t) size;
        if (tar->offset + tar->left > ZP_LIMIT_LAYER_SIZE)
                return zp_error_set(err, E2BIG, "larger than %llu bytes", (unsigned long long) ZP_LIMIT_LAYER_SIZE);
        return 1;
}

static const uint8_t *take(struct zp_tar *tar, size_t size) {
        const uint8_t *p = tar->next;
        tar->next += size;
        tar->left -= size;
        tar->offset += size;
        return p;
}

/* Up to `size` bytes are passed over; fewer only at the end of input. *skipped tells. */
static int skip(struct zp_tar *tar, uint64_t size, uint64_t *skipped, struct zp_error *err) {
        *skipped = 0;
        while (*skipped < size) {
                int r = fill(tar, err);
                if (r <= 0)
                        return r;
                size_t part = (size_t) zp_min_u64(size - *skipped, tar->left);
                take(tar, part);
                *skipped += part;
        }
        return 0;
}

/* Copies up to `size` bytes to `out`; fewer only at the end of input. */
static int read_bytes(struct zp_tar *tar, void *out, size_t size, size_t *got, struct zp_error *err) {
        *got = 0;
        while (*got < size) {
                int r = fill(tar, err);
                if (r <= 0)
                        return r;
                size_t part = (size_t) zp_min_u64(size - *got, tar->left);
                memcpy((uint8_t *) out + *got, take(tar, part), part);
                *got += part;
        }
        return 0;
}

static int truncated(const char *what, struct zp_error *err) {
        return zp_error_set(err, EBADMSG, "the archive ends within %s", what);
}

/* The next block of headers, in place where it can be. 1, 0 when the input ends before it. */
static int read_block(struct zp_tar *tar, const uint8_t **block, struct zp_error *err) {
        size_t got;

        if (tar->left >= ZP_TAR_BLOCK) {
                *block = take(tar, ZP_TAR_BLOCK);
                return 1;
        }
        int r = read_bytes(tar, tar->block, ZP_TAR_BLOCK, &got, err);
        if (r < 0 || got == 0)
                return r;
        if (got < ZP_TAR_BLOCK)
                return truncated("a header", err);
        *block = tar->block;
        return 1;
}

/* All that is left of an entry's stored data, and its padding. A missing end of the padding is the end
 * of the archive (0), as a missing end marker is. */
static int finish_data(struct zp_tar *tar, struct zp_error *err) {
        uint64_t skipped;
        int r = skip(tar, tar->data_left, &skipped, err);

        if (r < 0)
                return r;
        if (skipped < tar->data_left)
                return truncated("the data of an entry", err);
        r = skip(tar, tar->padding, &skipped, err);
        if (r < 0)
                return r;
        bool complete = skipped == tar->padding;
        tar->data_left = tar->padding = 0;
        return complete;
}

/* --- headers --- */

static bool is_header_only(char type) {
        return type >= '1' && type <= '6';
}

static int start_data(struct zp_tar *tar, char type, int64_t size, struct zp_error *err) {
        if (is_header_only(type))
                size = 0;
        if (size < 0)
                return zp_error_set(err, EBADMSG, "negative size");
        tar->data_left = (uint64_t) size;
        tar->padding = (uint32_t) (-(uint64_t) size & (ZP_TAR_BLOCK - 1));
        return 0;
}

/* Reads the next header into tar->header. 1, or 0 at the end of the archive. */
static int read_header(struct zp_tar *tar, struct zp_error *err) {
        const uint8_t *block;
        int r = read_block(tar, &block, err);

        if (r <= 0)
                return r;
        if (zp_is_zero(block, ZP_TAR_BLOCK)) {
                r = read_block(tar, &block, err);
                if (r <= 0)
                        return r;
                if (!zp_is_zero(block, ZP_TAR_BLOCK))
                        return zp_error_set(err, EBADMSG, "a zero block, but not the two that end an archive");
                return 0;
        }
        r = zp_tar_parse_header(block, &tar->header, err);
        return r < 0 ? r : 1;
}

/* Gathers the data of a meta entry, with a byte of room behind it. */
static int read_meta_data(struct zp_tar *tar, struct buffer *buffer, struct zp_error *err) {
        size_t size, got;

        if (tar->data_left > ZP_LIMIT_PAX_HEADER)
                return zp_error_set(err, E2BIG, "extended header larger than %llu bytes",
                                    (unsigned long long) ZP_LIMIT_PAX_HEADER);
        size = (size_t) tar->data_left;
        if (size + 1 > buffer->capacity) {
                size_t capacity = (size_t) zp_round_up(size + 1, 4096);
                free(buffer->data);
                buffer->capacity = 0;
                buffer->data = malloc(capacity);
                if (!buffer->data)
                        return zp_error_errno(err, ENOMEM, "tar reader");
                buffer->capacity = capacity;
        }
        buffer->size = size;
        buffer->data[size] = '\0';
        int r = read_bytes(tar, buffer->data, size, &got, err);
        if (r < 0)
                return r;
        if (got < size)
                return truncated("an extended header", err);
        tar->data_left = 0;
        return 0;
}

/* GNU's 'L' and 'K': a text up to the first NUL. */
static int read_long_text(struct zp_tar *tar, struct buffer *buffer, struct zp_error *err) {
        int r = read_meta_data(tar, buffer, err);
        if (r < 0)
                return r;
        buffer->size = strlen(buffer->data);
        return 0;
}

static int read_pax(struct zp_tar *tar, struct zp_error *err) {
        int r = read_meta_data(tar, &tar->pax_data, err);
        if (r < 0)
                return r;
        return zp_pax_parse(&tar->pax, tar->pax_data.data, tar->pax_data.size, err);
}

static void set_path(struct zp_tar_entry *entry, const char *path, size_t size) {
        /* An entry without a name is the root, as "." is. */
        entry->path = size > 0 ? path : ".";
        entry->path_size = size > 0 ? size : 1;
}

/* Puts what the PAX records say over what the header says. */
static int apply_pax(struct zp_tar *tar, struct zp_tar_entry *entry, struct zp_error *err) {
        const struct zp_pax *pax = &tar->pax;
        int64_t seconds;
        uint32_t nanoseconds;

        if (zp_pax_has(pax, ZP_PAX_PATH))
                set_path(entry, pax->values[ZP_PAX_PATH].text, pax->values[ZP_PAX_PATH].size);
        if (zp_pax_has(pax, ZP_PAX_LINKPATH)) {
                entry->link_target = pax->values[ZP_PAX_LINKPATH].text;
                entry->link_target_size = pax->values[ZP_PAX_LINKPATH].size;
        }
        entry->xattrs = pax->xattrs;
        entry->xattr_count = pax->xattr_count;

        int r = zp_pax_number(pax, ZP_PAX_UID, &entry->uid, err);
        if (r >= 0)
                r = zp_pax_number(pax, ZP_PAX_GID, &entry->gid, err);
        if (r >= 0)
                r = zp_pax_number(pax, ZP_PAX_SIZE, &entry->size, err);
        if (r >= 0)
                r = zp_pax_time(pax, ZP_PAX_MTIME, &entry->mtime_s, &entry->mtime_ns, err);
        if (r >= 0)
                r = zp_pax_time(pax, ZP_PAX_ATIME, &seconds, &nanoseconds, err);
        if (r >= 0)
                r = zp_pax_time(pax, ZP_PAX_CTIME, &seconds, &nanoseconds, err);
        return r;
}

/* --- sparse files --- */

/* The next line of the map that a sparse file of format 1.0 has in front of its data. Blocks are read
 * as they are needed; the data begins behind the block with the last line. */
static int next_map_line(struct zp_tar *tar, size_t *at, int64_t *out, struct zp_error *err) {
        struct buffer *map = &tar->sparse_data;
        const char *newline;
        size_t got;

        while (!(newline = map->size > *at ? memchr(map->data + *at, '\n', map->size - *at) : NULL)) {
                if (map->size + ZP_TAR_BLOCK > ZP_LIMIT_PAX_HEADER)
                        return zp_error_set(err, E2BIG, "sparse map too long");
                if (tar->data_left < ZP_TAR_BLOCK)
                        return zp_error_set(err, EBADMSG, "the sparse map is not complete");
                if (map->size + ZP_TAR_BLOCK > map->capacity) {
                        size_t capacity = map->capacity ? 2 * map->capacity : 4096;
                        char *data = realloc(map->data, capacity);
                        if (!data)
                                return zp_error_errno(err, ENOMEM, "tar reader");
                        map->data = data;
                        map->capacity = capacity;
                }
                int r = read_bytes(tar, map->data + map->size, ZP_TAR_BLOCK, &got, err);
                if (r < 0)
                        return r;
                if (got < ZP_TAR_BLOCK)
                        return truncated("a sparse map", err);
                map->size += ZP_TAR_BLOCK;
                tar->data_left -= ZP_TAR_BLOCK;
        }
        size_t size = (size_t) (newline - (map->data + *at));
        if (!zp_tar_parse_decimal(map->data + *at, size, out))
                return zp_error_set(err, EBADMSG, "bad number in the sparse map");
        *at += size + 1;
        return 0;
}

static int read_sparse_map(struct zp_tar *tar, struct zp_error *err) {
        int64_t count, offset, size;
        size_t at = 0;

        tar->sparse_data.size = 0;
        int r = next_map_line(tar, &at, &count, err);
        if (r < 0)
                return r;
        if (count < 0 || count > INT64_MAX / 2)
                return zp_error_set(err, EBADMSG, "bad length of the sparse map");
        for (int64_t i = 0; i < count; i++) {
                r = next_map_line(tar, &at, &offset, err);
                if (r >= 0)
                        r = next_map_line(tar, &at, &size, err);
                if (r >= 0)
                        r = zp_tar_add_fragment(&tar->fragments, offset, size, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int start_sparse(struct zp_tar *tar, struct zp_tar_entry *entry, struct zp_error *err) {
        const struct zp_pax *pax = &tar->pax;
        enum zp_sparse_form form = entry->type == 'S' ? ZP_SPARSE_NONE : zp_pax_sparse_form(pax);

        tar->is_sparse = form != ZP_SPARSE_NONE;
        if (!tar->is_sparse)
                return 0;
        if (zp_pax_has(pax, ZP_PAX_SPARSE_NAME))
                set_path(entry, pax->values[ZP_PAX_SPARSE_NAME].text, pax->values[ZP_PAX_SPARSE_NAME].size);
        int r = zp_pax_number(pax, zp_pax_has(pax, ZP_PAX_SPARSE_SIZE) ? ZP_PAX_SPARSE_SIZE : ZP_PAX_SPARSE_REALSIZE,
                              &entry->size, err);
        if (r < 0)
                return r;
        if (is_header_only(entry->type))
                return zp_error_set(err, EBADMSG, "a sparse map on something that is not a file");

        tar->fragments.count = 0;
        r = form == ZP_SPARSE_IN_DATA ? read_sparse_map(tar, err) : zp_pax_sparse_map(pax, &tar->fragments, err);
        if (r < 0)
                return r;
        return zp_tar_check_fragments(&tar->fragments, entry->size, err);
}

/* --- entries --- */

/* The entry that the header begins, with what the meta entries before it said. */
static int start_entry(struct zp_tar *tar, struct zp_tar_entry *entry, struct zp_error *err) {
        const struct zp_tar_header *header = &tar->header;

        entry->type = header->type;
        set_path(entry, header->name, header->name_size);
        entry->link_target = header->link;
        entry->link_target_size = header->link_size;
        entry->mode = (uint32_t) ((uint64_t) header->mode & 07777);
        entry->uid = header->uid;
        entry->gid = header->gid;
        entry->size = header->size;
        entry->mtime_s = header->mtime;
        entry->device_major = header->device_major;
        entry->device_minor = header->device_minor;
        int r = apply_pax(tar, entry, err);
        if (r < 0)
                return r;

        if (tar->long_name.size > 0)
                set_path(entry, tar->long_name.data, tar->long_name.size);
        if (tar->long_link.size > 0) {
                entry->link_target = tar->long_link.data;
                entry->link_target_size = tar->long_link.size;
        }
        if (entry->type == '\0') /* before ustar a directory was a name with a slash */
                entry->type = entry->path[entry->path_size - 1] == '/' ? '5' : '0';

        r = start_data(tar, entry->type, entry->size, err);
        if (r >= 0)
                r = start_sparse(tar, entry, err);
        if (r < 0)
                return r;
        if (is_header_only(entry->type))
                entry->size = 0;
        if (entry->type != '1' && entry->type != '2') {
                entry->link_target = "";
                entry->link_target_size = 0;
        }
        entry->data_offset = tar->offset;
        return 1;
}

/* A global header: nothing in it counts for later entries. Only its name means something. */
static int start_global(struct zp_tar *tar, struct zp_tar_entry *entry, struct zp_error *err) {
        int r = read_pax(tar, err);
        if (r < 0)
                return r;
        set_path(entry, tar->header.name, tar->header.name_size);
        r = apply_pax(tar, entry, err);
        if (r < 0 && zp_pax_has(&tar->pax, ZP_PAX_PATH))
                return r; /* Go ignores bad numbers here, but then the name is left to chance */
        if (err)
                zp_error_clear(err);
        *entry = (struct zp_tar_entry){ .type = 'g',
                                        .path = entry->path,
                                        .path_size = entry->path_size,
                                        .link_target = "",
                                        .header_offset = entry->header_offset,
                                        .data_offset = tar->offset };
        return 1;
}

static int next_entry(struct zp_tar *tar, struct zp_tar_entry *entry, struct zp_error *err) {
        zp_pax_reset(&tar->pax);
        tar->long_name.size = tar->long_link.size = 0;
        tar->is_sparse = false;
        for (bool is_first = true;; is_first = false) {
                int r = finish_data(tar, err);
                if (r <= 0)
                        return r;
                tar->header_offset = tar->offset;
                if (is_first)
                        entry->header_offset = tar->offset;
                r = read_header(tar, err);
                if (r <= 0)
                        return r;
                r = start_data(tar, tar->header.type, tar->header.size, err);
                if (r < 0)
                        return r;

                if (tar->header.type == 'x')
                        r = read_pax(tar, err);
                else if (tar->header.type == 'L')
                        r = read_long_text(tar, &tar->long_name, err);
                else if (tar->header.type == 'K')
                        r = read_long_text(tar, &tar->long_link, err);
                else if (tar->header.type == 'g')
                        return start_global(tar, entry, err);
                else
                        return start_entry(tar, entry, err);
                if (r < 0)
                        return r;
        }
}

/* Bytes behind the end marker mean nothing, but they are part of the layer. */
static int drain(struct zp_tar *tar, struct zp_error *err) {
        int r;

        while ((r = fill(tar, err)) > 0)
                take(tar, tar->left);
        return r;
}

int zp_tar_blame(const struct zp_tar_entry *entry, struct zp_error *err) {
        return zp_error_wrap(err, "entry '%.400s%s'", entry->path, entry->path_size > 400 ? "..." : "");
}

int zp_tar_next(struct zp_tar *tar, struct zp_tar_entry *entry, struct zp_error *err) {
        if (tar->failed)
                return zp_error_set(err, tar->failed, "the archive could not be read");
        if (tar->archive_ended)
                return 0;
        *entry = (struct zp_tar_entry){ 0 };
        int r = next_entry(tar, entry, err);
        if (r > 0) {
                tar->size = entry->size;
                tar->position = 0;
                tar->fragment = 0;
        } else if (r == 0) {
                tar->archive_ended = true;
                r = drain(tar, err);
        } else if (r == -EBADMSG || r == -E2BIG) {
                if (entry->path)
                        zp_tar_blame(entry, err);
                else
                        zp_error_wrap(err, "tar, at byte %llu", (unsigned long long) tar->header_offset);
        }
        if (r < 0)
                tar->failed = -r;
        return r;
}

/* --- data --- */

/* The next piece of stored data, `limit` bytes at most. */
static int next_piece(struct zp_tar *tar, uint64_t limit, const uint8_t **data, uint64_t *size, struct zp_error *err) {
        int r = fill(tar, err);

        if (r == 0)
                return truncated("the data of an entry", err);
        if (r < 0)
                return r;
        *size = zp_min_u64(zp_min_u64(limit, tar->data_left), tar->left);
        *data = take(tar, (size_t) *size);
        tar->data_left -= *size;
        return 1;
}

static int next_sparse_piece(struct zp_tar *tar, const uint8_t **data, uint64_t *size, struct zp_error *err) {
        int64_t start = tar->size, end = tar->size; /* of the fragment at or behind our position */

        for (; tar->fragment < tar->fragments.count; tar->fragment++) {
                const struct zp_tar_fragment *f = &tar->fragments.items[tar->fragment];
                if (f->offset + f->size > tar->position) {
                        start = f->offset;
                        end = f->offset + f->size;
                        break;
                }
        }
        if (tar->position == tar->size) {
                if (tar->data_left > 0)
                        return zp_error_set(err, EBADMSG, "sparse file with more data than its map covers");
                return 0;
        }
        if (tar->position < start) {
                *data = NULL;
                *size = (uint64_t) (start - tar->position);
                tar->position = start;
                return 1;
        }
        if (tar->data_left == 0)
                return zp_error_set(err, EBADMSG, "sparse file with less data than its map covers");
        int r = next_piece(tar, (uint64_t) (end - tar->position), data, size, err);
        if (r > 0)
                tar->position += (int64_t) *size;
        return r;
}

int zp_tar_data(struct zp_tar *tar, const uint8_t **data, uint64_t *size, struct zp_error *err) {
        int r;

        if (tar->failed)
                return zp_error_set(err, tar->failed, "the archive could not be read");
        if (tar->is_sparse)
                r = next_sparse_piece(tar, data, size, err);
        else if (tar->data_left == 0)
                r = 0;
        else
                r = next_piece(tar, tar->data_left, data, size, err);
        if (r < 0)
                tar->failed = -r;
        return r;
}
