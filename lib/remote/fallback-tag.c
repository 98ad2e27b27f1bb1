/* SPDX-License-Identifier: Apache-2.0
 *
 * The referrers tag schema (distribution-spec 1.1, "Unavailable Referrers API"): an index of artifacts behind the tag
 * `sha256-HEX`, which every publisher reads, extends and writes back.
 *
 * Registries write a tag unconditionally (few honour If-Match), so of two that do so at once, one's entry may be lost.
 * Therefore a publisher looks again after a while longer than it takes itself from reading to having written, and puts
 * back whatever it has seen and is missing, its own entry and others', until nothing is. Entries are lost only to a
 * writer that takes more than SETTLE_FACTOR times as long for the same (and more than SETTLE_MIN_MS), and does not look
 * again itself: two of ours always end with both.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/limits.h"
#include "oci/fetch.h"
#include "oci/json.h"
#include "oci/response-error.h"
#include "oci/transfer.h"
#include "remote/registry-internal.h"

#define TAG_SIZE (7 + ZP_SHA256_HEX_SIZE)
#define ROUNDS_MAX 20
#define SETTLE_FACTOR 4u
#define SETTLE_MIN_MS 100u
#define SETTLE_MAX_MS 5000u
#define LIST_WITH_DATA_MAX (1u << 20) /* a longer one does without: some registries accept less */
#define INDEX_MAX (4u << 20)          /* what registries accept as a manifest */

static uint64_t now_ms(void) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t) t.tv_sec * 1000 + (uint64_t) t.tv_nsec / 1000000;
}

static char *tag_of(const struct zp_digest *subject, char tag[TAG_SIZE]) {
        memcpy(tag, "sha256-", 7);
        zp_digest_hex(subject, tag + 7);
        return tag;
}

static bool is_index(const char *media_type, json_t *json) {
        const char *inner = json_string_value(json_object_get(json, "mediaType"));
        const char *type = inner ? inner : media_type ? media_type : "";
        size_t size = strcspn(type, "; \t");
        return size == strlen(ZP_OCI_INDEX_TYPE) && strncasecmp(type, ZP_OCI_INDEX_TYPE, size) == 0;
}

/* What the tag's content is good for. */
static int read_index(const struct zp_http_response *response, const struct zp_digest *subject, json_t **index,
                      struct zp_error *err) {
        zp_auto(json_decref) json_t *json = NULL;
        struct zp_digest digest;
        char tag[TAG_SIZE];
        const char *body = response->body.data ? response->body.data : "";
        zp_digest_of(body, response->body.size, &digest);
        if (zp_digest_equal(&digest, subject)) /* GitLab takes the tag for the digest */
                return 0;
        int r = zp_json_load(body, response->body.size, tag_of(subject, tag), &json, err);
        if (r < 0)
                return r;
        if (!is_index(response->content_type, json))
                return zp_error_set(err, EEXIST, "the tag %s names something else than a list of artifacts", tag);
        json_t *entries;
        r = zp_json_get(json, "manifests", JSON_ARRAY, ZP_JSON_REQUIRED, tag, &entries, err);
        if (r == 0)
                *index = zp_steal(&json);
        return r;
}

int zp_fallback_read(struct zp_registry_remote *remote, const struct zp_digest *subject, bool is_for_push,
                     json_t **index, char **etag, struct zp_error *err) {
        char path[10 + TAG_SIZE] = "manifests/";
        tag_of(subject, path + strlen(path));
        struct zp_http_request request = { .is_for_push = is_for_push,
                                           .accept = ZP_ACCEPT_MANIFESTS,
                                           .body_limit = ZP_LIMIT_JSON_SIZE };
        struct zp_http_response response = { 0 };
        *index = NULL;
        *etag = NULL;
        int r = zp_transfer_request(remote->registry, path, NULL, &request, &response, err);
        if (r == 0 && response.status == 200) {
                r = read_index(&response, subject, index, err);
                if (*index)
                        *etag = zp_steal(&response.etag);
        } else if (r == 0 && response.status != 404) {
                r = zp_registry_refused(remote->registry, &response, err);
        }
        zp_http_response_clear(&response);
        return r;
}

