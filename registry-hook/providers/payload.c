/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/providers/payload.h"

#include <string.h>
#include <strings.h>

int hook_payload_load(const struct hook_request *request, json_t **out, struct zp_error *err) {
        return zp_json_load_sized(request->body, request->body_size, HOOK_PAYLOAD_MAX, HOOK_PAYLOAD, out, err);
}

static int read_field(json_t *object, const struct hook_field *field, struct zp_error *err) {
        char key[64];
        const char *at = field->path;
        *field->out = NULL;
        for (const char *dot; (dot = strchr(at, '.')); at = dot + 1) {
                snprintf(key, sizeof key, "%.*s", (int) (dot - at), at);
                int r = zp_json_get(object, key, JSON_OBJECT, field->need, HOOK_PAYLOAD, &object, err);
                if (r < 0 || !object)
                        return r;
        }
        return zp_json_text(object, at, field->need, HOOK_PAYLOAD, field->out, err);
}

int hook_payload_read(json_t *root, const struct hook_field *fields, size_t count, struct zp_error *err) {
        int r = 0;
        for (size_t i = 0; i < count && r == 0; i++)
                r = read_field(root, &fields[i], err);
        return r;
}

int hook_payload_ignore(char *reason, const char *format, ...) {
        struct zp_error line; /* for what it does to control characters */
        char text[HOOK_REASON_SIZE];
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(text, sizeof text, format, arguments);
        va_end(arguments);
        zp_error_set(&line, EINVAL, "%s", text);
        snprintf(reason, HOOK_REASON_SIZE, "%.*s", HOOK_REASON_SIZE - 1, line.message);
        return 0;
}

char *hook_payload_host(const char *url) {
        const char *scheme = strstr(url, "://");
        const char *host = scheme ? scheme + 3 : url;
        return strndup(host, strcspn(host, "/"));
}

void hook_payload_lower(char *name) {
        for (char *p = name; *p; p++)
                if (*p >= 'A' && *p <= 'Z')
                        *p = (char) (*p - 'A' + 'a');
}

/* The media type without its parameters is one of an image's documents. Schema 1 is none: nobody can build from it. */
static bool is_image(const char *media_type) {
        static const char *const types[] = {
                "application/vnd.oci.image.manifest.v1+json",
                "application/vnd.oci.image.index.v1+json",
                "application/vnd.docker.distribution.manifest.v2+json",
                "application/vnd.docker.distribution.manifest.list.v2+json",
        };
        size_t size = strcspn(media_type, "; ");
        for (size_t i = 0; i < sizeof types / sizeof *types; i++)
                if (strlen(types[i]) == size && strncasecmp(media_type, types[i], size) == 0)
                        return true;
        return false;
}

bool hook_payload_is_own(const char *artifact_type) {
        return strncasecmp(artifact_type, "application/vnd.zeropull.", 25) == 0;
}

static const char *told(const char *text) {
        return text && *text ? text : NULL;
}

int hook_payload_add(const struct hook_endpoint *endpoint, struct hook_events *events,
                     const struct hook_event_text *text, char *reason, struct zp_error *err) {
        struct hook_event_text event = *text;
        event.host = endpoint->host ? endpoint->host : event.host;
        event.tag = told(event.tag);
        event.digest = told(event.digest);
        if (told(event.media_type) && !is_image(event.media_type))
                return hook_payload_ignore(reason, "not an image: %s", event.media_type);
        if (event.digest && strncmp(event.digest, "sha512:", 7) == 0)
                return hook_payload_ignore(reason, "a digest that is not SHA-256");
        struct zp_error why = { 0 };
        int r = hook_events_add(events, &event, &why);
        if (r == -EBADMSG || r == -EHOSTUNREACH) {
                events->odd++;
                return hook_payload_ignore(reason, "%s%s", why.message, r == -EHOSTUNREACH ? "; set 'host'" : "");
        }
        return r < 0 ? zp_error_set(err, why.code, "%s", why.message) : 0;
}
