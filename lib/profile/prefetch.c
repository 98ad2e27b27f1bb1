/* SPDX-License-Identifier: Apache-2.0 */
#include "profile/prefetch.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "layer/resolve.h"
#include "profile/sweep.h"

/* Ranges are joined over gaps while there are more than this many. */
#define RANGES_WANTED 8
/* The gaps that are joined over are at most this part of all that is needed. */
#define GAPS_PART 5

void zp_prefetch_clear(struct zp_prefetch *prefetch) {
        free(prefetch->ranges);
        *prefetch = (struct zp_prefetch){ 0 };
}

/* A run of blocks on a device. */
struct run {
        uint64_t block, end;
        uint64_t use; /* ascending in the order of the first use: entry, and place in the file */
        uint16_t device;
};

struct runs {
        struct run *list;
        size_t count, room;
        const struct zp_prefetch_device *devices;
        uint16_t device_count;
        bool by_frames; /* no run crosses the end of a frame */
};

static int add_piece(struct runs *runs, uint16_t device, uint64_t block, uint64_t end, uint32_t entry,
                     struct zp_error *err) {
        if (runs->count == runs->room) {
                size_t room = runs->room ? runs->room * 2 : 256;
                struct run *grown = realloc(runs->list, room * sizeof *grown);
                if (!grown)
                        return zp_error_errno(err, ENOMEM, "prefetch list");
                runs->list = grown;
                runs->room = room;
        }
        uint64_t use = (uint64_t) entry << 32 | (uint32_t) runs->count;
        runs->list[runs->count++] = (struct run){ block, end, use, device };
        return 0;
}

static uint64_t frame_blocks(const struct runs *runs, uint16_t device) {
        return runs->devices[device].frame_size / ZP_BLOCK_SIZE;
}

static int add_run(struct runs *runs, uint16_t device, uint64_t block, uint64_t end, uint32_t entry,
                   struct zp_error *err) {
        int r = 0;
        if (device >= runs->device_count || end > runs->devices[device].size / ZP_BLOCK_SIZE)
                return zp_error_set(err, EINVAL, "prefetch list: an extent lies outside its device");
        for (uint64_t next; block < end && r == 0; block = next) {
                next = runs->by_frames ? zp_min_u64(end, zp_round_up(block + 1, frame_blocks(runs, device))) : end;
                r = add_piece(runs, device, block, next, entry, err);
        }
        return r;
}

/* ---- from files to blocks ---- */

/* What an entry reads of a file. */
struct part {
        const struct zp_inode *inode;
        struct zp_span blocks; /* of the file, ranked by the entry's number */
};

static int compare_inode(const void *a, const void *b) {
        const struct part *x = a, *y = b;
        return (x->inode > y->inode) - (x->inode < y->inode);
}

/* Finds the parts, those of one file (whatever it is called) together. */
static int find_parts(const struct zp_profile *profile, const struct zp_tree *tree, struct part **out, size_t *found,
                      struct zp_error *err) {
        uint32_t count;
        const struct zp_profile_entry *entries = zp_profile_entries(profile, &count);
        struct part *parts = calloc(count + 1u, sizeof *parts);
        if (!parts)
                return zp_error_errno(err, ENOMEM, "prefetch list");
        *found = 0;
        for (uint32_t i = 0; i < count; i++) {
                const struct zp_profile_entry *entry = &entries[i];
                struct zp_inode *inode = NULL;
                if (zp_tree_lstat(tree, entry->path, strlen(entry->path), &inode, NULL) < 0 || !S_ISREG(inode->mode) ||
                    entry->offset >= inode->size)
                        continue;
                uint64_t size = zp_min_u64(entry->length, inode->size - entry->offset);
                uint64_t end = zp_round_up(entry->offset + size, ZP_BLOCK_SIZE) / ZP_BLOCK_SIZE;
                parts[(*found)++] = (struct part){ inode, { entry->offset / ZP_BLOCK_SIZE, end, i } };
        }
        qsort(parts, *found, sizeof *parts, compare_inode);
        *out = parts;
        return 0;
}

