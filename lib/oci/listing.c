/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/listing.h"

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/condition.h"
#include "base/limits.h"
#include "oci/json.h"
#include "oci/link.h"
#include "oci/url.h"

#define PAGES_MAX 10000

static int add_names(const struct zp_http_response *response, const char *member, struct zp_listing *out,
                     struct zp_error *err) {
        zp_auto(json_decref) json_t *root = NULL;
        json_t *names, *name;
        size_t i;
        int r = zp_json_load(response->body.data ? response->body.data : "", response->body.size, "list", &root, err);
        if (r == 0) /* null where there are none */
                r = zp_json_get(root, member, JSON_ARRAY, ZP_JSON_OPTIONAL, "list", &names, err);
        if (r < 0 || !names)
                return r;
        if (out->count + json_array_size(names) > ZP_LISTING_MAX)
                return zp_error_set(err, E2BIG, "list: more than %d names", ZP_LISTING_MAX);
        char **grown = reallocarray(out->names, out->count + json_array_size(names) + 1, sizeof *grown);
        if (!grown)
                return zp_error_errno(err, ENOMEM, "list");
        out->names = grown;
        json_array_foreach(names, i, name) {
                if (!json_is_string(name))
                        return zp_error_set(err, EBADMSG, "list: '%s' has something else than names", member);
                if (!(out->names[out->count] = strdup(json_string_value(name))))
                        return zp_error_errno(err, ENOMEM, "list");
                out->count++;
        }
        return 0;
}

/* Reads a page and finds where the next is; *next NULL: that was the last. */
static int read_page(struct zp_registry *registry, const struct zp_http_response *response, const char *member,
                     struct zp_listing *out, char **next, struct zp_error *err) {
        zp_autofree char *link = NULL;
        int r = 0;
        *next = NULL;
        if (response->status < 200 || response->status > 299)
                return zp_registry_refused(registry, response, err);
        r = add_names(response, member, out, err);
        if (r == 0)
                r = zp_link_next(response->links.data, &link, err);
        return r < 0 || !link ? r : zp_url_resolve(response->url, link, next, err);
}

/* From `url` on to the end. Takes `url` over. */
static int read_pages(struct zp_registry *registry, char *url, const char *member, struct zp_listing *out,
                      struct zp_error *err) {
        int r = 0;
        for (int page = 0; url && r == 0; page++) {
                struct zp_http_request request = { .is_for_push = true, .body_limit = ZP_LIMIT_JSON_SIZE };
                struct zp_http_response response = { 0 };
                char *next = NULL;
                out->asked_ms = zp_monotonic_ms();
                r = page < PAGES_MAX ? zp_registry_request_url(registry, url, &request, &response, err)
                                     : zp_error_set(err, E2BIG, "list: it does not end");
                if (r == 0)
                        r = read_page(registry, &response, member, out, &next, err);
                zp_http_response_clear(&response);
                free(url);
                url = next;
        }
        free(url);
        return r < 0 ? zp_error_wrap(err, "%s: list of %s", zp_registry_name(registry), member) : 0;
}

/* The first page of tags; *url, malloc'ed, is where it came from. */
static int ask_tags(struct zp_registry *registry, struct zp_http_response *response, char **url, struct zp_error *err) {
        struct zp_http_request request = { .is_for_push = true, .body_limit = ZP_LIMIT_JSON_SIZE };
        int r = zp_registry_request(registry, "tags/list?n=1000", &request, response, err);
        if (r == 0 && (!response->url || !(*url = strdup(response->url))))
                r = zp_error_errno(err, ENOMEM, "list");
        return r;
}

/* *next: where the list goes on, NULL: that is all. */
static int list_first(struct zp_registry *registry, struct zp_listing *out, char **next, struct zp_error *err) {
        struct zp_http_response response = { 0 };
        zp_autofree char *url = NULL;
        out->asked_ms = zp_monotonic_ms();
        int r = ask_tags(registry, &response, &url, err);
        if (r == 0)
                r = read_page(registry, &response, "tags", out, next, err);
        zp_http_response_clear(&response);
        return r;
}

int zp_list_tags(struct zp_registry *registry, struct zp_listing *out, struct zp_error *err) {
        zp_autofree char *next = NULL;
        int r = list_first(registry, out, &next, err);
        return r < 0 ? r : read_pages(registry, zp_steal(&next), "tags", out, err);
}

int zp_list_first_tags(struct zp_registry *registry, struct zp_listing *out, struct zp_error *err) {
        zp_autofree char *next = NULL;
        return list_first(registry, out, &next, err);
}

int zp_list_repositories(struct zp_registry *registry, struct zp_listing *out, struct zp_error *err) {
        struct zp_http_response response = { 0 };
        zp_autofree char *url = NULL;
        out->asked_ms = zp_monotonic_ms();
        int r = ask_tags(registry, &response, &url, err); /* whatever it says, it shows how the registry is reached */
        zp_http_response_clear(&response);
        if (r < 0)
                return r;
        char *path = strstr(url, "/v2/");
        if (!path)
                return zp_error_set(err, EBADMSG, "%s: no way to its catalog", zp_registry_name(registry));
        *path = '\0';
        char *catalog = zp_format("%s/v2/_catalog?n=1000", url);
        return catalog ? read_pages(registry, catalog, "repositories", out, err) : zp_error_errno(err, ENOMEM, "list");
}

void zp_listing_clear(struct zp_listing *listing) {
        for (size_t i = 0; i < listing->count; i++)
                free(listing->names[i]);
        free(listing->names);
        *listing = (struct zp_listing){ 0 };
}
