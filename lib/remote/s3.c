/* SPDX-License-Identifier: Apache-2.0
 *
 * `s3://BUCKET[/PREFIX]`: S3-compatible object storage, laid out as paths.h says. Objects appear whole, and nobody
 * writes what another has written, so there is nothing to lock.
 */
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/bytes.h"
#include "base/limits.h"
#include "oci/ranges.h"
#include "remote/s3-internal.h"
#include "remote/xml.h"

#define STALL_TIMEOUT_MS 30000u
#define PAGES_MAX 100 /* of 1000 objects: others may keep theirs there too */

static void s3_close(void *state) {
        struct zp_s3 *s3 = state;
        if (s3->http)
                zp_http_free(s3->http);
        if (s3->tidy)
                zp_http_free(s3->tidy);
        zp_s3_place_clear(&s3->place);
        free(s3->ca_file);
        free(s3->user_agent);
        free(s3);
}
ZP_DEFINE_AUTO(struct zp_s3, s3_close);

static int make_clients(struct zp_s3 *s3, const struct zp_source_options *options, struct zp_error *err) {
        const char *ca_file = options->ca_file ? options->ca_file : getenv("AWS_CA_BUNDLE");
        s3->user_agent = strdup(options->user_agent ? options->user_agent : "zeropull/" ZP_VERSION);
        s3->ca_file = ca_file && ca_file[0] ? strdup(ca_file) : NULL;
        if (!s3->user_agent || (ca_file && ca_file[0] && !s3->ca_file))
                return zp_error_errno(err, ENOMEM, "s3");
        struct zp_http_options http = {
                .ca_file = s3->ca_file,
                .user_agent = s3->user_agent,
                .skip_tls_verify = options->skip_tls_verify,
                .stall_timeout_ms = options->stall_timeout_ms ? options->stall_timeout_ms : STALL_TIMEOUT_MS,
                .cancel = options->cancel,
        };
        int r = zp_http_new(&http, &s3->http, err);
        http.cancel = NULL;
        return r < 0 ? r : zp_http_new(&http, &s3->tidy, err);
}

static int s3_open(const char *rest, const struct zp_source_options *options, void **state, char **name,
                   struct zp_error *err) {
        zp_auto(s3_close) struct zp_s3 *s3 = calloc(1, sizeof *s3);
        if (!s3)
                return zp_error_errno(err, ENOMEM, "s3");
        int r = zp_s3_place_parse(rest, getenv, &s3->place, err);
        if (r == 0)
                r = make_clients(s3, options, err);
        if (r < 0)
                return r;
        size_t size = strlen(s3->place.prefix);
        *name = zp_format("s3://%s%s%.*s", s3->place.bucket, size ? "/" : "", size ? (int) size - 1 : 0,
                          s3->place.prefix);
        if (!*name)
                return zp_error_errno(err, ENOMEM, "s3");
        *state = zp_steal(&s3);
        return 0;
}

/* An answer to HEAD has no body, so a refusal says nothing: asked again by GET it does. */
static int explain(struct zp_s3 *s3, const char *key, struct zp_error *err) {
        struct zp_http_response response = { 0 };
        int r = zp_s3_request(s3,
                              &(struct zp_s3_request){
                                      .method = "GET", .key = key, .range_end = 1, .body_limit = ZP_LIMIT_JSON_SIZE },
                              &response, err);
        if (r == 0)
                r = zp_error_set(err, EIO, "the server answers HEAD otherwise than GET");
        zp_http_response_clear(&response);
        return r;
}

int zp_s3_has(struct zp_s3 *s3, const char *key, uint64_t size, struct zp_error *err) {
        struct zp_http_response response = { 0 };
        int r = zp_s3_request(s3, &(struct zp_s3_request){ .method = "HEAD", .key = key }, &response, err);
        bool is_refused = response.status >= 300 && response.status < 500;
        if (r == 0)
                r = !response.content_length || strtoull(response.content_length, NULL, 10) == size;
        zp_http_response_clear(&response);
        if (r == -ENOENT) {
                /* So it is for a bucket that does not exist: the first PUT will tell. */
                if (err)
                        zp_error_clear(err);
                return 0;
        }
        return r < 0 && is_refused ? explain(s3, key, err) : r;
}

static int s3_has_blob(void *state, const struct zp_digest *digest, uint64_t size, struct zp_error *err) {
        char path[ZP_REMOTE_BLOB_PATH_SIZE];
        return zp_s3_has(state, zp_remote_blob_path(digest, path), size, err);
}

static int s3_put_blob(void *state, const struct zp_digest *digest, uint64_t size, const char *mount_from,
                       zp_remote_read read, void *context, uint64_t *uploaded_bytes, struct zp_error *err) {
        char path[ZP_REMOTE_BLOB_PATH_SIZE];
        struct zp_s3_content content = { .size = size, .read = read, .context = context };
        (void) mount_from;
        int r = zp_s3_upload(state, zp_remote_blob_path(digest, path), digest, &content, err);
        if (uploaded_bytes)
                *uploaded_bytes = content.sent;
        return r;
}

