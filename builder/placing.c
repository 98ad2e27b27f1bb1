/* SPDX-License-Identifier: Apache-2.0 */
#include "builder/placing.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "builder/hot.h"
#include "profile/sweep.h"

/* A file has an index of 8 bytes in the metadata for every window, if they lie in different places. Hot files are few,
 * and what surrounds a block that is read is fetched with it: 256 KiB of indexes are less than that. */
#define WINDOWS_WANTED 4096u
#define HOT_WINDOWS_WANTED 32768u
#define WINDOW_MAX (UINT64_C(4) << 20)
/* Smaller ones would save little and scatter the file. */
#define BASE_WINDOW_MIN (UINT64_C(64) << 10)
/* What a start reads is known to the block. */
#define HOT_WINDOW_MIN ((uint64_t) ZP_BLOCK_SIZE)
#define COLD ZP_SWEEP_NOBODY

/* Device numbers of extents until the end: the own device, the waiting hot content, then those of the base. */
enum { DEVICE_OWN, DEVICE_HOT, DEVICE_BASE };

struct kept {
        struct zp_extent *extents;
        uint32_t count;
};

struct zp_placing {
        struct zp_pack_writer *pack;
        struct zp_placing_options options;
        struct zp_hot *hot; /* NULL without a profile */
        struct zp_sha256 *hash;
        struct zp_block_hash hashes[WINDOW_MAX / ZP_BLOCK_SIZE];
        struct zp_block_run next_run;                       /* behind the last one that was found */
        uint16_t order[ZP_LIMIT_BASE_DEVICES], order_count; /* base devices in order of first use */
        uint64_t hot_mark;
        bool is_named; /* some file was, by the profile */

        /* the file */
        struct zp_extent *extents;
        uint32_t extent_count, extent_room;
        uint64_t window, offset;
        const uint32_t *entries; /* of the profile, for the file; NULL: it is not hot */
        uint32_t entry_count;
        struct zp_sweep sweep; /* over them, from the first window on */

        struct kept *kept; /* all that was given to inodes and is not final */
        size_t kept_count, kept_room;
};

int zp_placing_new(struct zp_pack_writer *pack, const struct zp_placing_options *options, struct zp_placing **out,
                   struct zp_error *err) {
        zp_auto(zp_placing_free) struct zp_placing *p = calloc(1, sizeof *p);
        if (!p || !(p->hash = zp_sha256_new()))
                return zp_error_errno(err, ENOMEM, "layer content");
        p->pack = pack;
        if (options)
                p->options = *options;
        int r = p->options.profile ? zp_hot_new(p->options.hot_fd, &p->hot, err) : 0;
        if (r == 0)
                *out = zp_steal(&p);
        return r;
}

void zp_placing_free(struct zp_placing *p) {
        if (!p)
                return;
        zp_sha256_free(p->hash);
        zp_hot_free(p->hot);
        zp_sweep_clear(&p->sweep);
        free(p->extents);
        free(p->kept);
        free(p);
}

/* ---- one file ---- */

uint64_t zp_placing_begin(struct zp_placing *p, const char *path, uint64_t size, bool is_small) {
        p->extent_count = 0;
        p->offset = 0;
        p->entries = p->options.profile ? zp_profile_find(p->options.profile, path, &p->entry_count) : NULL;
        p->is_named |= p->entries != NULL;
        zp_sweep_clear(&p->sweep);
        if (!p->entries && !p->options.base)
                return 0;
        if (!p->entries && is_small)
                return zp_round_up(size, ZP_BLOCK_SIZE);
        uint64_t window = p->entries ? HOT_WINDOW_MIN : BASE_WINDOW_MIN;
        uint64_t wanted = p->entries ? HOT_WINDOWS_WANTED : WINDOWS_WANTED;
        while (window < WINDOW_MAX && size / window > wanted)
                window *= 2;
        return window;
}

static int add_extent(struct zp_placing *p, struct zp_extent extent, bool may_join, struct zp_error *err) {
        struct zp_extent *last = p->extent_count ? &p->extents[p->extent_count - 1] : NULL;
        p->offset += extent.blocks * ZP_BLOCK_SIZE;
        if (last && may_join && last->device == extent.device &&
            (extent.block == ZP_HOLE ? last->block == ZP_HOLE
                                     : last->block != ZP_HOLE && last->block + last->blocks == extent.block)) {
                last->blocks += extent.blocks;
                return 0;
        }
        if (p->extent_count == p->extent_room) {
                uint32_t room = p->extent_room ? p->extent_room * 2 : 16;
                struct zp_extent *grown = realloc(p->extents, room * sizeof *grown);
                if (!grown)
                        return zp_error_errno(err, ENOMEM, "extents");
                p->extents = grown;
                p->extent_room = room;
        }
        p->extents[p->extent_count++] = extent;
        return 0;
}

