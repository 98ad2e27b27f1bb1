/* SPDX-License-Identifier: Apache-2.0 */
#include "profile/trace.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "base/limits.h"

/* Reads of one file one behind the other become one range, unless more than this many others came in between. */
#define OPEN_RANGES 64

/* Names of one file that are listed: a tar has the content behind that which comes first in it, mostly in their order.
 */
#define NAMES_MAX 4

struct run {
        uint64_t block, end;
        uint16_t device;
};

/* A part of a file. */
struct place {
        uint64_t block, end; /* on the device */
        uint64_t last_end;   /* the largest end of those before and this */
        uint64_t file_block;
        uint64_t file_size;
        const char *path;
        uint16_t device;
};

struct range {
        const char *path;
        uint64_t offset, end;
};

struct zp_trace {
        const struct zp_tree *tree;
        uint16_t device_count;
        uint64_t *device_blocks;
        uint8_t **is_noted; /* a bit a block */
        pthread_mutex_t lock;
        struct run *runs; /* guarded by lock, as all below */
        size_t count, room;
        uint64_t blocks;
        bool is_incomplete; /* out of memory */
};

int zp_trace_new(const struct zp_tree *tree, const uint64_t *device_blocks, uint16_t device_count,
                 struct zp_trace **out, struct zp_error *err) {
        zp_auto(zp_trace_free) struct zp_trace *trace = calloc(1, sizeof *trace);
        if (!trace)
                return zp_error_errno(err, ENOMEM, "profile");
        pthread_mutex_init(&trace->lock, NULL);
        trace->tree = tree;
        trace->device_blocks = calloc((size_t) device_count + 1, sizeof *trace->device_blocks);
        trace->is_noted = calloc((size_t) device_count + 1, sizeof *trace->is_noted);
        if (!trace->device_blocks || !trace->is_noted)
                return zp_error_errno(err, ENOMEM, "profile");
        for (uint16_t i = 0; i < device_count; i++, trace->device_count++) {
                trace->device_blocks[i] = device_blocks[i];
                trace->is_noted[i] = calloc(1, (size_t) (device_blocks[i] / 8 + 1));
                if (!trace->is_noted[i])
                        return zp_error_errno(err, ENOMEM, "profile");
        }
        *out = zp_steal(&trace);
        return 0;
}

void zp_trace_free(struct zp_trace *trace) {
        if (!trace)
                return;
        for (uint16_t i = 0; trace->is_noted && i < trace->device_count; i++)
                free(trace->is_noted[i]);
        pthread_mutex_destroy(&trace->lock);
        free(trace->is_noted);
        free(trace->device_blocks);
        free(trace->runs);
        free(trace);
}

/* ---- noting ---- */

static void note_block(struct zp_trace *trace, uint16_t device, uint64_t block) {
        uint8_t bit = (uint8_t) (1u << block % 8), *byte = &trace->is_noted[device][block / 8];
        struct run *last = trace->count ? &trace->runs[trace->count - 1] : NULL;
        if (*byte & bit)
                return;
        *byte |= bit;
        trace->blocks++;
        if (last && last->device == device && last->end == block) {
                last->end++;
                return;
        }
        if (trace->count == trace->room) {
                size_t room = trace->room ? trace->room * 2 : 1024;
                struct run *grown = realloc(trace->runs, room * sizeof *grown);
                trace->is_incomplete |= !grown;
                if (!grown)
                        return;
                trace->runs = grown;
                trace->room = room;
        }
        trace->runs[trace->count++] = (struct run){ block, block + 1, device };
}

void zp_trace_note(struct zp_trace *trace, uint16_t device, uint64_t offset, uint64_t size) {
        if (device >= trace->device_count || size == 0 || offset / ZP_BLOCK_SIZE >= trace->device_blocks[device])
                return;
        uint64_t end;
        if (zp_add_overflows(offset, size, &end))
                end = UINT64_MAX;
        uint64_t last = zp_min_u64(trace->device_blocks[device] - 1, (end - 1) / ZP_BLOCK_SIZE);
        pthread_mutex_lock(&trace->lock);
        for (uint64_t block = offset / ZP_BLOCK_SIZE; block <= last; block++)
                note_block(trace, device, block);
        pthread_mutex_unlock(&trace->lock);
}

