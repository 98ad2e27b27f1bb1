/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/executors/job-trouble.h"

#include <stdio.h>
#include <string.h>

#include "base/buffer.h"

static const struct zp_kube_resource events = { "events.k8s.io/v1", "events" };

static const char *text_of(json_t *object, const char *name) {
        const char *text = json_string_value(json_object_get(object, name));
        return text ? text : "";
}

struct newest {
        char time[64]; /* as it is written: such times compare as texts */
        char *note;
};

/* When it was seen last: how that is said depends on who has written it. */
static const char *time_of(json_t *event) {
        const char *times[] = { text_of(json_object_get(event, "series"), "lastObservedTime"),
                                text_of(event, "eventTime"), text_of(event, "deprecatedLastTimestamp") };
        const char *last = "";
        for (size_t i = 0; i < sizeof times / sizeof *times; i++)
                if (strcmp(times[i], last) > 0)
                        last = times[i];
        return last;
}

static int take_newest(void *context, json_t *event, struct zp_error *err) {
        struct newest *newest = context;
        const char *time = time_of(event);
        (void) err;
        if (!*text_of(event, "note") || strcmp(time, newest->time) < 0)
                return 0;
        snprintf(newest->time, sizeof newest->time, "%s", time);
        snprintf(newest->note, CTL_MESSAGE_SIZE, "%s", text_of(event, "note"));
        return 0;
}

void ctl_job_find_trouble(struct zp_kube *kube, json_t *object, char note[CTL_MESSAGE_SIZE]) {
        const struct zp_kube_place place = { .resource = events, .namespace = zp_kube_namespace(object) };
        struct newest newest = { .note = note };
        struct zp_error ignored = { 0 };
        zp_autofree char *uid = zp_kube_escape(zp_kube_uid(object));
        zp_autofree char *query = uid ? zp_format("fieldSelector=regarding.uid%%3D%s%%2Ctype%%3DWarning", uid) : NULL;
        note[0] = '\0';
        if (query)
                zp_kube_list(kube, &place, query, take_newest, &newest, NULL, &ignored);
}