/* An object on its way. */
struct object {
        struct zp_s3 *s3;
        char key[ZP_REMOTE_BLOB_PATH_SIZE];
};

static int send_range(void *context, const struct zp_http_request *request, struct zp_http_response *response,
                      struct zp_error *err) {
        const struct object *object = context;
        return zp_s3_exchange(object->s3, object->s3->http,
                              &(struct zp_s3_request){ .method = "GET",
                                                       .key = object->key,
                                                       .range_start = request->range_start,
                                                       .range_end = request->range_end,
                                                       .sink = request->sink,
                                                       .context = request->context },
                              response, err);
}

static int refused(void *context, const struct zp_http_response *response, struct zp_error *err) {
        const struct object *object = context;
        struct zp_s3_failure failure;
        zp_s3_failure_parse(response, &failure);
        return zp_s3_failure_error(&failure, response->status, &object->s3->place, err);
}

static int s3_get_blob(void *state, const struct zp_descriptor *blob, uint64_t offset, uint64_t length,
                       zp_blob_sink sink, void *context, struct zp_error *err) {
        struct object object = { .s3 = state };
        zp_remote_blob_path(&blob->digest, object.key);
        const struct zp_ranges_server server = {
                .context = &object,
                .http = object.s3->http,
                .place = object.s3->place.bucket,
                .send = send_range,
                .refused = refused,
        };
        return zp_ranges_read(&server, blob->size, offset, length, sink, context, err);
}

static int store_manifest(struct zp_s3 *s3, const char *key, const char *manifest, size_t size,
                          const struct zp_digest *digest, struct zp_error *err) {
        int r = zp_s3_has(s3, key, size, err);
        if (r != 0)
                return r < 0 ? r : 0;
        struct zp_s3_content content = { .size = size, .read = zp_memory_read, .context = (void *) manifest };
        return zp_s3_upload(s3, key, digest, &content, err);
}

static int s3_publish(void *state, const struct zp_descriptor *subject, const char *artifact_type, const char *manifest,
                      size_t size, const struct zp_digest *digest, struct zp_error *err) {
        char blob_path[ZP_REMOTE_BLOB_PATH_SIZE], hex[ZP_SHA256_HEX_SIZE];
        zp_autofree char *folder = NULL;
        int r = zp_remote_referrers_path(&subject->digest, artifact_type, &folder, err);
        if (r < 0)
                return r;
        zp_autofree char *key = zp_format("%s/%s", folder, zp_digest_hex(digest, hex));
        if (!key)
                return zp_error_errno(err, ENOMEM, "publish");
        r = store_manifest(state, zp_remote_blob_path(digest, blob_path), manifest, size, digest, err);
        return r < 0 ? r : store_manifest(state, key, manifest, size, digest, err);
}

/* A listing, page by page (docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html). */
struct listing {
        struct zp_remote_entries entries;
        const char *folder; /* whose objects are meant, with the prefix and a slash at its end */
        char *key, *token;
        uint64_t size;
        int64_t time_ms;
        bool is_truncated;
};

/* "2009-10-12T17:50:30.000Z"; what is not of that form counts as oldest. */
static int64_t parse_time(const char *text) {
        struct tm tm = { 0 };
        const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
        int64_t ms = 0;
        if (!end)
                return 0;
        if (*end == '.')
                for (int i = 1, unit = 100; i <= 3 && end[i] >= '0' && end[i] <= '9'; i++, unit /= 10)
                        ms += unit * (end[i] - '0');
        return (int64_t) timegm(&tm) * 1000 + ms;
}

static int keep(char **member, const char *text, struct zp_error *err) {
        free(*member);
        *member = strdup(text);
        return *member ? 0 : zp_error_errno(err, ENOMEM, "S3 listing");
}

static int on_element(void *context, const char *path, const char *text, struct zp_error *err) {
        struct listing *listing = context;
        size_t folder_size = strlen(listing->folder);
        if (strcmp(path, "/ListBucketResult/Contents/Key") == 0)
                return keep(&listing->key, text, err);
        if (strcmp(path, "/ListBucketResult/Contents/Size") == 0)
                listing->size = strtoull(text, NULL, 10);
        else if (strcmp(path, "/ListBucketResult/Contents/LastModified") == 0)
                listing->time_ms = parse_time(text);
        else if (strcmp(path, "/ListBucketResult/IsTruncated") == 0)
                listing->is_truncated = strcmp(text, "true") == 0;
        else if (strcmp(path, "/ListBucketResult/NextContinuationToken") == 0)
                return keep(&listing->token, text, err);
        if (strcmp(path, "/ListBucketResult/Contents") != 0 || !listing->key ||
            strncmp(listing->key, listing->folder, folder_size) != 0)
                return 0;
        return zp_remote_entries_add(&listing->entries, listing->key + folder_size, listing->size, listing->time_ms,
                                     err);
}

