/* SPDX-License-Identifier: Apache-2.0
 *
 * Disks of images, for virtual machines: metadata and devices end to end, as `zeropull export` writes them. A disk is
 * there whenever the store has the image; what was found out about one, and its metadata, stays for a while.
 */
#include "snapshotter/data/data-internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/limits.h"

/* Each keeps a descriptor: those that nobody has asked for in so long make room when another one comes. */
#define IDLE_MS 300000

struct snap_disk {
        struct snap_disk *next; /* guarded by the lock of all */
        uint64_t id, size;
        struct zp_digest image;
        struct snap_disk_parts parts;
        /* guarded by the lock of all */
        unsigned users;
        uint64_t used_ms;
};

struct snap_disks {
        struct snap_data *data;
        uint64_t idle_ms;
        pthread_mutex_t lock;
        struct snap_disk *first; /* guarded by lock */
};

/* What a name asks for: an image's digest, and for which kernels. */
static uint64_t disk_id(const struct zp_digest *image, bool is_compat) {
        uint64_t id;
        memcpy(&id, image->bytes + 8, sizeof id); /* devices have the first eight bytes */
        return (be64toh(id) | 64) ^ (is_compat ? 1 : 0);
}

static struct snap_disk *find_locked(struct snap_disks *disks, uint64_t id) {
        struct snap_disk *disk = disks->first;
        while (disk && disk->id != id)
                disk = disk->next;
        if (disk)
                disk->users++;
        return disk;
}

/* Held, as all that is found or opened here. */
struct snap_disk *snap_disks_find_known(struct snap_disks *disks, uint64_t id) {
        pthread_mutex_lock(&disks->lock);
        struct snap_disk *disk = find_locked(disks, id);
        pthread_mutex_unlock(&disks->lock);
        return disk;
}

void snap_disks_let_go(struct snap_disks *disks, struct snap_disk *disk) {
        pthread_mutex_lock(&disks->lock);
        disk->users--;
        disk->used_ms = zp_monotonic_ms();
        pthread_mutex_unlock(&disks->lock);
}

static void free_disk(struct snap_disk *disk) {
        zp_cleanup_fd(&disk->parts.metadata_fd);
        free(disk->parts.devices);
        free(disk);
}

static int measure(struct snap_disk *disk, struct zp_error *err) {
        disk->size = disk->parts.metadata_size;
        for (uint16_t i = 0; i < disk->parts.device_count; i++) {
                uint64_t bytes;
                if (zp_mul_overflows(disk->parts.devices[i].blocks, (uint64_t) ZP_BLOCK_SIZE, &bytes) ||
                    zp_add_overflows(disk->size, bytes, &disk->size) || disk->size > INT64_MAX)
                        return zp_error_set(err, EBADMSG, "disk: impossible device sizes");
        }
        return 0;
}

/* Takes those out that nobody has used for long; the caller frees them. Lock held. */
static struct snap_disk *take_idle(struct snap_disks *disks) {
        struct snap_disk *idle = NULL, *disk;
        uint64_t now = zp_monotonic_ms();
        for (struct snap_disk **link = &disks->first; (disk = *link);) {
                if (disk->users || now - disk->used_ms < disks->idle_ms) {
                        link = &disk->next;
                        continue;
                }
                *link = disk->next;
                disk->next = idle;
                idle = disk;
        }
        return idle;
}

/* Somebody else may have been faster; then his stays. */
static int add(struct snap_disks *disks, struct snap_disk *new, struct snap_disk **out, struct zp_error *err) {
        pthread_mutex_lock(&disks->lock);
        struct snap_disk *there = find_locked(disks, new->id), *unneeded = take_idle(disks);
        if (there) {
                new->next = unneeded;
                unneeded = new;
        } else {
                new->users = 1;
                new->next = disks->first;
                disks->first = there = new;
        }
        pthread_mutex_unlock(&disks->lock);
        struct zp_digest image = new->image;
        for (struct snap_disk *next; unneeded; unneeded = next) {
                next = unneeded->next;
                free_disk(unneeded);
        }
        if (!zp_digest_equal(&there->image, &image)) {
                snap_disks_let_go(disks, there);
                return zp_error_set(err, EEXIST, "disk: another image's number is the same");
        }
        *out = there;
        return 0;
}

