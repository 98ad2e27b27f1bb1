/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/look-internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/bytes.h"
#include "base/limits.h"
#include "oci/json.h"
#include "oci/registry.h"
#include "oci/transfer.h"
#include "registry-hook/log.h"

/* Of one index: every platform that Go knows, and attestations beside. */
#define ENTRIES_MAX 256
/* A decision waits for nobody: what does not answer is asked again later. */
#define STALL_TIMEOUT_MS 10000

struct zp_source_options hook_registry_options(const struct hook_registry *registry, const struct zp_cancel *cancel) {
        return (struct zp_source_options){ .auth_file = registry->auth_file,
                                           .ca_file = registry->ca_file,
                                           .plain_http = registry->plain_http,
                                           .user_agent = "zeropull-hook/" ZP_VERSION,
                                           .stall_timeout_ms = STALL_TIMEOUT_MS,
                                           .cancel = cancel };
}

static void document_clear(struct hook_document *document) {
        free(document->body);
        free(document->media_type);
}
#define autodocument __attribute__((cleanup(document_clear)))

/* hook_documents.get, from the registry itself, whose mirrors may be late. */
static int get(void *context, const char *path, const char *accept, const struct zp_digest *expected,
               struct hook_document *out, struct zp_error *err) {
        struct zp_registry *registry = context;
        struct zp_http_request request = { .is_for_push = true, .accept = accept, .body_limit = ZP_LIMIT_JSON_SIZE };
        struct zp_http_response response = { 0 };
        int r = zp_registry_request(registry, path, &request, &response, err);
        if (r == 0 && (response.status < 200 || response.status > 299))
                r = zp_registry_refused(registry, &response, err);
        if (r == 0 && !response.body.data)
                r = zp_error_set(err, EBADMSG, "the answer is empty");
        if (r == 0) {
                zp_digest_of(response.body.data, response.body.size, &out->digest);
                if (expected && !zp_digest_equal(expected, &out->digest))
                        r = zp_error_set(err, EBADMSG, "the content has another digest");
                out->size = response.body.size;
                out->body = zp_steal(&response.body.data);
                out->media_type = zp_steal(&response.content_type);
        }
        zp_http_response_clear(&response);
        return r < 0 ? zp_error_wrap(err, "%s: %s", zp_registry_name(registry), path) : 0;
}

static int get_by_digest(const struct hook_documents *documents, const char *kind, const char *accept,
                         const struct zp_digest *digest, struct hook_document *out, struct zp_error *err) {
        char text[ZP_DIGEST_TEXT_SIZE];
        zp_autofree char *path = zp_format("%s/%s", kind, zp_digest_text(digest, text));
        return path ? documents->get(documents->context, path, accept, digest, out, err)
                    : zp_error_errno(err, ENOMEM, "look");
}

static json_t *object_of(json_t *parent, const char *name) {
        json_t *value = json_object_get(parent, name);
        return json_is_object(value) ? json_incref(value) : NULL;
}

/* What the bytes of a digest are, they will be tomorrow. Returns 0, or what has nothing to do with them. */
static int note_broken(struct hook_look *look, const char *platform, int r, const struct zp_error *reason,
                       struct zp_error *err) {
        if (r == -ENOMEM) {
                *err = *reason;
                return r;
        }
        if (!look->broken[0])
                snprintf(look->broken, sizeof look->broken, "%s%scannot be built: %.250s", platform,
                         platform[0] ? " " : "", reason->message);
        return 0;
}

/* ---- one platform's manifest ---- */

static int parse_config(const struct hook_document *document, struct hook_image *image, struct zp_error *err) {
        struct zp_platform platform;
        zp_autofree struct zp_digest *diff_ids = NULL;
        uint16_t count;
        zp_auto(json_decref) json_t *root = NULL;
        int r = zp_config_parse(document->body, document->size, &platform, &diff_ids, &count, err);
        if (r == 0)
                r = zp_json_load(document->body, document->size, "config", &root, err);
        if (r < 0)
                return r;
        if (!image->platform[0])
                hook_log_clean(zp_platform_text(&platform, image->platform));
        image->labels = object_of(json_object_get(root, "config"), "Labels");
        return 0;
}

