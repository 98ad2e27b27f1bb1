/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/snapshot.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "layer/merge.h"
#include "snapshot/load.h"

struct merging {
        const struct zp_snapshot_layers *layers;
        struct zp_loaded loaded[ZP_LIMIT_LAYERS];
        struct zp_tree *trees[ZP_LIMIT_LAYERS]; /* theirs */
        /* the devices of all layers, one after the other, and what became of them */
        struct loaded_device {
                struct zp_erofs_device device;
                uint16_t slot; /* in the snapshot's table */
                bool is_used;
        } devices[ZP_LIMIT_LAYERS * ZP_LIMIT_LAYER_DEVICES];
        uint16_t device_count;
        uint16_t first_devices[ZP_LIMIT_LAYERS]; /* of each layer */
        uint64_t entries, metadata_size;         /* of all loaded so far */
};

/* What all layers together take is known before any memory is. */
static int check_limits(struct merging *l, const struct zp_layer_record *record, struct zp_error *err) {
        if (zp_add_overflows(l->entries, record->entries, &l->entries) || l->entries > ZP_LIMIT_IMAGE_ENTRIES)
                return zp_error_set(err, E2BIG, "with the layers below it has more than %llu entries",
                                    (unsigned long long) ZP_LIMIT_IMAGE_ENTRIES);
        if (zp_add_overflows(l->metadata_size, record->metadata_size, &l->metadata_size) ||
            l->metadata_size > ZP_LIMIT_IMAGE_METADATA)
                return zp_error_set(err, E2BIG, "with the layers below it has more than %llu bytes of metadata",
                                    (unsigned long long) ZP_LIMIT_IMAGE_METADATA);
        return 0;
}

/* As the store recorded it; what was damaged since then goes no further. */
static int load_metadata(struct merging *l, uint16_t i, struct zp_error *err) {
        struct zp_layer_record record;
        int found = zp_store_find_layer(l->layers->store, &l->layers->names[i], &l->layers->diff_ids[i], &record, err);
        if (found <= 0)
                return found < 0 ? found : zp_error_set(err, ENOENT, "the store does not have it");
        int r = check_limits(l, &record, err);
        return r < 0 ? r : zp_snapshot_load_layer(l->layers->store, &record, &l->loaded[i], err);
}

static int load_layer(struct merging *l, uint16_t i, struct zp_error *err) {
        const struct zp_loaded *layer = &l->loaded[i];
        int r = load_metadata(l, i, err);
        if (r == 0 && layer->device_count > ZP_LIMIT_LAYER_DEVICES)
                r = zp_error_set(err, E2BIG, "layer.erofs: %u devices; the limit is %d", layer->device_count,
                                 ZP_LIMIT_LAYER_DEVICES);
        char digest[ZP_DIGEST_TEXT_SIZE];
        if (r < 0)
                return zp_error_wrap(err, "layer %u (%s)", i + 1u, zp_digest_text(&l->layers->diff_ids[i], digest));
        l->trees[i] = layer->tree;
        l->first_devices[i] = l->device_count;
        for (uint16_t d = 0; d < layer->device_count; d++)
                l->devices[l->device_count++].device = layer->devices[d];
        return 0;
}

static void note_devices(struct merging *l, const struct zp_inode *dir) {
        for (const struct zp_dentry *child = dir->first_child; child; child = child->next) {
                const struct zp_inode *inode = child->inode;
                for (uint32_t i = 0; i < inode->extent_count; i++)
                        if (inode->extents[i].block != ZP_HOLE)
                                l->devices[inode->extents[i].device].is_used = true;
                if (S_ISDIR(inode->mode))
                        note_devices(l, inode);
        }
}

static void renumber_devices(const struct merging *l, struct zp_inode *dir, uint32_t mark) {
        for (struct zp_dentry *child = dir->first_child; child; child = child->next) {
                struct zp_inode *inode = child->inode;
                /* a file with several names is met several times */
                for (uint32_t i = 0; i < inode->extent_count && inode->scratch != mark; i++)
                        if (inode->extents[i].block != ZP_HOLE)
                                inode->extents[i].device = l->devices[inode->extents[i].device].slot;
                inode->scratch = mark;
                if (S_ISDIR(inode->mode))
                        renumber_devices(l, inode, mark);
        }
}

/* Gives each device that is used a number; one that several layers refer to has one. */
static int number_devices(struct merging *l, struct zp_erofs_device *devices, uint16_t *count, struct zp_error *err) {
        *count = 0;
        for (uint16_t i = 0; i < l->device_count; i++) {
                struct loaded_device *d = &l->devices[i];
                uint16_t slot = 0;
                if (!d->is_used)
                        continue;
                while (slot < *count && !zp_digest_equal(&devices[slot].digest, &d->device.digest))
                        slot++;
                if (slot == ZP_LIMIT_DEVICES)
                        return zp_error_set(err, E2BIG, "the layers together use more than %d devices",
                                            ZP_LIMIT_DEVICES);
                if (slot == *count)
                        devices[(*count)++] = d->device;
                d->slot = slot;
        }
        return 0;
}

static int write_snapshot(struct merging *l, enum zp_erofs_layout layout, int fd, const char *name,
                          struct zp_erofs_device *devices, uint16_t *device_count, struct zp_erofs_result *result,
                          struct zp_error *err) {
        for (uint16_t i = 0; i < l->layers->count; i++) {
                int r = zp_check_cancel(l->layers->cancel, err);
                if (r == 0)
                        r = load_layer(l, i, err);
                if (r < 0)
                        return r;
        }
        zp_auto(zp_tree_free) struct zp_tree *merged = NULL;
        int r = zp_check_cancel(l->layers->cancel, err);
        if (r == 0)
                r = zp_tree_merge(l->trees, l->first_devices, l->layers->count, &merged, err);
        if (r < 0)
                return r;
        note_devices(l, zp_tree_root(merged));
        r = number_devices(l, devices, device_count, err);
        if (r < 0)
                return r;
        renumber_devices(l, zp_tree_root(merged), 1);
        struct zp_erofs_options options = { .layout = layout, .devices = devices, .device_count = *device_count };
        return zp_erofs_write(merged, &options, fd, name, result, err);
}

int zp_snapshot_write(const struct zp_snapshot_layers *layers, enum zp_erofs_layout layout, int fd, const char *name,
                      struct zp_erofs_device **devices, uint16_t *device_count, struct zp_erofs_result *result,
                      struct zp_error *err) {
        if (layers->count > ZP_LIMIT_LAYERS)
                return zp_error_set(err, E2BIG, "%u layers; the limit is %d", layers->count, ZP_LIMIT_LAYERS);
        zp_autofree struct merging *l = calloc(1, sizeof *l);
        zp_autofree struct zp_erofs_device *table = calloc(ZP_LIMIT_DEVICES, sizeof *table);
        uint16_t count = 0;
        if (!l || !table)
                return zp_error_errno(err, ENOMEM, "merge");
        l->layers = layers;
        int r = write_snapshot(l, layout, fd, name, table, &count, result, err);
        for (uint16_t i = 0; i < layers->count; i++)
                zp_loaded_clear(&l->loaded[i]);
        if (r == 0 && devices) {
                *devices = zp_steal(&table);
                *device_count = count;
        }
        return r;
}