static int open_disk(struct snap_disks *disks, const struct zp_digest *image, bool is_compat, struct snap_disk **out,
                     struct zp_error *err) {
        const struct snap_data_lookups *lookups = &disks->data->options->lookups;
        uint64_t id = disk_id(image, is_compat);
        *out = snap_disks_find_known(disks, id);
        if (*out && zp_digest_equal(&(*out)->image, image))
                return 0;
        if (*out)
                snap_disks_let_go(disks, *out);
        if (!lookups->find_disk)
                return -ENOENT;
        struct snap_disk *disk = calloc(1, sizeof *disk);
        if (!disk)
                return zp_error_errno(err, ENOMEM, "disk");
        disk->id = id;
        disk->image = *image;
        disk->parts.metadata_fd = -1;
        int r = lookups->find_disk(lookups->context, image, is_compat, &disk->parts, err);
        if (r == 0)
                r = measure(disk, err);
        if (r == 0)
                return add(disks, disk, out, err);
        free_disk(disk);
        return r;
}

static bool has_prefix(const char *name, const char *prefix, struct zp_digest *image) {
        return strncmp(name, prefix, strlen(prefix)) == 0 && zp_digest_parse_hex(name + strlen(prefix), image);
}

int snap_disks_lookup(struct snap_disks *disks, const char *name, uint64_t *id, uint64_t *size, struct zp_error *err) {
        struct zp_digest image;
        struct snap_disk *disk;
        bool is_compat = has_prefix(name, SNAP_DATA_COMPAT_DISK_PREFIX, &image);
        if (!is_compat && !has_prefix(name, SNAP_DATA_DISK_PREFIX, &image))
                return -ENOENT;
        int r = open_disk(disks, &image, is_compat, &disk, err);
        if (r < 0)
                return r;
        *id = disk->id;
        *size = disk->size;
        snap_disks_let_go(disks, disk);
        return 0;
}

/* By a number that another process gave out: which image it is, the store's directory tells. */
struct snap_disk *snap_disks_find(struct snap_disks *disks, uint64_t id) {
        struct snap_disk *disk = snap_disks_find_known(disks, id);
        if (disk)
                return disk;
        zp_autofree char *path = zp_format("%s/images", disks->data->options->store);
        zp_autoclosedir DIR *directory = path ? zp_open_listing(AT_FDCWD, path) : NULL;
        for (struct dirent *entry; directory && (entry = zp_next_entry(directory));) {
                struct zp_digest image;
                if (!zp_digest_parse_hex(entry->d_name, &image))
                        continue;
                for (int is_compat = 0; is_compat < 2; is_compat++)
                        if (disk_id(&image, is_compat) == id)
                                return open_disk(disks, &image, is_compat, &disk, NULL) == 0 ? disk : NULL;
        }
        return NULL;
}

uint64_t snap_disk_size(const struct snap_disk *disk) {
        return disk->size;
}

/* ---- reading ---- */

struct disk_read {
        struct zp_blockfs_read *request;
        uint32_t size;
        _Atomic unsigned parts; /* under way */
        _Atomic int result;
        uint8_t bytes[];
};

struct part_read {
        struct zp_device_read read; /* first: what the device gives back */
        struct snap_wait wait;
        struct disk_read *whole;
        struct snap_entry *entry;
        uint8_t *to;
};

static void end_part(struct disk_read *whole, int result) {
        if (result < 0)
                atomic_store(&whole->result, result);
        if (atomic_fetch_sub(&whole->parts, 1) > 1)
                return;
        result = atomic_load(&whole->result);
        if (result < 0)
                zp_blockfs_answer_error(whole->request, result == -ENOMEM ? ENOMEM : EIO);
        else
                zp_blockfs_answer_data(whole->request, whole->bytes, whole->size);
        free(whole);
}

