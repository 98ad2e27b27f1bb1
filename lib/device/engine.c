/* SPDX-License-Identifier: Apache-2.0
 *
 * The beginning and the end of an engine, and its sense of time.
 */
#include "device/device-internal.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/condition.h"

#define DEFAULT_MEMORY (UINT64_C(32) << 20)
#define DEFAULT_RETRY_MS 100
/* The timer looks this often while anything waits for time to pass, and else not at all. */
#define TICK_MS 10
/* And lets the origins look so often. */
#define LOOK_EVERY_MS 100
/* No more lines than one in this time: when a registry is away, every read has something to say. */
#define NOTICE_EVERY_MS 1000

void zp_device_notice(struct zp_device_engine *engine, const char *format, ...) {
        char line[ZP_ERROR_MESSAGE_MAX + 128];
        uint64_t now = zp_monotonic_ms();
        pthread_mutex_lock(&engine->lock);
        bool is_due = engine->options.notice && now >= engine->next_notice_ms;
        if (is_due)
                engine->next_notice_ms = now + NOTICE_EVERY_MS;
        pthread_mutex_unlock(&engine->lock);
        if (!is_due)
                return;
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(line, sizeof line, format, arguments);
        va_end(arguments);
        engine->options.notice(engine->options.context, line);
}

void zp_device_wake_timer(struct zp_device_engine *engine) {
        if (engine->timer_sleeps)
                pthread_cond_signal(&engine->timer_wake);
}

static bool wants_more(const struct zp_device *device) {
        return device->wants_all && device->has_record && device->record.missing;
}

/* Something is under way that an origin, or the device's own file, may have to end. */
static bool must_look(const struct zp_device *device) {
        bool is_looking = device->raw && device->reads;
        for (unsigned i = 0; i < device->origin_count && device->under_way; i++)
                is_looking |= device->origins[i]->ops->look != NULL;
        return is_looking;
}

static bool waits_for_time(const struct zp_device_engine *engine) {
        bool waits = engine->reads || engine->paused;
        for (const struct zp_device *device = engine->devices; device && !waits; device = device->next)
                waits = wants_more(device) || must_look(device);
        return waits;
}

static void resume_paused(struct zp_device_engine *engine, uint64_t now) {
        for (unsigned i = 0; i < ZP_FETCH_BUCKETS && engine->paused; i++)
                for (struct zp_fetch *fetch = engine->buckets[i]; fetch; fetch = fetch->next)
                        if (fetch->state == ZP_FETCH_PAUSED && now >= fetch->resume_ms)
                                zp_fetch_enqueue(fetch);
}

/* Gives the lock back meanwhile: what is held stays in the list. */
static void look_at_origins(struct zp_device_engine *engine, uint64_t now) {
        for (struct zp_device *device = engine->devices; device; device = device->next) {
                if (!must_look(device))
                        continue;
                zp_device_hold(device);
                pthread_mutex_unlock(&engine->lock);
                if (device->raw)
                        zp_slow_file_look(device->raw, now);
                for (unsigned i = 0; i < device->origin_count; i++)
                        if (device->origins[i]->ops->look)
                                device->origins[i]->ops->look(device->origins[i], now);
                pthread_mutex_lock(&engine->lock);
                zp_device_let_go(device);
        }
}

static void tick(struct zp_device_engine *engine) {
        struct zp_device_read *late = NULL;
        uint64_t now = zp_monotonic_ms();
        resume_paused(engine, now);
        zp_reads_fail(engine, NULL, now, &late);
        if (late)
                zp_fetches_forsake(engine, NULL);
        pthread_mutex_unlock(&engine->lock);
        zp_reads_finish(late);
        zp_device_pump(engine);
        pthread_mutex_lock(&engine->lock);
        if (now < engine->next_look_ms)
                return;
        engine->next_look_ms = now + LOOK_EVERY_MS;
        look_at_origins(engine, now);
}

