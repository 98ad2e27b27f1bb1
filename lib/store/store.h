/* SPDX-License-Identifier: Apache-2.0
 *
 * The local store: a directory with devices, layers, snapshots, and a SQLite database that is the truth about
 * what is complete. docs/store.md shows the layout:
 *
 *   zeropull.db                     devices, layers, images, names
 *   lock                            byte ranges of this one file are the locks
 *   devices/<device digest hex>/    device.idx  [device.zst | device.part]  [device.map]
 *   layers/<layer.erofs hex>/       layer.erofs
 *   images/<manifest digest hex>/   snapshot.erofs  manifest.json  config.json  [prefetch.json]  [profile]
 *   unpacked/<device digest>.raw    devices unpacked for a mount; a cache
 *   tmp/<random>/                   work in progress, locked by the process that owns it
 *
 * A device is named by the SHA-256 of its index, which has the digest of each frame of its data; a layer by that of
 * its layer.erofs, which has its devices' names. So neither is ever replaced by another one. A device, layer or image
 * appears by one rename inside one database transaction. A process that dies leaves a directory in tmp/ that the next
 * one to open the store for writing removes.
 * Thread-safe.
 */
#ifndef ZP_STORE_STORE_H
#define ZP_STORE_STORE_H

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/digest.h"
#include "base/limits.h"

struct zp_store;
/* How long to wait for others that have the database locked, from now on (15 s before): for who tries again himself. */
void zp_store_set_patience(struct zp_store *store, unsigned patience_ms);

enum zp_store_mode {
        ZP_STORE_READ,
        ZP_STORE_WRITE,  /* one that is there */
        ZP_STORE_CREATE, /* for writing; made when it is not there */
};

/* Opened for writing, what dead processes left is put right. Opening for reading never changes anything (but
 * rolls back an interrupted commit, when the user may).
 * -ENOENT: no store there; -ENOTEMPTY: a directory with other things; -EACCES, -EROFS; -EBADMSG: the
 * database is damaged or of a newer version. */
int zp_store_open(const char *path, enum zp_store_mode mode, struct zp_store **out, struct zp_error *err);
void zp_store_close(struct zp_store *store);
ZP_DEFINE_AUTO(struct zp_store, zp_store_close);
/* $XDG_DATA_HOME/zeropull or ~/.local/share/zeropull; /var/lib/zeropull for root. malloc'ed, the caller's. */
char *zp_store_default_path(void);
const char *zp_store_path(const struct zp_store *store);

struct zp_device_record {
        struct zp_digest digest; /* of device.idx, which covers device.zst: its name */
        uint64_t index_size;
        uint64_t pack_size;   /* of device.zst */
        uint64_t device_size; /* uncompressed, > 0 */
        struct zp_digest pack_digest;
        bool has_pack_digest; /* else it is not known yet */
        /* how the pack was made, to make the same one again: struct zp_pack_options */
        uint32_t frame_size;
        int level;
        bool is_fetched;  /* somebody else made it */
        bool is_complete; /* device.zst is here; else the device is held by its index alone */
};

/* It was built here, its data was damaged, and nobody is known to have it: the layer has to be converted again. */
static inline bool zp_device_is_lost(const struct zp_device_record *device) {
        return !device->is_complete && !device->is_fetched && !device->has_pack_digest;
}

/* How a layer was converted, as text: "" from its tar alone; else canonical JSON. With the final NUL: */
#define ZP_RECIPE_SIZE 2048

/* A layer, and what it was converted from: different tars may become the same layer. */
struct zp_layer_record {
        struct zp_digest metadata_digest; /* of layer.erofs: its name */
        uint64_t metadata_size;
        struct zp_digest blob_digest;                     /* of layer.erofs as it travels */
        uint64_t blob_size;                               /* 0: that is not known yet */
        uint16_t device_count;                            /* 0: no file data */
        struct zp_digest devices[ZP_LIMIT_LAYER_DEVICES]; /* its own first */

        struct zp_digest diff_id;
        char recipe[ZP_RECIPE_SIZE];
        uint64_t tar_size; /* uncompressed */
        uint64_t entries;
        bool is_fetched; /* somebody else says so: what is built here does not rest on it */
};

/* The blob of a layer that was read here, whole. */
struct zp_blob_record {
        const char *repository; /* of a registry, "docker.io/library/busybox" */
        struct zp_digest digest;
        uint64_t size;
        struct zp_digest diff_id; /* what it contains */
};

