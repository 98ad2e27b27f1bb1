/* SPDX-License-Identifier: Apache-2.0
 *
 * What routes ask of a request, and how they answer it.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "oci/json.h"
#include "registry-hook/log.h"
#include "registry-hook/server.h"
#include "registry-hook/transcript.h"

/* ---- answers ---- */

static enum MHD_Result reply(struct hook_exchange *x, unsigned status, const char *type,
                             struct MHD_Response *response) {
        if (!response)
                return MHD_NO;
        MHD_add_response_header(response, "Content-Type", type);
        MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
        if (!x->route || x->route->path[1] == 'v')
                MHD_add_response_header(response, "Cache-Control", "no-store");
        if (status == 405) /* RFC 9110, 15.5.6 */
                MHD_add_response_header(response, "Allow", x->allowed);
        if (status == 413)
                MHD_add_response_header(response, "Connection", "close");
        if (status == 401)
                MHD_add_response_header(response, "WWW-Authenticate", "Bearer");
        if (status == 503)
                MHD_add_response_header(response, "Retry-After", "5");
        if (strncmp(type, "text/html", 9) == 0) /* the page is all there is: nothing from elsewhere, in no frame */
                MHD_add_response_header(response, "Content-Security-Policy",
                                        "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri "
                                        "'none'; form-action 'self'");
        enum MHD_Result result = MHD_queue_response(x->connection, status, response);
        MHD_destroy_response(response);
        return result;
}

enum MHD_Result hook_reply_json(struct hook_exchange *x, unsigned status, json_t *json) {
        char *text = json ? json_dumps(json, JSON_INDENT(2)) : NULL;
        json_decref(json);
        if (!text)
                return MHD_NO;
        return reply(x, status, "application/json",
                     MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE));
}

enum MHD_Result hook_reply_error(struct hook_exchange *x, unsigned status, const char *format, ...) {
        char message[ZP_ERROR_MESSAGE_MAX];
        va_list args;
        va_start(args, format);
        vsnprintf(message, sizeof message, format, args);
        va_end(args);
        return hook_reply_json(x, status, json_pack("{s:o}", "error", hook_json_text(message)));
}

enum MHD_Result hook_reply_failed(struct hook_exchange *x, const struct zp_error *err) {
        static const struct {
                int code;
                unsigned status;
        } codes[] = {
                { ENOENT, 404 }, { EBUSY, 409 }, { EINVAL, 400 }, { EBADMSG, 400 }, { E2BIG, 413 }, { EFBIG, 413 }
        };
        for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
                if (codes[i].code == err->code)
                        return hook_reply_error(x, codes[i].status, "%s", err->message);
        hook_log_seldom(&x->service->failed, HOOK_LOG_ERROR, "%s %s: %s", x->method, x->path, err->message);
        return hook_reply_error(x, 503, "%s", err->message);
}

enum MHD_Result hook_reply_static(struct hook_exchange *x, const char *type, const void *data, size_t size) {
        return reply(x, 200, type,
                     MHD_create_response_from_buffer(size, (void *) (uintptr_t) data, MHD_RESPMEM_PERSISTENT));
}

enum MHD_Result hook_reply_text(struct hook_exchange *x, const char *type, struct zp_buffer *text) {
        size_t size = text->size;
        return reply(x, 200, type, MHD_create_response_from_buffer(size, zp_steal(&text->data), MHD_RESPMEM_MUST_FREE));
}

/* ---- questions ---- */

const char *hook_query(const struct hook_exchange *x, const char *name) {
        return MHD_lookup_connection_value(x->connection, MHD_GET_ARGUMENT_KIND, name);
}

int hook_query_word(const struct hook_exchange *x, const char *name, const char *const *words, const char **out,
                    struct zp_error *err) {
        zp_autobuffer struct zp_buffer list = { 0 };
        *out = hook_query(x, name);
        for (size_t i = 0; words[i]; i++) {
                if (!*out || strcmp(*out, words[i]) == 0)
                        return 0;
                if (!zp_buffer_text(&list, i > 0 ? ", " : "") || !zp_buffer_text(&list, words[i]))
                        return zp_error_errno(err, ENOMEM, "%s", name);
        }
        return zp_error_set(err, EINVAL, "%s: '%.64s' is none of: %s", name, *out, list.data);
}

bool hook_argument_number(const struct hook_exchange *x, int64_t *out) {
        char *end;
        errno = 0;
        *out = strtoll(x->argument, &end, 10);
        return x->argument[0] >= '0' && x->argument[0] <= '9' && !*end && errno == 0;
}

bool hook_query_number(const struct hook_exchange *x, const char *name, int64_t otherwise, int64_t *out) {
        const char *text = hook_query(x, name);
        char *end;
        *out = otherwise;
        if (!text)
                return true;
        errno = 0;
        *out = strtoll(text, &end, 10);
        return text[0] >= '0' && text[0] <= '9' && !*end && errno == 0;
}

int hook_body_json(struct hook_exchange *x, json_t **out, struct zp_error *err) {
        const char *type = MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, "Content-Type");
        if (!type || strncasecmp(type, "application/json", 16) != 0)
                return zp_error_set(err, EBADMSG, "the body wants 'Content-Type: application/json'");
        return zp_json_load(x->body.data ? x->body.data : "", x->body.size, "the body", out, err);
}
