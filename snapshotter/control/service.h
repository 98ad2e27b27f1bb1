/* SPDX-License-Identifier: Apache-2.0
 *
 * The snapshotter without its network side: what each method of the service does. Records and directories change
 * together here.
 *
 * Thread-safe. Errors: -ENOENT, -EEXIST, -EINVAL, -EBUSY (not in this state) and -ECANCELED speak of the request;
 * all else of trouble on this node.
 */
#ifndef SNAP_SERVICE_H
#define SNAP_SERVICE_H

#include "base/cancel.h"
#include "snapshotter/control/accelerate.h"
#include "snapshotter/control/metastore.h"
#include "snapshotter/control/mount-options.h"

struct snap_service;

struct snap_service_options {
        const char *root;
        bool remap_ids;      /* see struct snap_mount_settings */
        const char *store;   /* of snapshots of images; made when it is not there */
        const char *devices; /* the data plane's file system; NULL: there is none */
        bool accelerate;
        struct snap_accelerator_options acceleration;
};

/* Opens ROOT, and puts right what a process that died left half done. */
int snap_service_open(const struct snap_service_options *options, struct snap_service **out, struct zp_error *err);
void snap_service_close(struct snap_service *service);
ZP_DEFINE_AUTO(struct snap_service, snap_service_close);

/* Prepare and View. */
struct snap_new {
        enum snap_kind kind;
        const char *key, *parent;
        struct snap_labels labels;
        bool mounts_elsewhere; /* this thread shall not wait for the data plane: see -EINPROGRESS */
};
/* -EEXIST also when the labels name a target that is there now, and need not be unpacked. -EINPROGRESS
 * with mounts_elsewhere: nothing was made, and the parent has to be mounted first. */
int snap_service_create(struct snap_service *service, struct zp_arena *arena, const struct snap_new *new,
                        const struct zp_cancel *cancel, struct snap_mount *mount, struct zp_error *err);
/* `mounts_elsewhere` and -EINPROGRESS as of snap_service_create(). */
int snap_service_mounts(struct snap_service *service, struct zp_arena *arena, const char *key, bool mounts_elsewhere,
                        const struct zp_cancel *cancel, struct snap_mount *mount, struct zp_error *err);
/* `parent` for a snapshot that was prepared without one; "": none. */
int snap_service_commit(struct snap_service *service, const char *name, const char *key, const char *parent,
                        const struct snap_labels *labels, const struct zp_cancel *cancel, struct zp_error *err);
int snap_service_remove(struct snap_service *service, const char *key, struct zp_error *err);
/* As snap_metastore_update(). */
int snap_service_update(struct snap_service *service, struct zp_arena *arena, const struct snap_update *update,
                        struct snap_info *info, struct zp_error *err);
int snap_service_usage(struct snap_service *service, const char *key, const struct zp_cancel *cancel,
                       struct snap_usage *usage, struct zp_error *err);
/* Returns when what was removed takes no space any more. */
int snap_service_cleanup(struct snap_service *service, const struct zp_cancel *cancel, struct zp_error *err);
/* For what only reads or labels records. */
struct snap_metastore *snap_service_metastore(struct snap_service *service);

#endif
