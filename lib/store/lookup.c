/* SPDX-License-Identifier: Apache-2.0
 *
 * From what a person types to an image: first as a digest, then as a name, then as the beginning of a
 * digest. A name wins over a digest's beginning: it was given by a person.
 */
#include <string.h>

#include "oci/reference.h"
#include "store/store-internal.h"

#define SHORTEST_PREFIX 6

/* 1: found. */
static int find_by_name(struct zp_store *store, const char *name, struct zp_digest *out, struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *s = NULL;
        int r = zp_sql_prepare(store, "SELECT manifest_digest FROM names WHERE name = ?", &s, err);
        if (r < 0)
                return r;
        sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC);
        r = zp_sql_step(store, s, err);
        return r == 1 && !zp_sql_column_digest(s, 0, out) ? zp_sql_bad_row(store, "names", err) : r;
}

/* The name with what a person may leave out. */
static int find_by_reference(struct zp_store *store, const char *text, struct zp_digest *out, struct zp_error *err) {
        struct zp_reference reference = { 0 };
        if (zp_reference_of_name(text, &reference, NULL) < 0 && zp_reference_parse(text, &reference, NULL) < 0)
                return 0;
        zp_autofree char *full = zp_reference_text(&reference);
        zp_autofree char *name = NULL;
        bool has_digest = reference.has_digest;
        struct zp_digest digest = reference.digest;
        zp_reference_clear(&reference);
        if (!full || asprintf(&name, ZP_REGISTRY_SCHEME "%s", full) < 0) {
                name = NULL;
                return zp_error_errno(err, ENOMEM, "image '%s'", text);
        }
        int r = find_by_name(store, name, out, err);
        if (r != 0 || !has_digest)
                return r;
        *out = digest;
        return zp_sql_run_digest(store, "SELECT 1 FROM images WHERE manifest_digest = ?", out, err);
}

static int ambiguous(const char *text, struct zp_error *err) {
        zp_error_set(err, EEXIST, "'%s' is the beginning of more than one image's digest", text);
        zp_error_hint(err, "type more digits; 'zeropull list' shows them");
        return -EEXIST;
}

static int find_by_prefix(struct zp_store *store, const char *text, struct zp_digest *out, struct zp_error *err) {
        const char *prefix = strncmp(text, "sha256:", 7) == 0 ? text + 7 : text;
        size_t length = strlen(prefix);
        if (length < SHORTEST_PREFIX || length >= ZP_SHA256_HEX_SIZE || strspn(prefix, "0123456789abcdef") != length)
                return 0;
        zp_auto(zp_sqlite_release) sqlite3_stmt *s = NULL;
        int r = zp_sql_prepare(store,
                               "SELECT manifest_digest FROM images"
                               " WHERE substr(lower(hex(manifest_digest)), 1, length(?1)) = ?1 LIMIT 2",
                               &s, err);
        if (r < 0)
                return r;
        sqlite3_bind_text(s, 1, prefix, -1, SQLITE_STATIC);
        r = zp_sql_step(store, s, err);
        if (r != 1)
                return r;
        if (!zp_sql_column_digest(s, 0, out))
                return zp_sql_bad_row(store, "images", err);
        r = zp_sql_step(store, s, err);
        if (r == 1)
                return ambiguous(text, err);
        return r < 0 ? r : 1;
}

static int lookup(struct zp_store *store, const char *text, struct zp_image_record *out, struct zp_error *err) {
        struct zp_digest digest;
        int r = zp_digest_parse(text, &digest, NULL) == 0 ? 1 : find_by_name(store, text, &digest, err);
        if (r == 0)
                r = find_by_reference(store, text, &digest, err);
        if (r == 0)
                r = find_by_prefix(store, text, &digest, err);
        if (r == 1)
                r = zp_records_get_image(store, &digest, out, err);
        if (r != 0)
                return r < 0 ? r : 0;
        zp_error_set(err, ENOENT, "no image '%s' in the store '%s'", text, store->path);
        zp_error_hint(err, "'zeropull list' shows what is there");
        return -ENOENT;
}

int zp_store_lookup_image(struct zp_store *store, const char *text, struct zp_image_record *out, struct zp_error *err) {
        int r = zp_store_begin_read(store, err);
        return r < 0 ? r : zp_store_end(store, lookup(store, text, out, err), NULL, err);
}