static int compare_u64(const void *a, const void *b) {
        uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;
        return (x > y) - (x < y);
}

/* Where a file is walked along its extents. */
struct walk {
        const struct zp_inode *inode;
        uint32_t extent;
        uint64_t at; /* block of the file where the extent begins */
};

static int add_extents(struct runs *runs, struct walk *walk, uint64_t first, uint64_t last, uint32_t entry,
                       struct zp_error *err) {
        for (; walk->extent < walk->inode->extent_count; walk->at += walk->inode->extents[walk->extent++].blocks) {
                const struct zp_extent *extent = &walk->inode->extents[walk->extent];
                uint64_t start = first > walk->at ? first - walk->at : 0;
                uint64_t end = last > walk->at ? zp_min_u64(last - walk->at, extent->blocks) : 0;
                int r = extent->block == ZP_HOLE || start >= end
                                ? 0
                                : add_run(runs, extent->device, extent->block + start, extent->block + end, entry, err);
                if (r < 0 || last < walk->at + extent->blocks)
                        return r;
        }
        return 0;
}

/* Every place once, for the entry that uses it first: entries may lie over one another by the thousand. */
static int add_file(struct runs *runs, const struct part *parts, size_t count, struct zp_error *err) {
        struct zp_sweep sweep = { 0 };
        struct walk walk = { .inode = parts->inode };
        struct zp_span *spans = calloc(count, sizeof *spans);
        zp_autofree uint64_t *bounds = calloc(2 * count, sizeof *bounds);
        for (size_t i = 0; spans && bounds && i < count; i++) {
                spans[i] = parts[i].blocks;
                bounds[2 * i] = spans[i].start;
                bounds[2 * i + 1] = spans[i].end;
        }
        if (!spans || !bounds) {
                free(spans);
                return zp_error_errno(err, ENOMEM, "prefetch list");
        }
        qsort(bounds, 2 * count, sizeof *bounds, compare_u64);
        int r = zp_sweep_begin(&sweep, spans, count, err);
        for (size_t i = 0; r == 0 && i + 1 < 2 * count; i++) {
                uint32_t entry =
                        bounds[i] < bounds[i + 1] ? zp_sweep_first(&sweep, bounds[i], bounds[i + 1]) : ZP_SWEEP_NOBODY;
                if (entry != ZP_SWEEP_NOBODY)
                        r = add_extents(runs, &walk, bounds[i], bounds[i + 1], entry, err);
        }
        zp_sweep_clear(&sweep);
        return r;
}

