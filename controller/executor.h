/* SPDX-License-Identifier: Apache-2.0
 *
 * Who builds. One table row (executors.c) and one file, executors/KIND.c, each. A build is named so that whoever asks
 * for the same again, this controller or its successor, gets the build that there is.
 */
#ifndef CTL_EXECUTOR_H
#define CTL_EXECUTOR_H

#include <stdatomic.h>

#include "base/cancel.h"
#include "controller/config.h"
#include "controller/kube/client.h"
#include "controller/model/snapshot.h"
#include "oci/http.h"

#define CTL_LOG_PAUSES 64

/* What executors work with; all thread-safe. */
struct ctl_executors {
        const struct ctl_config *config;
        struct zp_kube *kube;
        struct zp_http *http; /* to the hook; NULL: there is none */
        const struct zp_cancel *cancel;
        /* [CTL_LOG_PAUSES + 1], of nodes: what their pods say is not asked for before then (zp_clock_ms). The last one
         * is of the cluster's events. */
        atomic_ullong *logs_from_ms;
};

struct ctl_order {
        const struct ctl_snapshot *owner;
        const struct ctl_image *image; /* its digest is known */
};

enum ctl_build_state {
        CTL_BUILD_QUEUED,
        CTL_BUILD_RUNNING,
        CTL_BUILD_DONE,
        CTL_BUILD_FAILED,  /* to be tried again later */
        CTL_BUILD_REFUSED, /* trying again would be of no use */
        CTL_BUILD_GONE,    /* nobody knows of it any more; cancelled by others */
};

struct ctl_build {
        enum ctl_build_state state;
        char id[CTL_BUILD_ID_SIZE];         /* may have become another while it is looked at */
        char snapshot[ZP_DIGEST_TEXT_SIZE]; /* of a done one: the artifact; "": it does not say */
        int64_t size;                       /* of that */
        int progress;                       /* percent; -1: not known */
        bool was_there;                     /* when it was to be started: somebody has, perhaps we */
        char reason[CTL_REASON_SIZE], message[CTL_MESSAGE_SIZE];
};

struct ctl_executor {
        enum ctl_executor_kind kind;
        const char *name;
        bool is_bounded; /* how many run at a time is the controller's business (slots.h) */
        bool is_shared;  /* one build of an image for all namespaces, which objects may know by different names */
        /* NULL: it can do what the object asks for; else why not. */
        const char *(*objection)(const struct ctl_executors *all, const struct ctl_spec *spec);
        /* The name that the build will have, before it is started; "": not known. */
        void (*name_build)(const struct ctl_order *order, char id[CTL_BUILD_ID_SIZE]);
        /* Asks for it; `out` tells how it stands. */
        int (*start)(const struct ctl_executors *all, const struct ctl_order *order, struct ctl_build *out,
                     struct zp_error *err);
        /* How it stands. order->image->build_id says which. */
        int (*look)(const struct ctl_executors *all, const struct ctl_order *order, struct ctl_build *out,
                    struct zp_error *err);
        /* How it stands, by the name that it has by now; NULL: it never has another. -EINPROGRESS: what was asked for
         * has no name of its own yet, and may lead to a build that is there already. */
        int (*settle)(const struct ctl_executors *all, const struct ctl_order *order, struct ctl_build *out,
                      struct zp_error *err);
        /* Ends it, which has been settled; one that is over or gone is success. */
        int (*cancel)(const struct ctl_executors *all, const struct ctl_order *order, struct zp_error *err);
};

extern const struct ctl_executor ctl_executor_hook, ctl_executor_job;

/* The one that the object names, or the configuration does. */
const struct ctl_executor *ctl_executor_of(const struct ctl_config *config, const struct ctl_spec *spec);
/* The one that has made this build. */
const struct ctl_executor *ctl_executor_of_build(const char *build_id);

#endif