struct zp_image_record {
        struct zp_digest manifest_digest;
        char *manifest_media_type;
        char *platform;                   /* "linux/amd64" */
        struct zp_digest metadata_digest; /* of snapshot.erofs */
        uint64_t metadata_size;
        struct zp_digest config_digest;
        uint64_t image_size;          /* compressed, as the registry has it: sum of the layer blobs */
        int64_t created_s;            /* when it was built here, or fetched */
        bool is_fetched;              /* somebody else made it */
        struct zp_digest blob_digest; /* of snapshot.erofs as it travels */
        uint64_t blob_size;           /* 0: that is not known yet */
        char *origin;                 /* name of the remote it was fetched from; NULL: none */
        struct zp_digest artifact_digest;
        bool has_artifact_digest; /* as what it was fetched */
        uint16_t layer_count;
        struct zp_digest *layers;   /* their names, lowest first */
        struct zp_digest *diff_ids; /* as many */
        char **names;               /* source names under which it was built, NULL-terminated */
};
void zp_image_record_clear(struct zp_image_record *record);
/* Whether that is one of its names, as it is. */
bool zp_image_record_has_name(const struct zp_image_record *record, const char *name);

/* 1: found, 0: not there, negative: error. */
int zp_store_find_device(struct zp_store *store, const struct zp_digest *digest, struct zp_device_record *out,
                         struct zp_error *err);
/* `diff_id`: what it was converted from, when it is several things; NULL: any of them. */
int zp_store_find_layer(struct zp_store *store, const struct zp_digest *metadata_digest,
                        const struct zp_digest *diff_id, struct zp_layer_record *out, struct zp_error *err);
/* 1: a device that the layer names is lost; 0: none is. */
int zp_store_layer_is_lost(struct zp_store *store, const struct zp_digest *metadata_digest, struct zp_error *err);
/* A layer that was built here: of that diffID, by that recipe, its own device packed so (if it has one), none lost. */
int zp_store_find_built_layer(struct zp_store *store, const struct zp_digest *diff_id, const char *recipe,
                              uint32_t frame_size, int level, struct zp_layer_record *out, struct zp_error *err);
/* 1: it was read here, from there; 0: not that anybody knew. */
int zp_store_has_blob(struct zp_store *store, const struct zp_blob_record *blob, struct zp_error *err);
int zp_store_note_blob(struct zp_store *store, const struct zp_blob_record *blob, struct zp_error *err);
int zp_store_find_image(struct zp_store *store, const struct zp_digest *manifest_digest, struct zp_image_record *out,
                        struct zp_error *err);
/* Waits until no other process is in the middle of a change. Files are moved before a change is committed: who misses
 * one that a record promises waits, and looks at the record again. */
int zp_store_await_change(struct zp_store *store, const struct zp_cancel *cancel, struct zp_error *err);
/* Finds by what a person types: a source name as built ("docker://" and default parts may be left out), a
 * digest, or the first ≥ 6 hex digits of one. -ENOENT (with the hint to `zeropull list`); -EEXIST: ambiguous. */
int zp_store_lookup_image(struct zp_store *store, const char *text, struct zp_image_record *out, struct zp_error *err);
/* All images, newest first. *out malloc'ed, each record to be cleared. */
int zp_store_list_images(struct zp_store *store, struct zp_image_record **out, size_t *count, struct zp_error *err);
int zp_store_list_layers(struct zp_store *store, struct zp_layer_record **out, size_t *count, struct zp_error *err);
int zp_store_list_devices(struct zp_store *store, struct zp_device_record **out, size_t *count, struct zp_error *err);
/* The devices of an image's layers, each once. */
int zp_store_list_devices_of(struct zp_store *store, const struct zp_digest *manifest_digest,
                             struct zp_device_record **out, size_t *count, struct zp_error *err);

/* For a device that is held by its index alone: the remote that some image with it came from, malloc'ed. 1, 0: none. */
int zp_store_find_device_origin(struct zp_store *store, const struct zp_digest *device, char **origin,
                                struct zp_error *err);
/* 1: an image with this device is mounted somewhere, or another EROFS that reads it; 0: none is. */
int zp_store_device_is_mounted(struct zp_store *store, const struct zp_digest *device, struct zp_error *err);
/* All of the store's devices of which that is so. *out malloc'ed. */
int zp_store_list_mounted_devices(struct zp_store *store, struct zp_digest **out, size_t *count, struct zp_error *err);

