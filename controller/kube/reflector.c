/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/kube/reflector.h"

#include <string.h>

#include "controller/kube/known.h"
#include "controller/kube/kube-internal.h"
#include "controller/kube/stream.h"
#include "controller/kube/thread.h"

#define WATCH_MIN_S 300u
#define WATCH_SPREAD_S 300u
/* How long after the server should have ended a watch we do. */
#define WATCH_GRACE_S 30u
/* A watch that ends sooner, with nothing told, is a failure. */
#define WATCH_SHORT_MS 1000u

struct zp_kube_reflector {
        struct zp_kube_reflector_options options;
        struct zp_cancel cancel; /* set by stop */
        struct zp_kube_bell bell;
        pthread_t thread;
        atomic_ullong objects, lists, watches, events, trouble;
        atomic_bool is_synced;

        /* The thread's own. */
        struct zp_kube_known known;
        char *version;             /* where to watch from; NULL: list first */
        unsigned mark;             /* counts the lists, and how often each began anew */
        unsigned failures;         /* in a row */
        bool is_version_too_large; /* the watch says so */
};

/* ---- what the owner is told ---- */

static void tell(struct zp_kube_reflector *reflector, enum zp_kube_change change,
                 const struct zp_kube_known_object *known, json_t *object) {
        const struct zp_kube_key key = { .namespace = known->namespace, .name = known->name, .uid = known->uid };
        atomic_store(&reflector->objects, reflector->known.count);
        reflector->options.watcher.changed(reflector->options.watcher.context, change, &key, object);
}

static void tell_trouble(struct zp_kube_reflector *reflector, const struct zp_error *reason, unsigned retry_ms) {
        const struct zp_kube_watcher *watcher = &reflector->options.watcher;
        if (watcher->troubled)
                watcher->troubled(watcher->context, reason, reflector->failures, retry_ms);
}

static void on_left_out(void *context, const struct zp_error *reason) {
        struct zp_kube_reflector *reflector = context;
        struct zp_error err = *reason;
        char text[KUBE_PLACE_SIZE];
        zp_error_wrap(&err, "%s: left out", zp_kube_place_text(&reflector->options.place, text));
        unsigned failures = reflector->failures;
        reflector->failures = 0;
        tell_trouble(reflector, &err, 0);
        reflector->failures = failures;
}

static void tell_gone(struct zp_kube_reflector *reflector, struct zp_kube_known_object *known, json_t *object) {
        tell(reflector, ZP_KUBE_DELETED, known, object);
        free(known);
}

/* ---- objects ---- */

static int see(struct zp_kube_reflector *reflector, json_t *object, struct zp_error *err) {
        const char *namespace = zp_kube_namespace(object), *name = zp_kube_name(object), *uid = zp_kube_uid(object);
        const char *version = zp_kube_resource_version(object);
        if (name[0] == '\0' || uid[0] == '\0' || version[0] == '\0')
                return zp_error_set(err, EBADMSG, "an object without name, uid or resourceVersion");
        struct zp_kube_known_object *known = zp_kube_known_find(&reflector->known, namespace, name);
        if (known && strcmp(known->uid, uid) != 0) {
                zp_kube_known_take(&reflector->known, known);
                tell_gone(reflector, zp_steal(&known), NULL);
        }
        if (known && strcmp(known->resource_version, version) == 0) {
                known->mark = reflector->mark;
                return 0;
        }
        enum zp_kube_change change = known ? ZP_KUBE_CHANGED : ZP_KUBE_ADDED;
        known = zp_kube_known_put(&reflector->known, namespace, name, uid, version);
        if (!known)
                return zp_error_errno(err, ENOMEM, "'%s/%s'", namespace, name);
        known->mark = reflector->mark;
        tell(reflector, change, known, object);
        return 0;
}

/* What only an earlier attempt has shown may be gone by now: it is not of this list. */
static void list_begun(void *context) {
        struct zp_kube_reflector *reflector = context;
        reflector->mark++;
}

static int see_listed(void *context, json_t *object, struct zp_error *err) {
        return see(context, object, err);
}

static void see_deleted(struct zp_kube_reflector *reflector, json_t *object) {
        struct zp_kube_known_object *known =
                zp_kube_known_find(&reflector->known, zp_kube_namespace(object), zp_kube_name(object));
        if (!known)
                return;
        zp_kube_known_take(&reflector->known, known);
        tell_gone(reflector, known, strcmp(known->uid, zp_kube_uid(object)) == 0 ? object : NULL);
}

