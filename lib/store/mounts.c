/* SPDX-License-Identifier: Apache-2.0
 *
 * What is mounted, as the kernel tells: an EROFS shows an image when the file it is read from is that image's
 * snapshot. Nothing is recorded, so it holds however often and wherever the mount has been copied or moved.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/limits.h"
#include "mount/erofs_mount.h"
#include "mount/loop.h"
#include "store/store-internal.h"

#define SNAPSHOT "/snapshot.erofs"
#define IMAGES "/images/"
#define SERVED_TYPE "fuse.zeropull"
#define THROUGH_DESCRIPTOR "/proc/self/fd/"

/* "STORE/images/<hex>/snapshot.erofs" becomes "STORE". false: another path, which is kept. */
static bool split_path(char *path, struct zp_digest *manifest_digest) {
        size_t tail = strlen(IMAGES) + ZP_SHA256_HEX_SIZE - 1 + strlen(SNAPSHOT), size = strlen(path);
        if (size < tail || strcmp(path + size - strlen(SNAPSHOT), SNAPSHOT) != 0 ||
            strncmp(path + size - tail, IMAGES, strlen(IMAGES)) != 0)
                return false;
        char hex[ZP_SHA256_HEX_SIZE];
        snprintf(hex, sizeof hex, "%s", path + size - tail + strlen(IMAGES));
        if (!zp_digest_parse_hex(hex, manifest_digest))
                return false;
        path[size - tail] = '\0';
        return true;
}

/* Whether a directory is the store, by whatever name. One that is no longer there may have been it; and one that was
 * named by a descriptor of the process that mounted, too. */
static bool may_be_store(const struct zp_store *store, const char *directory) {
        struct stat there, ours;
        if (strcmp(directory, store->path) == 0 ||
            strncmp(directory, THROUGH_DESCRIPTOR, strlen(THROUGH_DESCRIPTOR)) == 0)
                return true;
        if (stat(directory, &there) < 0)
                return errno == ENOENT || errno == ENOTDIR;
        return fstat(store->dir_fd, &ours) == 0 && there.st_dev == ours.st_dev && there.st_ino == ours.st_ino;
}

/* The file an EROFS is read from, as far as it has a name; malloc'ed. NULL: another file system, or no memory. */
static char *file_of(const struct zp_mount *mount) {
        if (strcmp(mount->type, "erofs") != 0)
                return NULL;
        char *backing = zp_loop_backing_file(mount->source);
        return backing ? backing : strdup(mount->source);
}

/* `file` is what the mount is read from; true: an image of the store. Else *other is the store whose image it is
 * (malloc'ed), NULL: it is none. */
static bool is_image(const struct zp_store *store, const char *file, struct zp_digest *manifest_digest, char **other) {
        zp_autofree char *path = strdup(file);
        *other = NULL;
        if (!path || !split_path(path, manifest_digest))
                return false;
        if (may_be_store(store, path))
                return true;
        *other = zp_steal(&path);
        return false;
}

static bool shows_image(const struct zp_store *store, const struct zp_mount *mount, struct zp_digest *manifest_digest) {
        zp_autofree char *file = file_of(mount);
        zp_autofree char *other = NULL;
        return file && is_image(store, file, manifest_digest, &other);
}

/* A disk that the node's daemon serves (".../disk-<hex>"): its name tells the image. It is never read, for it may be
 * that daemon who asks, and he would wait for himself. */
static bool is_served(const struct zp_mount_table *table, const char *file, struct zp_digest *manifest_digest) {
        zp_autofree char *directory = strdup(file);
        char *slash = directory ? strrchr(directory, '/') : NULL;
        if (!slash)
                return false;
        *slash = '\0';
        const struct zp_mount *mount = zp_mount_table_find(table, directory);
        size_t size = strlen(file), tail = ZP_SHA256_HEX_SIZE - 1;
        *manifest_digest = (struct zp_digest){ 0 };
        if (!mount || strcmp(mount->type, SERVED_TYPE) != 0)
                return false;
        if (size >= tail)
                (void) zp_digest_parse_hex(file + size - tail, manifest_digest);
        return true;
}

int zp_mounts_select(struct zp_store *store, const struct zp_mount_table *table, struct zp_mounts *out,
                     struct zp_error *err) {
        out->items = calloc(table->count + 1, sizeof *out->items);
        if (!out->items)
                return zp_error_errno(err, ENOMEM, "store '%s'", store->path);
        for (size_t i = 0; i < table->count; i++) {
                struct zp_shown *shown = &out->items[out->count];
                zp_autofree char *file = file_of(&table->mounts[i]);
                if (!file)
                        continue;
                zp_autofree char *other = NULL;
                shown->point = table->mounts[i].point;
                if (is_served(table, file, &shown->digest) || is_image(store, file, &shown->digest, &other))
                        out->count++;
                else if (zp_mounts_add_devices(out, file, other, shown->point, err) < 0)
                        return -err->code;
        }
        return 0;
}

