/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON from outside, read strictly: bounded size, depth and number of values, no duplicate keys, no key
 * that a laxer reader (Go's, which ignores case) would take for another, and each value of its one type.
 */
#ifndef ZP_OCI_JSON_H
#define ZP_OCI_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/digest.h"

ZP_DEFINE_AUTO(json_t, json_decref);

/* Parses one object of at most ZP_LIMIT_JSON_SIZE bytes. `what` names the document in messages. */
int zp_json_load(const char *body, size_t size, const char *what, json_t **out, struct zp_error *err);
/* As above, of at most `max` bytes. */
int zp_json_load_sized(const char *body, size_t size, size_t max, const char *what, json_t **out, struct zp_error *err);
/* As the first for an array. */
int zp_json_load_array(const char *body, size_t size, const char *what, json_t **out, struct zp_error *err);

enum zp_json_need { ZP_JSON_OPTIONAL, ZP_JSON_REQUIRED };

/* Looks up a member of the type; *out stays the object's. Absent and null are the same: NULL when
 * optional, -EBADMSG when required. */
int zp_json_get(json_t *object, const char *key, json_type type, enum zp_json_need need, const char *what, json_t **out,
                struct zp_error *err);
/* As above; *out is NULL when absent. */
int zp_json_text(json_t *object, const char *key, enum zp_json_need need, const char *what, const char **out,
                 struct zp_error *err);
/* A required "digest". */
int zp_json_digest(json_t *object, const char *key, const char *what, struct zp_digest *out, struct zp_error *err);
/* A required integer ≥ 0. */
int zp_json_size(json_t *object, const char *key, const char *what, uint64_t *out, struct zp_error *err);

#endif
