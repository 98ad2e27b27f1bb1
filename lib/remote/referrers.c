/* SPDX-License-Identifier: Apache-2.0 */
#include "remote/referrers.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/limits.h"
#include "oci/artifact-manifest.h"
#include "oci/link.h"
#include "oci/manifest-internal.h"
#include "oci/transfer.h"
#include "oci/url.h"
#include "remote/paths.h"

/* A page has some hundred entries at least; so many pages hold more artifacts than anybody makes about one image. */
#define PAGES_MAX 100

/* A list has one manifest in itself at most, of the artifact that was published last. */
#define DATA_MAX (UINT32_C(64) << 10)

/* Artifacts found so far. */
struct findings {
        const char *artifact_type;
        struct zp_remote_artifact *list;
        size_t count;
        bool is_untyped; /* there are artifacts of which the index does not tell the type */
};

/* What a manifest with an artifactType has as its config's type (image-spec 1.1). Registries of the time before take
 * that for the artifact's. */
#define EMPTY_CONFIG_TYPE "application/vnd.oci.empty.v1+json"

static bool is_known(const struct findings *findings, const struct zp_digest *digest) {
        for (size_t i = 0; i < findings->count; i++)
                if (zp_digest_equal(&findings->list[i].manifest.digest, digest))
                        return true;
        return false;
}

/* The manifest that an entry has in itself (image-spec, descriptor, `data`); NULL: it has none, or another. */
static char *read_data(json_t *entry, const struct zp_descriptor *manifest) {
        const char *text = json_string_value(json_object_get(entry, "data"));
        zp_autofree uint8_t *data = NULL;
        struct zp_digest digest;
        size_t size;
        if (!text || manifest->size > DATA_MAX || zp_base64_decode(ZP_BASE64, text, strlen(text), &data, &size) < 0)
                return NULL;
        zp_digest_of(data, size, &digest);
        return size == manifest->size && zp_digest_equal(&digest, &manifest->digest) ? (char *) zp_steal(&data) : NULL;
}

/* Takes over `manifest`, which is the entry's. */
static int add_finding(struct findings *findings, struct zp_descriptor *manifest, json_t *entry, struct zp_error *err) {
        json_t *annotations = json_object_get(entry, "annotations");
        if (is_known(findings, &manifest->digest)) {
                free(manifest->media_type);
                return 0;
        }
        struct zp_remote_artifact artifact = { .manifest = *manifest,
                                               .artifact_type = strdup(findings->artifact_type) };
        struct zp_remote_artifact *longer = NULL;
        int r = 0;
        if (findings->count == ZP_REMOTE_ARTIFACTS_MAX)
                r = zp_error_set(err, EFBIG, "more than %d of type %s", ZP_REMOTE_ARTIFACTS_MAX,
                                 findings->artifact_type);
        else if (!artifact.artifact_type ||
                 !(longer = reallocarray(findings->list, findings->count + 1, sizeof *longer)))
                r = zp_error_errno(err, ENOMEM, "referrers");
        if (r < 0) {
                free(artifact.manifest.media_type);
                free(artifact.artifact_type);
                return r;
        }
        artifact.body = read_data(entry, manifest);
        if (artifact.body && findings->count > 0) /* only the newest is looked at whatever happens */
                free(zp_steal(&longer[findings->count - 1].body));
        artifact.annotations = json_is_object(annotations) ? json_incref(annotations) : NULL;
        findings->list = longer;
        findings->list[findings->count++] = artifact;
        return 0;
}

