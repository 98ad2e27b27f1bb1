/* SPDX-License-Identifier: Apache-2.0
 *
 * What there is to ask for (docs/hook.md, docs/hook-openapi.json).
 */
#include <stdio.h>
#include <string.h>

#include "registry-hook/server.h"

static const struct hook_route routes[] = {
        { "POST", "/hooks/*", HOOK_NOBODY, hook_receive },
        { "GET", "/v1/builds", HOOK_READER, hook_api_list_builds },
        { "POST", "/v1/builds", HOOK_BUILDER, hook_api_create_build },
        { "GET", "/v1/builds/*", HOOK_READER, hook_api_get_build },
        { "POST", "/v1/builds/*/cancel", HOOK_BUILDER, hook_api_cancel_build },
        { "POST", "/v1/builds/*/retry", HOOK_BUILDER, hook_api_retry_build },
        { "GET", "/v1/decisions/*", HOOK_READER, hook_api_get_decision },
        { "GET", "/v1/snapshots", HOOK_READER, hook_api_list_snapshots },
        { "GET", "/v1/repositories", HOOK_READER, hook_api_list_repositories },
        { "GET", "/v1/pending", HOOK_READER, hook_api_list_pending },
        { "GET", "/v1/status", HOOK_READER, hook_api_status },
        { "GET", "/v1/retention", HOOK_READER, hook_api_list_retention },
        { "POST", "/v1/upkeep", HOOK_ADMIN, hook_api_hurry_upkeep },
        { "POST", "/v1/profiles", HOOK_BUILDER, hook_api_add_profile },
        { "GET", "/v1/profiles", HOOK_READER, hook_api_get_profile },
        { "GET", "/v1/events", HOOK_READER, hook_watch },
        { "GET", "/metrics", HOOK_READER, hook_metrics },
        { "GET", "/healthz", HOOK_NOBODY, hook_health },
        { "GET", "/readyz", HOOK_NOBODY, hook_ready },
        { "GET", "/v1/openapi.json", HOOK_NOBODY, hook_page_get_openapi },
        { "GET", "/", HOOK_NOBODY, hook_page_get_index },
        { "GET", "/page/style.css", HOOK_NOBODY, hook_page_get_style },
        { "GET", "/page/app.js", HOOK_NOBODY, hook_page_get_script },
        { 0 },
};

/* One '*' in the pattern takes one component into x->argument. */
static bool takes(const char *pattern, const char *path, struct hook_exchange *x) {
        const char *star = strchr(pattern, '*');
        if (!star)
                return strcmp(pattern, path) == 0;
        size_t before = (size_t) (star - pattern);
        if (strncmp(pattern, path, before) != 0)
                return false;
        size_t size = strcspn(path + before, "/");
        if (size == 0 || size >= sizeof x->argument || strcmp(star + 1, path + before + size) != 0)
                return false;
        memcpy(x->argument, path + before, size);
        x->argument[size] = '\0';
        return true;
}

unsigned hook_find_route(struct hook_exchange *x) {
        bool is_known = false;
        const char *method = strcmp(x->method, "HEAD") == 0 ? "GET" : x->method;
        for (const struct hook_route *route = routes; route->method; route++) {
                if (!takes(route->path, x->path, x))
                        continue;
                is_known = true;
                if (strcmp(route->method, method) == 0) {
                        x->route = route;
                        return 0;
                }
                size_t used = strlen(x->allowed);
                snprintf(x->allowed + used, sizeof x->allowed - used, "%s%s%s", used ? ", " : "", route->method,
                         strcmp(route->method, "GET") == 0 ? ", HEAD" : "");
        }
        return is_known ? 405 : 404;
}
