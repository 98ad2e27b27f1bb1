/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/kube/pod-log.h"

#include "controller/kube/kube-internal.h"

/* A kubelet may count otherwise: what it adds to what it was asked for. */
#define EXCESS_MAX (4u << 10)

int zp_kube_log(struct zp_kube *kube, const struct zp_kube_log *log, struct zp_buffer *out, struct zp_error *err) {
        const struct zp_kube_place place = {
                .resource = { "v1", "pods" }, .namespace = log->namespace, .name = log->pod, .subresource = "log"
        };
        struct zp_error ignored = { 0 };
        err = err ? err : &ignored;
        zp_autofree char *container = zp_kube_escape(log->container);
        zp_autofree char *query =
                container ? zp_format("container=%s&tailLines=%u&limitBytes=%zu", container, log->lines, log->limit)
                          : NULL;
        zp_autofree char *path = query ? zp_kube_path(&place, query) : NULL;
        if (!path)
                return zp_error_errno(err, ENOMEM, "request");
        const struct zp_kube_exchange exchange = { .path = path,
                                                   .body_limit = log->limit + EXCESS_MAX,
                                                   .timeout_ms = log->timeout_ms };
        struct zp_http_response response = { 0 };
        char text[KUBE_PLACE_SIZE];
        int r = zp_kube_exchange(kube, &exchange, &response, err);
        if (r == 0 && (response.status < 200 || response.status > 299))
                r = zp_kube_fail(&response, NULL, err);
        if (r == 0) {
                *out = response.body;
                response.body = (struct zp_buffer){ 0 };
        }
        zp_http_response_clear(&response);
        return r < 0 ? zp_error_wrap(err, "log of %s", zp_kube_place_text(&place, text)) : 0;
}