uint64_t zp_trace_blocks(struct zp_trace *trace) {
        pthread_mutex_lock(&trace->lock);
        uint64_t blocks = trace->blocks;
        pthread_mutex_unlock(&trace->lock);
        return blocks;
}

static bool is_listed(const struct zp_prefetch *list, const struct zp_digest *device, uint64_t block) {
        uint64_t offset = block * ZP_BLOCK_SIZE;
        for (uint32_t i = 0; i < list->count; i++) {
                const struct zp_prefetch_range *range = &list->ranges[i];
                if (zp_digest_equal(&range->device, device) && offset >= range->offset &&
                    offset - range->offset < range->length)
                        return true;
        }
        return false;
}

uint64_t zp_trace_blocks_outside(struct zp_trace *trace, const struct zp_prefetch_device *devices,
                                 const struct zp_prefetch *list) {
        uint64_t outside = 0;
        pthread_mutex_lock(&trace->lock);
        for (size_t i = 0; i < trace->count; i++)
                for (uint64_t block = trace->runs[i].block; block < trace->runs[i].end; block++)
                        outside += !is_listed(list, &devices[trace->runs[i].device].digest, block);
        pthread_mutex_unlock(&trace->lock);
        return outside;
}

/* ---- from blocks to files ---- */

struct places {
        struct place *list;
        size_t count, room;
        struct zp_arena arena; /* of the paths */
        uint8_t *names;        /* by inode number: how many were added */
        char path[ZP_LIMIT_PATH];
};

static int add_file(struct places *places, const struct zp_inode *inode, size_t path_size, struct zp_error *err) {
        char *path = zp_arena_alloc(&places->arena, path_size + 1);
        uint64_t at = 0;
        if (!path)
                return zp_error_errno(err, ENOMEM, "profile");
        memcpy(path, places->path, path_size);
        path[path_size] = '\0';
        for (uint32_t i = 0; i < inode->extent_count; at += inode->extents[i++].blocks) {
                const struct zp_extent *extent = &inode->extents[i];
                if (extent->block == ZP_HOLE)
                        continue;
                if (places->count == places->room) {
                        size_t room = places->room ? places->room * 2 : 1024;
                        struct place *grown = realloc(places->list, room * sizeof *grown);
                        if (!grown)
                                return zp_error_errno(err, ENOMEM, "profile");
                        places->list = grown;
                        places->room = room;
                }
                places->list[places->count++] = (struct place){ .block = extent->block,
                                                                .end = extent->block + extent->blocks,
                                                                .file_block = at,
                                                                .file_size = inode->size,
                                                                .path = path,
                                                                .device = extent->device };
        }
        return 0;
}

/* Paths that are too long for a profile are left out, and with them what is below. */
static int add_directory(struct places *places, const struct zp_inode *dir, size_t size, struct zp_error *err) {
        for (const struct zp_dentry *child = dir->first_child; child; child = child->next) {
                size_t whole = size + (size > 0) + child->name_size;
                if (whole >= ZP_LIMIT_PATH)
                        continue;
                if (size > 0)
                        places->path[size] = '/';
                memcpy(places->path + whole - child->name_size, child->name, child->name_size);
                uint8_t *names = &places->names[child->inode->number];
                bool is_file = S_ISREG(child->inode->mode) && *names < NAMES_MAX;
                *names += is_file;
                int r = S_ISDIR(child->inode->mode) ? add_directory(places, child->inode, whole, err)
                        : is_file                   ? add_file(places, child->inode, whole, err)
                                                    : 0;
                if (r < 0)
                        return r;
        }
        return 0;
}