/* ---- list ---- */

static int list(struct zp_kube_reflector *reflector, struct zp_error *err) {
        const struct zp_kube_reflector_options *options = &reflector->options;
        const struct zp_kube_listing listing = {
                .kube = options->kube,
                .place = &options->place,
                .query = options->query,
                .each = see_listed,
                .begun = list_begun,
                .left_out = on_left_out,
                .context = reflector,
                .cancel = &reflector->cancel,
        };
        atomic_fetch_add(&reflector->lists, 1);
        int r = zp_kube_list_all(&listing, &reflector->version, err);
        if (r < 0)
                return r;
        struct zp_kube_known_object *gone;
        for (size_t bucket = 0; (gone = zp_kube_known_take_unmarked(&reflector->known, reflector->mark, &bucket));)
                tell_gone(reflector, gone, NULL);
        if (!atomic_exchange(&reflector->is_synced, true) && options->watcher.synced)
                options->watcher.synced(options->watcher.context);
        return 0;
}

/* ---- watch ---- */

static int advance(struct zp_kube_reflector *reflector, json_t *object, struct zp_error *err) {
        const char *version = zp_kube_resource_version(object);
        if (version[0] == '\0' || strcmp(version, reflector->version) == 0)
                return 0;
        char *copy = strdup(version);
        if (!copy)
                return zp_error_errno(err, ENOMEM, "watch");
        free(reflector->version);
        reflector->version = copy;
        return 0;
}

static int on_event(void *context, json_t *event, struct zp_error *err) {
        struct zp_kube_reflector *reflector = context;
        const char *type = json_string_value(json_object_get(event, "type"));
        json_t *object = json_object_get(event, "object");
        if (!type || !json_is_object(object))
                return zp_error_set(err, EBADMSG, "watch: an event without type or object");
        if (strcmp(type, "ERROR") == 0) {
                struct zp_kube_failure failure;
                int r = zp_kube_fail_status(object, &failure, err);
                reflector->is_version_too_large = failure.is_version_too_large;
                return r;
        }
        atomic_fetch_add(&reflector->events, 1);
        int r = 0;
        if (strcmp(type, "ADDED") == 0 || strcmp(type, "MODIFIED") == 0)
                r = see(reflector, object, err);
        else if (strcmp(type, "DELETED") == 0)
                see_deleted(reflector, object);
        else if (strcmp(type, "BOOKMARK") != 0)
                return zp_error_set(err, EBADMSG, "watch: an event of type '%.40s'", type);
        return r < 0 ? r : advance(reflector, object, err);
}

static int on_data(void *context, const struct zp_http_response *response, uint64_t offset, const void *data,
                   size_t size, struct zp_error *err) {
        (void) response, (void) offset;
        return zp_kube_stream_feed(context, data, size, err);
}

static char *watch_path(const struct zp_kube_reflector *reflector, unsigned seconds) {
        const struct zp_kube_reflector_options *options = &reflector->options;
        zp_autofree char *version = zp_kube_escape(reflector->version);
        if (!version)
                return NULL;
        zp_autofree char *query =
                zp_format("%s%swatch=1&allowWatchBookmarks=true&resourceVersion=%s&timeoutSeconds=%u",
                          options->query ? options->query : "", options->query ? "&" : "", version, seconds);
        return query ? zp_kube_path(&options->place, query) : NULL;
}

/* Follows until the server ends it, in order (0) or not. */
static int watch(struct zp_kube_reflector *reflector, struct zp_error *err) {
        unsigned seconds = WATCH_MIN_S + zp_kube_random(WATCH_SPREAD_S);
        zp_autofree char *path = watch_path(reflector, seconds);
        if (!path)
                return zp_error_errno(err, ENOMEM, "watch");
        struct zp_kube_stream stream = {
                .form = ZP_KUBE_EVENTS, .each = on_event, .left_out = on_left_out, .context = reflector
        };
        const struct zp_kube_exchange exchange = {
                .path = path,
                .sink = on_data,
                .context = &stream,
                .cancel = &reflector->cancel,
                .timeout_ms = (seconds + WATCH_GRACE_S) * 1000,
                .is_watch = true,
        };
        struct zp_http_response response = { 0 };
        struct zp_kube_failure failure = { 0 };
        reflector->is_version_too_large = false;
        atomic_fetch_add(&reflector->watches, 1);
        int r = zp_kube_exchange(reflector->options.kube, &exchange, &response, err);
        if (r == 0 && (response.status < 200 || response.status > 299)) {
                r = zp_kube_fail(&response, &failure, err);
                reflector->is_version_too_large = failure.is_version_too_large;
        } else if (r == 0) {
                r = zp_kube_stream_end(&stream, NULL, err);
        }
        zp_kube_stream_clear(&stream);
        zp_http_response_clear(&response);
        char text[KUBE_PLACE_SIZE];
        return r < 0 ? zp_error_wrap(err, "watch %s", zp_kube_place_text(&reflector->options.place, text)) : 0;
}

