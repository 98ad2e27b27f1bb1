/* SPDX-License-Identifier: Apache-2.0 */
#include "profile/prefetch.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "layer/resolve.h"

/* Ranges are joined over gaps while there are more than this many. */
#define RANGES_WANTED 8
/* The gaps that are joined over are at most this part of all that is needed. */
#define GAPS_PART 5

void zp_prefetch_clear(struct zp_prefetch *prefetch) {
        free(prefetch->ranges);
        *prefetch = (struct zp_prefetch){ 0 };
}

/* A run of blocks on a device; `use` numbers runs in the order of their first use. */
struct run {
        uint64_t block, end;
        uint32_t use;
        uint16_t device;
};

struct runs {
        struct run *list;
        size_t count, room;
};

static int add_run(struct runs *runs, uint16_t device, uint64_t block, uint64_t end, struct zp_error *err) {
        if (runs->count == runs->room) {
                size_t room = runs->room ? runs->room * 2 : 256;
                struct run *grown = realloc(runs->list, room * sizeof *grown);
                if (!grown)
                        return zp_error_errno(err, ENOMEM, "prefetch list");
                runs->list = grown;
                runs->room = room;
        }
        runs->list[runs->count] = (struct run){ block, end, (uint32_t) runs->count, device };
        runs->count++;
        return 0;
}

/* ---- from files to blocks ---- */

static int add_extents(struct runs *runs, const struct zp_inode *inode, const struct zp_profile_entry *entry,
                       struct zp_error *err) {
        if (entry->offset >= inode->size)
                return 0;
        uint64_t size = zp_min_u64(entry->length, inode->size - entry->offset);
        uint64_t first = entry->offset / ZP_BLOCK_SIZE;
        uint64_t last = zp_round_up(entry->offset + size, ZP_BLOCK_SIZE) / ZP_BLOCK_SIZE;
        uint64_t at = 0; /* block of the file where the extent begins */
        for (uint32_t i = 0; i < inode->extent_count && at < last; at += inode->extents[i++].blocks) {
                const struct zp_extent *extent = &inode->extents[i];
                uint64_t start = first > at ? first - at : 0, end = zp_min_u64(last - at, extent->blocks);
                if (extent->block == ZP_HOLE || start >= end)
                        continue;
                int r = add_run(runs, extent->device, extent->block + start, extent->block + end, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int add_entries(struct runs *runs, const struct zp_profile *profile, const struct zp_tree *tree,
                       struct zp_error *err) {
        uint32_t count;
        const struct zp_profile_entry *entries = zp_profile_entries(profile, &count);
        for (uint32_t i = 0; i < count; i++) {
                struct zp_inode *inode = NULL;
                if (zp_tree_lstat(tree, entries[i].path, strlen(entries[i].path), &inode, NULL) < 0 ||
                    !S_ISREG(inode->mode))
                        continue;
                int r = add_extents(runs, inode, &entries[i], err);
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

/* Joins neighbours, which are sorted by place, where the gap between them is at most `gap` blocks. */
static void join(struct runs *runs, uint64_t gap) {
        size_t kept = 0;
        for (size_t i = 0; i < runs->count; i++) {
                struct run *last = kept ? &runs->list[kept - 1] : NULL, *next = &runs->list[i];
                if (!last || last->device != next->device ||
                    (next->block > last->end && next->block - last->end > gap)) {
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

static int compare_u64(const void *a, const void *b) {
        uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;
        return (x > y) - (x < y);
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

static int write_ranges(const struct runs *runs, const struct zp_prefetch_device *devices, struct zp_prefetch *out,
                        struct zp_error *err) {
        uint32_t count = (uint32_t) zp_min_u64(runs->count, ZP_LIMIT_PREFETCH_RANGES);
        struct zp_prefetch_range *ranges = calloc(count, sizeof *ranges);
        if (!ranges)
                return zp_error_errno(err, ENOMEM, "prefetch list");
        for (uint32_t i = 0; i < count; i++) {
                const struct run *run = &runs->list[i];
                ranges[i] = (struct zp_prefetch_range){ .device = devices[run->device].digest,
                                                        .offset = run->block * ZP_BLOCK_SIZE,
                                                        .length = (run->end - run->block) * ZP_BLOCK_SIZE };
        }
        *out = (struct zp_prefetch){ ranges, count };
        return 0;
}

static int map(struct runs *runs, const struct zp_prefetch_device *devices, uint16_t device_count,
               struct zp_prefetch *out, struct zp_error *err) {
        uint64_t gap = 0;
        for (size_t i = 0; i < runs->count; i++)
                if (runs->list[i].device >= device_count ||
                    runs->list[i].end > devices[runs->list[i].device].size / ZP_BLOCK_SIZE)
                        return zp_error_set(err, EINVAL, "prefetch list: an extent lies outside its device");
        if (runs->count == 0)
                return 0;
        qsort(runs->list, runs->count, sizeof *runs->list, compare_place);
        join(runs, 0);
        int r = choose_gap(runs, &gap, err);
        if (r < 0)
                return r;
        join(runs, gap);
        qsort(runs->list, runs->count, sizeof *runs->list, compare_use);
        return write_ranges(runs, devices, out, err);
}

int zp_prefetch_map(const struct zp_profile *profile, const struct zp_tree *tree,
                    const struct zp_prefetch_device *devices, uint16_t device_count, struct zp_prefetch *out,
                    struct zp_error *err) {
        struct runs runs = { 0 };
        *out = (struct zp_prefetch){ 0 };
        int r = add_entries(&runs, profile, tree, err);
        if (r == 0)
                r = map(&runs, devices, device_count, out, err);
        free(runs.list);
        return r;
}