static void on_part(struct zp_device_read *read, int result, int fd, const void *bytes) {
        struct part_read *part = (struct part_read *) read;
        if (result == 0 && bytes)
                memcpy(part->to, bytes, read->size);
        else if (result == 0)
                result = zp_pread_all(fd, part->to, read->size, read->offset, "device", NULL);
        struct snap_entry *entry = part->entry;
        struct disk_read *whole = part->whole;
        free(part);
        snap_table_let_go(entry);
        end_part(whole, result);
}

static void on_open(struct snap_wait *wait, struct snap_entry *entry, int result, const struct zp_error *err) {
        struct part_read *part = (struct part_read *) ((char *) wait - offsetof(struct part_read, wait));
        struct disk_read *whole = part->whole;
        (void) err;
        if (result < 0) {
                free(part);
                end_part(whole, result);
                return;
        }
        part->entry = entry;
        part->read.waited_ms = (uint32_t) (zp_monotonic_ms() - wait->began_ms);
        part->read.is_second = wait->is_second;
        zp_device_read(snap_entry_device(entry), &part->read);
}

static void read_device(struct snap_disks *disks, const struct zp_digest *device, uint64_t offset, uint32_t size,
                        uint8_t *to, struct disk_read *whole) {
        atomic_fetch_add(&whole->parts, 1);
        struct part_read *part = calloc(1, sizeof *part);
        if (!part) {
                end_part(whole, -ENOMEM);
                return;
        }
        *part = (struct part_read){ .read = { .offset = offset, .size = size, .done = on_part },
                                    .wait = { .done = on_open, .comes_again = true },
                                    .whole = whole,
                                    .to = to };
        snap_table_want(disks->data->table, snap_device_id(device), device, &part->wait);
}

/* Of the range of the disk that begins at `start`: what is in the read goes where it belongs. */
static bool overlap(uint64_t start, uint64_t length, uint64_t offset, uint32_t size, uint64_t *from, uint32_t *count,
                    uint32_t *at) {
        uint64_t begin = start > offset ? start : offset, end = zp_min_u64(start + length, offset + size);
        if (begin >= end)
                return false;
        *from = begin - start;
        *count = (uint32_t) (end - begin);
        *at = (uint32_t) (begin - offset);
        return true;
}

void snap_disk_read(struct snap_disks *disks, struct snap_disk *disk, uint64_t offset, uint32_t size,
                    struct zp_blockfs_read *request) {
        uint64_t left = offset < disk->size ? disk->size - offset : 0, from, start = disk->parts.metadata_size;
        uint32_t count, at;
        size = (uint32_t) zp_min_u64(size, left);
        struct disk_read *whole = calloc(1, sizeof *whole + size);
        if (!whole) {
                zp_blockfs_answer_error(request, ENOMEM);
                return;
        }
        whole->request = request;
        whole->size = size;
        whole->parts = 1; /* this function itself */
        int r = 0;
        if (overlap(0, start, offset, size, &from, &count, &at))
                r = zp_pread_all(disk->parts.metadata_fd, whole->bytes + at, count, from, "metadata", NULL);
        for (uint16_t i = 0; i < disk->parts.device_count; i++) {
                uint64_t bytes = disk->parts.devices[i].blocks * ZP_BLOCK_SIZE;
                if (overlap(start, bytes, offset, size, &from, &count, &at))
                        read_device(disks, &disk->parts.devices[i].digest, from, count, whole->bytes + at, whole);
                start += bytes;
        }
        end_part(whole, r);
}

int snap_disks_new(struct snap_data *data, struct snap_disks **out, struct zp_error *err) {
        struct snap_disks *disks = calloc(1, sizeof *disks);
        if (!disks)
                return zp_error_errno(err, ENOMEM, "disks");
        disks->data = data;
        disks->idle_ms = data->options->disk_idle_ms ? data->options->disk_idle_ms : IDLE_MS;
        pthread_mutex_init(&disks->lock, NULL);
        *out = disks;
        return 0;
}

void snap_disks_free(struct snap_disks *disks) {
        if (!disks)
                return;
        for (struct snap_disk *disk = disks->first, *next; disk; disk = next) {
                next = disk->next;
                free_disk(disk);
        }
        pthread_mutex_destroy(&disks->lock);
        free(disks);
}
