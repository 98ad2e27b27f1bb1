/* SPDX-License-Identifier: Apache-2.0 */
#include "builder/base.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/limits.h"
#include "builder/start.h"
#include "snapshot/load.h"

/* A device is compared with while at least this part of it is in use. */
#define USED_PART 4

/* A device of the base image. */
struct candidate {
        struct zp_digest digest;
        uint64_t blocks, used;
        uint16_t number; /* in the snapshot's table */
};

struct candidates {
        struct candidate *list;
        uint16_t count;
};

/* ---- what is in use ---- */

/* Blocks of a device that a file uses. Files may share them, all of a device's with all others: they are sorted and not
 * counted one by one. */
struct run {
        uint64_t block, end;
        uint16_t device;
};

struct runs {
        struct run *list;
        size_t count, room;
};

static int note_extent(struct runs *runs, const struct zp_extent *extent, struct zp_error *err) {
        if (runs->count == runs->room) {
                size_t room = runs->room ? runs->room * 2 : 256;
                struct run *grown = reallocarray(runs->list, room, sizeof *grown);
                if (!grown)
                        return zp_error_errno(err, ENOMEM, "base");
                runs->list = grown;
                runs->room = room;
        }
        runs->list[runs->count++] = (struct run){ extent->block, extent->block + extent->blocks, extent->device };
        return 0;
}

static int note_tree(struct runs *runs, const struct zp_inode *dir, struct zp_error *err) {
        int r = 0;
        for (const struct zp_dentry *child = dir->first_child; child && r == 0; child = child->next) {
                const struct zp_inode *inode = child->inode;
                for (uint32_t i = 0; i < inode->extent_count && r == 0; i++)
                        if (inode->extents[i].block != ZP_HOLE)
                                r = note_extent(runs, &inode->extents[i], err);
                if (r == 0 && S_ISDIR(inode->mode))
                        r = note_tree(runs, inode, err);
        }
        return r;
}

static int compare_runs(const void *a, const void *b) {
        const struct run *x = a, *y = b;
        if (x->device != y->device)
                return x->device < y->device ? -1 : 1;
        return (x->block > y->block) - (x->block < y->block);
}

static void count_used(struct candidates *c, struct runs *runs) {
        uint64_t counted = 0; /* of the device, up to here */
        if (runs->count > 0)
                qsort(runs->list, runs->count, sizeof *runs->list, compare_runs);
        for (size_t i = 0; i < runs->count; i++) {
                const struct run *run = &runs->list[i];
                if (i > 0 && run->device != runs->list[i - 1].device)
                        counted = 0;
                uint64_t start = run->block > counted ? run->block : counted;
                if (run->end <= start)
                        continue;
                c->list[run->device].used += run->end - start;
                counted = run->end;
        }
}

static int new_candidates(struct candidates *c, const struct zp_erofs_device *devices, uint16_t count,
                          struct zp_error *err) {
        c->list = calloc((size_t) count + 1, sizeof *c->list);
        if (!c->list)
                return zp_error_errno(err, ENOMEM, "base");
        for (uint16_t i = 0; i < count; i++, c->count++)
                c->list[i] =
                        (struct candidate){ .digest = devices[i].digest, .blocks = devices[i].blocks, .number = i };
        return 0;
}

static int find_candidates(struct zp_store *store, const struct zp_image_record *image, struct candidates *out,
                           struct zp_error *err) {
        zp_autoloaded struct zp_loaded snapshot = { 0 };
        struct runs runs = { 0 };
        int r = zp_snapshot_load(store, image, &snapshot, err);
        if (r == 0)
                r = new_candidates(out, snapshot.devices, snapshot.device_count, err);
        if (r == 0)
                r = note_tree(&runs, zp_tree_root(snapshot.tree), err);
        if (r == 0)
                count_used(out, &runs);
        free(runs.list);
        return r;
}

/* ---- the choice ---- */

