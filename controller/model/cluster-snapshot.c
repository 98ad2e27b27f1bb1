/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/model/cluster-snapshot.h"

#include <string.h>

#include "base/buffer.h"
#include "base/glob.h"
#include "controller/model/time.h"
#include "oci/reference.h"

#define UNUSED_DEFAULT_S 86400
#define PATTERN_SIZE_MAX 256

static const char *text_of(json_t *object, const char *name) {
        const char *text = json_string_value(json_object_get(object, name));
        return text ? text : "";
}

static int parse_patterns(json_t *object, const char *name, struct ctl_patterns *out, struct zp_error *err) {
        json_t *list, *entry;
        size_t i;
        int r = zp_json_get(object, name, JSON_ARRAY, ZP_JSON_OPTIONAL, "spec", &list, err);
        if (r < 0)
                return r;
        if (json_array_size(list) > CTL_PATTERNS_MAX)
                return zp_error_set(err, EBADMSG, "spec.%s: more than %d", name, CTL_PATTERNS_MAX);
        json_array_foreach(list, i, entry) {
                const char *text = json_string_value(entry);
                if (!text || !*text || strlen(text) > PATTERN_SIZE_MAX)
                        return zp_error_set(err, EBADMSG, "spec.%s[%zu]: no pattern of at most %d characters", name, i,
                                            PATTERN_SIZE_MAX);
                out->items[out->count++] = text;
        }
        return 0;
}

static int parse_spec(json_t *spec, struct ctl_cluster *out, struct zp_error *err) {
        json_t *exclude = NULL;
        int r = parse_patterns(spec, "namespaces", &out->namespaces, err);
        if (r == 0)
                r = parse_patterns(spec, "repositories", &out->repositories, err);
        if (r == 0)
                r = parse_patterns(spec, "tags", &out->tags, err);
        if (r == 0)
                r = zp_json_get(spec, "exclude", JSON_OBJECT, ZP_JSON_OPTIONAL, "spec", &exclude, err);
        if (r == 0 && exclude)
                r = parse_patterns(exclude, "namespaces", &out->not_namespaces, err);
        if (r == 0 && exclude)
                r = parse_patterns(exclude, "repositories", &out->not_repositories, err);
        if (r == 0 && exclude)
                r = parse_patterns(exclude, "tags", &out->not_tags, err);
        if (r == 0)
                r = zp_json_get(spec, "template", JSON_OBJECT, ZP_JSON_OPTIONAL, "spec", &out->template, err);
        out->unused_s = UNUSED_DEFAULT_S;
        const char *unused = text_of(spec, "unusedTTL");
        if (r == 0 && *unused && !ctl_parse_duration(unused, &out->unused_s))
                r = zp_error_set(err, EBADMSG, "spec.unusedTTL: '%.40s' is no duration like 24h", unused);
        if (r == 0 && (out->namespaces.count == 0 || out->repositories.count == 0))
                r = zp_error_set(err, EBADMSG, "spec: no namespaces, or no repositories");
        return r;
}

int ctl_cluster_parse(json_t *object, struct ctl_cluster *out, struct zp_error *err) {
        json_t *metadata = json_object_get(object, "metadata"), *status = json_object_get(object, "status"), *spec;
        *out = (struct ctl_cluster){ .object = json_incref(object),
                                     .name = text_of(metadata, "name"),
                                     .uid = text_of(metadata, "uid"),
                                     .generation = json_integer_value(json_object_get(metadata, "generation")),
                                     .is_being_deleted = *text_of(metadata, "deletionTimestamp") != '\0' };
        if (!*out->name || strlen(out->name) >= CTL_NAME_SIZE || !*out->uid)
                return zp_error_set(err, EBADMSG, "metadata is not an object's of the API server");
        out->observed_generation = json_integer_value(json_object_get(status, "observedGeneration"));
        ctl_conditions_parse(json_object_get(status, "conditions"), out->conditions);
        int r = zp_json_get(object, "spec", JSON_OBJECT, ZP_JSON_REQUIRED, CTL_CLUSTER_KIND, &spec, err);
        return r < 0 ? r : parse_spec(spec, out, err);
}

void ctl_cluster_clear(struct ctl_cluster *cluster) {
        json_decref(cluster->object);
        *cluster = (struct ctl_cluster){ 0 };
}

/* ---- */

static bool fits(const struct ctl_patterns *patterns, const char *text) {
        for (size_t i = 0; i < patterns->count; i++)
                if (zp_glob(patterns->items[i], text))
                        return true;
        return false;
}

bool ctl_cluster_wants(const struct ctl_cluster *cluster, const char *namespace, const char *image) {
        struct zp_reference reference;
        if (!fits(&cluster->namespaces, namespace) || fits(&cluster->not_namespaces, namespace) ||
            zp_reference_parse(image, &reference, NULL) < 0)
                return false;
        zp_autofree char *repository = zp_format("%s/%s", reference.registry, reference.repository);
        const char *tag = reference.has_digest ? NULL : reference.tag;
        bool wants = repository && fits(&cluster->repositories, repository) &&
                     !fits(&cluster->not_repositories, repository) &&
                     (cluster->tags.count == 0 || (tag && fits(&cluster->tags, tag))) &&
                     !(tag && fits(&cluster->not_tags, tag));
        zp_reference_clear(&reference);
        return wants;
}