/* ---- the thread ---- */

static bool is_stopped(const struct zp_kube_reflector *reflector) {
        return zp_cancelled(&reflector->cancel) || zp_cancelled(reflector->options.kube->options.cancel);
}

static void fail(struct zp_kube_reflector *reflector, const struct zp_error *reason, bool at_once) {
        reflector->failures++;
        atomic_fetch_add(&reflector->trouble, 1);
        unsigned wait_ms = at_once && reflector->failures == 1 ? 0 : zp_kube_backoff_ms(reflector->failures);
        tell_trouble(reflector, reason, wait_ms);
        if (wait_ms > 0)
                zp_kube_bell_wait(&reflector->bell, zp_clock_ms() + wait_ms);
}

/* Whether the version we watched from is of no use any more: too old, of another history, or the kind is gone. */
static bool must_list(const struct zp_kube_reflector *reflector, int result) {
        return result == -ESTALE || result == -EINVAL || result == -ENOENT || reflector->is_version_too_large;
}

static void watch_once(struct zp_kube_reflector *reflector) {
        struct zp_error err = { 0 };
        uint64_t start_ms = zp_clock_ms(), events = atomic_load(&reflector->events);
        int r = watch(reflector, &err);
        bool has_lived = atomic_load(&reflector->events) > events || zp_clock_ms() - start_ms >= WATCH_SHORT_MS;
        if (is_stopped(reflector))
                return;
        if (has_lived)
                reflector->failures = 0;
        if (r == 0 && has_lived)
                return;
        if (r == 0)
                zp_error_set(&err, EAGAIN, "watch %s: ended at once", reflector->options.place.resource.plural);
        if (must_list(reflector, r))
                free(zp_steal(&reflector->version));
        fail(reflector, &err, r == -ESTALE);
}

static void *run(void *argument) {
        struct zp_kube_reflector *reflector = argument;
        while (!is_stopped(reflector)) {
                struct zp_error err = { 0 };
                if (reflector->version)
                        watch_once(reflector);
                else if (list(reflector, &err) < 0 && !is_stopped(reflector))
                        fail(reflector, &err, false);
        }
        return NULL;
}

int zp_kube_reflector_start(const struct zp_kube_reflector_options *options, struct zp_kube_reflector **out,
                            struct zp_error *err) {
        struct zp_kube_reflector *reflector = calloc(1, sizeof *reflector);
        if (!reflector)
                return zp_error_errno(err, ENOMEM, "reflector");
        reflector->options = *options;
        reflector->cancel.parent = options->cancel;
        zp_kube_bell_init(&reflector->bell);
        int r = zp_kube_thread_start(&reflector->thread, run, reflector, options->place.resource.plural, err);
        if (r < 0) {
                zp_kube_bell_clear(&reflector->bell);
                free(reflector);
                return r;
        }
        *out = reflector;
        return 0;
}

void zp_kube_reflector_stop(struct zp_kube_reflector *reflector) {
        atomic_store(&reflector->cancel.requested, true);
        zp_kube_bell_ring(&reflector->bell);
        pthread_join(reflector->thread, NULL);
        zp_kube_bell_clear(&reflector->bell);
        zp_kube_known_clear(&reflector->known);
        free(reflector->version);
        free(reflector);
}

struct zp_kube_reflector_statistics zp_kube_reflector_statistics(struct zp_kube_reflector *reflector) {
        return (struct zp_kube_reflector_statistics){
                .objects = atomic_load(&reflector->objects),
                .lists = atomic_load(&reflector->lists),
                .watches = atomic_load(&reflector->watches),
                .events = atomic_load(&reflector->events),
                .failures = atomic_load(&reflector->trouble),
                .is_synced = atomic_load(&reflector->is_synced),
        };
}
