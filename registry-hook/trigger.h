/* SPDX-License-Identifier: Apache-2.0
 *
 * `zeropull-hook trigger`: asks a service for a build, and waits for it.
 */
#ifndef HOOK_TRIGGER_H
#define HOOK_TRIGGER_H

#include "base/error.h"

/* The exit codes are zeropull's. */
enum hook_exit {
        HOOK_EXIT_DONE = 0,
        HOOK_EXIT_FAILED = 1,
        HOOK_EXIT_USAGE = 2,
        HOOK_EXIT_NOT_FOUND = 3,
        HOOK_EXIT_REFUSED = 4
};

struct hook_trigger_options {
        const char *url, *token, *ca_file; /* token NULL: none */
        const char *reference;
        bool force, is_quiet;
        long timeout_s; /* for all of it */
};
/* Tells on stderr how it goes, and on stdout, as JSON, what came of it. *code is set also on success: a build that
 * failed is no error of the asking. */
int hook_trigger(const struct hook_trigger_options *options, enum hook_exit *code, struct zp_error *err);

#endif