int zp_placing_own(struct zp_placing *p, uint64_t block, uint64_t blocks, struct zp_error *err) {
        return add_extent(p, (struct zp_extent){ .block = block, .blocks = blocks, .device = DEVICE_OWN }, true, err);
}

static int begin_sweep(struct zp_placing *p, struct zp_error *err) {
        uint32_t count;
        const struct zp_profile_entry *entries = zp_profile_entries(p->options.profile, &count);
        struct zp_span *spans = calloc(p->entry_count, sizeof *spans);
        if (!spans)
                return zp_error_errno(err, ENOMEM, "hot content");
        for (uint32_t i = 0; i < p->entry_count; i++) {
                const struct zp_profile_entry *entry = &entries[p->entries[i]];
                bool is_whole = entry->length == ZP_PROFILE_WHOLE;
                spans[i] = (struct zp_span){ entry->offset, is_whole ? UINT64_MAX : entry->offset + entry->length,
                                             p->entries[i] };
        }
        return zp_sweep_begin(&p->sweep, spans, p->entry_count, err);
}

/* *rank is the first entry's that reads something of the window, or COLD. */
static int rank_window(struct zp_placing *p, uint64_t size, uint32_t *rank, struct zp_error *err) {
        *rank = COLD;
        if (!p->entries)
                return 0;
        int r = p->sweep.spans ? 0 : begin_sweep(p, err);
        if (r == 0)
                *rank = zp_sweep_first(&p->sweep, p->offset, p->offset + size);
        return r;
}

static bool is_hot_in_base(const struct zp_placing *p, const struct zp_block_run *run, uint64_t blocks) {
        for (uint32_t i = 0; i < p->options.base_hot_count; i++) {
                const struct zp_hot_range *range = &p->options.base_hot[i];
                if (range->device == run->device && run->block >= range->block &&
                    run->block + blocks <= range->block + range->blocks)
                        return true;
        }
        return false;
}

static bool find_in_base(struct zp_placing *p, const uint8_t *data, uint64_t size, bool is_hot,
                         struct zp_block_run *out) {
        uint32_t blocks = 0;
        for (uint64_t at = 0; at < size; at += ZP_BLOCK_SIZE) {
                uint8_t last[ZP_BLOCK_SIZE] = { 0 };
                const uint8_t *block = data + at;
                if (size - at < ZP_BLOCK_SIZE) {
                        memcpy(last, block, (size_t) (size - at));
                        block = last;
                }
                zp_block_hash(p->hash, block, &p->hashes[blocks++]);
        }
        if (!zp_block_table_find(p->options.base, p->hashes, blocks, &p->next_run, out) ||
            (is_hot && !is_hot_in_base(p, out, blocks)))
                return false;
        p->next_run = (struct zp_block_run){ out->device, out->block + blocks };
        return true;
}

static int append_own(struct zp_placing *p, const uint8_t *data, uint64_t size, struct zp_error *err) {
        uint64_t start = zp_pack_writer_offset(p->pack), blocks = zp_round_up(size, ZP_BLOCK_SIZE) / ZP_BLOCK_SIZE;
        int r = zp_pack_writer_append(p->pack, data, (size_t) size, err);
        if (r == 0)
                r = zp_pack_writer_append_zeros(p->pack, blocks * ZP_BLOCK_SIZE - size, err);
        return r < 0 ? r : zp_placing_own(p, start / ZP_BLOCK_SIZE, blocks, err);
}

int zp_placing_window(struct zp_placing *p, const uint8_t *data, uint64_t size, struct zp_error *err) {
        struct zp_extent extent = { .blocks = zp_round_up(size, ZP_BLOCK_SIZE) / ZP_BLOCK_SIZE };
        struct zp_block_run run;
        uint32_t rank;
        int r = rank_window(p, size, &rank, err);
        if (r < 0)
                return r;
        if (p->options.base && find_in_base(p, data, size, rank != COLD, &run)) {
                extent.device = (uint16_t) (DEVICE_BASE + run.device);
                extent.block = run.block;
                return add_extent(p, extent, true, err);
        }
        if (rank == COLD)
                return append_own(p, data, size, err);
        bool continues = false;
        extent.device = DEVICE_HOT;
        r = zp_hot_keep(p->hot, data, size, rank, &extent.block, &continues, err);
        return r < 0 ? r : add_extent(p, extent, continues, err);
}

