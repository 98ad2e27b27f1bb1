/* SPDX-License-Identifier: Apache-2.0
 *
 * The members of a snapshot of hook_retention_list().
 */
#ifndef HOOK_RETENTION_INTERNAL_H
#define HOOK_RETENTION_INTERNAL_H

#include "registry-hook/clock.h"
#include "registry-hook/retention.h"

/* "" where there is none. */
static inline const char *retention_text(const json_t *snapshot, const char *name) {
        const char *text = json_string_value(json_object_get(snapshot, name));
        return text ? text : "";
}

static inline int64_t retention_number(const json_t *snapshot, const char *name) {
        return json_integer_value(json_object_get(snapshot, name));
}

/* `silent`: how often in a row each registry was slow in vain; at HOOK_SLOW_IN_A_ROW it is not asked any more. */
static inline void retention_note_silence(json_t *silent, const char *registry, bool is_slow) {
        json_object_set_new(silent, registry, json_integer(is_slow ? retention_number(silent, registry) + 1 : 0));
}

static inline bool retention_is_silent(const json_t *silent, const char *registry) {
        return retention_number(silent, registry) >= HOOK_SLOW_IN_A_ROW;
}

#endif