static int compare_use(const void *a, const void *b) {
        const struct candidate *x = a, *y = b;
        if (x->used != y->used)
                return x->used < y->used ? 1 : -1;
        return x->number < y->number ? -1 : 1;
}

/* 1: it can be compared with. 0: it cannot, as its data is not here, or damaged. */
static int has_map(struct zp_store *store, const struct zp_digest *device, struct zp_pool *pool,
                   const struct zp_cancel *cancel, struct zp_error *err) {
        struct zp_device_record record;
        struct zp_device_map map;
        int r = zp_store_find_device(store, device, &record, err);
        if (r == 1)
                r = zp_device_is_lost(&record) ? 0 : zp_store_load_map(store, &record, pool, cancel, &map, err);
        if (r == 1)
                zp_device_map_clear(&map);
        if (r != -EBADMSG && r != -ENODATA && r != -ENOENT)
                return r;
        zp_error_clear(err);
        return 0;
}

static bool is_planned(const struct zp_reuse_plan *plan, const struct zp_digest *device) {
        for (uint32_t i = 0; i < plan->device_count; i++)
                if (zp_digest_equal(&plan->devices[i], device))
                        return true;
        return false;
}

static int choose(struct zp_store *store, const struct candidates *c, const struct zp_reuse_plan *plan,
                  struct zp_pool *pool, const struct zp_cancel *cancel, struct zp_recipe *recipe,
                  struct zp_error *err) {
        uint64_t blocks = 0;
        uint16_t device_max = plan->room < ZP_LIMIT_BASE_DEVICES ? plan->room : ZP_LIMIT_BASE_DEVICES;
        for (uint16_t i = 0; i < c->count && recipe->base_count < device_max; i++) {
                const struct candidate *device = &c->list[i];
                if (!is_planned(plan, &device->digest) || device->used == 0 ||
                    device->used < device->blocks / USED_PART || blocks + device->blocks > ZP_LIMIT_BASE_BLOCKS)
                        continue;
                int r = has_map(store, &device->digest, pool, cancel, err);
                if (r < 0)
                        return r;
                if (r == 0)
                        continue;
                blocks += device->blocks;
                recipe->base[recipe->base_count++] = device->digest;
        }
        return 0;
}

static void add_hot(const struct zp_prefetch_range *range, struct zp_recipe *recipe) {
        uint64_t start = zp_round_up(range->offset, ZP_BLOCK_SIZE) / ZP_BLOCK_SIZE;
        uint64_t end = (range->offset + range->length) / ZP_BLOCK_SIZE;
        for (uint16_t i = 0; i < recipe->base_count; i++)
                if (zp_digest_equal(&recipe->base[i], &range->device) && start < end &&
                    recipe->hot_count < ZP_RECIPE_HOT_MAX)
                        recipe->hot[recipe->hot_count++] = (struct zp_hot_range){ i, start, end - start };
}

/* What the base's own start reads, of the devices that were chosen. */
static int note_hot(struct zp_store *store, const struct zp_image_record *image, const struct candidates *c,
                    struct zp_recipe *recipe, struct zp_error *err) {
        zp_autofree struct zp_prefetch_device *devices = calloc((size_t) c->count + 1, sizeof *devices);
        struct zp_prefetch list = { 0 };
        if (!devices)
                return zp_error_errno(err, ENOMEM, "base");
        for (uint16_t i = 0; i < c->count; i++)
                devices[i] = (struct zp_prefetch_device){ c->list[i].digest, c->list[i].blocks * ZP_BLOCK_SIZE };
        int r = zp_start_read_list(store, &image->manifest_digest, devices, c->count, &list, err);
        for (uint32_t i = 0; r == 1 && !list.is_guess && i < list.count; i++)
                add_hot(&list.ranges[i], recipe);
        zp_prefetch_clear(&list);
        return r < 0 ? r : 0;
}

