/* SPDX-License-Identifier: Apache-2.0
 *
 * The members of a snapshot of hook_retention_list().
 */
#ifndef HOOK_RETENTION_INTERNAL_H
#define HOOK_RETENTION_INTERNAL_H

#include "registry-hook/retention.h"

/* "" where there is none. */
static inline const char *retention_text(const json_t *snapshot, const char *name) {
        const char *text = json_string_value(json_object_get(snapshot, name));
        return text ? text : "";
}

static inline int64_t retention_number(const json_t *snapshot, const char *name) {
        return json_integer_value(json_object_get(snapshot, name));
}

#endif