static void *keep_time(void *argument) {
        struct zp_device_engine *engine = argument;
        pthread_mutex_lock(&engine->lock);
        while (!engine->is_ending) {
                if (!waits_for_time(engine)) {
                        engine->timer_sleeps = true;
                        pthread_cond_wait(&engine->timer_wake, &engine->lock);
                        engine->timer_sleeps = false;
                        continue;
                }
                zp_condition_wait_until(&engine->timer_wake, &engine->lock, zp_monotonic_ms() + TICK_MS);
                tick(engine);
        }
        pthread_mutex_unlock(&engine->lock);
        return NULL;
}

static void set_defaults(struct zp_device_options *options) {
        if (!options->memory_limit)
                options->memory_limit = DEFAULT_MEMORY;
        if (!options->deadline_ms)
                options->deadline_ms = ZP_DEVICE_DEADLINE_MS;
        if (!options->retry_ms)
                options->retry_ms = DEFAULT_RETRY_MS;
        if (!options->threads)
                options->threads = zp_usable_cpus();
}

static int start_threads(struct zp_device_engine *engine, struct zp_error *err) {
        int r = zp_pool_new(engine->options.threads, &engine->pool, err);
        if (r < 0)
                return r;
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        int code = pthread_create(&engine->timer, NULL, keep_time, engine);
        engine->has_timer = code == 0;
        if (code == 0)
                code = pthread_create(&engine->keeper, NULL, zp_device_keeper, engine);
        engine->has_keeper = code == 0 && engine->has_timer;
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        return code ? zp_error_errno(err, code, "start a thread") : 0;
}

int zp_device_engine_new(const struct zp_device_options *options, struct zp_device_engine **out, struct zp_error *err) {
        struct zp_device_engine *engine = calloc(1, sizeof *engine);
        if (!engine)
                return zp_error_errno(err, ENOMEM, "devices");
        engine->options = *options;
        set_defaults(&engine->options);
        engine->last_prefetch = &engine->prefetches;
        engine->must_look = true;
        pthread_mutex_init(&engine->lock, NULL);
        zp_condition_init(&engine->timer_wake);
        zp_condition_init(&engine->keeper_wake);
        zp_condition_init(&engine->device_free);
        engine->workers = calloc(engine->options.threads, sizeof *engine->workers);
        int r = engine->workers ? zp_record_boot_id(engine->boot_id, err) : zp_error_errno(err, ENOMEM, "devices");
        if (r == 0)
                r = start_threads(engine, err);
        if (r < 0) {
                zp_device_engine_free(engine);
                return r;
        }
        *out = engine;
        return 0;
}

void zp_device_engine_free(struct zp_device_engine *engine) {
        if (!engine)
                return;
        pthread_mutex_lock(&engine->lock);
        engine->is_ending = true;
        pthread_cond_signal(&engine->timer_wake);
        pthread_cond_signal(&engine->keeper_wake);
        pthread_mutex_unlock(&engine->lock);
        if (engine->has_timer)
                pthread_join(engine->timer, NULL);
        if (engine->has_keeper)
                pthread_join(engine->keeper, NULL);
        zp_pool_free(engine->pool);
        for (unsigned i = 0; engine->workers && i < engine->options.threads; i++) {
                zp_pack_decoder_free(engine->workers[i].decoder);
                free(engine->workers[i].unpacked);
        }
        free(engine->workers);
        pthread_cond_destroy(&engine->timer_wake);
        pthread_cond_destroy(&engine->keeper_wake);
        pthread_cond_destroy(&engine->device_free);
        pthread_mutex_destroy(&engine->lock);
        free(engine);
}

void zp_device_engine_statistics(struct zp_device_engine *engine, struct zp_device_statistics *out) {
        pthread_mutex_lock(&engine->lock);
        *out = engine->statistics;
        pthread_mutex_unlock(&engine->lock);
}