/* Those of the wanted type in an index; what others have put there is not looked at any closer. */
static int add_entries(struct findings *findings, json_t *index, struct zp_error *err) {
        json_t *entries, *entry;
        size_t i;
        int r = zp_json_get(index, "manifests", JSON_ARRAY, ZP_JSON_OPTIONAL, "referrers", &entries, err);
        if (r < 0)
                return r;
        json_array_foreach(entries, i, entry) {
                const char *type = json_string_value(json_object_get(entry, "artifactType"));
                struct zp_descriptor manifest;
                findings->is_untyped |= !type || strcmp(type, EMPTY_CONFIG_TYPE) == 0;
                if (!type || strcmp(type, findings->artifact_type) != 0)
                        continue;
                r = zp_descriptor_parse(entry, "referrers entry", &manifest, err);
                if (r == 0)
                        r = add_finding(findings, &manifest, entry, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* A registry without the API answers 404; some answer other things, or a page for people. */
static bool is_unsupported(const struct zp_http_response *response) {
        int status = response->status;
        if (status == 400 || status == 404 || status == 405 || status == 501)
                return true;
        const char *type = response->content_type ? response->content_type : "";
        size_t size = strcspn(type, "; \t");
        return status == 200 && (size != strlen(ZP_OCI_INDEX_TYPE) || strncasecmp(type, ZP_OCI_INDEX_TYPE, size) != 0);
}

static int read_page(struct zp_registry_remote *remote, const struct zp_http_response *response,
                     struct findings *findings, char **next, struct zp_error *err) {
        zp_auto(json_decref) json_t *index = NULL;
        zp_autofree char *link = NULL;
        if (response->status != 200)
                return zp_registry_refused(remote->registry, response, err);
        const char *body = response->body.data ? response->body.data : "";
        int r = zp_json_load(body, response->body.size, "referrers", &index, err);
        if (r == 0)
                r = add_entries(findings, index, err);
        if (r == 0)
                r = zp_link_next(response->links.data, &link, err);
        if (r == 0 && link)
                r = zp_url_resolve(response->url, link, next, err);
        return r;
}

/* The API's pages. *is_supported false: the registry has none, and nothing was found. */
static int find_by_api(struct zp_registry_remote *remote, const char *path, bool at_origin, struct findings *findings,
                       bool *is_supported, struct zp_error *err) {
        zp_autofree char *url = NULL;
        struct zp_http_request request = { .is_for_push = at_origin,
                                           .accept = ZP_OCI_INDEX_TYPE,
                                           .body_limit = ZP_LIMIT_JSON_SIZE };
        *is_supported = true;
        for (int page = 0; page < PAGES_MAX; page++) {
                struct zp_http_response response = { 0 };
                char *next = NULL;
                int r = zp_transfer_request(remote->registry, path, url, &request, &response, err);
                if (r == 0 && page == 0 && is_unsupported(&response))
                        *is_supported = false;
                else if (r == 0)
                        r = read_page(remote, &response, findings, &next, err);
                zp_http_response_clear(&response);
                free(url);
                url = next;
                if (r < 0 || !next)
                        return r;
        }
        return zp_error_set(err, EFBIG, "more than %d pages of referrers", PAGES_MAX);
}

static int find_by_tag(struct zp_registry_remote *remote, const struct zp_digest *subject, bool at_origin,
                       struct findings *findings, struct zp_error *err) {
        zp_auto(json_decref) json_t *index = NULL;
        zp_autofree char *etag = NULL;
        int r = zp_fallback_read(remote, subject, at_origin, &index, &etag, err);
        if (r == -EEXIST) { /* a tag of somebody else's: then there are none of ours */
                if (err)
                        zp_error_clear(err);
                return 0;
        }
        return r == 0 && index ? add_entries(findings, index, err) : r;
}

static int find_at(struct zp_registry_remote *remote, const struct zp_digest *subject, bool at_origin,
                   struct findings *findings, struct zp_error *err) {
        char digest[ZP_DIGEST_TEXT_SIZE];
        zp_autofree char *all = zp_format("referrers/%s", zp_digest_text(subject, digest));
        zp_autofree char *path = all ? zp_url_with_query(all, "artifactType", findings->artifact_type) : NULL;
        bool is_supported = !atomic_load(&remote->has_no_referrers_api) &&
                            !zp_learned_knows(remote->learned, remote->name, ZP_LESSON_NO_REFERRERS);
        int r = path ? 0 : zp_error_errno(err, ENOMEM, "referrers");
        if (r == 0 && is_supported)
                r = find_by_api(remote, path, at_origin, findings, &is_supported, err);
        if (r == 0 && !is_supported)
                atomic_store(&remote->has_no_referrers_api, true);
        /* Who publishes to a registry with a half of the API writes the tag as well. */
        if (r == 0 && (!is_supported || (findings->count == 0 && findings->is_untyped)))
                r = find_by_tag(remote, subject, at_origin, findings, err);
        /* Nobody writes the tag where there is an API; but whoever may write to this repository could have, and so it
         * is learned of no other one. */
        if (r == 0 && !is_supported && findings->count > 0)
                zp_learned_note(remote->learned, remote->name, ZP_LESSON_NO_REFERRERS);
        return r;
}

int zp_referrers_find(struct zp_registry_remote *remote, const struct zp_digest *subject, const char *artifact_type,
                      struct zp_remote_artifact **out, size_t *count, struct zp_error *err) {
        struct findings findings = { .artifact_type = artifact_type };
        int r = find_at(remote, subject, false, &findings, err);
        /* A mirror may have copied an image, and not what was published about it. */
        if (r == 0 && findings.count == 0 && zp_registry_has_origin(remote->registry))
                r = find_at(remote, subject, true, &findings, err);
        if (r < 0) {
                zp_remote_artifacts_free(findings.list, findings.count);
                return r;
        }
        *out = findings.list;
        *count = findings.count;
        return 0;
}

/* The manifest in base64, if it is not too long for a list that others read, too; malloc'ed. */
static char *make_data(const char *manifest, size_t size) {
        char *data = size <= DATA_MAX ? malloc(size / 3 * 4 + 5) : NULL;
        if (data)
                EVP_EncodeBlock((unsigned char *) data, (const unsigned char *) manifest, (int) size);
        return data;
}

/* The fallback index's entry: a descriptor with the manifest's artifactType and annotations, and the manifest itself,
 * which spares a reader a round trip. */
static int make_entry(const char *artifact_type, const char *manifest, size_t size, const struct zp_digest *digest,
                      json_t **out, struct zp_error *err) {
        zp_auto(json_decref) json_t *json = NULL;
        char text[ZP_DIGEST_TEXT_SIZE];
        int r = zp_json_load(manifest, size, "artifact manifest", &json, err);
        if (r < 0)
                return r;
        json_t *annotations = json_object_get(json, "annotations");
        zp_autofree char *data = make_data(manifest, size);
        *out = json_pack("{s:s, s:s, s:I, s:s, s:O*, s:s*}", "mediaType", ZP_OCI_MANIFEST_TYPE, "digest",
                         zp_digest_text(digest, text), "size", (json_int_t) size, "artifactType", artifact_type,
                         "annotations", annotations, "data", data);
        return *out ? 0 : zp_error_errno(err, ENOMEM, "artifact manifest");
}

int zp_referrers_publish(struct zp_registry_remote *remote, const struct zp_descriptor *subject,
                         const char *artifact_type, const char *manifest, size_t size, const struct zp_digest *digest,
                         struct zp_error *err) {
        char text[ZP_DIGEST_TEXT_SIZE];
        zp_auto(json_decref) json_t *entry = NULL;
        struct zp_http_response response = { 0 };
        int r = make_entry(artifact_type, manifest, size, digest, &entry, err);
        if (r == 0)
                r = zp_registry_put_manifest(remote->registry, zp_digest_text(digest, text), ZP_OCI_MANIFEST_TYPE,
                                             manifest, size, NULL, &response, err);
        if (r == 0 && (response.status < 200 || response.status > 299))
                r = zp_registry_refused(remote->registry, &response, err);
        /* This header is how a registry says that its referrers API will list the manifest. */
        bool is_listed = r == 0 && response.oci_subject &&
                         strcmp(response.oci_subject, zp_digest_text(&subject->digest, text)) == 0;
        zp_http_response_clear(&response);
        if (r < 0 || is_listed)
                return r;
        return zp_fallback_add(remote, &subject->digest, entry, err);
}
