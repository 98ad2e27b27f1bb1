/* SPDX-License-Identifier: Apache-2.0 */
#include "builder/file-reader.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "store/open-pack.h"

/* What is read is decompressed in pieces of this size, which are remembered: files that belong together lie together.
 */
#define PIECE_SIZE (UINT64_C(512) << 10)
#define REMEMBERED 32
/* A snapshot can be made so that each read takes another piece: a second or two. */
#define PIECES_MAX 1024u

struct piece {
        uint8_t *data;
        size_t size;
        uint64_t number, used; /* when */
        uint16_t device;
};

/* A device's pack, opened when it is first read. */
struct device {
        struct zp_open_pack pack;
        bool is_useless; /* it cannot be opened */
};

struct zp_file_reader {
        struct zp_store *store;
        const struct zp_erofs_device *devices;
        uint16_t device_count;
        struct device *opened; /* device_count */
        struct piece pieces[REMEMBERED];
        uint64_t now;
        unsigned pieces_left;
        /* where the last read was: files have many extents, and are read from front to back */
        const struct zp_inode *inode;
        uint32_t extent;
        uint64_t extent_start;
};

int zp_file_reader_new(struct zp_store *store, const struct zp_erofs_device *devices, uint16_t device_count,
                       struct zp_file_reader **out, struct zp_error *err) {
        zp_auto(zp_file_reader_free) struct zp_file_reader *reader = calloc(1, sizeof *reader);
        if (!reader)
                return zp_error_errno(err, ENOMEM, "file reader");
        *reader = (struct zp_file_reader){ .store = store,
                                           .devices = devices,
                                           .device_count = device_count,
                                           .opened = calloc((size_t) device_count + 1, sizeof *reader->opened),
                                           .pieces_left = PIECES_MAX };
        if (!reader->opened)
                return zp_error_errno(err, ENOMEM, "file reader");
        *out = zp_steal(&reader);
        return 0;
}

void zp_file_reader_free(struct zp_file_reader *reader) {
        if (!reader)
                return;
        for (uint16_t i = 0; reader->opened && i < reader->device_count; i++)
                zp_open_pack_close(&reader->opened[i].pack);
        for (unsigned i = 0; i < REMEMBERED; i++)
                free(reader->pieces[i].data);
        free(reader->opened);
        free(reader);
}

static int open_device(struct zp_file_reader *reader, uint16_t number, struct zp_error *err) {
        struct zp_device_record record;
        if (number >= reader->device_count || reader->opened[number].is_useless)
                return -ENODATA;
        struct device *device = &reader->opened[number];
        if (device->pack.pack)
                return 0;
        int r = zp_store_find_device(reader->store, &reader->devices[number].digest, &record, err);
        if (r <= 0)
                return r < 0 ? r : -ENODATA;
        r = zp_store_open_pack(reader->store, &record, &device->pack, err);
        device->is_useless = r < 0;
        return r;
}

/* The piece used longest ago makes room. */
static int load_piece(struct zp_file_reader *reader, uint16_t device, uint64_t number, struct piece **out,
                      struct zp_error *err) {
        struct piece *oldest = &reader->pieces[0];
        if (reader->pieces_left == 0)
                return -ENODATA;
        int r = open_device(reader, device, err);
        if (r < 0)
                return r;
        reader->pieces_left--;
        for (unsigned i = 1; i < REMEMBERED; i++)
                if (reader->pieces[i].used < oldest->used)
                        oldest = &reader->pieces[i];
        struct zp_pack *pack = reader->opened[device].pack.pack;
        uint64_t start = number * PIECE_SIZE, end = zp_pack_device_size(pack);
        zp_autofree uint8_t *data = oldest->data ? zp_steal(&oldest->data) : malloc(PIECE_SIZE);
        *oldest = (struct piece){ 0 };
        if (!data)
                return zp_error_errno(err, ENOMEM, "file reader");
        size_t size = start < end ? (size_t) zp_min_u64(PIECE_SIZE, end - start) : 0;
        r = zp_pack_read(pack, start, data, size, err);
        if (r < 0)
                return r;
        *oldest = (struct piece){ .data = zp_steal(&data), .size = size, .number = number, .device = device };
        *out = oldest;
        return 0;
}

static int find_piece(struct zp_file_reader *reader, uint16_t device, uint64_t number, struct piece **out,
                      struct zp_error *err) {
        *out = NULL;
        for (unsigned i = 0; i < REMEMBERED && !*out; i++) {
                struct piece *piece = &reader->pieces[i];
                if (piece->data && piece->device == device && piece->number == number)
                        *out = piece;
        }
        int r = *out ? 0 : load_piece(reader, device, number, out, err);
        if (r == 0)
                (*out)->used = ++reader->now;
        return r;
}

/* A part of a device; it lies within, as the file system says. */
static int read_device(struct zp_file_reader *reader, uint16_t device, uint64_t offset, uint8_t *out, size_t size,
                       struct zp_error *err) {
        for (size_t part; size > 0; offset += part, out += part, size -= part) {
                struct piece *piece;
                uint64_t at = offset % PIECE_SIZE;
                part = (size_t) zp_min_u64(size, PIECE_SIZE - at);
                int r = find_piece(reader, device, offset / PIECE_SIZE, &piece, err);
                if (r == 0 && at + part > piece->size)
                        r = -ENODATA;
                if (r < 0)
                        return r;
                memcpy(out, piece->data + at, part);
        }
        return 0;
}

static int read_extents(struct zp_file_reader *reader, const struct zp_inode *inode, uint64_t offset, uint8_t *out,
                        size_t size, struct zp_error *err) {
        if (reader->inode != inode || offset < reader->extent_start) {
                reader->inode = inode;
                reader->extent = 0;
                reader->extent_start = 0;
        }
        while (reader->extent < inode->extent_count) {
                const struct zp_extent *extent = &inode->extents[reader->extent];
                uint64_t length = extent->blocks * ZP_BLOCK_SIZE, at = offset - reader->extent_start;
                if (at >= length) {
                        reader->extent_start += length;
                        reader->extent++;
                        continue;
                }
                size_t part = (size_t) zp_min_u64(size, length - at);
                int r = 0;
                if (extent->block == ZP_HOLE)
                        memset(out, 0, part);
                else
                        r = read_device(reader, extent->device, extent->block * ZP_BLOCK_SIZE + at, out, part, err);
                if (r < 0 || part == size)
                        return r;
                out += part;
                offset += part;
                size -= part;
        }
        return size ? -ENODATA : 0;
}

/* What is not there, or is not what its digest says. */
static bool is_absent(int result) {
        return result == -ENODATA || result == -EBADMSG || result == -ENOENT || result == -ERANGE;
}

int zp_file_reader_read(void *context, const struct zp_inode *inode, uint64_t offset, void *buffer, size_t size,
                        struct zp_error *err) {
        int r = read_extents(context, inode, offset, buffer, size, err);
        if (!is_absent(r))
                return r;
        if (err)
                zp_error_clear(err);
        return -ENODATA;
}