/* Fills in all that the manifest says; 1: it is an artifact and no image. */
static int parse_manifest(const struct hook_document *document, struct hook_image *image,
                          struct zp_digest *config_digest, struct zp_error *err) {
        zp_auto(json_decref) json_t *root = NULL;
        struct zp_descriptor config = { 0 }, *layers = NULL;
        uint16_t count = 0;
        int r = zp_json_load(document->body, document->size, "manifest", &root, err);
        if (r < 0)
                return r;
        if (json_object_get(root, "artifactType") || json_object_get(root, "subject"))
                return 1;
        r = zp_manifest_parse(document->body, document->size, &config, &layers, &count, err);
        if (r == -ENOTSUP)
                return 1;
        if (r < 0)
                return r;
        image->annotations = object_of(root, "annotations");
        *config_digest = config.digest;
        for (uint16_t i = 0; i < count; i++) {
                if (zp_add_overflows(image->size, layers[i].size, &image->size))
                        image->size = UINT64_MAX;
                free(layers[i].media_type);
        }
        free(layers);
        free(config.media_type);
        return 0;
}

static void image_clear(struct hook_image *image) {
        json_decref(image->labels);
        json_decref(image->annotations);
        *image = (struct hook_image){ 0 };
}

/* Adds the image, unless it is broken; 1: it is an artifact and no image. */
static int read_manifest(const struct hook_documents *documents, const struct hook_document *document,
                         const char *platform, struct hook_look *look, struct zp_error *err) {
        struct hook_image *image = &look->images[look->image_count];
        autodocument struct hook_document config = { 0 };
        struct zp_digest config_digest;
        struct zp_error reason = { 0 };
        *image = (struct hook_image){ 0 };
        zp_digest_text(&document->digest, image->digest);
        snprintf(image->platform, sizeof image->platform, "%s", platform);
        int r = parse_manifest(document, image, &config_digest, &reason);
        if (r == 0 && (r = get_by_digest(documents, "blobs", NULL, &config_digest, &config, err)) < 0) {
                image_clear(image);
                return r;
        }
        if (r == 0)
                r = parse_config(&config, image, &reason);
        if (r == 0)
                look->image_count++;
        else
                image_clear(image);
        return r < 0 ? note_broken(look, platform, r, &reason, err) : r;
}

/* ---- an index ---- */

/* Whether it is one for linux; `text` "": it names none. */
static bool entry_platform(json_t *entry, char text[100]) {
        json_t *object = json_object_get(entry, "platform");
        const char *os = json_string_value(json_object_get(object, "os"));
        const char *architecture = json_string_value(json_object_get(object, "architecture"));
        const char *variant = json_string_value(json_object_get(object, "variant"));
        text[0] = '\0';
        if (!os || !architecture)
                return false;
        int size = snprintf(text, 100, "%s/%s%s%s", os, architecture, variant ? "/" : "", variant ? variant : "");
        hook_log_clean(text);
        return size < 100 && strcmp(os, "linux") == 0;
}

static bool is_index(json_t *entry) {
        static const char *const types[] = { "application/vnd.oci.image.index.v1+json",
                                             "application/vnd.docker.distribution.manifest.list.v2+json" };
        const char *type = json_string_value(json_object_get(entry, "mediaType"));
        return type && (strcmp(type, types[0]) == 0 || strcmp(type, types[1]) == 0);
}

/* Of the entries that were not looked at, the first of those that come nearest to an image that is built. */
struct passed_over {
        enum { NOTHING, OTHER_SYSTEM, NESTED, ARTIFACT, UNWANTED, ABSENT } what;
        char platform[100];
};

