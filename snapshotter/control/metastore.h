/* SPDX-License-Identifier: Apache-2.0
 *
 * Which snapshots there are: the snapshotter's state, in SQLite. It has the rules that need no file system: what may be
 * a parent, what may be removed, which names are taken.
 *
 * Strings in results live in the arena given. Every function is one transaction, and thread-safe. Errors that callers
 * tell apart: -ENOENT, -EEXIST, -EINVAL, and -EBUSY for what the state of a snapshot does not allow; all else is
 * trouble with the database.
 */
#ifndef SNAP_METASTORE_H
#define SNAP_METASTORE_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/digest.h"
#include "base/error.h"
#include "snapshotter/control/info.h"

struct snap_metastore;

int snap_metastore_open(const char *path, struct snap_metastore **out, struct zp_error *err);
/* Beside a daemon, which is waited for `patience_ms`, or without one. -ENOENT: there is none. */
int snap_metastore_open_to_read(const char *path, unsigned patience_ms, struct snap_metastore **out,
                                struct zp_error *err);
void snap_metastore_close(struct snap_metastore *store);
ZP_DEFINE_AUTO(struct snap_metastore, snap_metastore_close);

/* The first `layers` layers of an image, as one read-only file system: what accelerated snapshots show, and what lies
 * below the snapshots based on them. It has a record as long as a snapshot has it. */
struct snap_base {
        uint64_t id; /* 0: none; never used twice */
        struct zp_digest chain_id, manifest_digest;
        const char *reference; /* of the image, as containerd calls it */
        uint16_t layers, of;   /* so many of the image's */
};

/* A snapshot with the ids of what lies below it, the nearest first, down to a base. */
struct snap_chain {
        struct snap_info info;
        uint64_t *parents;
        size_t parent_count;
        struct snap_base base; /* lies below them all; id 0: none */
};

/* What was committed lately goes to its place, as far as that works: the journal's room is used again then. */
void snap_metastore_settle(struct snap_metastore *store);
/* See zp_database_keep_room(). */
int snap_metastore_keep_room(struct snap_metastore *store, struct zp_error *err);

/* Reads one by its name. -ENOENT. `usage` (may be NULL) is what was recorded when it was committed, else zero. */
int snap_metastore_get(struct snap_metastore *store, struct zp_arena *arena, const char *name, struct snap_info *info,
                       struct snap_usage *usage, struct zp_error *err);
/* -ENOENT; -EBUSY: it is committed. */
int snap_metastore_get_chain(struct snap_metastore *store, struct zp_arena *arena, const char *name,
                             struct snap_chain *out, struct zp_error *err);

/* The base that the named snapshot shows, or that lies below it; id 0: none, or no such snapshot. */
int snap_metastore_get_base(struct snap_metastore *store, struct zp_arena *arena, const char *name,
                            struct snap_base *out, struct zp_error *err);

struct snap_create {
        enum snap_kind kind; /* SNAP_VIEW, SNAP_ACTIVE */
        const char *name, *parent;
        struct snap_labels labels; /* those with an empty value are left out, here and everywhere */
        /* Called before the record becomes visible; when it fails, so does all. */
        int (*make)(void *context, const struct snap_chain *chain, struct zp_error *err);
        /* Takes away what `make` made, when nothing was recorded: before another snapshot can get the id. */
        void (*take_back)(void *context);
        void *context;
};
/* -ENOENT: no such parent, -EINVAL: it is not committed, -EEXIST: the name is taken. */
int snap_metastore_create(struct snap_metastore *store, struct zp_arena *arena, const struct snap_create *create,
                          struct snap_chain *chain, struct zp_error *err);

struct snap_commit {
        const char *name, *key;
        uint64_t id;        /* of the snapshot that was measured */
        const char *parent; /* for one that was prepared without; "": none */
        struct snap_labels labels;
        struct snap_usage usage;
};
/* -ENOENT: no snapshot `key`, or none of that name any more; no such parent. -EEXIST: `name` is taken. -EBUSY: `key` is
 * not active, or the parent not committed. -EINVAL: it has another parent. */
int snap_metastore_commit(struct snap_metastore *store, const struct snap_commit *commit, struct zp_error *err);

/* Records a committed snapshot that shows `base` (whose id counts for nothing). When there is one of that parent and
 * chain already, it stays the only one: containerd looks for it by those. -ENOENT, -EINVAL: the parent; -EEXIST: the
 * name is taken. */
struct snap_accelerated {
        const char *name, *parent;
        struct snap_labels labels;
        struct snap_base base;
};
int snap_metastore_add_accelerated(struct snap_metastore *store, const struct snap_accelerated *accelerated,
                                   struct zp_error *err);

/* *base_id is that of a base that nothing has any more, and that has no record any more either; 0: none.
 * -ENOENT; -EBUSY: it has children. */
int snap_metastore_remove(struct snap_metastore *store, const char *name, uint64_t *id, uint64_t *base_id,
                          struct zp_error *err);

/* Replaces all labels, or, with `keys`, sets those of its labels (away when the new value is empty or not there).
 * *info is as it is afterwards. -ENOENT. */
struct snap_update {
        const char *name;
        struct snap_labels labels;
        const char *const *keys; /* NULL: all */
        size_t key_count;
};
int snap_metastore_update(struct snap_metastore *store, struct zp_arena *arena, const struct snap_update *update,
                          struct snap_info *info, struct zp_error *err);

/* Up to `max` snapshots with an id above `after`, by id. Whoever asks page by page sees each snapshot that is there all
 * the time once. Returns how many. */
int snap_metastore_list(struct snap_metastore *store, struct zp_arena *arena, uint64_t after, size_t max,
                        struct snap_info *out, struct zp_error *err);
/* 1: there is a snapshot, or a base, with that id, 0: none. */
int snap_metastore_has_id(struct snap_metastore *store, uint64_t id, struct zp_error *err);
int snap_metastore_has_base(struct snap_metastore *store, uint64_t id, struct zp_error *err);

struct snap_counts {
        uint64_t snapshots[4]; /* by enum snap_kind */
        uint64_t accelerated;  /* of them: with a base of their own */
};
int snap_metastore_count(struct snap_metastore *store, struct snap_counts *out, struct zp_error *err);

/* What became of an image when it was last asked for, for `zeropull status`. */
struct snap_outcome {
        struct zp_digest manifest_digest;
        const char *reference;
        const char *reason; /* why it is not accelerated; NULL: it is */
        int64_t updated_ns; /* when it was asked for; filled in by the store */
};
/* Up to `max` of them, the newest first. Returns how many. */
int snap_metastore_list_outcomes(struct snap_metastore *store, struct zp_arena *arena, size_t max,
                                 struct snap_outcome *out, struct zp_error *err);
int snap_metastore_note(struct snap_metastore *store, const struct snap_outcome *outcome, struct zp_error *err);
/* Of which image a snapshot is, as the labels at it or below say (NULL: they do not), and why it does not show the first
 * layers of that image from a base (NULL: it does). `base` is what snap_metastore_get_base() says of it: another image
 * may have layers of its own over a base that they share. */
struct snap_explained {
        const char *image, *reason;
};
int snap_metastore_explain(struct snap_metastore *store, struct zp_arena *arena, const char *name,
                           const struct snap_base *base, struct snap_explained *out, struct zp_error *err);
/* 1: *info, without labels, is the newest active snapshot that a client of containerd calls `key`: containerd puts
 * namespace and number in front, each with a slash. 0: there is none. */
int snap_metastore_find_active(struct snap_metastore *store, struct zp_arena *arena, const char *key,
                               struct snap_info *info, struct zp_error *err);

#endif
