/* SPDX-License-Identifier: Apache-2.0
 *
 * The metastore's answers to people: how many there are of what, what became of images, what shows what.
 */
#include <string.h>

#include "snapshotter/control/accelerate.h"
#include "snapshotter/control/metastore-internal.h"

/* More layers than an image has. */
#define DEPTH_MAX 256

static int count(struct snap_metastore *store, struct snap_counts *out, struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *row = NULL;
        *out = (struct snap_counts){ 0 };
        int r = zp_database_prepare(store->database, "SELECT kind, count(*), count(base) FROM snapshots GROUP BY kind",
                                    &row, err);
        while (r == 0 && (r = zp_database_step(store->database, row, err)) == 1) {
                int kind = sqlite3_column_int(row, 0);
                if (kind < SNAP_VIEW || kind > SNAP_COMMITTED)
                        return zp_database_bad_row(store->database, "snapshots", err);
                out->snapshots[kind] = (uint64_t) sqlite3_column_int64(row, 1);
                out->accelerated += (uint64_t) sqlite3_column_int64(row, 2);
                r = 0;
        }
        return r;
}

int snap_metastore_count(struct snap_metastore *store, struct snap_counts *out, struct zp_error *err) {
        int r = zp_database_begin(store->database, false, err);
        return r < 0 ? r : zp_database_end(store->database, count(store, out, err), err);
}

static int read_outcome(struct snap_metastore *store, struct zp_arena *arena, sqlite3_stmt *row,
                        struct snap_outcome *out, struct zp_error *err) {
        const void *digest = sqlite3_column_blob(row, 0);
        if (!digest || sqlite3_column_bytes(row, 0) != ZP_SHA256_SIZE)
                return zp_database_bad_row(store->database, "images", err);
        *out = (struct snap_outcome){ .reference = snap_copy_text(arena, row, 1),
                                      .reason = snap_copy_text(arena, row, 2),
                                      .updated_ns = sqlite3_column_int64(row, 3) };
        memcpy(out->manifest_digest.bytes, digest, ZP_SHA256_SIZE);
        bool has_reason = sqlite3_column_type(row, 2) != SQLITE_NULL;
        return out->reference && (out->reason || !has_reason) ? 0 : snap_no_memory(err);
}

static int list_outcomes(struct snap_metastore *store, struct zp_arena *arena, size_t max, struct snap_outcome *out,
                         struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *row = NULL;
        int found = 0;
        int r = snap_prepare_id(store,
                                "SELECT manifest_digest, reference, reason, updated_ns FROM images"
                                " ORDER BY updated_ns DESC LIMIT ?1",
                                max, &row, err);
        while (r == 0 && (r = zp_database_step(store->database, row, err)) == 1)
                r = read_outcome(store, arena, row, &out[found++], err);
        return r < 0 ? r : found;
}

int snap_metastore_list_outcomes(struct snap_metastore *store, struct zp_arena *arena, size_t max,
                                 struct snap_outcome *out, struct zp_error *err) {
        int r = zp_database_begin(store->database, false, err);
        return r < 0 ? r : zp_database_end(store->database, list_outcomes(store, arena, max, out, err), err);
}

/* ---- why a container is not accelerated ---- */

/* *reason NULL: there is none; *is_known false: there is no record of the image. */
static int read_reason(struct snap_metastore *store, struct zp_arena *arena, const char *manifest, bool *is_known,
                       const char **reason, struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *row = NULL;
        struct zp_digest digest;
        *is_known = false;
        if (zp_digest_parse(manifest, &digest, NULL) < 0)
                return 0;
        int r = zp_database_prepare(store->database,
                                    "SELECT manifest_digest, reference, reason, updated_ns FROM images"
                                    " WHERE manifest_digest = ?1",
                                    &row, err);
        if (r == 0) {
                sqlite3_bind_blob(row, 1, digest.bytes, sizeof digest.bytes, SQLITE_STATIC);
                r = zp_database_step(store->database, row, err);
        }
        struct snap_outcome outcome = { 0 };
        if (r == 1)
                r = read_outcome(store, arena, row, &outcome, err) < 0 ? -err->code : 1;
        *is_known = r == 1;
        *reason = outcome.reason;
        return r < 0 ? r : 0;
}

