/* SPDX-License-Identifier: Apache-2.0
 *
 * Lists in pages, object by object.
 */
#include <string.h>

#include "controller/kube/kube-internal.h"
#include "controller/kube/stream.h"

#define PAGE_ITEMS "500"
#define PAGE_TIMEOUT_MS 120000u

/* A page that is arriving. */
struct page {
        const struct zp_kube_listing *listing;
        bool is_first;
        struct zp_kube_stream stream;
};

static void begin_page(struct page *page) {
        const struct zp_kube_listing *listing = page->listing;
        zp_kube_stream_clear(&page->stream);
        page->stream = (struct zp_kube_stream){
                .form = ZP_KUBE_ITEMS, .each = listing->each, .left_out = listing->left_out, .context = listing->context
        };
}

/* When its request is repeated it begins anew. The pages that follow are of the first one's version, but that may be
 * another one then. */
static int on_data(void *context, const struct zp_http_response *response, uint64_t offset, const void *data,
                   size_t size, struct zp_error *err) {
        struct page *page = context;
        (void) response;
        if (offset == 0) {
                begin_page(page);
                if (page->is_first && page->listing->begun)
                        page->listing->begun(page->listing->context);
        }
        return zp_kube_stream_feed(&page->stream, data, size, err);
}

static char *page_query(const char *query, const char *token, bool is_in_pages) {
        zp_autofree char *escaped = token ? zp_kube_escape(token) : NULL;
        if (token && !escaped)
                return NULL;
        return zp_format("%s%s%s%s%s", query ? query : "", query ? "&" : "", is_in_pages ? "limit=" PAGE_ITEMS : "",
                         token ? "&continue=" : "", token ? escaped : "");
}

/* One page; *envelope is the caller's. */
static int list_page(const struct zp_kube_listing *listing, const char *token, bool is_in_pages, json_t **envelope,
                     struct zp_error *err) {
        zp_autofree char *query = page_query(listing->query, token, is_in_pages);
        zp_autofree char *path = query ? zp_kube_path(listing->place, query[0] ? query : NULL) : NULL;
        if (!path)
                return zp_error_errno(err, ENOMEM, "list");
        struct page page = { .listing = listing, .is_first = !token };
        begin_page(&page);
        struct zp_kube_exchange exchange = { .path = path,
                                             .sink = on_data,
                                             .context = &page,
                                             .cancel = listing->cancel,
                                             .timeout_ms = PAGE_TIMEOUT_MS };
        struct zp_http_response response = { 0 };
        int r = zp_kube_exchange_again(listing->kube, &exchange, &response, err);
        if (r == 0 && (response.status < 200 || response.status > 299))
                r = zp_kube_fail(&response, NULL, err);
        else if (r == 0)
                r = zp_kube_stream_end(&page.stream, envelope, err);
        zp_kube_stream_clear(&page.stream);
        zp_http_response_clear(&response);
        return r;
}

/* Takes over what the page says about the list. */
static int read_envelope(json_t *envelope, char **token, char **resource_version, struct zp_error *err) {
        const char *next = json_string_value(json_object_get(json_object_get(envelope, "metadata"), "continue"));
        const char *version = zp_kube_resource_version(envelope);
        free(zp_steal(token));
        free(zp_steal(resource_version));
        if (version[0] == '\0')
                return zp_error_set(err, EBADMSG, "list: has no resourceVersion");
        *resource_version = strdup(version);
        *token = next && next[0] ? strdup(next) : NULL;
        return *resource_version && (*token || !next || !next[0]) ? 0 : zp_error_errno(err, ENOMEM, "list");
}

int zp_kube_list_all(const struct zp_kube_listing *listing, char **resource_version, struct zp_error *err) {
        zp_autofree char *token = NULL, *version = NULL;
        bool is_in_pages = true;
        int r;
        do {
                zp_auto(json_decref) json_t *envelope = NULL;
                r = list_page(listing, token, is_in_pages, &envelope, err);
                if (r == -ESTALE && token) { /* the version the pages are of has been compacted: all at once, then */
                        zp_error_clear(err);
                        free(zp_steal(&token));
                        is_in_pages = false;
                        r = list_page(listing, NULL, false, &envelope, err);
                }
                if (r == 0)
                        r = read_envelope(envelope, &token, &version, err);
        } while (r == 0 && token);
        char text[KUBE_PLACE_SIZE];
        if (r < 0)
                return zp_error_wrap(err, "list %s", zp_kube_place_text(listing->place, text));
        if (resource_version)
                *resource_version = zp_steal(&version);
        return 0;
}

int zp_kube_list(struct zp_kube *kube, const struct zp_kube_place *place, const char *query, zp_kube_each each,
                 void *context, char **resource_version, struct zp_error *err) {
        struct zp_error ignored = { 0 };
        const struct zp_kube_listing listing = {
                .kube = kube, .place = place, .query = query, .each = each, .context = context
        };
        return zp_kube_list_all(&listing, resource_version, err ? err : &ignored);
}
