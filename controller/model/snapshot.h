/* SPDX-License-Identifier: Apache-2.0
 *
 * An ImageSnapshot as the API server gives it, read with limits of our own: the CRD's schema may be an older one.
 */
#ifndef CTL_SNAPSHOT_H
#define CTL_SNAPSHOT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "controller/model/names.h"
#include "controller/model/status.h"
#include "oci/json.h"

/* As the CRD has them. */
#define CTL_IMAGES_MAX 64
#define CTL_IMAGE_SIZE 513
#define CTL_PLATFORMS_MAX 16
#define CTL_PULL_SECRETS_MAX 16
#define CTL_INTERVAL_DEFAULT_S 300
#define CTL_INTERVAL_MIN_S 30

enum ctl_executor_kind { CTL_EXECUTOR_DEFAULT, CTL_EXECUTOR_HOOK, CTL_EXECUTOR_JOB };

/* Texts belong to the object. NULL: not given. */
struct ctl_spec {
        const char *images[CTL_IMAGES_MAX];
        size_t image_count; /* at least one */
        const char *platforms[CTL_PLATFORMS_MAX];
        size_t platform_count; /* 0: the controller's default */
        const char *pull_secrets[CTL_PULL_SECRETS_MAX];
        size_t pull_secret_count;
        const char *service_account;
        bool is_tracking;
        int64_t interval_s;     /* of tracking */
        int64_t ttl_s;          /* 0: none */
        bool removes_snapshots; /* when the object is deleted */
        const char *target;
        const char *signing_secret;
        bool has_no_base;
        const char *base_image;
        int priority;
        enum ctl_executor_kind executor;
        bool has_warm_up;
};

struct ctl_snapshot {
        json_t *object; /* held */
        const char *namespace, *name, *uid;
        int64_t generation;
        int64_t created; /* seconds since 1970 */
        int64_t deleted; /* since when it is being deleted; 0: it is not */
        bool has_finalizer;
        const char *retry; /* the annotation's value; "" */
        struct ctl_spec spec;
        struct ctl_status status;
};

/* -EBADMSG: it is none, the message says why; metadata is filled then all the same, where it is in order. `out` is to
 * be cleared in any case. */
int ctl_snapshot_parse(json_t *object, struct ctl_snapshot *out, struct zp_error *err);
void ctl_snapshot_clear(struct ctl_snapshot *snapshot);
#define ctl_autosnapshot __attribute__((cleanup(ctl_snapshot_clear)))

/* "namespace/name"; returns `key`. */
char *ctl_key(const char *namespace, const char *name, char key[CTL_KEY_SIZE]);

#endif