/* A publication under way. */
struct publication {
        struct zp_registry_remote *remote;
        const struct zp_digest *subject;
        json_t *own;  /* an array of the descriptor to add */
        json_t *seen; /* all descriptors that belong into the index, in the order in which they came */
        json_t *index;
        char *etag;
};

static bool has_entry(json_t *entries, const char *digest) {
        json_t *entry;
        size_t i;
        json_array_foreach(entries, i, entry) {
                const char *other = json_string_value(json_object_get(entry, "digest"));
                if (other && strcmp(other, digest) == 0)
                        return true;
        }
        return false;
}

/* Appends the entries that `to` does not have; returns how many, or -ENOMEM. What has no digest is nobody's. */
static int append_missing(json_t *to, json_t *from, struct zp_error *err) {
        json_t *entry;
        size_t i;
        int added = 0;
        json_array_foreach(from, i, entry) {
                const char *digest = json_string_value(json_object_get(entry, "digest"));
                if (!digest || has_entry(to, digest))
                        continue;
                if (json_array_append(to, entry) < 0)
                        return zp_error_errno(err, ENOMEM, "referrers");
                added++;
        }
        return added;
}

static int read_current(struct publication *p, struct zp_error *err) {
        if (p->index)
                json_decref(zp_steal(&p->index));
        free(zp_steal(&p->etag));
        int r = zp_fallback_read(p->remote, p->subject, true, &p->index, &p->etag, err);
        if (r < 0 || p->index)
                return r;
        p->index = json_pack("{s:i, s:s, s:[]}", "schemaVersion", 2, "mediaType", ZP_OCI_INDEX_TYPE, "manifests");
        return p->index ? 0 : zp_error_errno(err, ENOMEM, "referrers");
}

/* Some registries refuse an index with an entry whose manifest was deleted; such an entry is of no use to anybody. */
static int drop_dangling(struct publication *p, struct zp_error *err) {
        size_t i = 0;
        int dropped = 0;
        while (i < json_array_size(p->seen)) {
                const char *digest = json_string_value(json_object_get(json_array_get(p->seen, i), "digest"));
                zp_autofree char *path = zp_format("manifests/%s", digest);
                struct zp_http_request request = { .method = "HEAD",
                                                   .is_for_push = true,
                                                   .accept = ZP_ACCEPT_MANIFESTS };
                struct zp_http_response response = { 0 };
                struct zp_digest parsed;
                int r = path ? zp_digest_parse(digest, &parsed, NULL) : zp_error_errno(err, ENOMEM, "referrers");
                if (r == 0)
                        r = zp_transfer_request(p->remote->registry, path, NULL, &request, &response, err);
                bool is_dangling = r == 0 && response.status == 404;
                zp_http_response_clear(&response);
                if (r < 0 && r != -EINVAL && r != -ENOTSUP)
                        return r;
                if (is_dangling && json_array_remove(p->seen, i) == 0)
                        dropped++;
                else
                        i++;
        }
        return dropped;
}

/* Only the newest of a type, which readers look at first, has its manifest in itself: lists stay short. */
static void drop_older_data(json_t *entries, json_t *own) {
        const char *wanted = json_string_value(json_object_get(own, "artifactType"));
        bool is_newest = true;
        for (size_t i = json_array_size(entries); i-- > 0;) {
                json_t *entry = json_array_get(entries, i);
                const char *type = json_string_value(json_object_get(entry, "artifactType"));
                if (!type || !wanted || strcmp(type, wanted) != 0)
                        continue;
                if (!is_newest)
                        json_object_del(entry, "data");
                is_newest = false;
        }
}

