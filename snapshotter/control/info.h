/* SPDX-License-Identifier: Apache-2.0
 *
 * What a snapshot is, in containerd's words.
 */
#ifndef SNAP_INFO_H
#define SNAP_INFO_H

#include <stddef.h>
#include <stdint.h>

/* The values are those on the wire. */
enum snap_kind { SNAP_VIEW = 1, SNAP_ACTIVE = 2, SNAP_COMMITTED = 3 };

struct snap_label {
        const char *key, *value;
};

struct snap_labels {
        struct snap_label *items;
        size_t count;
};

struct snap_info {
        uint64_t id; /* its directory's name; never used twice */
        const char *name;
        const char *parent; /* "": none */
        enum snap_kind kind;
        int64_t created_ns, updated_ns; /* since 1970, UTC */
        struct snap_labels labels;
};

/* What a snapshot itself takes, without its parents. */
struct snap_usage {
        uint64_t size; /* bytes on disk */
        uint64_t inodes;
};

/* The label's value; NULL: not there, which an empty value means, too. */
const char *snap_label_get(const struct snap_labels *labels, const char *key);

#endif
