/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/model/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/utf8.h"
#include "controller/model/time.h"
#include "oci/json.h"

static const char *const phases[] = { "Pending", "Resolving", "Queued", "Building", "Ready", "Failed", "Expired" };
#define PHASES ((int) (sizeof phases / sizeof *phases))

static const struct {
        const char *text;
        char letter;
} states[] = { { "True", 'T' }, { "False", 'F' }, { "Unknown", 'U' } };
#define STATES (sizeof states / sizeof *states)

static const char *const condition_names[CTL_CONDITIONS] = { "Ready", "Progressing", "Resolved", "Degraded",
                                                             "WarmedUp" };

const char *ctl_phase_text(enum ctl_phase phase) {
        return phases[phase];
}

/* ---- reading ---- */

/* False: absent, or too long for us to have written it. */
static bool copy_member(json_t *object, const char *name, char *out, size_t size) {
        const char *text = json_string_value(json_object_get(object, name));
        out[0] = '\0';
        return text && snprintf(out, size, "%s", text) < (int) size;
}

static int64_t time_member(json_t *object, const char *name) {
        const char *text = json_string_value(json_object_get(object, name));
        int64_t seconds = 0;
        return text && ctl_parse_time(text, &seconds) ? seconds : 0;
}

static int64_t number_member(json_t *object, const char *name, int64_t otherwise) {
        json_t *value = json_object_get(object, name);
        return json_is_integer(value) && json_integer_value(value) >= 0 ? json_integer_value(value) : otherwise;
}

static void digest_member(json_t *object, const char *name, char out[ZP_DIGEST_TEXT_SIZE]) {
        struct zp_digest digest;
        if (!copy_member(object, name, out, ZP_DIGEST_TEXT_SIZE) || zp_digest_parse(out, &digest, NULL) < 0)
                out[0] = '\0';
}

static bool parse_image(json_t *entry, struct ctl_image *out) {
        char phase[16];
        const char *image = json_string_value(json_object_get(entry, "image"));
        int at = 0;
        if (!image || !copy_member(entry, "platform", out->platform, sizeof out->platform) ||
            !copy_member(entry, "phase", phase, sizeof phase))
                return false;
        while (at < PHASES && strcmp(phases[at], phase) != 0)
                at++;
        if (at == PHASES)
                return false;
        out->phase = (enum ctl_phase) at;
        digest_member(entry, "digest", out->digest);
        digest_member(entry, "sourceDigest", out->source_digest);
        digest_member(entry, "snapshotDigest", out->snapshot_digest);
        out->size = number_member(entry, "sizeBytes", 0);
        out->progress = (int) (number_member(entry, "progressPercent", -1) % 101);
        copy_member(entry, "reason", out->reason, sizeof out->reason);
        copy_member(entry, "message", out->message, sizeof out->message);
        copy_member(entry, "buildID", out->build_id, sizeof out->build_id);
        out->attempts = (int) (number_member(entry, "attempts", 0) % 1000);
        out->next_attempt = time_member(entry, "nextAttemptTime");
        out->last_build = time_member(entry, "lastBuildTime");
        out->last_check = time_member(entry, "lastCheckTime");
        out->image = strdup(image);
        return out->image != NULL;
}

void ctl_conditions_parse(json_t *json, struct ctl_condition *out) {
        size_t i;
        json_t *entry;
        char name[32], status[16];
        json_array_foreach(json, i, entry) {
                copy_member(entry, "type", name, sizeof name);
                copy_member(entry, "status", status, sizeof status);
                for (int kind = 0; kind < CTL_CONDITIONS; kind++) {
                        struct ctl_condition *c = &out[kind];
                        if (strcmp(condition_names[kind], name) != 0)
                                continue;
                        for (size_t s = 0; s < STATES; s++)
                                if (strcmp(states[s].text, status) == 0)
                                        c->status = states[s].letter;
                        copy_member(entry, "reason", c->reason, sizeof c->reason);
                        copy_member(entry, "message", c->message, sizeof c->message);
                        c->observed_generation = number_member(entry, "observedGeneration", 0);
                        c->last_transition = time_member(entry, "lastTransitionTime");
                }
        }
}

int ctl_status_parse(json_t *json, struct ctl_status *out, struct zp_error *err) {
        json_t *images = json_object_get(json, "images"), *entry;
        size_t i, count = json_array_size(images);
        *out = (struct ctl_status){ .observed_generation = number_member(json, "observedGeneration", 0) };
        copy_member(json, "observedRetry", out->observed_retry, sizeof out->observed_retry);
        ctl_conditions_parse(json_object_get(json, "conditions"), out->conditions);
        if (count > CTL_STATUS_IMAGES_MAX)
                count = 0; /* not ours */
        if (count > 0 && !(out->images = calloc(count, sizeof *out->images)))
                return zp_error_errno(err, ENOMEM, "status");
        for (i = 0; i < count; i++) {
                entry = json_array_get(images, i);
                out->images[out->image_count] = (struct ctl_image){ 0 };
                if (parse_image(entry, &out->images[out->image_count]))
                        out->image_count++;
        }
        return 0;
}

void ctl_status_clear(struct ctl_status *status) {
        for (size_t i = 0; i < status->image_count; i++)
                free(status->images[i].image);
        free(status->images);
        *status = (struct ctl_status){ 0 };
}

/* ---- what there should be ---- */

