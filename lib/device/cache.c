/* SPDX-License-Identifier: Apache-2.0 */
#include "device/device-internal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"

struct copy {
        char name[ZP_SHA256_HEX_SIZE + 8];
        uint64_t bytes;
        struct timespec used;
};

struct copies {
        struct copy *items;
        size_t count, capacity;
        uint64_t bytes;
};

/* Whether a file's name is a copy's: 64 hex digits and one of the two endings. */
static bool is_copy(const char *name, char hex[ZP_SHA256_HEX_SIZE]) {
        struct zp_digest digest;
        size_t length = strlen(name);
        if (length <= ZP_SHA256_HEX_SIZE || length >= ZP_SHA256_HEX_SIZE + 8)
                return false;
        memcpy(hex, name, ZP_SHA256_HEX_SIZE - 1);
        hex[ZP_SHA256_HEX_SIZE - 1] = '\0';
        const char *ending = name + ZP_SHA256_HEX_SIZE - 1;
        return zp_digest_parse_hex(hex, &digest) && (strcmp(ending, ".raw") == 0 || strcmp(ending, ".part") == 0);
}

static bool add(struct copies *copies, const char *name, const struct stat *st) {
        if (copies->count == copies->capacity) {
                size_t capacity = copies->capacity ? copies->capacity * 2 : 64;
                struct copy *items = reallocarray(copies->items, capacity, sizeof *items);
                if (!items)
                        return false;
                copies->items = items;
                copies->capacity = capacity;
        }
        struct copy *copy = &copies->items[copies->count++];
        *copy = (struct copy){ .bytes = (uint64_t) st->st_blocks * 512 };
        strcpy(copy->name, name);
        copy->used = st->st_atim.tv_sec > st->st_mtim.tv_sec ? st->st_atim : st->st_mtim;
        copies->bytes += copy->bytes;
        return true;
}

static void list(int cache_fd, struct copies *copies) {
        zp_autoclosedir DIR *directory = zp_open_listing(cache_fd, ".");
        char hex[ZP_SHA256_HEX_SIZE];
        for (struct dirent *entry; directory && (entry = zp_next_entry(directory));) {
                struct stat st;
                if (is_copy(entry->d_name, hex) && fstatat(cache_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                    S_ISREG(st.st_mode) && !add(copies, entry->d_name, &st))
                        break;
        }
}

static int compare_use(const void *a, const void *b) {
        const struct timespec *left = &((const struct copy *) a)->used, *right = &((const struct copy *) b)->used;
        if (left->tv_sec != right->tv_sec)
                return left->tv_sec < right->tv_sec ? -1 : 1;
        return left->tv_nsec < right->tv_nsec ? -1 : left->tv_nsec > right->tv_nsec;
}

static bool is_in_use(struct zp_device_engine *engine, const char *hex) {
        pthread_mutex_lock(&engine->lock);
        struct zp_device *device = engine->devices;
        while (device && strcmp(device->hex, hex) != 0)
                device = device->next;
        pthread_mutex_unlock(&engine->lock);
        const struct zp_device_options *options = &engine->options;
        return device || (options->is_in_use && options->is_in_use(options->context, hex));
}

uint64_t zp_cache_trim(struct zp_device_engine *engine, uint64_t limit) {
        struct copies copies = { 0 };
        uint64_t evicted = 0;
        list(engine->options.cache_fd, &copies);
        if (copies.bytes > limit)
                qsort(copies.items, copies.count, sizeof *copies.items, compare_use);
        for (size_t i = 0; i < copies.count && copies.bytes > limit; i++) {
                char hex[ZP_SHA256_HEX_SIZE];
                if (is_copy(copies.items[i].name, hex) && !is_in_use(engine, hex) &&
                    unlinkat(engine->options.cache_fd, copies.items[i].name, 0) == 0) {
                        copies.bytes -= copies.items[i].bytes;
                        evicted++;
                }
        }
        pthread_mutex_lock(&engine->lock);
        engine->statistics.evicted_copies += evicted;
        pthread_mutex_unlock(&engine->lock);
        free(copies.items);
        return copies.bytes;
}
