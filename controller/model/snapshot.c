/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/model/snapshot.h"

#include <stdio.h>
#include <string.h>

#include "controller/model/time.h"

char *ctl_key(const char *namespace, const char *name, char key[CTL_KEY_SIZE]) {
        snprintf(key, CTL_KEY_SIZE, "%s/%s", namespace, name);
        return key;
}

/* ---- metadata ---- */

static const char *text_of(json_t *object, const char *name) {
        const char *text = json_string_value(json_object_get(object, name));
        return text ? text : "";
}

static bool has_text(json_t *list, const char *wanted) {
        size_t i;
        json_t *entry;
        json_array_foreach(list, i, entry) if (json_is_string(entry) &&
                                               strcmp(json_string_value(entry), wanted) == 0) return true;
        return false;
}

static int parse_metadata(json_t *metadata, struct ctl_snapshot *out, struct zp_error *err) {
        out->namespace = text_of(metadata, "namespace");
        out->name = text_of(metadata, "name");
        out->uid = text_of(metadata, "uid");
        out->generation = json_integer_value(json_object_get(metadata, "generation"));
        out->has_finalizer = has_text(json_object_get(metadata, "finalizers"), CTL_FINALIZER);
        out->retry = text_of(json_object_get(metadata, "annotations"), CTL_RETRY_ANNOTATION);
        ctl_parse_time(text_of(metadata, "creationTimestamp"), &out->created);
        const char *deleted = text_of(metadata, "deletionTimestamp");
        if (*deleted && !ctl_parse_time(deleted, &out->deleted))
                out->deleted = 1;
        if (!*out->namespace || strlen(out->namespace) >= CTL_NAMESPACE_SIZE || !*out->name ||
            strlen(out->name) >= CTL_NAME_SIZE || !*out->uid || strlen(out->retry) > 1024)
                return zp_error_set(err, EBADMSG, "metadata is not an object's of the API server");
        return 0;
}

/* ---- spec ---- */

/* The texts of a list (of objects with a `name` when that is asked for). */
static int parse_texts(json_t *spec, const char *name, const char *member, const char **out, size_t max,
                       size_t size_max, size_t *count, struct zp_error *err) {
        json_t *list, *entry;
        size_t i;
        int r = zp_json_get(spec, name, JSON_ARRAY, ZP_JSON_OPTIONAL, "spec", &list, err);
        if (r < 0)
                return r;
        if (json_array_size(list) > max)
                return zp_error_set(err, EBADMSG, "spec.%s: more than %zu", name, max);
        json_array_foreach(list, i, entry) {
                const char *text = json_string_value(member ? json_object_get(entry, member) : entry);
                if (!text || !*text || strlen(text) > size_max)
                        return zp_error_set(err, EBADMSG, "spec.%s[%zu]: missing, or longer than %zu characters", name,
                                            i, size_max);
                out[(*count)++] = text;
        }
        return 0;
}

static int parse_text(json_t *spec, const char *name, size_t size_max, const char **out, struct zp_error *err) {
        int r = zp_json_text(spec, name, ZP_JSON_OPTIONAL, "spec", out, err);
        if (r == 0 && *out && (!**out || strlen(*out) > size_max))
                return zp_error_set(err, EBADMSG, "spec.%s: empty, or longer than %zu characters", name, size_max);
        return r;
}

static int parse_duration(json_t *spec, const char *name, int64_t *out, struct zp_error *err) {
        const char *text;
        int r = parse_text(spec, name, 16, &text, err);
        if (r == 0 && text && !ctl_parse_duration(text, out))
                return zp_error_set(err, EBADMSG, "spec.%s: '%s' is no duration like 5m or 1h30m", name, text);
        return r;
}

/* One of two or three words; absent: the first. */
static int parse_word(json_t *object, const char *name, const char *const *words, int *out, struct zp_error *err) {
        const char *text;
        *out = 0;
        int r = parse_text(object, name, 64, &text, err);
        if (r < 0 || !text)
                return r;
        for (int i = 0; words[i]; i++)
                if (strcmp(words[i], text) == 0) {
                        *out = i;
                        return 0;
                }
        return zp_error_set(err, EBADMSG, "spec.%s: '%s' is not known", name, text);
}

