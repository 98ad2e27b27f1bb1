/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/control/mount-options.h"

#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/buffer.h"

#define OPTIONS_MAX 8

/* ---- what the system asks for ---- */

/* The first user namespace maps all ids to themselves. */
static bool is_in_user_namespace(void) {
        zp_autofclose FILE *file = fopen("/proc/self/uid_map", "re");
        unsigned long inside, outside, size;
        if (!file || fscanf(file, "%lu %lu %lu", &inside, &outside, &size) != 3)
                return false;
        return inside != 0 || outside != 0 || size != UINT32_MAX;
}

void snap_mount_settings_detect(const char *root, struct snap_mount_settings *out) {
        struct statfs fs;
        bool is_tmpfs = statfs(root, &fs) == 0 && fs.f_type == TMPFS_MAGIC; /* has no user.* */
        bool is_mapped = is_in_user_namespace();
        *out = (struct snap_mount_settings){
                .root = root,
                .index_off = access("/sys/module/overlay/parameters/index", F_OK) == 0,
                .redirect_dir = !is_mapped && access("/sys/module/overlay/parameters/redirect_dir", F_OK) == 0,
                .user_xattr = is_mapped && !is_tmpfs,
        };
}

/* ---- the mount ---- */

static int no_memory(struct zp_error *err) {
        return zp_error_errno(err, ENOMEM, "mount options");
}

/* A copy in the arena of a malloc'ed text, which is freed; NULL: out of memory. */
static const char *keep(struct zp_arena *arena, char *text) {
        const char *copy = text ? zp_arena_copy(arena, text, strlen(text)) : NULL;
        free(text);
        return copy;
}

static const char *path_of(const struct snap_mount_settings *settings, struct zp_arena *arena, const char *option,
                           uint64_t id, const char *what) {
        return keep(arena, zp_format("%s%s/snapshots/%" PRIu64 "/%s", option, settings->root, id, what));
}

static const char *base_path(const struct snap_mount_settings *settings, struct zp_arena *arena,
                             const struct snap_chain *chain) {
        return keep(arena, zp_format("%s/mounts/%" PRIu64, settings->root, chain->base.id));
}

/* The base is the lowest of all. */
static const char *lower_of(const struct snap_mount_settings *settings, struct zp_arena *arena,
                            const struct snap_chain *chain) {
        zp_autobuffer struct zp_buffer text = { 0 };
        for (size_t i = 0; i < chain->parent_count; i++) {
                zp_autofree char *path = zp_format("%s%s/snapshots/%" PRIu64 "/fs",
                                                   i ? ":" : "lowerdir=", settings->root, chain->parents[i]);
                if (!path || !zp_buffer_text(&text, path))
                        return NULL;
        }
        if (chain->base.id) {
                const char *path = base_path(settings, arena, chain);
                if (!path || !zp_buffer_text(&text, text.size ? ":" : "lowerdir=") || !zp_buffer_text(&text, path))
                        return NULL;
        }
        return zp_arena_copy(arena, text.data, text.size);
}

static bool add(struct snap_mount *mount, const char *option) {
        mount->options[mount->option_count++] = option;
        return option != NULL;
}

static bool add_mapping(struct snap_mount *mount, struct zp_arena *arena, const struct snap_labels *labels,
                        const char *label, const char *option) {
        const char *map = snap_label_get(labels, label);
        return !map || add(mount, keep(arena, zp_format("%s=%s", option, map)));
}

static bool add_mappings(const struct snap_mount_settings *settings, const struct snap_chain *chain,
                         struct zp_arena *arena, struct snap_mount *mount) {
        return !settings->remap_ids ||
               (add_mapping(mount, arena, &chain->info.labels, SNAP_LABEL_UID_MAPPING, "uidmap") &&
                add_mapping(mount, arena, &chain->info.labels, SNAP_LABEL_GID_MAPPING, "gidmap"));
}

