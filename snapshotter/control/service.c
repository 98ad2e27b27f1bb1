/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/control/service.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "snapshotter/control/directories.h"
#include "snapshotter/control/log.h"
#include "snapshotter/control/room.h"
#include "snapshotter/mounts/mounts.h"

struct snap_service {
        struct snap_directories *directories;
        struct snap_metastore *metastore;
        struct zp_store *store;
        struct snap_room *room;
        struct snap_mounts *bases;
        struct snap_accelerator *accelerator; /* NULL: nothing is accelerated */
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

#define ATTEMPTS_MAX 3

/* Whether it is worth another attempt: a few times, when there was no room, and is now: in the database's log, or on
 * the disk. */
static bool may_try_again(struct snap_service *service, int result, unsigned *attempts, struct zp_error *err) {
        bool is_full = result == -ENOSPC || result == -EDQUOT;
        if (!is_full || ++*attempts > ATTEMPTS_MAX ||
            (!snap_room_make(service->room, result, *attempts == ATTEMPTS_MAX) && *attempts > 1))
                return false;
        snap_metastore_settle(service->metastore);
        if (err)
                zp_error_clear(err);
        return true;
}

static int open_metastore(struct snap_service *service, struct zp_error *err) {
        zp_autofree char *path = zp_format("%s/metadata.db", snap_directories_root(service->directories));
        if (!path)
                return zp_error_errno(err, ENOMEM, "snapshots");
        int r = snap_directories_expect_database(snap_directories_root(service->directories), err);
        if (r == 0)
                r = snap_metastore_open(path, &service->metastore, err);
        struct zp_error why = { 0 };
        if (r == 0 && snap_metastore_keep_room(service->metastore, &why) < 0)
                snap_log_event(SNAP_LOG_WARN, "the database has no room to grow", "error", why.message, NULL);
        return r;
}

static int open_acceleration(struct snap_service *service, const struct snap_service_options *options,
                             struct zp_error *err) {
        int r = zp_store_open(options->store, ZP_STORE_CREATE, &service->store, err);
        if (r == 0)
                r = snap_mounts_open(snap_directories_root(service->directories), service->store, options->devices,
                                     &service->bases, err);
        if (r == 0)
                r = snap_mounts_sweep(service->bases, service->metastore, err);
        struct snap_accelerator_options acceleration = options->acceleration;
        acceleration.room = service->room;
        if (r == 0 && options->accelerate)
                r = snap_accelerator_new(service->store, service->metastore, &acceleration, &service->accelerator, err);
        return r;
}

int snap_service_open(const struct snap_service_options *options, struct snap_service **out, struct zp_error *err) {
        zp_auto(snap_service_close) struct snap_service *service = calloc(1, sizeof *service);
        if (!service)
                return zp_error_errno(err, ENOMEM, "snapshots");
        pthread_rwlock_init(&service->creating, NULL);
        int r = snap_directories_open(options->root, &service->directories, err);
        if (r == 0)
                r = snap_room_new(snap_directories_root(service->directories), options->store, &service->room, err);
        if (r == 0)
                snap_room_prepare(service->room);
        if (r == 0)
                r = open_metastore(service, err);
        if (r == 0)
                r = snap_directories_sweep(service->directories, service->metastore, err);
        if (r == 0)
                r = open_acceleration(service, options, err);
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
        snap_accelerator_free(service->accelerator);
        snap_mounts_close(service->bases);
        if (service->store)
                zp_store_close(service->store);
        snap_room_free(service->room);
        snap_metastore_close(service->metastore);
        snap_directories_close(service->directories);
        pthread_rwlock_destroy(&service->creating);
        free(service);
}

struct snap_metastore *snap_service_metastore(struct snap_service *service) {
        return service->metastore;
}

/* ---- bases ---- */

/* Somebody may remove it again before it is mounted. */
#define RESTORES_MAX 5

/* Mounts what lies below, unless this is for others to do; an image that the store has lost is fetched again. */
static int ensure_base(struct snap_service *service, const struct snap_base *base, bool mounts_elsewhere,
                       const struct zp_cancel *cancel, struct stat *root_directory, struct zp_error *err) {
        if (mounts_elsewhere && !snap_mounts_has(service->bases, base->id))
                return zp_error_set(err, EINPROGRESS, "%s has to be mounted", base->reference);
        int r = snap_mounts_ensure(service->bases, base, cancel, root_directory, err);
        for (int i = 0; r == -ENOENT && service->accelerator && i < RESTORES_MAX; i++) {
                snap_log_event(SNAP_LOG_WARN, "fetching a snapshot again that the store has lost", "image",
                               base->reference, NULL);
                r = snap_accelerator_restore(service->accelerator, base, cancel, err);
                if (r == 0)
                        r = snap_mounts_ensure(service->bases, base, cancel, root_directory, err);
        }
        return trouble(r, err);
}

/* A base that was mounted for somebody who then could not have it; whether it was one. */
static bool drop_if_unused(struct snap_service *service, uint64_t base_id) {
        bool is_unused = base_id && snap_metastore_has_base(service->metastore, base_id, NULL) == 0;
        if (is_unused)
                snap_mounts_drop(service->bases, base_id);
        return is_unused;
}

/* 1: the target that the labels name is a snapshot now. 0: it is not, and *why may say so. */
static int accelerate(struct snap_service *service, const struct snap_new *new, const struct zp_cancel *cancel,
                      struct zp_error *why, struct zp_error *err) {
        struct snap_accelerated accelerated = { .name = new->key, .parent = new->parent, .labels = new->labels };
        if (!service->accelerator || new->kind != SNAP_ACTIVE ||
            snap_accelerate(service->accelerator, &new->labels, cancel, &accelerated.base, why) == 0)
                return 0;
        int r = zp_check_cancel(cancel, err);
        if (r < 0)
                return r;
        r = snap_metastore_add_accelerated(service->metastore, &accelerated, err);
        if (r == 0)
                snap_mounts_expect(service->bases, &accelerated.base);
        return r < 0 ? r : 1;
}

/* Whoever asked can see with the snapshot why it was not accelerated: `zeropull rpull`, ctr(8). */
static int add_reason(struct zp_arena *arena, const struct zp_error *why, struct snap_labels *labels,
                      struct zp_error *err) {
        zp_autofree char *text = zp_format("%s: %s", snap_why_name(snap_why_of(-why->code)), why->message);
        struct snap_labels with = { zp_arena_alloc(arena, (labels->count + 1) * sizeof *with.items), 0 };
        char *value = text ? zp_arena_copy(arena, text, strlen(text) + 1) : NULL;
        if (!with.items || !value)
                return zp_error_errno(err, ENOMEM, "request");
        for (size_t i = 0; i < labels->count; i++)
                if (strcmp(labels->items[i].key, SNAP_LABEL_REASON) != 0)
                        with.items[with.count++] = labels->items[i];
        with.items[with.count++] = (struct snap_label){ SNAP_LABEL_REASON, value };
        *labels = with;
        return 0;
}

/* ---- Prepare, View ---- */

struct creation {
        struct snap_service *service;
        struct snap_owner owner; /* who gets the root directory */
        bool is_mapped;
        uint64_t made; /* id of the directory that was made; 0: none */
        const struct zp_cancel *cancel;
        struct snap_base base;      /* what was mounted for it */
        struct stat base_directory; /* its root */
};

/* The root directory belongs to whom it belongs in the parent: with a bind mount or an overlay, it is the one seen. */
static int make_directory(void *context, const struct snap_chain *chain, struct zp_error *err) {
        struct creation *creation = context;
        struct snap_directories *directories = creation->service->directories;
        struct snap_owner owner = creation->owner;
        int r = 0;
        if (chain->base.id != creation->base.id)
                return zp_error_set(err, EAGAIN, "the parent '%.400s' was replaced meanwhile", chain->info.parent);
        if (!creation->is_mapped && chain->parent_count > 0)
                r = snap_directories_owner(directories, chain->parents[0], &owner, err);
        else if (!creation->is_mapped && chain->base.id)
                owner = (struct snap_owner){ creation->base_directory.st_uid, creation->base_directory.st_gid };
        if (r == 0)
                r = snap_directories_make(directories, chain->info.id, chain->info.kind, owner, err);
        creation->made = r == 0 ? chain->info.id : 0;
        /* the last step before all is recorded: who does not wait any longer shall not find it */
        return r < 0 ? trouble(r, err) : zp_check_cancel(creation->cancel, err);
}

static void take_directory_back(void *context) {
        struct creation *creation = context;
        if (creation->made)
                snap_directories_discard(creation->service->directories, creation->made);
}

static int create_recorded(struct snap_service *service, struct zp_arena *arena, const struct snap_new *new,
                           struct creation *creation, struct snap_chain *chain, struct zp_error *err) {
        struct snap_create create = { .kind = new->kind,
                                      .name = new->key,
                                      .parent = new->parent,
                                      .labels = new->labels,
                                      .make = make_directory,
                                      .take_back = take_directory_back,
                                      .context = creation };
        pthread_rwlock_rdlock(&service->creating);
        int r = snap_metastore_create(service->metastore, arena, &create, chain, err);
        pthread_rwlock_unlock(&service->creating);
        return r;
}

/* Mounting may take long, and comes before the transaction. */
static int create(struct snap_service *service, struct zp_arena *arena, const struct snap_new *new,
                  struct creation *creation, const struct zp_cancel *cancel, struct snap_chain *chain,
                  struct zp_error *err) {
        int r = new->parent[0] ? snap_metastore_get_base(service->metastore, arena, new->parent, &creation->base, err)
                               : 0;
        if (r == 0 && creation->base.id)
                r = ensure_base(service, &creation->base, new->mounts_elsewhere, cancel, &creation->base_directory,
                                err);
        if (r == 0)
                r = create_recorded(service, arena, new, creation, chain, err);
        if (r < 0)
                drop_if_unused(service, creation->base.id);
        return r;
}

static int try_create(struct snap_service *service, struct zp_arena *arena, const struct snap_new *wanted,
                      const struct zp_cancel *cancel, struct snap_mount *mount, struct zp_error *err) {
        struct snap_new labelled = *wanted, *new = &labelled;
        struct zp_error why = { 0 };
        struct creation creation = { .service = service, .cancel = cancel };
        struct snap_chain chain;
        int64_t uid, gid;
        int r = accelerate(service, new, cancel, &why, err);
        if (r == 1)
                return zp_error_set(err, EEXIST, "target snapshot '%.400s' already exists",
                                    snap_label_get(&new->labels, SNAP_LABEL_TARGET));
        if (r == 0 && why.code)
                r = add_reason(arena, &why, &new->labels, err);
        if (r == 0)
                r = snap_mapped_root(&new->labels, &uid, &gid, err);
        if (r < 0)
                return r;
        creation.is_mapped = uid >= 0;
        if (creation.is_mapped)
                creation.owner = (struct snap_owner){ (uid_t) uid, (gid_t) gid };
        r = create(service, arena, new, &creation, cancel, &chain, err);
        if (r == 0 && zp_cancelled(cancel)) {
                /* given up while it was recorded: nobody knows of it */
                snap_service_remove(service, new->key, NULL);
                r = zp_check_cancel(cancel, err);
        }
        return r < 0 ? r : snap_mount_of(&service->mounts, &chain, arena, mount, err);
}

int snap_service_create(struct snap_service *service, struct zp_arena *arena, const struct snap_new *new,
                        const struct zp_cancel *cancel, struct snap_mount *mount, struct zp_error *err) {
        unsigned attempts = 0;
        int r;
        do
                r = try_create(service, arena, new, cancel, mount, err);
        while (may_try_again(service, r, &attempts, err));
        return r;
}

/* ---- the others ---- */

int snap_service_mounts(struct snap_service *service, struct zp_arena *arena, const char *key, bool mounts_elsewhere,
                        const struct zp_cancel *cancel, struct snap_mount *mount, struct zp_error *err) {
        struct snap_chain chain;
        int r = snap_metastore_get_chain(service->metastore, arena, key, &chain, err);
        if (r == 0 && chain.base.id)
                r = ensure_base(service, &chain.base, mounts_elsewhere, cancel, NULL, err);
        if (r == 0 && drop_if_unused(service, chain.base.id))
                r = zp_error_set(err, ENOENT, "snapshot '%.400s' was removed meanwhile", key);
        return r < 0 ? r : snap_mount_of(&service->mounts, &chain, arena, mount, err);
}

/* What an active snapshot has written; its directory may go meanwhile, after its record. */
static int measure(struct snap_service *service, const struct snap_info *info, const struct zp_cancel *cancel,
                   struct snap_usage *usage, struct zp_error *err) {
        int r = snap_directories_usage(service->directories, info->id, cancel, usage, err);
        if (r == -ENOENT && snap_metastore_has_id(service->metastore, info->id, NULL) == 0)
                return zp_error_set(err, ENOENT, "snapshot '%.400s' was removed meanwhile", info->name);
        return trouble(r, err);
}

/* Measured before the transaction: it may take long. */
int snap_service_commit(struct snap_service *service, const char *name, const char *key, const char *parent,
                        const struct snap_labels *labels, const struct zp_cancel *cancel, struct zp_error *err) {
        struct zp_arena arena = { 0 };
        struct snap_commit commit = { .name = name, .key = key, .parent = parent, .labels = *labels };
        struct snap_info info;
        int r = snap_metastore_get(service->metastore, &arena, key, &info, NULL, err);
        if (r == 0 && info.kind == SNAP_ACTIVE)
                r = measure(service, &info, cancel, &commit.usage, err);
        commit.id = r == 0 ? info.id : 0;
        zp_arena_clear(&arena);
        unsigned attempts = 0;
        if (r == 0)
                do
                        r = snap_metastore_commit(service->metastore, &commit, err);
                while (may_try_again(service, r, &attempts, err));
        return r;
}

int snap_service_update(struct snap_service *service, struct zp_arena *arena, const struct snap_update *update,
                        struct snap_info *info, struct zp_error *err) {
        unsigned attempts = 0;
        int r;
        do
                r = snap_metastore_update(service->metastore, arena, update, info, err);
        while (may_try_again(service, r, &attempts, err));
        return r;
}

int snap_service_remove(struct snap_service *service, const char *key, struct zp_error *err) {
        uint64_t id, base_id;
        unsigned attempts = 0;
        int r;
        do
                r = snap_metastore_remove(service->metastore, key, &id, &base_id, err);
        while (may_try_again(service, r, &attempts, err));
        if (r == 0)
                snap_directories_discard(service->directories, id);
        if (r == 0 && base_id)
                snap_mounts_drop(service->bases, base_id);
        if (r == 0)
                snap_room_restore(service->room);
        return r;
}

int snap_service_usage(struct snap_service *service, const char *key, const struct zp_cancel *cancel,
                       struct snap_usage *usage, struct zp_error *err) {
        struct zp_arena arena = { 0 };
        struct snap_info info;
        int r = snap_metastore_get(service->metastore, &arena, key, &info, usage, err);
        if (r == 0 && info.kind == SNAP_ACTIVE)
                r = measure(service, &info, cancel, usage, err);
        zp_arena_clear(&arena);
        return r;
}

int snap_service_cleanup(struct snap_service *service, const struct zp_cancel *cancel, struct zp_error *err) {
        pthread_rwlock_wrlock(&service->creating);
        int r = trouble(snap_directories_sweep(service->directories, service->metastore, err), err);
        pthread_rwlock_unlock(&service->creating);
        return r < 0 ? r : snap_directories_drain(service->directories, cancel, err);
}