static struct ctl_image *find(struct ctl_status *status, const char *image, const char *platform) {
        for (size_t i = 0; i < status->image_count; i++)
                if (status->images[i].image && strcmp(status->images[i].image, image) == 0 &&
                    strcmp(status->images[i].platform, platform) == 0)
                        return &status->images[i];
        return NULL;
}

static bool fill(struct ctl_status *status, const char *image, const char *platform, struct ctl_image *out) {
        struct ctl_image *known = find(status, image, platform);
        if (known) {
                *out = *known;
                known->image = NULL;
                return true;
        }
        *out = (struct ctl_image){ .image = strdup(image), .progress = -1 };
        snprintf(out->platform, sizeof out->platform, "%s", platform);
        return out->image != NULL;
}

bool ctl_status_align(struct ctl_status *status, const char *const *images, size_t image_count,
                      const char *const *platforms, size_t platform_count) {
        struct ctl_status aligned = { .images = calloc(image_count * platform_count + 1, sizeof *aligned.images) };
        bool ok = aligned.images != NULL;
        for (size_t i = 0; i < image_count && ok; i++)
                for (size_t p = 0; p < platform_count && ok; p++)
                        if ((ok = fill(status, images[i], platforms[p], &aligned.images[aligned.image_count])))
                                aligned.image_count++;
        for (size_t i = 0; i < status->image_count; i++)
                free(status->images[i].image);
        free(status->images);
        status->images = aligned.images;
        status->image_count = aligned.image_count;
        return ok;
}

/* ---- writing ---- */

static bool set(json_t *object, const char *name, json_t *value) {
        return value && json_object_set_new(object, name, value) == 0;
}

/* Texts come from others, and were cut to size: perhaps inside a character. */
static json_t *text_json(const char *text) {
        zp_autofree char *copy = strdup(text);
        if (!copy)
                return NULL;
        zp_utf8_mend(copy);
        return json_string(copy);
}

static bool set_text(json_t *object, const char *name, const char *text) {
        return !*text || set(object, name, text_json(text));
}

static bool set_time(json_t *object, const char *name, int64_t seconds) {
        char text[CTL_TIME_SIZE];
        return set_text(object, name, ctl_time_text(seconds, text));
}

static bool set_number(json_t *object, const char *name, int64_t value, int64_t absent) {
        return value == absent || set(object, name, json_integer(value));
}

static json_t *image_json(const struct ctl_image *image) {
        json_t *entry = json_object();
        if (entry && set(entry, "image", json_string(image->image)) &&
            set(entry, "platform", json_string(image->platform)) &&
            set(entry, "phase", json_string(phases[image->phase])) && set_text(entry, "digest", image->digest) &&
            set_text(entry, "sourceDigest", image->source_digest) &&
            set_text(entry, "snapshotDigest", image->snapshot_digest) &&
            set_number(entry, "sizeBytes", image->size, 0) &&
            set_number(entry, "progressPercent", image->progress, -1) && set_text(entry, "reason", image->reason) &&
            set_text(entry, "message", image->message) && set_text(entry, "buildID", image->build_id) &&
            set_number(entry, "attempts", image->attempts, 0) &&
            set_time(entry, "nextAttemptTime", image->next_attempt) &&
            set_time(entry, "lastBuildTime", image->last_build) && set_time(entry, "lastCheckTime", image->last_check))
                return entry;
        json_decref(entry);
        return NULL;
}

json_t *ctl_conditions_json(const struct ctl_condition *conditions) {
        zp_auto(json_decref) json_t *list = json_array();
        char time[CTL_TIME_SIZE];
        for (int kind = 0; kind < CTL_CONDITIONS; kind++) {
                const struct ctl_condition *c = &conditions[kind];
                size_t s = 0;
                while (s < STATES && states[s].letter != c->status)
                        s++;
                if (s == STATES)
                        continue;
                json_t *entry = json_pack("{s:s, s:s, s:I, s:s, s:o, s:o}", "type", condition_names[kind], "status",
                                          states[s].text, "observedGeneration", (json_int_t) c->observed_generation,
                                          "lastTransitionTime", ctl_time_text(c->last_transition, time), "reason",
                                          text_json(c->reason), "message", text_json(c->message));
                if (!entry || json_array_append_new(list, entry) < 0)
                        return NULL;
        }
        return zp_steal(&list);
}

struct ctl_counts ctl_status_counts(const struct ctl_status *status) {
        struct ctl_counts counts = { .desired = (unsigned) status->image_count };
        for (size_t i = 0; i < status->image_count; i++) {
                counts.ready += status->images[i].phase == CTL_READY;
                counts.failed += status->images[i].phase == CTL_FAILED;
        }
        return counts;
}

json_t *ctl_counts_json(const struct ctl_counts *counts) {
        return json_pack("{s:i, s:i, s:i}", "desired", (int) counts->desired, "ready", (int) counts->ready, "failed",
                         (int) counts->failed);
}

json_t *ctl_status_json(const struct ctl_status *status) {
        struct ctl_counts counts = ctl_status_counts(status);
        zp_auto(json_decref) json_t *out = ctl_counts_json(&counts), *images = json_array();
        for (size_t i = 0; i < status->image_count; i++) {
                json_t *entry = image_json(&status->images[i]);
                if (!entry || json_array_append_new(images, entry) < 0)
                        return NULL;
        }
        if (!out || !set(out, "observedGeneration", json_integer(status->observed_generation)) ||
            !set_text(out, "observedRetry", status->observed_retry) ||
            !set(out, "conditions", ctl_conditions_json(status->conditions)) ||
            !set(out, "images", json_incref(images)))
                return NULL;
        return zp_steal(&out);
}