static int compare_place(const void *a, const void *b) {
        const struct place *x = a, *y = b;
        if (x->device != y->device)
                return x->device < y->device ? -1 : 1;
        if (x->block != y->block)
                return x->block < y->block ? -1 : 1;
        return strcmp(x->path, y->path);
}

static void sort_places(struct places *places) {
        qsort(places->list, places->count, sizeof *places->list, compare_place);
        for (size_t i = 0; i < places->count; i++) {
                struct place *place = &places->list[i], *before = i > 0 ? place - 1 : NULL;
                place->last_end = place->end;
                if (before && before->device == place->device && before->last_end > place->end)
                        place->last_end = before->last_end;
        }
}

/* The number of places that begin before `block` of the device, or on a device before. */
static size_t count_before(const struct places *places, uint16_t device, uint64_t block) {
        size_t low = 0, high = places->count;
        while (low < high) {
                size_t middle = low + (high - low) / 2;
                const struct place *place = &places->list[middle];
                if (place->device < device || (place->device == device && place->block < block))
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

/* ---- ranges ---- */

struct ranges {
        struct range open[OPEN_RANGES]; /* the newest last */
        unsigned count;
        struct zp_profile *profile;
};

static int close_first(struct ranges *ranges, struct zp_error *err) {
        struct range *first = &ranges->open[0];
        int r = zp_profile_add(ranges->profile, first->path, first->offset, first->end - first->offset, err);
        memmove(first, first + 1, --ranges->count * sizeof *first);
        return r;
}

static int add_range(struct ranges *ranges, const char *path, uint64_t offset, uint64_t end, struct zp_error *err) {
        for (unsigned i = 0; i < ranges->count; i++)
                if (ranges->open[i].path == path && ranges->open[i].end == offset) {
                        ranges->open[i].end = end;
                        return 0;
                }
        int r = ranges->count == OPEN_RANGES ? close_first(ranges, err) : 0;
        if (r == 0)
                ranges->open[ranges->count++] = (struct range){ path, offset, end };
        return r;
}

static int add_run(struct ranges *ranges, const struct places *places, const struct run *run, struct zp_error *err) {
        size_t end = count_before(places, run->device, run->end), first = end;
        while (first > 0 && places->list[first - 1].device == run->device &&
               places->list[first - 1].last_end > run->block)
                first--;
        for (size_t i = first; i < end; i++) {
                const struct place *place = &places->list[i];
                uint64_t from = run->block > place->block ? run->block : place->block;
                uint64_t to = zp_min_u64(run->end, place->end);
                if (from >= to)
                        continue;
                uint64_t offset = (place->file_block + from - place->block) * ZP_BLOCK_SIZE;
                uint64_t size = (to - from) * ZP_BLOCK_SIZE;
                int r = add_range(ranges, place->path, offset, zp_min_u64(offset + size, place->file_size), err);
                if (r < 0)
                        return r;
        }
        return 0;
}

int zp_trace_profile(struct zp_trace *trace, struct zp_profile *profile, struct zp_error *err) {
        struct places places = { 0 };
        struct ranges ranges = { .profile = profile };
        places.names = calloc((size_t) zp_tree_inode_count(trace->tree) + 1, 1);
        int r = trace->is_incomplete || !places.names ? zp_error_errno(err, ENOMEM, "profile") : 0;
        if (r == 0)
                r = add_directory(&places, zp_tree_root(trace->tree), 0, err);
        if (r == 0)
                sort_places(&places);
        pthread_mutex_lock(&trace->lock);
        for (size_t i = 0; r == 0 && i < trace->count; i++)
                r = add_run(&ranges, &places, &trace->runs[i], err);
        pthread_mutex_unlock(&trace->lock);
        while (r == 0 && ranges.count > 0)
                r = close_first(&ranges, err);
        zp_arena_clear(&places.arena);
        free(places.names);
        free(places.list);
        return r;
}
