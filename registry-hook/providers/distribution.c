/* SPDX-License-Identifier: Apache-2.0
 *
 * CNCF Distribution's notifications (distribution.github.io/distribution/about/notifications): an envelope of events,
 * of blobs and manifests alike, for pulls too. It repeats an envelope that is not answered 2xx for ever and sends no
 * other meanwhile, so that whatever is no error of the sender's must pass.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "registry-hook/providers/payload.h"
#include "registry-hook/providers/providers-internal.h"

int hook_distribution_event(const struct hook_endpoint *endpoint, json_t *event, struct hook_events *events,
                            char *reason, struct zp_error *err) {
        const char *action, *actor, *artifact_type;
        struct hook_event_text text = { 0 };
        const struct hook_field head[] = { { "action", ZP_JSON_REQUIRED, &action } };
        const struct hook_field body[] = {
                { "id", ZP_JSON_OPTIONAL, &text.id },
                { "target.repository", ZP_JSON_REQUIRED, &text.repository },
                { "target.tag", ZP_JSON_OPTIONAL, &text.tag },
                { "target.digest", ZP_JSON_OPTIONAL, &text.digest },
                { "target.mediaType", ZP_JSON_OPTIONAL, &text.media_type },
                { "target.artifactType", ZP_JSON_OPTIONAL, &artifact_type },
                { "request.host", ZP_JSON_OPTIONAL, &text.host },
                { "request.useragent", ZP_JSON_OPTIONAL, &text.agent },
                { "actor.name", ZP_JSON_OPTIONAL, &actor },
        };
        int r = HOOK_PAYLOAD_READ(event, head, err);
        if (r < 0)
                return r;
        bool is_push = strcmp(action, "push") == 0;
        if (!is_push && strcmp(action, "delete") != 0)
                return hook_payload_ignore(reason, "%s", action);
        r = HOOK_PAYLOAD_READ(event, body, err);
        if (r < 0)
                return r;
        text.kind = is_push ? HOOK_PUSH : HOOK_DELETE;
        if (artifact_type && hook_payload_is_own(artifact_type))
                text.media_type = artifact_type;
        if (!text.agent || !*text.agent)
                text.agent = actor;
        return hook_payload_add(endpoint, events, &text, reason, err);
}

/* ---- an envelope ---- */

#define REFERENCES "\"references\""

/* Behind the string that begins at body[i]. */
static size_t skip_string(const char *body, size_t size, size_t i) {
        for (i++; i < size && body[i] != '"'; i++)
                if (body[i] == '\\')
                        i++;
        return i < size ? i + 1 : size;
}

static size_t skip_space(const char *body, size_t size, size_t i) {
        while (i < size && isspace((unsigned char) body[i]))
                i++;
        return i;
}

/* Behind the list that begins at body[i]. */
static size_t skip_list(const char *body, size_t size, size_t i) {
        for (size_t depth = 0; i < size; i++) {
                if (body[i] == '"')
                        i = skip_string(body, size, i) - 1;
                else if (body[i] == '[')
                        depth++;
                else if (body[i] == ']' && --depth == 0)
                        return i + 1;
        }
        return size;
}

/* The list that is the value of "references", whose name ends at body[i]: where it begins; 0: it is none. */
static size_t find_list(const char *body, size_t size, size_t i) {
        i = skip_space(body, size, i);
        i = i < size && body[i] == ':' ? skip_space(body, size, i + 1) : size;
        return i < size && body[i] == '[' ? i : 0;
}

/* With `events: {includereferences: true}` an event repeats all that the pusher's manifest says of its layers: any
 * text, NULs included, and more values than a document may have. A pusher must not make a registry's notifications
 * unreadable by that: each such list becomes an empty one. Returns the size. */
static size_t drop_references(const char *body, size_t size, char *out) {
        size_t count = 0, name_size = strlen(REFERENCES);
        for (size_t i = 0, end; i < size; i = end) {
                end = body[i] == '"' ? skip_string(body, size, i) : i + 1;
                size_t list = 0;
                if (end - i == name_size && memcmp(body + i, REFERENCES, name_size) == 0)
                        list = find_list(body, size, end);
                memcpy(out + count, body + i, (list ? list : end) - i);
                count += (list ? list : end) - i;
                if (!list)
                        continue;
                end = skip_list(body, size, list);
                out[count++] = '[';
                if (body[end - 1] == ']') /* else it is cut, and stays so */
                        out[count++] = ']';
        }
        return count;
}

static int load_envelope(const struct hook_request *request, json_t **out, struct zp_error *err) {
        if (request->body_size > HOOK_PAYLOAD_MAX ||
            !memmem(request->body, request->body_size, REFERENCES, strlen(REFERENCES)))
                return hook_payload_load(request, out, err);
        zp_autofree char *body = malloc(request->body_size);
        if (!body)
                return zp_error_errno(err, ENOMEM, HOOK_PAYLOAD);
        struct hook_request shorter = *request;
        shorter.body_size = drop_references(request->body, request->body_size, body);
        shorter.body = body;
        return hook_payload_load(&shorter, out, err);
}

HOOK_PARSE(hook_distribution_parse) {
        zp_auto(json_decref) json_t *root = NULL;
        json_t *list, *event;
        size_t i;
        int r = load_envelope(request, &root, err);
        if (r == 0)
                r = zp_json_get(root, "events", JSON_ARRAY, ZP_JSON_REQUIRED, HOOK_PAYLOAD, &list, err);
        if (r < 0)
                return r;
        json_array_foreach(list, i, event) {
                r = hook_distribution_event(endpoint, event, events, reason, err);
                if (r < 0)
                        return r;
        }
        return 0;
}
