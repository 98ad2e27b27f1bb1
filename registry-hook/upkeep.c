/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/upkeep.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cancel.h"
#include "registry-hook/clock.h"
#include "registry-hook/log.h"
#include "registry-hook/queue.h"
#include "registry-hook/reconcile.h"
#include "registry-hook/retention.h"

#define ENTRIES 256
#define HOUSEKEEPING_MS 3600000
/* After the database refused. */
#define HOUSEKEEPING_AGAIN_MS 60000
#define TICK_MS 1000

struct hook_upkeep {
        struct hook_upkeep_options options;
        struct zp_cancel cancel;
        pthread_t thread;
        bool has_thread;
        int64_t keep_house_ms; /* monotonic: when it is due */
        struct {
                char host[HOOK_HOST_SIZE];
                int64_t done_ms;
        } polls[ENTRIES]; /* by host: a reload may change what else is there */
        pthread_mutex_t lock;
        pthread_cond_t wake;
        bool is_hurried; /* guarded by lock */
};

static void poll_registry(struct hook_upkeep *u, const struct hook_config *config,
                          const struct hook_registry *registry) {
        struct hook_reconciled found;
        struct zp_error err = { 0 };
        int r = hook_reconcile(u->options.db, config, registry, &u->cancel, &found, &err);
        if (found.changed > 0)
                u->options.queued(u->options.context);
        if (r < 0 && !zp_cancelled(&u->cancel))
                hook_log(HOOK_LOG_WARNING, "reconcile %s: %s", registry->host, err.message);
        hook_log(HOOK_LOG_INFO, "reconcile %s: %llu tags of %llu repositories, %llu name something new", registry->host,
                 (unsigned long long) found.tags, (unsigned long long) found.repositories,
                 (unsigned long long) found.changed);
}

static int64_t *last_poll(struct hook_upkeep *u, const char *host) {
        size_t i = 0;
        while (i < ENTRIES - 1 && u->polls[i].host[0] && strcmp(u->polls[i].host, host) != 0)
                i++;
        snprintf(u->polls[i].host, sizeof u->polls[i].host, "%s", host);
        return &u->polls[i].done_ms;
}

static int keep_house(struct hook_upkeep *u, const struct hook_config *config) {
        struct hook_history history = { hook_now_ms(), config->history_ms, config->history_keep };
        struct zp_error err = { 0 };
        int r = hook_db_write(u->options.db, hook_queue_forget, &history, &err);
        if (r == 0)
                r = hook_retention_survey(u->options.db, config, &u->cancel, &err);
        if (r == 0)
                r = hook_retention_remove(u->options.db, config, &u->cancel, hook_now_ms(), u->options.removed,
                                          u->options.context, &err);
        if (r < 0)
                hook_log(HOOK_LOG_WARNING, "upkeep: %s", err.message);
        return r;
}

static void do_what_is_due(struct hook_upkeep *u, bool is_hurried) {
        zp_auto(hook_config_drop) struct hook_config *config = hook_current_hold(u->options.current);
        int64_t now = hook_monotonic_ms();
        for (size_t i = 0; i < config->registry_count && !zp_cancelled(&u->cancel); i++) {
                const struct hook_registry *registry = &config->registries[i];
                if (!registry->reconcile_ms)
                        continue;
                int64_t *last = last_poll(u, registry->host);
                if (is_hurried || !*last || now - *last >= registry->reconcile_ms) {
                        poll_registry(u, config, registry);
                        *last = now;
                }
        }
        if (is_hurried || now >= u->keep_house_ms)
                u->keep_house_ms = now + (keep_house(u, config) < 0 ? HOUSEKEEPING_AGAIN_MS : HOUSEKEEPING_MS);
}

static void *work(void *context) {
        struct hook_upkeep *u = context;
        while (!zp_cancelled(&u->cancel)) {
                pthread_mutex_lock(&u->lock);
                bool is_hurried = u->is_hurried;
                u->is_hurried = false;
                pthread_mutex_unlock(&u->lock);
                do_what_is_due(u, is_hurried);
                int64_t until_ms = hook_now_ms() + TICK_MS;
                struct timespec until = { until_ms / 1000, until_ms % 1000 * 1000000 };
                pthread_mutex_lock(&u->lock);
                while (!u->is_hurried && !zp_cancelled(&u->cancel))
                        if (pthread_cond_timedwait(&u->wake, &u->lock, &until) == ETIMEDOUT)
                                break;
                pthread_mutex_unlock(&u->lock);
        }
        return NULL;
}

int hook_upkeep_new(const struct hook_upkeep_options *options, struct hook_upkeep **out, struct zp_error *err) {
        struct hook_upkeep *u = calloc(1, sizeof *u);
        if (!u)
                return zp_error_errno(err, ENOMEM, "upkeep");
        u->options = *options;
        pthread_mutex_init(&u->lock, NULL);
        pthread_cond_init(&u->wake, NULL);
        int code = pthread_create(&u->thread, NULL, work, u);
        if (code) {
                hook_upkeep_free(u);
                return zp_error_errno(err, code, "upkeep");
        }
        u->has_thread = true;
        *out = u;
        return 0;
}

void hook_upkeep_hurry(struct hook_upkeep *u) {
        pthread_mutex_lock(&u->lock);
        u->is_hurried = true;
        pthread_cond_signal(&u->wake);
        pthread_mutex_unlock(&u->lock);
}

void hook_upkeep_free(struct hook_upkeep *u) {
        pthread_mutex_lock(&u->lock);
        atomic_store(&u->cancel.requested, true);
        pthread_cond_signal(&u->wake);
        pthread_mutex_unlock(&u->lock);
        if (u->has_thread)
                pthread_join(u->thread, NULL);
        pthread_cond_destroy(&u->wake);
        pthread_mutex_destroy(&u->lock);
        free(u);
}
