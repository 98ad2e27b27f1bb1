/* SPDX-License-Identifier: Apache-2.0
 *
 * Where objects are, and what their metadata says.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "controller/kube/kube-internal.h"

static bool add_escaped(struct zp_buffer *out, const char *text) {
        static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
        for (; *text; text++) {
                char escaped[4];
                snprintf(escaped, sizeof escaped, "%%%02X", (unsigned char) *text);
                if (strchr(plain, *text) ? !zp_buffer_append(out, text, 1) : !zp_buffer_text(out, escaped))
                        return false;
        }
        return true;
}

char *zp_kube_escape(const char *text) {
        zp_autobuffer struct zp_buffer out = { 0 };
        return add_escaped(&out, text) && zp_buffer_text(&out, "") ? zp_steal(&out.data) : NULL;
}

static bool add_segment(struct zp_buffer *out, const char *text) {
        return zp_buffer_text(out, "/") && add_escaped(out, text);
}

char *zp_kube_path(const struct zp_kube_place *place, const char *query) {
        zp_autobuffer struct zp_buffer out = { 0 };
        const char *version = place->resource.api_version;
        bool is_good = zp_buffer_text(&out, strchr(version, '/') ? "/apis/" : "/api/") && zp_buffer_text(&out, version);
        if (place->namespace)
                is_good = is_good && zp_buffer_text(&out, "/namespaces") && add_segment(&out, place->namespace);
        is_good = is_good && add_segment(&out, place->resource.plural) &&
                  (!place->name || add_segment(&out, place->name)) &&
                  (!place->subresource || add_segment(&out, place->subresource)) &&
                  (!query || (zp_buffer_text(&out, "?") && zp_buffer_text(&out, query)));
        return is_good ? zp_steal(&out.data) : NULL;
}

char *zp_kube_place_text(const struct zp_kube_place *place, char text[KUBE_PLACE_SIZE]) {
        if (place->name)
                snprintf(text, KUBE_PLACE_SIZE, "%s '%s%s%s'", place->resource.plural,
                         place->namespace ? place->namespace : "", place->namespace ? "/" : "", place->name);
        else
                snprintf(text, KUBE_PLACE_SIZE, "%s%s%s", place->resource.plural, place->namespace ? " in " : "",
                         place->namespace ? place->namespace : "");
        return text;
}

/* ---- metadata ---- */

static const char *metadata(json_t *object, const char *key) {
        const char *text = json_string_value(json_object_get(json_object_get(object, "metadata"), key));
        return text ? text : "";
}

const char *zp_kube_name(json_t *object) {
        return metadata(object, "name");
}

const char *zp_kube_namespace(json_t *object) {
        return metadata(object, "namespace");
}

const char *zp_kube_uid(json_t *object) {
        return metadata(object, "uid");
}

const char *zp_kube_resource_version(json_t *object) {
        return metadata(object, "resourceVersion");
}

int64_t zp_kube_generation(json_t *object) {
        return json_integer_value(json_object_get(json_object_get(object, "metadata"), "generation"));
}

bool zp_kube_is_being_deleted(json_t *object) {
        return metadata(object, "deletionTimestamp")[0] != '\0';
}

char *zp_kube_time_now(char text[ZP_KUBE_TIME_SIZE]) {
        time_t now = time(NULL);
        struct tm t;
        strftime(text, ZP_KUBE_TIME_SIZE, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &t));
        return text;
}