static int parse_words(json_t *spec, struct ctl_spec *out, struct zp_error *err) {
        static const char *const modes[] = { "Once", "Track", NULL }, *const policies[] = { "Retain", "Delete", NULL };
        static const char *const bases[] = { "Auto", "None", NULL }, *const executors[] = { "", "Hook", "Job", NULL };
        json_t *base;
        int mode = 0, policy = 0, base_policy = 0, executor = 0;
        int r = parse_word(spec, "mode", modes, &mode, err);
        if (r == 0)
                r = parse_word(spec, "deletionPolicy", policies, &policy, err);
        if (r == 0)
                r = parse_word(spec, "executor", executors, &executor, err);
        if (r == 0)
                r = zp_json_get(spec, "base", JSON_OBJECT, ZP_JSON_OPTIONAL, "spec", &base, err);
        if (r == 0 && base)
                r = parse_word(base, "policy", bases, &base_policy, err);
        if (r == 0 && base)
                r = parse_text(base, "image", CTL_IMAGE_SIZE - 1, &out->base_image, err);
        out->is_tracking = mode == 1;
        out->removes_snapshots = policy == 1;
        out->has_no_base = base_policy == 1;
        out->executor = (enum ctl_executor_kind) executor;
        return r;
}

static int parse_signing(json_t *spec, struct ctl_spec *out, struct zp_error *err) {
        json_t *signing;
        int r = zp_json_get(spec, "signing", JSON_OBJECT, ZP_JSON_OPTIONAL, "spec", &signing, err);
        if (r == 0 && signing)
                r = parse_text(signing, "secretName", CTL_NAME_SIZE - 1, &out->signing_secret, err);
        if (r == 0 && signing && !out->signing_secret)
                r = zp_error_set(err, EBADMSG, "spec.signing: secretName is missing");
        return r;
}

static int parse_spec(json_t *spec, struct ctl_spec *out, struct zp_error *err) {
        int r = parse_texts(spec, "images", NULL, out->images, CTL_IMAGES_MAX, CTL_IMAGE_SIZE - 1, &out->image_count,
                            err);
        if (r == 0 && out->image_count == 0)
                r = zp_error_set(err, EBADMSG, "spec.images: empty");
        if (r == 0)
                r = parse_texts(spec, "platforms", NULL, out->platforms, CTL_PLATFORMS_MAX, 64, &out->platform_count,
                                err);
        if (r == 0)
                r = parse_texts(spec, "pullSecrets", "name", out->pull_secrets, CTL_PULL_SECRETS_MAX, CTL_NAME_SIZE - 1,
                                &out->pull_secret_count, err);
        if (r == 0)
                r = parse_text(spec, "serviceAccountName", CTL_NAME_SIZE - 1, &out->service_account, err);
        if (r == 0)
                r = parse_text(spec, "target", 256, &out->target, err);
        out->interval_s = CTL_INTERVAL_DEFAULT_S;
        if (r == 0)
                r = parse_duration(spec, "interval", &out->interval_s, err);
        if (r == 0)
                r = parse_duration(spec, "ttl", &out->ttl_s, err);
        if (r == 0)
                r = parse_words(spec, out, err);
        if (r == 0)
                r = parse_signing(spec, out, err);
        if (out->interval_s < CTL_INTERVAL_MIN_S)
                out->interval_s = CTL_INTERVAL_MIN_S;
        json_int_t priority = json_integer_value(json_object_get(spec, "priority"));
        out->priority = priority < -100 ? -100 : priority > 100 ? 100 : (int) priority;
        out->has_warm_up = json_is_object(json_object_get(spec, "warmUp"));
        return r;
}

int ctl_snapshot_parse(json_t *object, struct ctl_snapshot *out, struct zp_error *err) {
        json_t *spec = NULL;
        *out = (struct ctl_snapshot){
                .object = json_incref(object), .namespace = "", .name = "", .uid = "", .retry = ""
        };
        int r = parse_metadata(json_object_get(object, "metadata"), out, err);
        if (r == 0)
                r = ctl_status_parse(json_object_get(object, "status"), &out->status, err);
        if (r == 0)
                r = zp_json_get(object, "spec", JSON_OBJECT, ZP_JSON_REQUIRED, CTL_SNAPSHOT_KIND, &spec, err);
        return r < 0 ? r : parse_spec(spec, &out->spec, err);
}

void ctl_snapshot_clear(struct ctl_snapshot *snapshot) {
        ctl_status_clear(&snapshot->status);
        json_decref(snapshot->object);
        *snapshot = (struct ctl_snapshot){ 0 };
}
