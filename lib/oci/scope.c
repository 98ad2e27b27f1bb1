/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/scope.h"

#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"

/* Every repository that something is mounted from adds one; a token with all of them must fit into a header. */
#define RESOURCES_MAX 16

/* One resource of a scope, borrowed from its text. */
struct resource {
        const char *name, *actions; /* "repository:a/b", "pull,push" */
        size_t name_size, actions_size;
};

/* The next resource at *p, which moves behind it. */
static bool next_resource(const char **p, struct resource *out) {
        *p += strspn(*p, " ");
        size_t size = strcspn(*p, " ");
        if (size == 0)
                return false;
        const char *colon = memrchr(*p, ':', size);
        *out = (struct resource){ .name = *p, .name_size = colon ? (size_t) (colon - *p) : size };
        if (colon) {
                out->actions = colon + 1;
                out->actions_size = size - out->name_size - 1;
        }
        *p += size;
        return true;
}

static bool next_action(const struct resource *resource, size_t *at, const char **action, size_t *size) {
        while (*at < resource->actions_size && resource->actions[*at] == ',')
                ++*at;
        if (*at >= resource->actions_size)
                return false;
        *action = resource->actions + *at;
        const char *comma = memchr(*action, ',', resource->actions_size - *at);
        *size = comma ? (size_t) (comma - *action) : resource->actions_size - *at;
        *at += *size;
        return true;
}

static bool has_action(const struct resource *resource, const char *wanted, size_t wanted_size) {
        const char *action;
        size_t at = 0, size;
        while (next_action(resource, &at, &action, &size))
                if (size == wanted_size && memcmp(action, wanted, size) == 0)
                        return true;
        return false;
}

static bool find_resource(const char *scope, const struct resource *wanted, struct resource *out) {
        while (next_resource(&scope, out))
                if (out->name_size == wanted->name_size && memcmp(out->name, wanted->name, out->name_size) == 0)
                        return true;
        return false;
}

bool zp_scope_covers(const char *held, const char *wanted) {
        struct resource want, have;
        while (next_resource(&wanted, &want)) {
                const char *action;
                size_t at = 0, size;
                if (!find_resource(held, &want, &have))
                        return false;
                while (next_action(&want, &at, &action, &size))
                        if (!has_action(&have, action, size))
                                return false;
        }
        return true;
}

static bool append_resource(struct zp_buffer *out, const struct resource *resource) {
        size_t size = resource->name_size + (resource->actions ? 1 + resource->actions_size : 0);
        return zp_buffer_text(out, out->size ? " " : "") && zp_buffer_append(out, resource->name, size);
}

/* The actions that `resource` has and `other` has not, behind what is there. */
static bool append_missing_actions(struct zp_buffer *out, const struct resource *resource,
                                   const struct resource *other) {
        const char *action;
        size_t at = 0, size;
        while (next_action(resource, &at, &action, &size))
                if (!has_action(other, action, size) &&
                    (!zp_buffer_text(out, ",") || !zp_buffer_append(out, action, size)))
                        return false;
        return true;
}

char *zp_scope_merge(const char *held, const char *wanted) {
        zp_autobuffer struct zp_buffer out = { 0 };
        struct resource resource, other;
        unsigned count = 0;
        bool ok = zp_buffer_text(&out, "");
        for (const char *p = wanted; ok && next_resource(&p, &resource); count++) {
                ok = append_resource(&out, &resource);
                if (ok && resource.actions && find_resource(held, &resource, &other))
                        ok = append_missing_actions(&out, &other, &resource);
        }
        for (const char *p = held; ok && count < RESOURCES_MAX && next_resource(&p, &resource);)
                if (!find_resource(wanted, &resource, &other)) {
                        ok = append_resource(&out, &resource);
                        count++;
                }
        return ok ? zp_steal(&out.data) : NULL;
}
