/* SPDX-License-Identifier: Apache-2.0
 *
 * Signed requests, and the errors that come back as XML
 * (docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html).
 */
#include <stdlib.h>
#include <string.h>

#include "remote/s3-internal.h"
#include "remote/xml.h"

#define PATIENCE 10 /* putting many parts together takes its time */
#define EMPTY_PAYLOAD "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static int on_failure_element(void *context, const char *path, const char *text, struct zp_error *err) {
        struct zp_s3_failure *failure = context;
        (void) err;
        const struct {
                const char *path;
                char *text;
                size_t size;
        } known[] = {
                { "/Error/Code", failure->code, sizeof failure->code },
                { "/Error/Message", failure->message, sizeof failure->message },
                { "/Error/Region", failure->region, sizeof failure->region },
                { "/Error/ServerTime", failure->server_time, sizeof failure->server_time },
        };
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
                if (strcmp(path, known[i].path) == 0)
                        snprintf(known[i].text, known[i].size, "%s", text);
        return 0;
}

void zp_s3_failure_parse(const struct zp_http_response *response, struct zp_s3_failure *out) {
        *out = (struct zp_s3_failure){ 0 };
        if (response->body.size > 0)
                zp_xml_parse(response->body.data, response->body.size, on_failure_element, out, NULL);
}

static bool is_code(const struct zp_s3_failure *failure, const char *const *codes) {
        for (; *codes; codes++)
                if (strcmp(failure->code, *codes) == 0)
                        return true;
        return false;
}

static int number_of(const struct zp_s3_failure *failure, int status) {
        static const char *const busy[] = { "SlowDown", "ServiceUnavailable", "TooManyRequests", NULL };
        static const char *const gone[] = { "NoSuchUpload", "InvalidPart", NULL };
        if (is_code(failure, gone))
                return ESTALE;
        if (status == 404)
                return ENOENT;
        if (status == 429 || is_code(failure, busy))
                return EBUSY;
        if (strcmp(failure->code, "AuthorizationHeaderMalformed") == 0)
                return EACCES;
        return status == 401 || status == 403 ? EACCES : EIO;
}

