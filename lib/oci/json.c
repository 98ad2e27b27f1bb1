/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/json.h"

#include <string.h>
#include <strings.h>

#include "base/limits.h"

/* Values in one document. jansson takes about 100 bytes for each; real documents have a few hundred. */
#define VALUES_MAX 200000

/* Bounds what parsing will cost before anything is allocated. */
static int check_shape(const char *body, size_t size, const char *what, struct zp_error *err) {
        size_t depth = 0, values = 0;
        bool in_string = false;
        for (size_t i = 0; i < size; i++) {
                char c = body[i];
                if (in_string) {
                        if (c == '\\')
                                i++;
                        else if (c == '"')
                                in_string = false;
                        continue;
                }
                in_string = c == '"';
                if (c == '{' || c == '[') {
                        depth++;
                        values++;
                } else if (c == '}' || c == ']') {
                        depth -= depth > 0;
                } else if (c == ',' || c == ':') {
                        values++;
                }
                if (depth > ZP_LIMIT_JSON_DEPTH)
                        return zp_error_set(err, EBADMSG, "%s: JSON nested deeper than %d", what, ZP_LIMIT_JSON_DEPTH);
                if (values > VALUES_MAX)
                        return zp_error_set(err, EBADMSG, "%s: more than %d JSON values", what, VALUES_MAX);
        }
        return 0;
}

static int load(const char *body, size_t size, size_t max, const char *what, json_t **out, struct zp_error *err) {
        if (size > max)
                return zp_error_set(err, EFBIG, "%s: larger than %d MiB", what, (int) (max >> 20));
        int r = check_shape(body, size, what, err);
        if (r < 0)
                return r;
        json_error_t reason;
        *out = json_loadb(body, size, JSON_REJECT_DUPLICATES, &reason);
        if (*out)
                return 0;
        char *quoted = strstr(reason.text, " near '"); /* a piece of the document, which may be a password */
        if (quoted)
                *quoted = '\0';
        return zp_error_set(err, EBADMSG, "%s: not valid JSON: line %d, column %d: %s", what, reason.line,
                            reason.column, reason.text);
}

int zp_json_load(const char *body, size_t size, const char *what, json_t **out, struct zp_error *err) {
        return zp_json_load_sized(body, size, ZP_LIMIT_JSON_SIZE, what, out, err);
}

int zp_json_load_sized(const char *body, size_t size, size_t max, const char *what, json_t **out,
                       struct zp_error *err) {
        zp_auto(json_decref) json_t *json = NULL;
        int r = load(body, size, max, what, &json, err);
        if (r == 0 && !json_is_object(json))
                r = zp_error_set(err, EBADMSG, "%s: not a JSON object", what);
        if (r == 0)
                *out = zp_steal(&json);
        return r;
}

int zp_json_load_array(const char *body, size_t size, const char *what, json_t **out, struct zp_error *err) {
        zp_auto(json_decref) json_t *json = NULL;
        int r = load(body, size, ZP_LIMIT_JSON_SIZE, what, &json, err);
        if (r == 0 && !json_is_array(json))
                r = zp_error_set(err, EBADMSG, "%s: not a JSON array", what);
        if (r == 0)
                *out = zp_steal(&json);
        return r;
}

static const char *type_name(json_type type) {
        switch (type) {
        case JSON_OBJECT:
                return "an object";
        case JSON_ARRAY:
                return "an array";
        case JSON_STRING:
                return "a string";
        case JSON_INTEGER:
                return "an integer";
        default:
                return "of the expected type";
        }
}

/* Whether Go's encoding/json would take `other` for `key`: it folds case as Unicode does, and two letters outside
 * of ASCII fold to ASCII ones: U+017F to 's', U+212A to 'k'. */
static bool folds_to(const char *other, const char *key) {
        while (*key) {
                size_t size = 1;
                char c = *other;
                if (strncmp(other, "\xc5\xbf", 2) == 0)
                        c = 's', size = 2;
                else if (strncmp(other, "\xe2\x84\xaa", 3) == 0)
                        c = 'k', size = 3;
                if (strncasecmp(&c, key, 1) != 0)
                        return false;
                other += size;
                key++;
        }
        return *other == '\0';
}

int zp_json_get(json_t *object, const char *key, json_type type, enum zp_json_need need, const char *what, json_t **out,
                struct zp_error *err) {
        *out = NULL;
        if (!json_is_object(object))
                return zp_error_set(err, EBADMSG, "%s: not an object", what);
        const char *other;
        json_t *ignored;
        json_object_foreach(object, other, ignored) {
                if (folds_to(other, key) && strcmp(other, key) != 0)
                        return zp_error_set(err, EBADMSG, "%s: '%s' is ambiguous with '%s'", what, other, key);
        }
        json_t *value = json_object_get(object, key);
        if (!value || json_is_null(value)) {
                if (need == ZP_JSON_REQUIRED)
                        return zp_error_set(err, EBADMSG, "%s: '%s' is missing", what, key);
                return 0;
        }
        if (json_typeof(value) != type)
                return zp_error_set(err, EBADMSG, "%s: '%s' is not %s", what, key, type_name(type));
        *out = value;
        return 0;
}

int zp_json_text(json_t *object, const char *key, enum zp_json_need need, const char *what, const char **out,
                 struct zp_error *err) {
        json_t *value;
        int r = zp_json_get(object, key, JSON_STRING, need, what, &value, err);
        *out = r == 0 && value ? json_string_value(value) : NULL;
        return r;
}

int zp_json_digest(json_t *object, const char *key, const char *what, struct zp_digest *out, struct zp_error *err) {
        const char *text;
        int r = zp_json_text(object, key, ZP_JSON_REQUIRED, what, &text, err);
        if (r < 0)
                return r;
        r = zp_digest_parse(text, out, err);
        if (r == -EINVAL)
                r = zp_error_set(err, EBADMSG, "'%.200s' is not a digest", text);
        if (r < 0)
                zp_error_wrap(err, "%s", what);
        return r;
}

int zp_json_size(json_t *object, const char *key, const char *what, uint64_t *out, struct zp_error *err) {
        json_t *value;
        int r = zp_json_get(object, key, JSON_INTEGER, ZP_JSON_REQUIRED, what, &value, err);
        if (r < 0)
                return r;
        json_int_t number = json_integer_value(value);
        if (number < 0)
                return zp_error_set(err, EBADMSG, "%s: '%s' is negative", what, key);
        *out = (uint64_t) number;
        return 0;
}
