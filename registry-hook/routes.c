/* SPDX-License-Identifier: Apache-2.0
 *
 * What there is to ask for (docs/hook.md, docs/hook-openapi.json).
 */
#include "registry-hook/server.h"

const struct hook_route hook_routes[] = {
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
