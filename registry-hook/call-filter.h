/* SPDX-License-Identifier: Apache-2.0
 *
 * The system calls that a build has no business with.
 */
#ifndef HOOK_CALL_FILTER_H
#define HOOK_CALL_FILTER_H

#include <linux/filter.h>

#include "base/error.h"

/* Compiles the filter, so that a forked child can load it without allocating. filter->filter is malloc'ed. */
int hook_call_filter_compile(struct sock_fprog *filter, struct zp_error *err);

#endif