static int list_page(struct zp_s3 *s3, struct listing *listing, struct zp_error *err) {
        struct zp_http_response response = { 0 };
        listing->is_truncated = false;
        int r = zp_s3_request(s3,
                              &(struct zp_s3_request){ .method = "GET",
                                                       .parameters = { { "list-type", "2" },
                                                                       { "prefix", listing->folder },
                                                                       { listing->token ? "continuation-token" : NULL,
                                                                         listing->token } },
                                                       .body_limit = ZP_LIMIT_JSON_SIZE },
                              &response, err);
        if (r == 0)
                r = zp_xml_parse(response.body.data, response.body.size, on_element, listing, err);
        if (r == 0 && listing->is_truncated && !listing->token)
                r = zp_error_set(err, EPROTO, "the server's listing does not go on");
        zp_http_response_clear(&response);
        return r;
}

static int s3_find(void *state, const struct zp_digest *subject, const char *artifact_type,
                   struct zp_remote_artifact **out, size_t *count, struct zp_error *err) {
        struct zp_s3 *s3 = state;
        zp_autofree char *path = NULL;
        int r = zp_remote_referrers_path(subject, artifact_type, &path, err);
        if (r < 0)
                return r;
        zp_autofree char *folder = zp_format("%s%s/", s3->place.prefix, path);
        if (!folder)
                return zp_error_errno(err, ENOMEM, "S3 listing");
        struct listing listing = { .folder = folder };
        int pages = 0;
        do {
                r = list_page(s3, &listing, err);
                if (r == 0 && listing.is_truncated && ++pages == PAGES_MAX)
                        r = zp_error_set(err, EFBIG, "the server's listing does not end");
        } while (r == 0 && listing.is_truncated);
        if (r == 0)
                r = zp_remote_entries_artifacts(&listing.entries, artifact_type, out, count, err);
        zp_remote_entries_clear(&listing.entries);
        free(listing.key);
        free(listing.token);
        return r;
}

static int append(void *context, const void *data, size_t size, struct zp_error *err) {
        return zp_buffer_append(context, data, size) ? 0 : zp_error_errno(err, ENOMEM, "manifest");
}

static int s3_get_manifest(void *state, const struct zp_descriptor *manifest, char **out, size_t *size,
                           struct zp_error *err) {
        zp_autobuffer struct zp_buffer body = { 0 };
        if (manifest->size > ZP_LIMIT_JSON_SIZE)
                return zp_error_set(err, EFBIG, "larger than %ju bytes", (uintmax_t) ZP_LIMIT_JSON_SIZE);
        int r = s3_get_blob(state, manifest, 0, manifest->size, append, &body, err);
        if (r == 0)
                r = append(&body, "", 0, err);
        if (r < 0)
                return r;
        *size = body.size;
        *out = zp_steal(&body.data);
        return 0;
}

static unsigned s3_server_count(void *state) {
        (void) state;
        return 1;
}

static const char *s3_server_name(void *state, unsigned server) {
        struct zp_s3 *s3 = state;
        (void) server;
        return s3->place.host;
}

static const struct zp_http *s3_http(void *state, unsigned server) {
        struct zp_s3 *s3 = state;
        (void) server;
        return s3->http;
}

static int s3_head(void *state, unsigned server, const struct zp_descriptor *blob, bool may_wait,
                   struct zp_range_head *out, struct zp_error *err) {
        struct zp_s3 *s3 = state;
        char path[ZP_REMOTE_BLOB_PATH_SIZE];
        (void) server, (void) may_wait;
        return zp_s3_head(&s3->place, zp_remote_blob_path(&blob->digest, path), out, err);
}

static int s3_refused(void *state, unsigned server, const struct zp_http_response *response, struct zp_error *err) {
        struct object object = { .s3 = state };
        (void) server;
        return refused(&object, response, err);
}

static const struct zp_range_kind s3_range = {
        .server_count = s3_server_count,
        .server_name = s3_server_name,
        .http = s3_http,
        .head = s3_head,
        .may_retry = zp_s3_may_retry,
        .refused = s3_refused,
};

const struct zp_remote_kind zp_remote_s3 = {
        .prefix = "s3://",
        .open = s3_open,
        .close = s3_close,
        .has_blob = s3_has_blob,
        .put_blob = s3_put_blob,
        .get_blob = s3_get_blob,
        .publish = s3_publish,
        .find = s3_find,
        .get_manifest = s3_get_manifest,
        .range = &s3_range,
};