/* Opens a file of a device ("device.idx", "device.zst"), layer ("layer.erofs") or image ("snapshot.erofs",
 * "manifest.json", "config.json") read-only. Returns the descriptor, the caller's, or a negative errno. */
int zp_store_open_device_file(struct zp_store *store, const struct zp_digest *device, const char *file,
                              struct zp_error *err);
int zp_store_open_layer_file(struct zp_store *store, const struct zp_digest *metadata_digest, const char *file,
                             struct zp_error *err);
int zp_store_open_image_file(struct zp_store *store, const struct zp_digest *manifest_digest, const char *file,
                             struct zp_error *err);

/* A lock on one digest, against other processes and other threads. Waits (until cancelled); `waiting`, when
 * given, is called once if it has to. The holder keeps it until released or dead (a child that inherits the
 * descriptor holds it as well). As long as anybody holds one, nobody prunes: a build holds its image's from
 * beginning to end. Whoever makes a layer locks its diffID, whoever fetches or unpacks a device its digest. A thread
 * that holds one of these must not wait for another. */
struct zp_store_lock;
int zp_store_lock(struct zp_store *store, const struct zp_digest *key, const struct zp_cancel *cancel,
                  void (*waiting)(void *context), void *context, struct zp_store_lock **out, struct zp_error *err);
void zp_store_unlock(struct zp_store_lock *lock);
ZP_DEFINE_AUTO(struct zp_store_lock, zp_store_unlock);

/* A place to write a new device, layer or image: a directory in tmp/, removed with the handle unless committed. */
struct zp_staging;
int zp_staging_new(struct zp_store *store, struct zp_staging **out, struct zp_error *err);
/* Creates a file in it for reading and writing; returns the descriptor, the caller's. */
int zp_staging_create(struct zp_staging *staging, const char *file, struct zp_error *err);
/* Creates it with this content. */
int zp_staging_write(struct zp_staging *staging, const char *file, const void *data, size_t size, struct zp_error *err);
/* Syncs all files, moves the directory to its place and records it, all or nothing. A record already there is replaced
 * (the new one is known good); what was fetched and is now built here counts as built, never the other way round, and
 * no complete device becomes incomplete. Files that do not belong to a device, layer or image are
 * removed; those that do must have the recorded sizes (-EINVAL). A layer's devices, an image's layers must be in the
 * store: -EAGAIN when one is not, and the build should be run again. For an image, hold the lock on its manifest
 * digest. */
int zp_staging_commit_device(struct zp_staging *staging, const struct zp_device_record *record, struct zp_error *err);
int zp_staging_commit_layer(struct zp_staging *staging, const struct zp_layer_record *record, struct zp_error *err);
int zp_staging_commit_image(struct zp_staging *staging, const struct zp_image_record *record, struct zp_error *err);
/* Syncs the files that are in it, all closed or written, so that the commit need not: threads that do so at the same
 * time share the wait. */
int zp_staging_sync(struct zp_staging *staging, struct zp_error *err);
/* What the calling thread commits between these two appears at once, and waits for the disk once. The store is the
 * thread's alone meanwhile. When `result` is negative or a commit has failed, nothing of it appears. An image that is
 * there cannot be replaced so (-EINVAL). Returns `result` or the failure. */
int zp_store_begin_batch(struct zp_store *store, struct zp_error *err);
int zp_store_end_batch(struct zp_store *store, int result, struct zp_error *err);
/* The data of a device that is held by its index alone, as far as it has come: a file beside the index, to append to
 * once its content was checked. Hold the device's lock. Returns the descriptor, the caller's; it stays when the process
 * dies. Then the data is complete, as recorded in size, and checked against the index: it is synced and becomes
 * device.zst. */
int zp_store_open_partial(struct zp_store *store, const struct zp_digest *device, struct zp_error *err);
int zp_store_complete_device(struct zp_store *store, const struct zp_digest *device,
                             const struct zp_digest *pack_digest, struct zp_error *err);
/* Data that turned out to be damaged, in the file `pack_fd` (negative: that is missing), becomes what has come so far,
 * as above: the device is held by its index alone. Nothing happens if a build has made it anew meanwhile. Hold the
 * device's lock. */