int zp_base_choose(struct zp_store *store, const struct zp_image_record *image, const struct zp_reuse_plan *plan,
                   bool with_hot, struct zp_pool *pool, const struct zp_cancel *cancel, struct zp_recipe *recipe,
                   struct zp_error *err) {
        struct candidates c = { 0 };
        recipe->base_count = 0;
        recipe->hot_count = 0;
        int r = find_candidates(store, image, &c, err);
        if (r == 0) {
                qsort(c.list, c.count, sizeof *c.list, compare_use);
                r = choose(store, &c, plan, pool, cancel, recipe, err);
        }
        if (r == 0 && with_hot && recipe->base_count > 0)
                r = note_hot(store, image, &c, recipe, err);
        free(c.list);
        return r;
}

/* ---- to compare with ---- */

int zp_base_load(struct zp_store *store, const struct zp_recipe *recipe, struct zp_pool *pool,
                 const struct zp_cancel *cancel, struct zp_base *out, struct zp_error *err) {
        struct zp_block_map maps[ZP_LIMIT_BASE_DEVICES];
        char text[ZP_DIGEST_TEXT_SIZE];
        *out = (struct zp_base){ 0 };
        for (uint16_t i = 0; i < recipe->base_count; i++) {
                struct zp_device_record record;
                int r = zp_store_find_device(store, &recipe->base[i], &record, err);
                if (r == 1)
                        r = zp_store_load_map(store, &record, pool, cancel, &out->maps[i], err);
                if (r <= 0)
                        return r < 0 ? r
                                     : zp_error_set(err, ENOENT, "base device %s: there is no block map of it",
                                                    zp_digest_text(&recipe->base[i], text));
                maps[i] = out->maps[i].map;
                out->devices[i] = (struct zp_base_device){ record.digest, maps[i].blocks };
        }
        return recipe->base_count > 0 ? zp_block_table_new(maps, recipe->base_count, &out->table, err) : 0;
}

void zp_base_clear(struct zp_base *base) {
        zp_block_table_free(base->table);
        for (uint16_t i = 0; i < ZP_LIMIT_BASE_DEVICES; i++)
                zp_device_map_clear(&base->maps[i]);
        *base = (struct zp_base){ 0 };
}

static int copy_device(struct zp_store *from, struct zp_store *to, struct zp_device_record *record,
                       const struct zp_device_map *map, struct zp_error *err) {
        zp_auto(zp_staging_free) struct zp_staging *staging = NULL;
        zp_autofree uint8_t *index = malloc((size_t) record->index_size);
        zp_autoclose int fd = zp_store_open_device_file(from, &record->digest, "device.idx", err);
        if (fd < 0)
                return fd;
        if (!index)
                return zp_error_errno(err, ENOMEM, "base");
        int r = zp_pread_all(fd, index, (size_t) record->index_size, 0, "device.idx", err);
        if (r == 0)
                r = zp_staging_new(to, &staging, err);
        if (r == 0)
                r = zp_staging_write(staging, "device.idx", index, (size_t) record->index_size, err);
        if (r == 0)
                r = zp_staging_write(staging, "device.map", map->bytes, map->size, err);
        record->is_complete = false;
        record->is_fetched = true;
        return r == 0 ? zp_staging_commit_device(staging, record, err) : r;
}

int zp_base_copy(struct zp_store *from, struct zp_store *to, const struct zp_recipe *recipe, struct zp_pool *pool,
                 const struct zp_cancel *cancel, struct zp_error *err) {
        char text[ZP_DIGEST_TEXT_SIZE];
        for (uint16_t i = 0; i < recipe->base_count; i++) {
                struct zp_device_record record;
                struct zp_device_map map = { 0 };
                int r = zp_store_find_device(from, &recipe->base[i], &record, err);
                if (r == 1)
                        r = zp_store_load_map(from, &record, pool, cancel, &map, err);
                if (r == 1)
                        r = copy_device(from, to, &record, &map, err) < 0 ? -err->code : 1;
                zp_device_map_clear(&map);
                if (r <= 0)
                        return r < 0 ? r
                                     : zp_error_set(err, ENOENT, "base device %s: there is no block map of it",
                                                    zp_digest_text(&recipe->base[i], text));
        }
        return 0;
}
