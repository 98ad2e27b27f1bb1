/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/control/service.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "snapshotter/control/directories.h"

struct snap_service {
        struct snap_directories *directories;
        struct snap_metastore *metastore;
        struct snap_mount_settings mounts;
        pthread_rwlock_t creating; /* shared: a directory may not have its record yet; exclusive: none may */
};

/* A failing file system must not look like an answer about the snapshot. */
static int trouble(int result, struct zp_error *err) {
        if (result >= 0 || result == -ECANCELED || result == -ENOSPC || result == -EDQUOT || result == -ENOMEM)
                return result;
        if (err)
                err->code = EIO;
        return -EIO;
}

static int open_metastore(struct snap_service *service, struct zp_error *err) {
        zp_autofree char *path = zp_format("%s/metadata.db", snap_directories_root(service->directories));
        if (!path)
                return zp_error_errno(err, ENOMEM, "snapshots");
        return snap_metastore_open(path, &service->metastore, err);
}

int snap_service_open(const struct snap_service_options *options, struct snap_service **out, struct zp_error *err) {
        zp_auto(snap_service_close) struct snap_service *service = calloc(1, sizeof *service);
        if (!service)
                return zp_error_errno(err, ENOMEM, "snapshots");
        pthread_rwlock_init(&service->creating, NULL);
        int r = snap_directories_open(options->root, &service->directories, err);
        if (r == 0)
                r = open_metastore(service, err);
        if (r == 0)
                r = snap_directories_sweep(service->directories, service->metastore, err);
        if (r < 0)
                return r;
        snap_mount_settings_detect(snap_directories_root(service->directories), &service->mounts);
        service->mounts.remap_ids = options->remap_ids;
        *out = zp_steal(&service);
        return 0;
}

void snap_service_close(struct snap_service *service) {
        if (!service)
                return;
        snap_metastore_close(service->metastore);
        snap_directories_close(service->directories);
        pthread_rwlock_destroy(&service->creating);
        free(service);
}

struct snap_metastore *snap_service_metastore(struct snap_service *service) {
        return service->metastore;
}

/* ---- Prepare, View ---- */

struct creation {
        struct snap_service *service;
        struct snap_owner mapped; /* -1: as the parent's */
        bool is_mapped, is_made;
};

/* The root directory belongs to whom it belongs in the parent: with a bind mount or an overlay, it is the one seen. */
static int make_directory(void *context, const struct snap_chain *chain, struct zp_error *err) {
        struct creation *creation = context;
        struct snap_directories *directories = creation->service->directories;
        struct snap_owner owner = creation->mapped;
        int r = 0;
        if (!creation->is_mapped && chain->parent_count > 0)
                r = snap_directories_owner(directories, chain->parents[0], &owner, err);
        if (r == 0)
                r = snap_directories_make(directories, chain->info.id, chain->info.kind, owner, err);
        creation->is_made = r == 0;
        return trouble(r, err);
}

int snap_service_create(struct snap_service *service, struct zp_arena *arena, const struct snap_new *new,
                        struct snap_mount *mount, struct zp_error *err) {
        struct creation creation = { .service = service };
        struct snap_create create = { .kind = new->kind,
                                      .name = new->key,
                                      .parent = new->parent,
                                      .labels = new->labels,
                                      .make = make_directory,
                                      .context = &creation };
        struct snap_chain chain;
        int64_t uid, gid;
        int r = snap_mapped_root(&new->labels, &uid, &gid, err);
        if (r < 0)
                return r;
        creation.is_mapped = uid >= 0;
        if (creation.is_mapped)
                creation.mapped = (struct snap_owner){ (uid_t) uid, (gid_t) gid };
        pthread_rwlock_rdlock(&service->creating);
        r = snap_metastore_create(service->metastore, arena, &create, &chain, err);
        if (r < 0 && creation.is_made)
                snap_directories_discard(service->directories, chain.info.id);
        pthread_rwlock_unlock(&service->creating);
        return r < 0 ? r : snap_mount_of(&service->mounts, &chain, arena, mount, err);
}

/* ---- the others ---- */

int snap_service_mounts(struct snap_service *service, struct zp_arena *arena, const char *key, struct snap_mount *mount,
                        struct zp_error *err) {
        struct snap_chain chain;
        int r = snap_metastore_get_chain(service->metastore, arena, key, &chain, err);
        return r < 0 ? r : snap_mount_of(&service->mounts, &chain, arena, mount, err);
}

/* Measured before the transaction: it may take long. */
int snap_service_commit(struct snap_service *service, const char *name, const char *key, const char *parent,
                        const struct snap_labels *labels, const struct zp_cancel *cancel, struct zp_error *err) {
        struct zp_arena arena = { 0 };
        struct snap_commit commit = { .name = name, .key = key, .parent = parent, .labels = *labels };
        struct snap_info info;
        int r = snap_metastore_get(service->metastore, &arena, key, &info, NULL, err);
        if (r == 0 && info.kind == SNAP_ACTIVE)
                r = trouble(snap_directories_usage(service->directories, info.id, cancel, &commit.usage, err), err);
        commit.id = r == 0 ? info.id : 0;
        zp_arena_clear(&arena);
        return r < 0 ? r : snap_metastore_commit(service->metastore, &commit, err);
}

int snap_service_remove(struct snap_service *service, const char *key, struct zp_error *err) {
        uint64_t id;
        int r = snap_metastore_remove(service->metastore, key, &id, err);
        if (r == 0)
                snap_directories_discard(service->directories, id);
        return r;
}

int snap_service_usage(struct snap_service *service, const char *key, const struct zp_cancel *cancel,
                       struct snap_usage *usage, struct zp_error *err) {
        struct zp_arena arena = { 0 };
        struct snap_info info;
        int r = snap_metastore_get(service->metastore, &arena, key, &info, usage, err);
        if (r == 0 && info.kind == SNAP_ACTIVE)
                r = trouble(snap_directories_usage(service->directories, info.id, cancel, usage, err), err);
        zp_arena_clear(&arena);
        return r;
}

int snap_service_cleanup(struct snap_service *service, const struct zp_cancel *cancel, struct zp_error *err) {
        pthread_rwlock_wrlock(&service->creating);
        int r = trouble(snap_directories_sweep(service->directories, service->metastore, err), err);
        pthread_rwlock_unlock(&service->creating);
        return r < 0 ? r : snap_directories_drain(service->directories, cancel, err);
}
