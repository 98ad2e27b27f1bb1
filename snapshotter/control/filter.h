/* SPDX-License-Identifier: Apache-2.0
 *
 * containerd's filter language, as List takes it: selectors joined by ',' must all match, and one of several filters
 * must. A selector is a field (`name`, `parent`, `kind`, `labels.KEY`, quoted where it is not a plain word), alone: it
 * is there, or with `==`, `!=` or `~=` (a regular expression) and a value.
 * https://github.com/containerd/containerd, package filters, has the grammar.
 */
#ifndef SNAP_FILTER_H
#define SNAP_FILTER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "snapshotter/control/info.h"

/* Bounds what a request may cost for each snapshot. */
#define SNAP_FILTERS_MAX 64
#define SNAP_FILTER_SELECTORS_MAX 64

struct snap_filter;

/* All of a request's filters; none at all, or an empty one, match everything. -EINVAL: not of the grammar. */
int snap_filter_parse(const char *const *texts, size_t count, struct snap_filter **out, struct zp_error *err);
void snap_filter_free(struct snap_filter *filter);
ZP_DEFINE_AUTO(struct snap_filter, snap_filter_free);

/* One thread at a time. */
bool snap_filter_matches(struct snap_filter *filter, const struct snap_info *info);

#endif
