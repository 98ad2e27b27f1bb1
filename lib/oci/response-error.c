/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/response-error.h"

#include <stdio.h>
#include <string.h>

#include "oci/json.h"

/* Copies "CODE: message" of the first error into `text`; what is not of that form leaves it empty. */
static void read_reason(const struct zp_http_response *response, char text[300]) {
        zp_auto(json_decref) json_t *json = NULL;
        text[0] = '\0';
        const char *body = response->body.data ? response->body.data : "";
        if (zp_json_load(body, response->body.size, "", &json, NULL) < 0)
                return;
        json_t *first = json_array_get(json_object_get(json, "errors"), 0);
        const char *code = json_string_value(json_object_get(first, "code"));
        const char *message = json_string_value(json_object_get(first, "message"));
        if (!message) /* a token server's way */
                message = json_string_value(json_object_get(json, "details"));
        if (!message)
                message = json_string_value(json_object_get(json, "message"));
        if (code || message)
                snprintf(text, 300, "%.60s%s%.200s", code ? code : "", code && message ? ": " : "",
                         message ? message : "");
}

static int code_of(int status) {
        switch (status) {
        case 401:
        case 403:
                return EACCES;
        case 404:
                return ENOENT;
        case 429:
                return EBUSY;
        default:
                return EIO;
        }
}

static void format_wait(unsigned seconds, char text[40]) {
        unsigned unit = seconds <= 120 ? 1 : seconds <= 120 * 60 ? 60 : 3600;
        text[0] = '\0';
        if (seconds > 0)
                snprintf(text, 40, " and asks to wait %u %s", seconds / unit + (seconds % unit > 0),
                         unit == 1    ? "s"
                         : unit == 60 ? "min"
                                      : "h");
}

int zp_response_error(const struct zp_http_response *response, const char *registry, struct zp_error *err) {
        char reason[300], wait[40];
        int code = code_of(response->status);
        read_reason(response, reason);
        format_wait(zp_http_retry_after_s(response), wait);
        zp_error_set(err, code, "the server answered %d%s%s%s%s", response->status, reason[0] ? " (" : "", reason,
                     reason[0] ? ")" : "", wait);
        if (response->is_elsewhere)
                zp_error_wrap(err, "the registry sent us to another server");
        else if (code == EACCES)
                zp_error_hint(err,
                              "log in with `docker login %s` (or `skopeo login`), or give the user and password "
                              "with --creds; a repository that does not exist may be refused in the same way",
                              registry);
        else if (code == EBUSY)
                zp_error_hint(err, "the registry limits how much may be pulled; log in, or try again later");
        return -code;
}
