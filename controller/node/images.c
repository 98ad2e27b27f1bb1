/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/node/images.h"

#include <stdlib.h>
#include <string.h>

#include "controller/node/amount.h"
#include "oci/json.h"

#define TIMEOUT_DEFAULT_S 3600
#define TIMEOUT_MAX_S (7 * 24 * 3600)
#define IMAGE_MAX 512
#define MESSAGE_MAX 1024
#define RETRY_MS 10000
#define RETRY_MAX_MS 600000
/* A removal that was refused: a container uses it. */
#define REMOVE_AGAIN_MS 60000

enum phase { PHASE_PENDING, PHASE_FETCHING, PHASE_READY, PHASE_FAILED };
static const char *const phase_names[] = { "Pending", "Fetching", "Ready", "Failed" };

struct entry {
        json_t *wanted; /* the spec's entry; NULL: it is not wanted any more, and goes when nobody works on it */
        char image[IMAGE_MAX + 1];
        enum phase phase;
        bool is_busy, is_stale;                  /* stale: what is wanted has changed since the work began */
        char coming_digest[ZP_DIGEST_TEXT_SIZE]; /* while it is busy: of what is being fetched; "": not known yet */
        char digest[ZP_DIGEST_TEXT_SIZE];        /* of what is there; "" */
        bool has_all;                            /* of its data */
        uint64_t bytes, due_ms;
        uint64_t coming;  /* of what is being fetched, so many bytes have come */
        unsigned percent; /* of it */
        unsigned attempts;
        char reason[NODE_REASON_MAX + 1], message[MESSAGE_MAX + 1];
};

struct node_images {
        struct entry *entries; /* NODE_IMAGES_MAX of room */
        size_t count;
        json_t *own;      /* digest to image */
        json_t *removals; /* digest to when it may be tried again, in ms; -1: it is under way */
};

static int no_memory(struct zp_error *err) {
        return zp_error_errno(err, ENOMEM, "images");
}

static const char *text(json_t *object, const char *key) {
        const char *value = json_string_value(json_object_get(object, key));
        return value ? value : "";
}

int node_images_new(struct node_images **out, struct zp_error *err) {
        zp_auto(node_images_free) struct node_images *images = calloc(1, sizeof *images);
        if (images) {
                images->entries = calloc(NODE_IMAGES_MAX, sizeof *images->entries);
                images->own = json_object();
                images->removals = json_object();
        }
        if (!images || !images->entries || !images->own || !images->removals)
                return no_memory(err);
        *out = zp_steal(&images);
        return 0;
}

void node_images_free(struct node_images *images) {
        if (!images)
                return;
        for (size_t i = 0; i < images->count; i++)
                json_decref(images->entries[i].wanted);
        json_decref(images->own);
        json_decref(images->removals);
        free(images->entries);
        free(images);
}

/* ---- its own ---- */

int node_images_take_own(struct node_images *images, json_t *own, struct zp_error *err) {
        const char *digest;
        json_t *image;
        json_object_foreach(own, digest, image) {
                struct zp_digest parsed;
                if (zp_digest_parse(digest, &parsed, NULL) < 0 || !json_is_string(image))
                        continue;
                if (json_object_set(images->own, digest, image) < 0)
                        return no_memory(err);
        }
        return 0;
}

json_t *node_images_own(struct node_images *images) {
        return images->own;
}

/* ---- what is wanted ---- */

static struct entry *find(struct node_images *images, const char *image) {
        for (size_t i = 0; i < images->count; i++)
                if (strcmp(images->entries[i].image, image) == 0)
                        return &images->entries[i];
        return NULL;
}

static void drop(struct node_images *images, struct entry *entry) {
        json_decref(entry->wanted);
        *entry = images->entries[--images->count];
}

/* It has to be looked at anew; what is there of it stays. */
static void begin_anew(struct entry *entry) {
        entry->is_stale = entry->is_busy;
        entry->phase = entry->is_busy ? entry->phase : PHASE_PENDING;
        entry->attempts = 0;
        entry->due_ms = 0;
        entry->reason[0] = entry->message[0] = '\0';
}

/* Something else than how long it may take, and who may see it. */
static bool is_other(json_t *before, json_t *now) {
        static const char *const keys[] = { "digest", "from", "complete", "pullSecrets" };
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
                json_t *a = json_object_get(before, keys[i]), *b = json_object_get(now, keys[i]);
                if (a != b && !json_equal(a, b))
                        return true;
        }
        return false;
}

static bool is_sound(json_t *item) {
        struct zp_digest digest;
        const char *image = text(item, "image");
        /* what begins with a dash would be an option */
        return image[0] && image[0] != '-' && strlen(image) <= IMAGE_MAX && text(item, "from")[0] != '-' &&
               (!text(item, "digest")[0] || zp_digest_parse(text(item, "digest"), &digest, NULL) == 0);
}