static int put_index(struct publication *p, struct zp_http_response *response, struct zp_error *err) {
        char tag[TAG_SIZE];
        drop_older_data(json_object_get(p->index, "manifests"), json_array_get(p->own, 0));
        zp_autofree char *body = json_dumps(p->index, JSON_COMPACT);
        if (body && strlen(body) > LIST_WITH_DATA_MAX) {
                json_object_del(json_array_get(p->own, 0), "data");
                free(body);
                body = json_dumps(p->index, JSON_COMPACT);
        }
        if (!body)
                return zp_error_errno(err, ENOMEM, "referrers");
        if (strlen(body) > INDEX_MAX)
                return zp_error_set(err, EFBIG, "the list of artifacts would be larger than %u MiB", INDEX_MAX >> 20);
        return zp_registry_put_manifest(p->remote->registry, tag_of(p->subject, tag), ZP_OCI_INDEX_TYPE, body,
                                        strlen(body), p->etag, response, err);
}

/* Writes the index with all that was seen. 0: written, or somebody else was faster: read again. */
static int write_back(struct publication *p, struct zp_error *err) {
        struct zp_http_response response = { 0 };
        int r = put_index(p, &response, err);
        bool is_refused = r == 0 && (response.status == 400 || response.status == 404);
        if (is_refused && drop_dangling(p, NULL) > 0) {
                zp_http_response_clear(&response);
                json_t *entries = json_copy(p->seen);
                r = json_object_set_new(p->index, "manifests", entries) < 0 ? zp_error_errno(err, ENOMEM, "referrers")
                                                                            : put_index(p, &response, err);
        }
        bool is_written = response.status >= 200 && response.status < 300;
        if (r == 0 && !is_written && response.status != 409 && response.status != 412)
                r = zp_registry_refused(p->remote->registry, &response, err);
        zp_http_response_clear(&response);
        return r;
}

/* Long enough for another's writing to show, and never the same for two. */
static unsigned settle_ms(uint64_t own_ms) {
        uint64_t ms = own_ms * SETTLE_FACTOR;
        unsigned random = 0;
        if (ms < SETTLE_MIN_MS)
                ms = SETTLE_MIN_MS;
        if (ms > SETTLE_MAX_MS)
                ms = SETTLE_MAX_MS;
        if (getrandom(&random, sizeof random, GRND_NONBLOCK) != sizeof random)
                random = (unsigned) now_ms();
        return (unsigned) ms + random % (unsigned) ms;
}

static int add_until_it_stays(struct publication *p, struct zp_error *err) {
        const struct zp_cancel *cancel = zp_http_cancel(zp_registry_http(p->remote->registry));
        for (int round = 0; round < ROUNDS_MAX; round++) {
                uint64_t start = now_ms();
                int r = read_current(p, err);
                if (r < 0)
                        return r;
                json_t *entries = json_object_get(p->index, "manifests");
                r = append_missing(p->seen, entries, err);
                if (r >= 0)
                        r = append_missing(p->seen, p->own, err);
                int missing = r < 0 ? r : append_missing(entries, p->seen, err);
                if (missing <= 0)
                        return missing;
                r = write_back(p, err);
                if (r < 0)
                        return r;
                if (!zp_pause(settle_ms(now_ms() - start), cancel))
                        return zp_check_cancel(cancel, err);
        }
        return zp_error_set(err, EBUSY, "others write the list of artifacts again and again");
}

int zp_fallback_add(struct zp_registry_remote *remote, const struct zp_digest *subject, json_t *entry,
                    struct zp_error *err) {
        struct publication p = { .remote = remote, .subject = subject, .own = json_array(), .seen = json_array() };
        zp_autoclose int lock = -1;
        char tag[TAG_SIZE];
        int r = zp_publish_lock(remote->name, subject, zp_http_cancel(zp_registry_http(remote->registry)), &lock, err);
        if (r == 0 && json_array_append(p.own, entry) < 0)
                r = zp_error_errno(err, ENOMEM, "referrers");
        if (r == 0)
                r = add_until_it_stays(&p, err);
        if (r < 0)
                zp_error_wrap(err, "list of artifacts %s", tag_of(subject, tag));
        json_decref(p.own);
        json_decref(p.seen);
        if (p.index)
                json_decref(p.index);
        free(p.etag);
        return r;
}