static void pass_over(struct passed_over *passed, int what, const char *platform) {
        if (what <= (int) passed->what)
                return;
        passed->what = what;
        snprintf(passed->platform, sizeof passed->platform, "%s", platform[0] ? platform : "one that is not named");
}

static void tell_why_nothing(struct hook_look *look, const struct passed_over *passed) {
        static const struct {
                const char *text;
                bool names_platform;
        } reasons[] = {
                [NOTHING] = { "the index has no manifests", false },
                [OTHER_SYSTEM] = { "only images for linux are built, not for ", true },
                [NESTED] = { "an index within an index is not looked at", false },
                [ARTIFACT] = { "the index has no image but an artifact for ", true },
                [UNWANTED] = { "no rule builds the image for ", true },
                [ABSENT] = { "the registry does not have the image for ", true },
        };
        snprintf(look->nothing, sizeof look->nothing, "%s%s", reasons[passed->what].text,
                 reasons[passed->what].names_platform ? passed->platform : "");
}

static bool is_listed(const struct hook_look *look, const struct zp_digest *digest) {
        char text[ZP_DIGEST_TEXT_SIZE];
        zp_digest_text(digest, text);
        for (size_t i = 0; i < look->image_count; i++)
                if (strcmp(look->images[i].digest, text) == 0)
                        return true;
        return false;
}

static int read_entry(const struct hook_look_request *request, const struct hook_documents *documents, json_t *entry,
                      struct hook_look *look, struct passed_over *passed, struct zp_error *err) {
        char platform[100];
        struct zp_digest digest;
        bool is_linux = entry_platform(entry, platform), is_nested = is_index(entry);
        if (is_nested || !is_linux || !request->wants(request->context, platform)) {
                pass_over(passed, is_nested ? NESTED : is_linux ? UNWANTED : OTHER_SYSTEM, platform);
                return 0;
        }
        struct zp_error reason = { 0 };
        int r = zp_json_digest(entry, "digest", "index", &digest, &reason);
        if (r < 0)
                return note_broken(look, platform, r, &reason, err);
        if (is_listed(look, &digest))
                return 0;
        autodocument struct hook_document document = { 0 };
        r = get_by_digest(documents, "manifests", ZP_ACCEPT_MANIFESTS, &digest, &document, err);
        if (r == -ENOENT) { /* an index that was pushed for the platforms it has */
                pass_over(passed, ABSENT, platform);
                return 0;
        }
        if (r == 0)
                r = read_manifest(documents, &document, platform, look, err);
        if (r == 1)
                pass_over(passed, ARTIFACT, platform);
        return r < 0 ? r : 0;
}

static int read_index(const struct hook_look_request *request, const struct hook_documents *documents,
                      const struct hook_document *document, struct hook_look *look, struct zp_error *err) {
        zp_auto(json_decref) json_t *root = NULL;
        json_t *manifests;
        struct zp_error reason = { 0 };
        int r = zp_json_load(document->body, document->size, "index", &root, &reason);
        if (r == 0)
                r = zp_json_get(root, "manifests", JSON_ARRAY, ZP_JSON_REQUIRED, "index", &manifests, &reason);
        if (r == 0 && json_array_size(manifests) > ENTRIES_MAX)
                r = zp_error_set(&reason, EBADMSG, "index: more than %d entries", ENTRIES_MAX);
        if (r < 0)
                return note_broken(look, "", r, &reason, err);
        look->is_artifact = json_object_get(root, "artifactType") || json_object_get(root, "subject");
        if (look->is_artifact)
                return 0;
        size_t count = json_array_size(manifests);
        look->index_annotations = object_of(root, "annotations");
        look->images = calloc(count + 1, sizeof *look->images);
        if (!look->images)
                return zp_error_errno(err, ENOMEM, "look");
        struct passed_over passed = { 0 };
        for (size_t i = 0; i < count && r == 0; i++)
                r = read_entry(request, documents, json_array_get(manifests, i), look, &passed, err);
        if (r == 0 && look->image_count == 0 && !look->broken[0])
                tell_why_nothing(look, &passed);
        return r;
}

