/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/executors/job-trouble.h"

#include <stdio.h>
#include <string.h>

#include "base/buffer.h"

/* Nobody waits long for what is nice to know. */
#define TIMEOUT_MS 2000

static const struct zp_kube_resource events = { "events.k8s.io/v1", "events" };

static const char *text_of(json_t *object, const char *name) {
        const char *text = json_string_value(json_object_get(object, name));
        return text ? text : "";
}

/* Which is later; both are UTC, with or without a fraction of the second. */
static int compare_times(const char *a, const char *b) {
        size_t a_size = strcspn(a, "Z"), b_size = strcspn(b, "Z");
        int r = memcmp(a, b, a_size < b_size ? a_size : b_size);
        return r ? r : (a_size > b_size) - (a_size < b_size);
}

/* When it was seen last: how that is said depends on who has written it. */
static const char *time_of(json_t *event) {
        const char *times[] = { text_of(json_object_get(event, "series"), "lastObservedTime"),
                                text_of(event, "eventTime"), text_of(event, "deprecatedLastTimestamp") };
        const char *last = "";
        for (size_t i = 0; i < sizeof times / sizeof *times; i++)
                if (compare_times(times[i], last) > 0)
                        last = times[i];
        return last;
}

void ctl_job_read_trouble(json_t *list, const char *since, char note[CTL_MESSAGE_SIZE]) {
        json_t *items = json_object_get(list, "items"), *event;
        const char *newest = since;
        size_t i;
        note[0] = '\0';
        json_array_foreach(items, i, event) {
                const char *time = time_of(event);
                if (!*text_of(event, "note") || compare_times(time, newest) < 0)
                        continue;
                newest = time;
                snprintf(note, CTL_MESSAGE_SIZE, "%s", text_of(event, "note"));
        }
}

bool ctl_job_find_trouble(struct zp_kube *kube, json_t *object, const char *since, char note[CTL_MESSAGE_SIZE]) {
        struct zp_kube_request request = { .place = { .resource = events, .namespace = zp_kube_namespace(object) },
                                           .timeout_ms = TIMEOUT_MS };
        zp_auto(json_decref) json_t *list = NULL;
        zp_autofree char *uid = zp_kube_escape(zp_kube_uid(object));
        zp_autofree char *query =
                uid ? zp_format("fieldSelector=regarding.uid%%3D%s%%2Ctype%%3DWarning&limit=100", uid) : NULL;
        note[0] = '\0';
        request.query = query;
        if (!query || zp_kube_call(kube, &request, &list, NULL) < 0)
                return false;
        ctl_job_read_trouble(list, since, note);
        return true;
}
