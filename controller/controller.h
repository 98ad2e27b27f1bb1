/* SPDX-License-Identifier: Apache-2.0
 *
 * The running controller.
 */
#ifndef CTL_CONTROLLER_H
#define CTL_CONTROLLER_H

#include <stdbool.h>

#include "base/error.h"

struct ctl_options {
        const char *kubeconfig; /* NULL: as docs/controller.md says */
        const char *config;     /* NULL: the defaults */
        const char *namespace;  /* nothing outside of it is looked at; NULL: all namespaces */
        const char *metrics;    /* where to listen; NULL: nowhere */
        bool is_elected;        /* by a Lease: of many that run so, one works */
};

/* Runs until SIGTERM or SIGINT (0), or until it is not the leader any more (-ESTALE). */
int ctl_controller_run(const struct ctl_options *options, struct zp_error *err);

#endif