/* ---- either ---- */

/* Whether what was no image may be one when it is asked for again: something between here and the registry may have
 * answered a tag with a page of its own, or told of another type. */
static bool may_pass(const struct hook_look_request *request, const struct hook_document *document) {
        enum zp_document_kind kind;
        zp_auto(json_decref) json_t *root = NULL;
        return zp_document_kind(document->body, document->size, NULL, &kind, NULL) == 0 ||
               (!request->digest && zp_json_load(document->body, document->size, "manifest", &root, NULL) < 0);
}

static int read_root(const struct hook_look_request *request, const struct hook_documents *documents,
                     const struct hook_document *document, struct hook_look *out, struct zp_error *err) {
        enum zp_document_kind kind;
        struct zp_error reason = { 0 };
        zp_digest_text(&document->digest, out->digest);
        int r = zp_document_kind(document->body, document->size, document->media_type, &kind, &reason);
        if (r == -ENOTSUP) {
                out->is_artifact = true;
                return 0;
        }
        if (r < 0 && !may_pass(request, document))
                return note_broken(out, "", r, &reason, err);
        if (r < 0) {
                *err = reason;
                return r;
        }
        if (kind == ZP_DOCUMENT_INDEX)
                return read_index(request, documents, document, out, err);
        out->images = calloc(1, sizeof *out->images);
        if (!out->images)
                return zp_error_errno(err, ENOMEM, "look");
        r = read_manifest(documents, document, "", out, err);
        out->is_artifact = r == 1;
        return r < 0 ? r : 0;
}

static int get_by_tag(const struct hook_documents *documents, const char *tag, struct hook_document *out,
                      struct zp_error *err) {
        zp_autofree char *path = zp_format("manifests/%s", tag);
        return path ? documents->get(documents->context, path, ZP_ACCEPT_MANIFESTS, NULL, out, err)
                    : zp_error_errno(err, ENOMEM, "look");
}

/* A registry may tell of a push before the tag is written, and somebody may have moved the tag since. */
static int check_tag(const struct hook_look_request *request, const struct hook_documents *documents,
                     struct hook_look *out, struct zp_error *err) {
        autodocument struct hook_document document = { 0 };
        int r = get_by_tag(documents, request->tag, &document, err);
        out->is_current = r == 0 && zp_digest_equal(&document.digest, request->digest);
        return r == -ENOENT ? 0 : r;
}

int hook_look_at(const struct hook_documents *documents, const struct hook_look_request *request, struct hook_look *out,
                 struct zp_error *err) {
        autodocument struct hook_document document = { 0 };
        int r;
        if (request->digest)
                r = get_by_digest(documents, "manifests", ZP_ACCEPT_MANIFESTS, request->digest, &document, err);
        else
                r = get_by_tag(documents, request->tag, &document, err);
        if (r == 0)
                r = read_root(request, documents, &document, out, err);
        out->is_current = !request->digest;
        if (r == 0 && request->digest && request->tag[0])
                r = check_tag(request, documents, out, err);
        return r;
}

int hook_look(const struct hook_look_request *request, struct hook_look *out, struct zp_error *err) {
        struct zp_source_options options = hook_registry_options(request->registry, request->cancel);
        options.keychain = request->keychain;
        zp_auto(zp_registry_free) struct zp_registry *registry = NULL;
        *out = (struct hook_look){ 0 };
        int r = zp_registry_new(request->host, request->repository, &options, &registry, err);
        const struct hook_documents documents = { get, registry };
        return r < 0 ? r : hook_look_at(&documents, request, out, err);
}

void hook_look_clear(struct hook_look *look) {
        for (size_t i = 0; i < look->image_count; i++)
                image_clear(&look->images[i]);
        json_decref(look->index_annotations);
        free(look->images);
        *look = (struct hook_look){ 0 };
}