static bool bind(const char *source, bool is_writable, struct snap_mount *mount) {
        mount->type = "bind";
        mount->source = source;
        return mount->source && add(mount, is_writable ? "rw" : "ro") && add(mount, "rbind");
}

static bool overlay(const struct snap_mount_settings *settings, const struct snap_chain *chain, struct zp_arena *arena,
                    struct snap_mount *mount) {
        mount->type = "overlay";
        mount->source = "overlay";
        if (settings->index_off)
                add(mount, "index=off");
        if (settings->redirect_dir)
                add(mount, "redirect_dir=on");
        if (settings->user_xattr)
                add(mount, "userxattr");
        if (chain->info.kind == SNAP_ACTIVE &&
            !(add(mount, path_of(settings, arena, "workdir=", chain->info.id, "work")) &&
              add(mount, path_of(settings, arena, "upperdir=", chain->info.id, "fs"))))
                return false;
        return add(mount, lower_of(settings, arena, chain));
}

int snap_mount_of(const struct snap_mount_settings *settings, const struct snap_chain *chain, struct zp_arena *arena,
                  struct snap_mount *out, struct zp_error *err) {
        bool is_active = chain->info.kind == SNAP_ACTIVE, done;
        *out = (struct snap_mount){ .options = zp_arena_alloc(arena, OPTIONS_MAX * sizeof *out->options) };
        if (!out->options || !add_mappings(settings, chain, arena, out))
                return no_memory(err);
        size_t lower_count = chain->parent_count + (chain->base.id ? 1 : 0);
        if (lower_count == 0)
                done = bind(path_of(settings, arena, "", chain->info.id, "fs"), is_active, out);
        else if (lower_count > 1 || is_active)
                done = overlay(settings, chain, arena, out);
        else if (chain->base.id)
                done = bind(base_path(settings, arena, chain), false, out);
        else
                done = bind(path_of(settings, arena, "", chain->parents[0], "fs"), false, out);
        return done ? 0 : no_memory(err);
}

/* ---- ids ---- */

static bool read_number(const char **text, char end, uint32_t *out) {
        char *after;
        if (**text < '0' || **text > '9')
                return false;
        errno = 0;
        unsigned long long value = strtoull(*text, &after, 10);
        if (errno || value >= UINT32_MAX || (end && *after != end))
                return false;
        *out = (uint32_t) value;
        *text = after + (end != '\0');
        return true;
}

/* The host's id for the container's 0; -EINVAL. */
static int map_root(const char *name, const char *map, int64_t *id, struct zp_error *err) {
        int64_t found = -1;
        for (const char *text = map; *text;) {
                uint32_t inside, outside, size;
                if (!read_number(&text, ':', &inside) || !read_number(&text, ':', &outside) ||
                    !read_number(&text, '\0', &size) || (*text && (*text != ',' || !text[1])))
                        return zp_error_set(err, EINVAL, "label %s: '%.200s' is not CONTAINER:HOST:SIZE[,…]", name,
                                            map);
                if (found < 0 && inside == 0 && size > 0)
                        found = outside;
                text += *text == ',';
        }
        if (found < 0)
                return zp_error_set(err, EINVAL, "label %s: '%.200s' does not map 0", name, map);
        *id = found;
        return 0;
}

int snap_mapped_root(const struct snap_labels *labels, int64_t *uid, int64_t *gid, struct zp_error *err) {
        const char *uids = snap_label_get(labels, SNAP_LABEL_UID_MAPPING);
        const char *gids = snap_label_get(labels, SNAP_LABEL_GID_MAPPING);
        *uid = *gid = -1;
        if (!uids && !gids)
                return 0;
        /* a map that is not given changes nothing */
        *uid = *gid = 0;
        int r = uids ? map_root(SNAP_LABEL_UID_MAPPING, uids, uid, err) : 0;
        return r == 0 && gids ? map_root(SNAP_LABEL_GID_MAPPING, gids, gid, err) : r;
}