/* What the labels at a snapshot, or at the nearest below that has some, say; none are looked for below a base. */
struct labelled {
        const char *manifest, *image; /* NULL: nothing */
        bool shows_base;              /* the search ended at what shows one */
        bool has_parent;
};

static int find_image(struct snap_metastore *store, struct zp_arena *arena, const char *name, struct labelled *out,
                      struct zp_error *err) {
        struct snap_info info = { .parent = name };
        *out = (struct labelled){ 0 };
        for (int depth = 0; depth < DEPTH_MAX && info.parent[0] && !out->manifest && !out->shows_base; depth++) {
                uint64_t base = 0;
                int r = snap_find(store, arena, info.parent, &info, NULL, err);
                if (r == -ENOENT) {
                        zp_error_clear(err);
                        break; /* removed meanwhile */
                }
                if (r == 0)
                        r = snap_read_labels(store, arena, info.id, &info.labels, err);
                if (r == 0)
                        r = snap_base_of(store, info.id, &base, err);
                if (r < 0)
                        return r;
                out->manifest = snap_label_get(&info.labels, SNAP_LABEL_MANIFEST);
                out->image = snap_label_get(&info.labels, SNAP_LABEL_IMAGE);
                out->shows_base = base != 0;
                out->has_parent |= info.parent[0] != '\0';
        }
        return 0;
}

static int explain(struct snap_metastore *store, struct zp_arena *arena, const char *name, const struct snap_base *base,
                   struct snap_explained *out, struct zp_error *err) {
        struct labelled labelled;
        const char *noted = NULL;
        bool is_known = false;
        struct zp_digest manifest;
        int r = find_image(store, arena, name, &labelled, err);
        bool is_of_base = labelled.manifest && zp_digest_parse(labelled.manifest, &manifest, NULL) == 0 &&
                          zp_digest_equal(&manifest, &base->manifest_digest);
        *out = (struct snap_explained){ .image = labelled.image };
        if (r < 0 || (base->id && (labelled.shows_base || is_of_base)))
                return r;
        if (labelled.manifest)
                r = read_reason(store, arena, labelled.manifest, &is_known, &noted, err);
        out->reason = !labelled.has_parent ? "it has no parent"
                      : !labelled.manifest ? "containerd did not say of which image its layers are"
                      : !is_known          ? "the daemon was not asked for the image, or has forgotten it"
                      : noted              ? noted
                                           : "its layers were unpacked before the image had a snapshot";
        return r;
}

int snap_metastore_explain(struct snap_metastore *store, struct zp_arena *arena, const char *name,
                           const struct snap_base *base, struct snap_explained *out, struct zp_error *err) {
        int r = zp_database_begin(store->database, false, err);
        return r < 0 ? r : zp_database_end(store->database, explain(store, arena, name, base, out, err), err);
}

static int find_active(struct snap_metastore *store, struct zp_arena *arena, const char *key, struct snap_info *info,
                       struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *row = NULL;
        int r = snap_prepare_id(store, "SELECT " SNAP_INFO_COLUMNS "WHERE s.kind = ?1 ORDER BY s.id DESC", SNAP_ACTIVE,
                                &row, err);
        while (r == 0 && (r = zp_database_step(store->database, row, err)) == 1) {
                const char *name = (const char *) sqlite3_column_text(row, 1);
                const char *slash = name ? strrchr(name, '/') : NULL;
                if (slash && strcmp(slash + 1, key) == 0)
                        return snap_read_info(store, arena, row, info, NULL, err) < 0 ? -err->code : 1;
                r = 0;
        }
        return r;
}

int snap_metastore_find_active(struct snap_metastore *store, struct zp_arena *arena, const char *key,
                               struct snap_info *info, struct zp_error *err) {
        int r = zp_database_begin(store->database, false, err);
        return r < 0 ? r : zp_database_end(store->database, find_active(store, arena, key, info, err), err);
}