int zp_store_set_pack_aside(struct zp_store *store, const struct zp_digest *device, int pack_fd, struct zp_error *err);
/* The same of a device that was built here: it is lost until it is built again. */
int zp_store_give_pack_up(struct zp_store *store, const struct zp_digest *device, int pack_fd, struct zp_error *err);
/* What a file is once it travels, so that nobody has to find out again: a device's pack; layer.erofs and
 * snapshot.erofs, compressed. Of a record that is no longer there: nothing happens. */
int zp_store_note_pack(struct zp_store *store, const struct zp_digest *device, const struct zp_digest *pack_digest,
                       struct zp_error *err);
int zp_store_note_layer_blob(struct zp_store *store, const struct zp_digest *metadata_digest,
                             const struct zp_digest *blob_digest, uint64_t blob_size, struct zp_error *err);
int zp_store_note_image_blob(struct zp_store *store, const struct zp_digest *manifest_digest,
                             const struct zp_digest *metadata_digest, const struct zp_digest *blob_digest,
                             uint64_t blob_size, struct zp_error *err);
/* The directory's path, for more than files of a layer or image; malloc'ed, the caller's. NULL: out of memory. */
char *zp_staging_path(const struct zp_staging *staging);
void zp_staging_free(struct zp_staging *staging);
ZP_DEFINE_AUTO(struct zp_staging, zp_staging_free);

/* 1: a layer or device of the image was made by others, and nobody here has vouched for it; 0: none. Who signs asks. */
int zp_store_rests_on_fetched(struct zp_store *store, const struct zp_digest *manifest_digest, struct zp_error *err);
/* The layers and devices of a fetched image count as made here from now on: it has been signed by whoever signs here.
 */
int zp_store_vouch(struct zp_store *store, const struct zp_digest *manifest_digest, struct zp_error *err);

/* Adds a name to an image that is there (moving it from another image: a tag moves). */
int zp_store_add_name(struct zp_store *store, const char *name, const struct zp_digest *manifest_digest,
                      struct zp_error *err);

/* Removes an image; its layers stay until prune. -EBUSY while it is mounted, or something else that reads a device
 * which no other image has, or while somebody has its lock, to build, pull or mount it. */
int zp_store_remove_image(struct zp_store *store, const struct zp_digest *manifest_digest, struct zp_error *err);
struct zp_prune_result {
        uint64_t layers, devices, unpacked;
        uint64_t partial; /* device.part: data that a pull began to fetch */
        uint64_t bytes;
};
/* Removes layers no image names, devices no layer names and nothing mounted reads, unpacked devices not mounted or
 * being written, data that came in part, leftovers. -EBUSY while anybody holds a lock (builds, pulls, unpacks). A dry
 * run changes nothing and works for a reader; its numbers leave out leftovers. */
int zp_store_prune(struct zp_store *store, bool dry_run, struct zp_prune_result *result, struct zp_error *err);

/* The device unpacked as a raw file for the kernel to read, made when it is not there yet (verified, in parallel, under
 * the device's lock). One that is there is taken as it is when its size is right: to compare it takes longer than to
 * make it, and is `verify`'s work. Returns a read-only descriptor, the caller's. -ENODATA: the device is held by its
 * index alone. */
struct zp_pool;
int zp_store_unpack_device(struct zp_store *store, const struct zp_digest *device, struct zp_pool *pool,
                           const struct zp_cancel *cancel, struct zp_error *err);

/* The unpacked device as it lies there, not compared with anything; the descriptor is the caller's. -ENOENT, without
 * a message: there is none; -EBADMSG: something else has its name. */
int zp_store_open_unpacked(struct zp_store *store, const struct zp_digest *device, struct zp_error *err);

/* What is mounted is not removed: the kernel's mount table says which images are, by the file each EROFS is read
 * from. Whoever mounts gives this as the source (malloc'ed, the caller's; NULL: no memory; good as long as the store is
 * open), and confirms afterwards: -ENOENT when the image has been removed before anybody could see the mount. */
char *zp_store_mount_source(const struct zp_store *store, const struct zp_digest *manifest_digest);
int zp_store_confirm_mount(struct zp_store *store, const struct zp_digest *manifest_digest, struct zp_error *err);
/* Whether a mount shows something of the store. */
struct zp_mount;
bool zp_store_has_mount(const struct zp_store *store, const struct zp_mount *mount);
/* Whether a mount point is one of a node's daemon, who unmounts it when no container needs it any more (docs/node.md). */
bool zp_store_is_daemons_point(const char *point);

#endif
