/* SPDX-License-Identifier: Apache-2.0 */
#include "profile/profile.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "base/siphash.h"
#include "layer/resolve.h"

/* One of several ranges in the order of their offsets: `end` is the highest of its own and of those before it. */
struct range {
        uint64_t offset, end;
};

/* A path and the numbers of its entries. */
struct path {
        char *text; /* NULL: the slot is empty */
        uint32_t *numbers;
        struct range *ranges; /* as many, in pieces of sizes that are powers of two, the largest first, each in order */
        uint32_t count, room;
};

struct zp_profile {
        struct zp_profile_entry *entries;
        uint32_t count, room;
        struct path *paths; /* open addressing */
        uint32_t path_count, path_slots;
        struct zp_siphash_key key;
};

struct zp_profile *zp_profile_new(void) {
        struct zp_profile *profile = calloc(1, sizeof *profile);
        if (!profile)
                return NULL;
        profile->key = zp_siphash_process_key();
        profile->path_slots = 64;
        profile->paths = calloc(profile->path_slots, sizeof *profile->paths);
        if (!profile->paths) {
                free(profile);
                return NULL;
        }
        return profile;
}

void zp_profile_free(struct zp_profile *profile) {
        if (!profile)
                return;
        for (uint32_t i = 0; i < profile->path_slots; i++) {
                free(profile->paths[i].text);
                free(profile->paths[i].numbers);
                free(profile->paths[i].ranges);
        }
        free(profile->paths);
        free(profile->entries);
        free(profile);
}

static struct path *find_slot(struct path *paths, uint32_t slots, struct zp_siphash_key key, const char *text) {
        for (uint64_t i = zp_siphash(key, text, strlen(text));; i++) {
                struct path *path = &paths[i & (slots - 1)];
                if (!path->text || strcmp(path->text, text) == 0)
                        return path;
        }
}

static int grow_paths(struct zp_profile *profile, struct zp_error *err) {
        uint32_t slots = profile->path_slots * 2;
        struct path *grown = calloc(slots, sizeof *grown);
        if (!grown)
                return zp_error_errno(err, ENOMEM, "profile");
        for (uint32_t i = 0; i < profile->path_slots; i++)
                if (profile->paths[i].text)
                        *find_slot(grown, slots, profile->key, profile->paths[i].text) = profile->paths[i];
        free(profile->paths);
        profile->paths = grown;
        profile->path_slots = slots;
        return 0;
}

static int get_path(struct zp_profile *profile, const char *text, struct path **out, struct zp_error *err) {
        int r = profile->path_count * 2 >= profile->path_slots ? grow_paths(profile, err) : 0;
        if (r < 0)
                return r;
        struct path *path = find_slot(profile->paths, profile->path_slots, profile->key, text);
        if (!path->text) {
                path->text = strdup(text);
                if (!path->text)
                        return zp_error_errno(err, ENOMEM, "profile");
                profile->path_count++;
        }
        *out = path;
        return 0;
}

static uint64_t end_of(uint64_t offset, uint64_t length) {
        return length == ZP_PROFILE_WHOLE ? UINT64_MAX : offset + length;
}

/* Of each piece, whatever begins at or before the offset and reaches farthest is the one to ask. */
static bool is_held(const struct path *path, uint64_t offset, uint64_t end) {
        for (uint32_t at = 0, left = path->count; left > 0;) {
                uint32_t size = UINT32_C(1) << (31 - __builtin_clz(left)), low = 0, high = size;
                while (low < high) {
                        uint32_t middle = low + (high - low) / 2;
                        if (path->ranges[at + middle].offset <= offset)
                                low = middle + 1;
                        else
                                high = middle;
                }
                if (low > 0 && path->ranges[at + low - 1].end >= end)
                        return true;
                at += size;
                left -= size;
        }
        return false;
}

static int compare_offset(const void *a, const void *b) {
        const struct range *x = a, *y = b;
        return (x->offset > y->offset) - (x->offset < y->offset);
}

/* Puts the last pieces, which have become as large together as a power of two, in order. */
static void sort_last(struct path *path) {
        uint32_t size = path->count & (~path->count + 1);
        struct range *piece = &path->ranges[path->count - size];
        qsort(piece, size, sizeof *piece, compare_offset);
        for (uint32_t i = 1; i < size; i++)
                if (piece[i].end < piece[i - 1].end)
                        piece[i].end = piece[i - 1].end;
}

static int grow_path(struct path *path, struct zp_error *err) {
        uint32_t room = path->room ? path->room * 2 : 4;
        uint32_t *numbers = realloc(path->numbers, room * sizeof *numbers);
        if (!numbers)
                return zp_error_errno(err, ENOMEM, "profile");
        path->numbers = numbers;
        struct range *ranges = realloc(path->ranges, room * sizeof *ranges);
        if (!ranges)
                return zp_error_errno(err, ENOMEM, "profile");
        path->ranges = ranges;
        path->room = room;
        return 0;
}

static int append_entry(struct zp_profile *profile, struct path *path, uint64_t offset, uint64_t length,
                        struct zp_error *err) {
        if (profile->count == profile->room) {
                uint32_t room = profile->room ? profile->room * 2 : 64;
                struct zp_profile_entry *grown = realloc(profile->entries, room * sizeof *grown);
                if (!grown)
                        return zp_error_errno(err, ENOMEM, "profile");
                profile->entries = grown;
                profile->room = room;
        }
        if (path->count == path->room && grow_path(path, err) < 0)
                return -ENOMEM;
        path->ranges[path->count] = (struct range){ offset, end_of(offset, length) };
        path->numbers[path->count++] = profile->count;
        sort_last(path);
        profile->entries[profile->count++] = (struct zp_profile_entry){ path->text, offset, length };
        return 0;
}

int zp_profile_add(struct zp_profile *profile, const char *path, uint64_t offset, uint64_t length,
                   struct zp_error *err) {
        struct zp_clean_path clean;
        uint64_t end;
        int r = zp_path_clean(path, strlen(path), &clean, err);
        if (r < 0)
                return r;
        if (clean.size == 0)
                return zp_error_set(err, EINVAL, "a path that names no file");
        bool is_whole = length == ZP_PROFILE_WHOLE;
        if (length == 0 || (is_whole && offset > 0) ||
            (!is_whole && (zp_add_overflows(offset, length, &end) || end > ZP_LIMIT_FILE_SIZE)))
                return zp_error_set(err, EINVAL, "an impossible range of a file");
        struct path *known = NULL;
        if ((r = get_path(profile, clean.text, &known, err)) < 0 || is_held(known, offset, end_of(offset, length)))
                return r;
        if (profile->count == ZP_LIMIT_PROFILE_ENTRIES)
                return zp_error_set(err, E2BIG, "more than %u entries", ZP_LIMIT_PROFILE_ENTRIES);
        return append_entry(profile, known, offset, length, err);
}

const struct zp_profile_entry *zp_profile_entries(const struct zp_profile *profile, uint32_t *count) {
        *count = profile->count;
        return profile->entries;
}

const uint32_t *zp_profile_find(const struct zp_profile *profile, const char *path, uint32_t *count) {
        const struct path *known = find_slot(profile->paths, profile->path_slots, profile->key, path);
        *count = known->count;
        return known->count > 0 ? known->numbers : NULL;
}