int zp_mounts_read(struct zp_store *store, struct zp_mounts *out, struct zp_error *err) {
        int r = zp_mount_table_read(&out->table, err);
        return r < 0 ? r : zp_mounts_select(store, out->table, out, err);
}

void zp_mounts_clear(struct zp_mounts *mounts) {
        free(mounts->items);
        free(mounts->devices);
        zp_mount_table_free(mounts->table);
        *mounts = (struct zp_mounts){ 0 };
}

const char *zp_mounts_of_image(const struct zp_mounts *mounts, const struct zp_digest *manifest_digest) {
        for (size_t i = mounts->count; i-- > 0;)
                if (zp_digest_equal(&mounts->items[i].digest, manifest_digest))
                        return mounts->items[i].point;
        return NULL;
}

static int image_has_device(struct zp_store *store, const struct zp_digest *manifest_digest,
                            const struct zp_digest *device, struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *s = NULL;
        int r = zp_sql_prepare(store,
                               "SELECT 1 FROM image_layers JOIN layer_devices USING (layer)"
                               " WHERE image = ? AND device = ?",
                               &s, err);
        if (r < 0)
                return r;
        zp_sql_bind_digest(s, 1, manifest_digest);
        zp_sql_bind_digest(s, 2, device);
        return zp_sql_step(store, s, err);
}

int zp_mounts_of_device(struct zp_store *store, const struct zp_mounts *mounts, const struct zp_digest *device,
                        struct zp_error *err) {
        if (zp_mounts_show_device(mounts, device))
                return 1;
        for (size_t i = 0; i < mounts->count; i++) {
                int r = image_has_device(store, &mounts->items[i].digest, device, err);
                if (r != 0)
                        return r;
        }
        return 0;
}

bool zp_store_has_mount(const struct zp_store *store, const struct zp_mount *mount) {
        struct zp_digest shown;
        if (shows_image(store, mount, &shown))
                return true;
        /* what was replaced meanwhile, "STORE/tmp/… (deleted)" */
        zp_autofree char *file = file_of(mount);
        size_t size = strlen(store->path);
        return file && strncmp(file, store->path, size) == 0 && file[size] == '/';
}

/* "ROOT/mounts/ID": the daemon's database lies in ROOT. */
bool zp_store_is_daemons_point(const char *point) {
        static const char mounts[] = "/mounts/", database[] = "/metadata.db";
        const char *id = strrchr(point, '/');
        size_t root = id ? (size_t) (id + 1 - point) : 0;
        struct stat st;
        if (root < strlen(mounts) || id[1] == '\0' || id[1 + strspn(id + 1, "0123456789")] != '\0' ||
            strncmp(id + 1 - strlen(mounts), mounts, strlen(mounts)) != 0)
                return false;
        char path[ZP_LIMIT_PATH];
        int size = snprintf(path, sizeof path, "%.*s%s", (int) (root - strlen(mounts)), point, database);
        return size > 0 && size < (int) sizeof path && lstat(path, &st) == 0 && S_ISREG(st.st_mode);
}

char *zp_store_mount_source(const struct zp_store *store, const struct zp_digest *manifest_digest) {
        char hex[ZP_SHA256_HEX_SIZE], *source = NULL;
        zp_digest_hex(manifest_digest, hex);
        if (strlen(store->path) + strlen(IMAGES) + strlen(hex) + strlen(SNAPSHOT) <= ZP_MOUNT_SOURCE_MAX)
                return asprintf(&source, "%s" IMAGES "%s" SNAPSHOT, store->path, hex) < 0 ? NULL : source;
        return asprintf(&source, THROUGH_DESCRIPTOR "%d" IMAGES "%s" SNAPSHOT, store->dir_fd, hex) < 0 ? NULL : source;
}

int zp_store_confirm_mount(struct zp_store *store, const struct zp_digest *manifest_digest, struct zp_error *err) {
        char text[ZP_DIGEST_TEXT_SIZE];
        int r = zp_store_begin_write(store, err);
        if (r < 0)
                return r;
        r = zp_sql_run_digest(store, "SELECT 1 FROM images WHERE manifest_digest = ?", manifest_digest, err);
        if (r == 0)
                r = zp_error_set(err, ENOENT, "image %s was removed meanwhile", zp_digest_text(manifest_digest, text));
        r = zp_store_end(store, r, NULL, err);
        return r < 0 ? r : 0;
}