static void want(struct node_images *images, json_t *item) {
        struct entry *entry = find(images, text(item, "image"));
        if (!entry && images->count == NODE_IMAGES_MAX)
                return;
        if (!entry) {
                entry = &images->entries[images->count++];
                *entry = (struct entry){ .wanted = json_incref(item) };
                snprintf(entry->image, sizeof entry->image, "%s", text(item, "image"));
                return;
        }
        if (!entry->wanted || is_other(entry->wanted, item))
                begin_anew(entry);
        json_decref(entry->wanted);
        entry->wanted = json_incref(item);
}

static bool has_image(json_t *list, const char *image) {
        size_t i;
        json_t *item;
        json_array_foreach(list, i, item) {
                if (strcmp(text(item, "image"), image) == 0)
                        return true;
        }
        return false;
}

void node_images_set(struct node_images *images, json_t *spec) {
        json_t *list = json_object_get(spec, "images"), *item;
        size_t i;
        for (i = images->count; i-- > 0;) {
                struct entry *entry = &images->entries[i];
                if (has_image(list, entry->image))
                        continue;
                json_decref(entry->wanted);
                entry->wanted = NULL;
                if (!entry->is_busy)
                        drop(images, entry);
        }
        json_array_foreach(list, i, item) {
                if (is_sound(item))
                        want(images, item);
        }
}

/* ---- what is to be done ---- */

void node_task_clear(struct node_task *task) {
        free(task->image);
        free(task->from);
        json_decref(task->secrets);
        *task = (struct node_task){ 0 };
}

static int fetch_task(struct entry *entry, struct node_task *task, struct zp_error *err) {
        json_int_t timeout_s = json_integer_value(json_object_get(entry->wanted, "deadlineSeconds"));
        const char *from = text(entry->wanted, "from");
        *task = (struct node_task){ .image = strdup(entry->image),
                                    .from = from[0] ? strdup(from) : NULL,
                                    .is_complete = json_is_true(json_object_get(entry->wanted, "complete")),
                                    .timeout_s = timeout_s > 0 && timeout_s <= TIMEOUT_MAX_S ? (unsigned) timeout_s
                                                                                             : TIMEOUT_DEFAULT_S,
                                    .secrets = json_incref(json_object_get(entry->wanted, "pullSecrets")) };
        snprintf(task->digest, sizeof task->digest, "%s", text(entry->wanted, "digest"));
        if (!task->image || (from[0] && !task->from)) {
                node_task_clear(task);
                return no_memory(err);
        }
        snprintf(entry->coming_digest, sizeof entry->coming_digest, "%s", task->digest);
        entry->is_busy = true;
        entry->is_stale = false;
        entry->phase = PHASE_FETCHING;
        entry->coming = entry->percent = 0;
        return 1;
}

/* An image that is wanted has it, or may have it: one without a digest is not known until it was fetched. Or it is
 * being fetched, whoever wants it by now: who finds it there takes it for present. */
static bool is_used(const struct node_images *images, const char *digest) {
        for (size_t i = 0; i < images->count; i++) {
                const struct entry *entry = &images->entries[i];
                if (strcmp(entry->digest, digest) == 0 || strcmp(text(entry->wanted, "digest"), digest) == 0)
                        return true;
                if (entry->is_busy && (!entry->coming_digest[0] || strcmp(entry->coming_digest, digest) == 0))
                        return true;
                if (!entry->digest[0] && strcmp(text(images->own, digest), entry->image) == 0)
                        return true;
        }
        return false;
}

/* What is being removed just now must not be found there by a fetch. `digest` "": it may be anything. */
static bool is_going(const struct node_images *images, const char *digest) {
        const char *going;
        json_t *when;
        json_object_foreach(images->removals, going, when) {
                if (json_integer_value(when) < 0 && (!digest[0] || strcmp(going, digest) == 0))
                        return true;
        }
        return false;
}

static int removal_task(struct node_images *images, uint64_t now_ms, struct node_task *task, uint64_t *due_ms,
                        struct zp_error *err) {
        const char *digest;
        json_t *image;
        json_object_foreach(images->own, digest, image) {
                json_t *when = json_object_get(images->removals, digest);
                json_int_t when_ms = json_integer_value(when);
                if (is_used(images, digest) || when_ms < 0)
                        continue;
                if ((uint64_t) when_ms > now_ms) {
                        *due_ms = (uint64_t) when_ms < *due_ms ? (uint64_t) when_ms : *due_ms;
                        continue;
                }
                *task = (struct node_task){ .is_removal = true, .image = strdup(json_string_value(image)) };
                snprintf(task->digest, sizeof task->digest, "%s", digest);
                if (!task->image || json_object_set_new(images->removals, digest, json_integer(-1)) < 0) {
                        node_task_clear(task);
                        return no_memory(err);
                }
                return 1;
        }
        return 0;
}

