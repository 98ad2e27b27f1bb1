/* SPDX-License-Identifier: Apache-2.0
 *
 * Choosing an image from an index.
 */
#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "oci/json.h"
#include "oci/manifest-internal.h"

/* What selecting from an index has found so far. */
struct selection {
        json_t *best; /* borrowed from the index */
        int rank;
        json_t *unnamed; /* the entry without a platform */
        unsigned unnamed_count;
        struct zp_buffer offers; /* "linux/amd64, linux/arm64" */
        bool out_of_memory;
};

static void add_offer(struct selection *s, const struct zp_platform *platform) {
        char text[100];
        if (s->offers.size > 300)
                return;
        if (!zp_buffer_text(&s->offers, s->offers.size ? ", " : "") ||
            !zp_buffer_text(&s->offers, zp_platform_text(platform, text)))
                s->out_of_memory = true;
}

static int consider_entry(json_t *entry, const struct zp_platform *wanted, struct selection *s, struct zp_error *err) {
        json_t *json;
        const char *media_type;
        int r = zp_json_text(entry, "mediaType", ZP_JSON_REQUIRED, "index entry", &media_type, err);
        if (r == 0)
                r = zp_json_get(entry, "platform", JSON_OBJECT, ZP_JSON_OPTIONAL, "index entry", &json, err);
        if (r < 0)
                return r;
        if (!zp_is_manifest_type(media_type))
                return 0;
        if (!json) {
                if (s->unnamed_count++ == 0)
                        s->unnamed = entry;
                return 0;
        }
        struct zp_platform platform;
        r = zp_platform_read(json, "index entry", &platform, err);
        if (r < 0)
                return r;
        if (platform.os[0] == '\0' || platform.architecture[0] == '\0') /* against the specification; for nobody */
                return 0;
        if (strcmp(platform.os, "unknown") == 0 && strcmp(platform.architecture, "unknown") == 0)
                return 0;
        add_offer(s, &platform);
        int rank = zp_platform_rank(wanted, &platform);
        if (rank > s->rank) {
                s->best = entry;
                s->rank = rank;
        }
        return 0;
}

static int nothing_selected(const struct zp_platform *wanted, const struct selection *s, struct zp_error *err) {
        char text[100];
        zp_platform_text(wanted, text);
        if (s->unnamed_count > 1)
                return zp_error_set(err, ENOENT, "no image for %s: %u of the index's entries name no platform", text,
                                    s->unnamed_count);
        if (!s->offers.data)
                return zp_error_set(err, ENOENT, "no image for %s: the index has no images", text);
        zp_error_set(err, ENOENT, "no image for %s; there are: %s", text, s->offers.data);
        zp_error_hint(err, "choose one with --platform");
        return -ENOENT;
}

int zp_index_select(const char *body, size_t size, const struct zp_platform *platform, struct zp_descriptor *out,
                    struct zp_error *err) {
        zp_auto(json_decref) json_t *json = NULL;
        enum zp_document_kind kind;
        json_t *entries, *entry;
        int r = zp_json_load(body, size, "index", &json, err);
        if (r == 0)
                r = zp_document_kind_of(json, NULL, &kind, err);
        if (r < 0)
                return r;
        if (kind != ZP_DOCUMENT_INDEX)
                return zp_error_set(err, EBADMSG, "index: is a manifest");
        r = zp_json_get(json, "manifests", JSON_ARRAY, ZP_JSON_REQUIRED, "index", &entries, err);
        struct selection s = { 0 };
        size_t i;
        json_array_foreach(entries, i, entry) {
                if (r == 0)
                        r = consider_entry(entry, platform, &s, err);
        }
        if (r == 0 && s.out_of_memory)
                r = zp_error_errno(err, ENOMEM, "index");
        if (r == 0 && !s.best && s.unnamed_count == 1)
                s.best = s.unnamed;
        if (r == 0)
                r = s.best ? zp_descriptor_parse(s.best, "index entry", out, err) : nothing_selected(platform, &s, err);
        zp_buffer_clear(&s.offers);
        return r;
}