/* Notes the base devices in use, now that it is sure that they are. */
static void note_devices(struct zp_placing *p) {
        for (uint32_t i = 0; i < p->extent_count; i++) {
                uint16_t device = p->extents[i].device, known = 0;
                if (device < DEVICE_BASE || p->extents[i].block == ZP_HOLE)
                        continue;
                while (known < p->order_count && p->order[known] != device - DEVICE_BASE)
                        known++;
                if (known == p->order_count)
                        p->order[p->order_count++] = (uint16_t) (device - DEVICE_BASE);
        }
}

int zp_placing_keep(struct zp_placing *p, struct zp_tree *tree, struct zp_inode *inode, struct zp_error *err) {
        inode->extents = zp_tree_alloc(tree, p->extent_count * sizeof *p->extents);
        if (!inode->extents)
                return zp_error_set(err, E2BIG, "the layer's metadata is too large");
        memcpy(inode->extents, p->extents, p->extent_count * sizeof *p->extents);
        inode->extent_count = p->extent_count;
        if (!p->options.base && !p->options.profile)
                return 0; /* all is final */
        note_devices(p);
        if (p->kept_count == p->kept_room) {
                size_t room = p->kept_room ? p->kept_room * 2 : 256;
                struct kept *grown = realloc(p->kept, room * sizeof *grown);
                if (!grown)
                        return zp_error_errno(err, ENOMEM, "extents");
                p->kept = grown;
                p->kept_room = room;
        }
        p->kept[p->kept_count++] = (struct kept){ inode->extents, inode->extent_count };
        return 0;
}

int zp_placing_mark(struct zp_placing *p, struct zp_error *err) {
        p->hot_mark = p->hot ? zp_hot_blocks(p->hot) : 0;
        return zp_pack_writer_mark(p->pack, err);
}

int zp_placing_rollback(struct zp_placing *p, struct zp_error *err) {
        if (p->hot)
                zp_hot_rollback(p->hot, p->hot_mark);
        return zp_pack_writer_rollback(p->pack, err);
}

void zp_placing_unmark(struct zp_placing *p) {
        zp_pack_writer_unmark(p->pack);
}

/* ---- the end ---- */

bool zp_placing_is_named(const struct zp_placing *p) {
        return p->is_named;
}

bool zp_placing_has_hot(const struct zp_placing *p) {
        return p->hot && zp_hot_blocks(p->hot) > 0;
}

static void make_final(const struct zp_placing *p, struct zp_extent *extent, uint64_t front_blocks, bool has_own) {
        uint16_t device = extent->device;
        if (extent->block == ZP_HOLE) {
                extent->device = 0;
        } else if (device == DEVICE_OWN) {
                extent->block += front_blocks;
        } else if (device == DEVICE_HOT) {
                extent->block = zp_hot_place(p->hot, extent->block);
                extent->device = 0;
        } else {
                extent->device = has_own;
                for (uint16_t i = 0; p->order[i] != device - DEVICE_BASE; i++)
                        extent->device++;
        }
}

/* Hot content first, filled up to a whole frame, then what the own pack has. Returns its size through *blocks. */
static int write_front(struct zp_placing *p, struct zp_pack_writer *front, uint64_t *blocks, struct zp_error *err) {
        int r = zp_hot_write(p->hot, front, err);
        bool is_all = zp_pack_writer_offset(p->pack) == 0;
        if (r == 0 && !is_all)
                r = zp_pack_writer_pad_frame(front, err);
        *blocks = zp_pack_writer_offset(front) / ZP_BLOCK_SIZE;
        return r < 0 || is_all ? r : zp_pack_writer_splice(front, p->pack, err);
}

int zp_placing_finish(struct zp_placing *p, struct zp_pack_writer *front, uint16_t devices[ZP_PLACING_DEVICES_MAX],
                      uint16_t *device_count, struct zp_error *err) {
        uint64_t front_blocks = 0;
        int r = zp_placing_has_hot(p) ? write_front(p, front, &front_blocks, err) : 0;
        if (r < 0)
                return r;
        bool has_own = front_blocks > 0 || zp_pack_writer_offset(p->pack) > 0;
        for (size_t i = 0; i < p->kept_count; i++)
                for (uint32_t j = 0; j < p->kept[i].count; j++)
                        make_final(p, &p->kept[i].extents[j], front_blocks, has_own);
        *device_count = 0;
        if (has_own)
                devices[(*device_count)++] = ZP_PLACING_OWN;
        for (uint16_t i = 0; i < p->order_count; i++)
                devices[(*device_count)++] = p->order[i];
        return 0;
}