static int add_files(struct runs *runs, const struct part *parts, size_t count, struct zp_error *err) {
        for (size_t i = 0, same; i < count; i += same) {
                for (same = 1; i + same < count && parts[i + same].inode == parts[i].inode; same++)
                        ;
                int r = add_file(runs, &parts[i], same, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* ---- few ranges ---- */

static int compare_place(const void *a, const void *b) {
        const struct run *x = a, *y = b;
        if (x->device != y->device)
                return x->device < y->device ? -1 : 1;
        return x->block != y->block ? (x->block < y->block ? -1 : 1) : (x->use > y->use) - (x->use < y->use);
}

static int compare_use(const void *a, const void *b) {
        const struct run *x = a, *y = b;
        return (x->use > y->use) - (x->use < y->use);
}

static bool may_join(const struct runs *runs, const struct run *last, const struct run *next, uint64_t gap) {
        if (last->device != next->device)
                return false;
        if (!runs->by_frames)
                return next->block <= last->end || next->block - last->end <= gap;
        uint64_t frame = frame_blocks(runs, last->device);
        return last->block / frame == next->block / frame;
}

/* Joins neighbours, which are sorted by place, where the gap between them is at most `gap` blocks; or those of one
 * frame. */
static void join(struct runs *runs, uint64_t gap) {
        size_t kept = 0;
        for (size_t i = 0; i < runs->count; i++) {
                struct run *last = kept ? &runs->list[kept - 1] : NULL, *next = &runs->list[i];
                if (!last || !may_join(runs, last, next, gap)) {
                        runs->list[kept++] = *next;
                        continue;
                }
                if (next->end > last->end)
                        last->end = next->end;
                if (next->use < last->use)
                        last->use = next->use;
        }
        runs->count = kept;
}

/* Joins what lies side by side and is used one behind the other. */
static void join_successive(struct runs *runs) {
        size_t kept = 0;
        for (size_t i = 0; i < runs->count; i++) {
                struct run *last = kept ? &runs->list[kept - 1] : NULL, *next = &runs->list[i];
                if (last && last->device == next->device && last->end == next->block)
                        last->end = next->end;
                else
                        runs->list[kept++] = *next;
        }
        runs->count = kept;
}

/* The widest gap to join over: as few ranges as wanted, if the budget allows it. Gaps of one width go together. */
static int choose_gap(const struct runs *runs, uint64_t *out, struct zp_error *err) {
        zp_autofree uint64_t *gaps = malloc(runs->count * sizeof *gaps);
        if (!gaps)
                return zp_error_errno(err, ENOMEM, "prefetch list");
        uint64_t needed = 0, spent = 0;
        size_t count = 0;
        for (size_t i = 0; i < runs->count; i++) {
                needed += runs->list[i].end - runs->list[i].block;
                if (i > 0 && runs->list[i].device == runs->list[i - 1].device)
                        gaps[count++] = runs->list[i].block - runs->list[i - 1].end;
        }
        qsort(gaps, count, sizeof *gaps, compare_u64);
        *out = 0;
        for (size_t i = 0, same; i < count && runs->count - i > RANGES_WANTED; i += same) {
                for (same = 1; i + same < count && gaps[i + same] == gaps[i]; same++)
                        ;
                spent += same * gaps[i];
                if (spent > needed / GAPS_PART)
                        break;
                *out = gaps[i];
        }
        return 0;
}

static int write_ranges(const struct runs *runs, struct zp_prefetch *out, struct zp_error *err) {
        uint32_t count = (uint32_t) zp_min_u64(runs->count, ZP_LIMIT_PREFETCH_RANGES);
        struct zp_prefetch_range *ranges = calloc(count, sizeof *ranges);
        if (!ranges)
                return zp_error_errno(err, ENOMEM, "prefetch list");
        for (uint32_t i = 0; i < count; i++) {
                const struct run *run = &runs->list[i];
                ranges[i] = (struct zp_prefetch_range){ .device = runs->devices[run->device].digest,
                                                        .offset = run->block * ZP_BLOCK_SIZE,
                                                        .length = (run->end - run->block) * ZP_BLOCK_SIZE };
        }
        *out = (struct zp_prefetch){ .ranges = ranges, .count = count };
        return 0;
}

static int map(struct runs *runs, struct zp_prefetch *out, struct zp_error *err) {
        uint64_t gap = 0;
        if (runs->count == 0)
                return 0;
        qsort(runs->list, runs->count, sizeof *runs->list, compare_place);
        join(runs, 0);
        if (!runs->by_frames) {
                int r = choose_gap(runs, &gap, err);
                if (r < 0)
                        return r;
                join(runs, gap);
        }
        qsort(runs->list, runs->count, sizeof *runs->list, compare_use);
        if (runs->by_frames)
                join_successive(runs);
        return write_ranges(runs, out, err);
}

int zp_prefetch_map(const struct zp_profile *profile, const struct zp_tree *tree,
                    const struct zp_prefetch_device *devices, uint16_t device_count, struct zp_prefetch *out,
                    struct zp_error *err) {
        struct runs runs = { .devices = devices,
                             .device_count = device_count,
                             .by_frames = device_count > 0 && devices[0].frame_size > 0 };
        *out = (struct zp_prefetch){ 0 };
        zp_autofree struct part *parts = NULL;
        size_t count = 0;
        int r = find_parts(profile, tree, &parts, &count, err);
        if (r == 0)
                r = add_files(&runs, parts, count, err);
        if (r == 0)
                r = map(&runs, out, err);
        free(runs.list);
        return r;
}
