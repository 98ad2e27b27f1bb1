/* SPDX-License-Identifier: Apache-2.0
 *
 * Azure Container Registry: its own webhooks send one event as Distribution writes it
 * (learn.microsoft.com/azure/container-registry/container-registry-webhook-reference); Event Grid sends a list of
 * events with such a one as data, and first of all a validation event whose code it wants back.
 */
#include <string.h>

#include "registry-hook/providers/payload.h"
#include "registry-hook/providers/providers-internal.h"

#define REGISTRY_EVENTS "Microsoft.ContainerRegistry."

/* "eventType" in Event Grid's own schema, "type" in a CloudEvent. */
static int grid_event(const struct hook_endpoint *endpoint, json_t *event, struct hook_events *events, char *reason,
                      struct zp_error *err) {
        const char *grid_type, *cloud_type;
        const struct hook_field fields[] = {
                { "eventType", ZP_JSON_OPTIONAL, &grid_type },
                { "type", ZP_JSON_OPTIONAL, &cloud_type },
        };
        int r = HOOK_PAYLOAD_READ(event, fields, err);
        if (r < 0)
                return r;
        const char *type = grid_type ? grid_type : cloud_type;
        if (!type)
                return zp_error_set(err, EBADMSG, HOOK_PAYLOAD ": 'eventType' is missing");
        if (strcmp(type, REGISTRY_EVENTS "ImagePushed") != 0 && strcmp(type, REGISTRY_EVENTS "ImageDeleted") != 0)
                return hook_payload_ignore(reason, "%s", type);
        json_t *data;
        r = zp_json_get(event, "data", JSON_OBJECT, ZP_JSON_REQUIRED, HOOK_PAYLOAD, &data, err);
        return r < 0 ? r : hook_distribution_event(endpoint, data, events, reason, err);
}

static int grid_events(const struct hook_endpoint *endpoint, const struct hook_request *request,
                       struct hook_events *events, char *reason, struct zp_error *err) {
        zp_auto(json_decref) json_t *list = NULL;
        json_t *event;
        size_t i;
        int r = zp_json_load_array(request->body, request->body_size, HOOK_PAYLOAD, &list, err);
        if (r < 0)
                return r;
        json_array_foreach(list, i, event) {
                r = grid_event(endpoint, event, events, reason, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

static bool is_list(const struct hook_request *request) {
        size_t space = strspn(request->body, " \t\r\n");
        return request->body[space] == '[';
}

HOOK_PARSE(hook_azure_parse) {
        if (is_list(request))
                return grid_events(endpoint, request, events, reason, err);
        zp_auto(json_decref) json_t *root = NULL;
        int r = hook_payload_load(request, &root, err);
        if (r < 0)
                return r;
        if (json_object_get(root, "specversion"))
                return grid_event(endpoint, root, events, reason, err);
        return hook_distribution_event(endpoint, root, events, reason, err);
}

/* learn.microsoft.com/azure/event-grid/end-point-validation-event-grid-events-schema. The validationUrl, for those who
 * cannot answer, is not looked at. */
bool hook_azure_answer(const struct hook_request *request, char *answer) {
        const char *header = request->header(request->context, "aeg-event-type"), *type, *code;
        zp_auto(json_decref) json_t *list = NULL, *reply = NULL;
        const struct hook_field fields[] = {
                { "eventType", ZP_JSON_REQUIRED, &type },
                { "data.validationCode", ZP_JSON_REQUIRED, &code },
        };
        if (!header || strcmp(header, "SubscriptionValidation") != 0 ||
            zp_json_load_array(request->body, request->body_size, HOOK_PAYLOAD, &list, NULL) < 0 ||
            json_array_size(list) != 1 || HOOK_PAYLOAD_READ(json_array_get(list, 0), fields, NULL) < 0 ||
            strcmp(type, "Microsoft.EventGrid.SubscriptionValidationEvent") != 0)
                return false;
        reply = json_pack("{s:s}", "validationResponse", code);
        zp_autofree char *text = reply ? json_dumps(reply, JSON_COMPACT) : NULL;
        if (!text || strlen(text) >= HOOK_ANSWER_SIZE)
                return false;
        strcpy(answer, text);
        return true;
}
