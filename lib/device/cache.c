/* SPDX-License-Identifier: Apache-2.0 */
#include "device/cache.h"
#include "device/device-internal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/bytes.h"
#include "base/file.h"

#define FREE_SHARE 16
#define FREE_MAX (UINT64_C(1) << 30)

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

uint64_t zp_cache_shortage(int cache_fd) {
        struct statvfs disk;
        if (fstatvfs(cache_fd, &disk) < 0)
                return 0;
        uint64_t share = (uint64_t) disk.f_blocks * disk.f_frsize / FREE_SHARE;
        uint64_t wanted = zp_min_u64(share, FREE_MAX), free = (uint64_t) disk.f_bavail * disk.f_frsize;
        return free < wanted ? wanted - free : 0;
}

/* Of `copies`, sorted here, until no more than `limit` bytes are left. */
static unsigned remove_oldest(int cache_fd, struct copies *copies, uint64_t limit,
                              bool (*is_used)(void *context, const char *hex), void *context) {
        unsigned removed = 0;
        if (copies->bytes > limit)
                qsort(copies->items, copies->count, sizeof *copies->items, compare_use);
        for (size_t i = 0; i < copies->count && copies->bytes > limit; i++) {
                char hex[ZP_SHA256_HEX_SIZE];
                if (is_copy(copies->items[i].name, hex) && !(is_used && is_used(context, hex)) &&
                    unlinkat(cache_fd, copies->items[i].name, 0) == 0) {
                        copies->bytes -= copies->items[i].bytes;
                        removed++;
                }
        }
        return removed;
}

unsigned zp_cache_make_room(int cache_fd, uint64_t bytes, bool (*is_used)(void *context, const char *hex),
                            void *context) {
        struct copies copies = { 0 };
        list(cache_fd, &copies);
        unsigned removed =
                remove_oldest(cache_fd, &copies, copies.bytes > bytes ? copies.bytes - bytes : 0, is_used, context);
        free(copies.items);
        return removed;
}

static bool is_in_use(void *context, const char *hex) {
        struct zp_device_engine *engine = context;
        pthread_mutex_lock(&engine->lock);
        struct zp_device *device = engine->devices;
        while (device && strcmp(device->hex, hex) != 0)
                device = device->next;
        pthread_mutex_unlock(&engine->lock);
        const struct zp_device_options *options = &engine->options;
        return device || (options->is_in_use && options->is_in_use(options->context, hex));
}

static void count_evicted(struct zp_device_engine *engine, unsigned evicted) {
        pthread_mutex_lock(&engine->lock);
        engine->statistics.evicted_copies += evicted;
        pthread_mutex_unlock(&engine->lock);
}

uint64_t zp_cache_trim(struct zp_device_engine *engine, uint64_t limit) {
        struct copies copies = { 0 };
        list(engine->options.cache_fd, &copies);
        count_evicted(engine, remove_oldest(engine->options.cache_fd, &copies, limit, is_in_use, engine));
        free(copies.items);
        return copies.bytes;
}

void zp_cache_keep_reserve(struct zp_device_engine *engine) {
        uint64_t shortage = zp_cache_shortage(engine->options.cache_fd);
        unsigned evicted = shortage ? zp_cache_make_room(engine->options.cache_fd, shortage, is_in_use, engine) : 0;
        if (evicted)
                zp_device_notice(engine, "the disk is nearly full: %u local cop%s made room", evicted,
                                 evicted == 1 ? "y has" : "ies have");
        count_evicted(engine, evicted);
}