int node_images_next(struct node_images *images, uint64_t now_ms, struct node_task *task, uint64_t *due_ms,
                     struct zp_error *err) {
        *due_ms = UINT64_MAX;
        for (size_t i = 0; i < images->count; i++) {
                struct entry *entry = &images->entries[i];
                if (entry->is_busy || !entry->wanted || entry->phase == PHASE_READY ||
                    is_going(images, text(entry->wanted, "digest")))
                        continue;
                if (entry->due_ms <= now_ms)
                        return fetch_task(entry, task, err);
                *due_ms = entry->due_ms < *due_ms ? entry->due_ms : *due_ms;
        }
        return removal_task(images, now_ms, task, due_ms, err);
}

/* ---- what has been done ---- */

bool node_images_progress(struct node_images *images, const struct node_task *task, uint64_t done, uint64_t total) {
        struct entry *entry = find(images, task->image);
        unsigned percent = node_amount_percent(done, total);
        if (!entry || !entry->is_busy)
                return false;
        bool is_new = percent > entry->percent;
        entry->coming = done;
        entry->percent = is_new ? percent : entry->percent;
        return is_new;
}

static int removal_done(struct node_images *images, const struct node_task *task, bool is_done, uint64_t now_ms,
                        struct zp_error *err) {
        json_int_t again_ms = (json_int_t) (now_ms + REMOVE_AGAIN_MS);
        if (!is_done)
                return json_object_set_new(images->removals, task->digest, json_integer(again_ms)) < 0 ? no_memory(err)
                                                                                                       : 0;
        json_object_del(images->removals, task->digest);
        json_object_del(images->own, task->digest);
        return 0;
}

static void fetched(struct entry *entry, const struct node_task *task, const struct node_result *result) {
        snprintf(entry->digest, sizeof entry->digest, "%s", result->digest);
        entry->has_all = task->is_complete;
        entry->bytes += result->bytes;
        entry->attempts = 0;
        entry->phase = PHASE_READY;
        entry->reason[0] = entry->message[0] = '\0';
}

static void failed(struct entry *entry, const struct node_result *result, uint64_t now_ms) {
        uint64_t wait_ms = entry->attempts < 6 ? (uint64_t) RETRY_MS << entry->attempts : RETRY_MAX_MS;
        entry->attempts++;
        entry->due_ms = now_ms + wait_ms;
        entry->phase = PHASE_FAILED;
        snprintf(entry->reason, sizeof entry->reason, "%s", result->reason);
        snprintf(entry->message, sizeof entry->message, "%s", result->message);
}

int node_images_done(struct node_images *images, const struct node_task *task, const struct node_result *result,
                     uint64_t now_ms, struct zp_error *err) {
        struct entry *entry = find(images, task->image);
        if (task->is_removal)
                return removal_done(images, task, result->is_done, now_ms, err);
        if (result->is_done && !result->was_present &&
            json_object_set_new(images->own, result->digest, json_string(task->image)) < 0)
                return no_memory(err);
        if (!entry)
                return 0;
        entry->is_busy = false;
        entry->coming = 0;
        if (!entry->wanted) {
                drop(images, entry);
                return 0;
        }
        if (result->is_done)
                fetched(entry, task, result);
        else if (!entry->is_stale)
                failed(entry, result, now_ms);
        if (entry->is_stale)
                begin_anew(entry);
        return 0;
}

/* ---- what is told ---- */

static json_t *entry_status(const struct entry *entry) {
        json_t *out =
                json_pack("{s:s, s:s, s:I, s:I}", "image", entry->image, "phase", phase_names[entry->phase], "bytes",
                          (json_int_t) (entry->bytes + entry->coming), "attempts", (json_int_t) entry->attempts);
        if (out && entry->digest[0])
                json_object_set_new(out, "digest", json_string(entry->digest));
        if (out && entry->phase == PHASE_READY)
                json_object_set_new(out, "complete", json_boolean(entry->has_all));
        if (out && entry->phase == PHASE_FETCHING)
                json_object_set_new(out, "percent", json_integer(entry->percent));
        /* of a failure that names its image: which one was tried */
        if (out && entry->phase == PHASE_FAILED && text(entry->wanted, "digest")[0])
                json_object_set(out, "digest", json_object_get(entry->wanted, "digest"));
        if (out && entry->reason[0])
                json_object_set_new(out, "reason", json_string(entry->reason));
        if (out && entry->message[0])
                json_object_set_new(out, "message", json_string(entry->message));
        return out;
}

json_t *node_images_status(struct node_images *images) {
        zp_auto(json_decref) json_t *list = json_array();
        unsigned desired = 0, ready = 0, bad = 0;
        for (size_t i = 0; list && i < images->count; i++) {
                const struct entry *entry = &images->entries[i];
                if (!entry->wanted)
                        continue;
                desired++;
                ready += entry->phase == PHASE_READY;
                bad += entry->phase == PHASE_FAILED;
                if (json_array_append_new(list, entry_status(entry)) < 0)
                        return NULL;
        }
        return list ? json_pack("{s:i, s:i, s:i, s:O}", "desired", (int) desired, "ready", (int) ready, "failed",
                                (int) bad, "images", list)
                    : NULL;
}