static void give_hint(const struct zp_s3_failure *failure, int number, const struct zp_s3_place *place,
                      struct zp_error *err) {
        static const char *const expired[] = { "ExpiredToken", "TokenRefreshRequired", "InvalidToken", NULL };
        static const char *const wrong_key[] = { "InvalidAccessKeyId", "SignatureDoesNotMatch", NULL };
        if (strcmp(failure->code, "RequestTimeTooSkewed") == 0)
                zp_error_hint(err, "this machine's clock is wrong%s%s: set it (e.g. `timedatectl set-ntp true`)",
                              failure->server_time[0] ? "; the server's says " : "", failure->server_time);
        else if (is_code(failure, expired))
                zp_error_hint(err,
                              "get new temporary credentials; AWS_SESSION_TOKEN belongs to the two other variables");
        else if (is_code(failure, wrong_key))
                zp_error_hint(err, "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION (it is '%s')",
                              place->region);
        else if (failure->region[0])
                zp_error_hint(err, "set AWS_REGION=%s", failure->region);
        else if (strcmp(failure->code, "NoSuchBucket") == 0)
                zp_error_hint(err, "make the bucket '%s' first, or check the name and AWS_ENDPOINT_URL", place->bucket);
        else if (number == EACCES && !place->access_key)
                zp_error_hint(err, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
        else if (number == EACCES)
                zp_error_hint(err,
                              "the key '%s' needs s3:GetObject, s3:ListBucket and, to publish, s3:PutObject on the "
                              "bucket '%s'",
                              place->access_key, place->bucket);
}

int zp_s3_failure_error(const struct zp_s3_failure *failure, int status, const struct zp_s3_place *place,
                        struct zp_error *err) {
        int number = number_of(failure, status);
        bool has_code = failure->code[0], has_message = failure->message[0];
        zp_error_set(err, number, "the server answered %d%s%s%s%s%s", status, has_code || has_message ? " (" : "",
                     failure->code, has_code && has_message ? ": " : "", failure->message,
                     has_code || has_message ? ")" : "");
        if (status >= 300 && status < 400)
                zp_error_hint(err, "the bucket '%s' is elsewhere: check AWS_REGION and AWS_ENDPOINT_URL",
                              place->bucket);
        give_hint(failure, number, place, err);
        return -number;
}

bool zp_s3_may_retry(const struct zp_http_response *response) {
        /* The last two are about bytes that were damaged on the way: what is sent has been checked before. */
        static const char *const transient[] = {
                "RequestTimeout",     "OperationAborted",          "InternalError", "SlowDown",
                "ServiceUnavailable", "XAmzContentSHA256Mismatch", "BadDigest",     NULL,
        };
        struct zp_s3_failure failure;
        if (zp_fetch_may_retry(response))
                return true;
        if (response->status < 200)
                return false;
        zp_s3_failure_parse(response, &failure);
        return is_code(&failure, transient);
}

static int make_url(const struct zp_s3_place *place, const struct zp_s3_request *request, struct zp_buffer *url,
                    struct zp_buffer *query, struct zp_error *err) {
        struct zp_sigv4_parameter parameters[sizeof request->parameters / sizeof *request->parameters];
        size_t count = 0;
        for (; count < sizeof parameters / sizeof *parameters && request->parameters[count].name; count++)
                parameters[count] = request->parameters[count];
        bool ok = zp_sigv4_query(query, parameters, count) && zp_buffer_text(url, place->base) &&
                  zp_buffer_text(url, "/") &&
                  (!request->key ||
                   (zp_sigv4_encode(url, place->prefix, "/") && zp_sigv4_encode(url, request->key, "/")));
        return ok ? 0 : zp_error_errno(err, ENOMEM, "S3 request");
}

/* The headers of a signed request. */
struct signature {
        char *lines[3], *authorization;
        const char *list[4];
};

static void signature_clear(struct signature *signature) {
        for (size_t i = 0; i < 3; i++)
                free(signature->lines[i]);
        free(signature->authorization);
}

static int sign(const struct zp_s3_place *place, const struct zp_s3_request *request, const char *path,
                const char *query, struct signature *out, struct zp_error *err) {
        char hex[ZP_SHA256_HEX_SIZE] = EMPTY_PAYLOAD, date[ZP_SIGV4_DATE_SIZE];
        const struct zp_sigv4_keys keys = {
                .access_key = place->access_key,
                .secret_key = place->secret_key,
                .session_token = place->session_token,
                .region = place->region,
                .service = "s3",
        };
        if (request->body)
                zp_digest_hex(request->payload, hex);
        const struct zp_sigv4_request to_sign = {
                .method = request->method,
                .host = place->host,
                .path = path,
                .query = query,
                .payload = hex,
                .time = time(NULL),
        };
        zp_sigv4_date(to_sign.time, date);
        out->lines[0] = zp_format("x-amz-content-sha256: %s", hex);
        out->lines[1] = zp_format("x-amz-date: %s", date);
        if (keys.session_token)
                out->lines[2] = zp_format("x-amz-security-token: %s", keys.session_token);
        if (!out->lines[0] || !out->lines[1] || (keys.session_token && !out->lines[2]))
                return zp_error_errno(err, ENOMEM, "S3 request");
        for (size_t i = 0; i < 3; i++)
                out->list[i] = out->lines[i];
        return zp_sigv4_authorization(&keys, &to_sign, &out->authorization, err);
}

/* Makes the URL, and signs the request for it when there is a key to sign with. */
static int prepare(const struct zp_s3_place *place, const struct zp_s3_request *request, struct zp_buffer *url,
                   struct signature *signature, struct zp_error *err) {
        zp_autobuffer struct zp_buffer query = { 0 };
        int r = make_url(place, request, url, &query, err);
        if (r == 0 && place->access_key)
                r = sign(place, request, url->data + place->path_at, query.size ? query.data : "", signature, err);
        if (r == 0 && query.size && (!zp_buffer_text(url, "?") || !zp_buffer_text(url, query.data)))
                r = zp_error_errno(err, ENOMEM, "S3 request");
        return r;
}

int zp_s3_head(const struct zp_s3_place *place, const char *key, struct zp_range_head *out, struct zp_error *err) {
        const struct zp_s3_request request = { .method = "GET", .key = key };
        struct zp_buffer url = { 0 };
        struct signature signature = { 0 };
        int r = prepare(place, &request, &url, &signature, err);
        *out = (struct zp_range_head){ .url = url.data, .authorization = signature.authorization };
        for (size_t i = 0; i < 3; i++)
                out->lines[i] = signature.lines[i];
        if (r < 0)
                zp_range_head_clear(out);
        return r;
}

int zp_s3_exchange(struct zp_s3 *s3, struct zp_http *http, const struct zp_s3_request *request,
                   struct zp_http_response *response, struct zp_error *err) {
        zp_autobuffer struct zp_buffer url = { 0 };
        struct signature signature = { 0 };
        int r = prepare(&s3->place, request, &url, &signature, err);
        if (r == 0)
                r = zp_http_exchange(
                        http,
                        &(struct zp_http_request){
                                .url = url.data,
                                .method = request->method,
                                .authorization = signature.authorization,
                                .headers = signature.list,
                                .body = request->body,
                                .range_start = request->range_start,
                                .range_end = request->range_end,
                                .patience = strcmp(request->method, "POST") == 0 || request->body ? PATIENCE : 0,
                                .body_limit = request->body_limit,
                                .sink = request->sink,
                                .context = request->context,
                        },
                        response, err);
        signature_clear(&signature);
        return r;
}

/* Some answers begin well and turn out to be errors at their end (CompleteMultipartUpload). */
static bool is_refused(const struct zp_http_response *response, struct zp_s3_failure *failure) {
        if (response->status >= 200 && response->status < 300 && response->body.size == 0)
                return false;
        zp_s3_failure_parse(response, failure);
        return response->status < 200 || response->status > 299 || failure->code[0];
}

int zp_s3_request(struct zp_s3 *s3, const struct zp_s3_request *request, struct zp_http_response *response,
                  struct zp_error *err) {
        struct zp_retry retry = { 0 };
        for (;;) {
                struct zp_s3_failure failure = { 0 };
                int r = zp_s3_exchange(s3, s3->http, request, response, err);
                if (r == 0 && is_refused(response, &failure))
                        r = zp_s3_failure_error(&failure, response->status, &s3->place, err);
                if (r == 0 && err)
                        zp_error_clear(err); /* what an earlier attempt has left */
                if (r == 0 || !zp_s3_may_retry(response))
                        return r;
                if (!zp_retry_wait(&retry, s3->http, NULL, response, s3->place.bucket, err))
                        return zp_retry_end(&retry, s3->http, NULL, r, err);
                zp_http_response_clear(response);
        }
}
