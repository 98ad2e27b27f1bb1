/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/controller.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "controller/log.h"
#include "controller/parts.h"

#define HOOK_STALL_MS 10000

/* ---- what parts call ---- */

void ctl_controller_wake(struct ctl_controller *c) {
        uint64_t one = 1;
        if (write(c->event_fd, &one, sizeof one) < 0)
                ctl_log(CTL_LOG_ERROR, "wake: %s", strerror(errno));
}

static bool may_write(void *context) {
        struct ctl_controller *c = context;
        return !atomic_load(&c->is_lost) && (!c->lease || zp_kube_lease_is_held(c->lease));
}

static void slot_granted(void *context, const char *owner) {
        struct ctl_controller *c = context;
        ctl_queue_add(c->world.queue, owner);
}

static void acquired(void *context) {
        struct ctl_controller *c = context;
        ctl_log(CTL_LOG_INFO, "%s is the leader", c->identity);
        atomic_store(&c->is_leader, true);
        ctl_controller_wake(c);
}

static void lost(void *context) {
        struct ctl_controller *c = context;
        atomic_store(&c->is_leader, false);
        atomic_store(&c->is_lost, true);
        atomic_store(&c->work_cancel.requested, true);
        ctl_controller_wake(c);
}

static void tell(void *context, const char *text) {
        (void) context;
        ctl_log(CTL_LOG_INFO, "%s", text);
}

static const char *unready(void *context) {
        struct ctl_controller *c = context;
        return ctl_watches_are_synced(c) ? NULL : "the lists of objects are not complete yet";
}

/* ---- putting together ---- */

static void set_identity(struct ctl_controller *c) {
        char host[256] = "localhost";
        uint32_t random = 0;
        const char *pod = getenv("POD_NAME");
        gethostname(host, sizeof host - 1);
        if (getrandom(&random, sizeof random, 0) < 0)
                random = (uint32_t) getpid();
        snprintf(c->identity, sizeof c->identity, "%.250s_%08x", pod ? pod : host, random);
}

static int connect_kube(struct ctl_controller *c, struct zp_error *err) {
        const struct zp_kube_config_choice choice = { .kubeconfig = c->options->kubeconfig };
        int r = zp_kube_config_load(&choice, &c->kube_config, err);
        if (r < 0)
                return r;
        const struct zp_kube_options options = { .config = c->kube_config,
                                                 .user_agent = "zeropull-controller/" ZP_VERSION,
                                                 .cancel = &c->kube_cancel,
                                                 .may_write = may_write,
                                                 .context = c };
        return zp_kube_new(&options, &c->world.kube, err);
}

static int make_world(struct ctl_controller *c, struct zp_error *err) {
        struct ctl_world *w = &c->world;
        const struct zp_kube_events_options events = {
                .kube = w->kube, .controller = CTL_CONTROLLER, .instance = c->identity, .notice = { tell, c }
        };
        const struct zp_http_options http = { .ca_file = c->config->hook.ca_file,
                                              .user_agent = "zeropull-controller/" ZP_VERSION,
                                              .stall_timeout_ms = HOOK_STALL_MS,
                                              .cancel = &c->work_cancel };
        int r = ctl_cache_new(&w->snapshots, err);
        if (r == 0)
                r = ctl_cache_new(&w->clusters, err);
        if (r == 0)
                r = ctl_usage_new(&w->usage, err);
        if (r == 0)
                r = ctl_queue_new(NULL, &w->queue, err);
        if (r == 0)
                r = ctl_slots_new((size_t) c->config->job.concurrency, (size_t) c->config->job.namespace_concurrency,
                                  slot_granted, c, &w->slots, err);
        if (r == 0)
                r = zp_learned_new(&w->learned, err);
        if (r == 0 && c->config->hook.url)
                r = zp_http_new(&http, &c->hook, err);
        if (r == 0)
                r = zp_kube_events_start(&events, &w->events, err);
        w->config = c->config;
        w->cancel = &c->work_cancel;
        w->executors = (struct ctl_executors){ c->config, w->kube, c->hook, &c->work_cancel, w->logs_from_ms };
        w->may_write = may_write;
        w->warm_up = ctl_work_look_at_warm_up;
        w->context = c;
        return r;
}

static int start_metrics(struct ctl_controller *c, struct zp_error *err) {
        const struct zp_monitor_options options = {
                .listen = c->options->metrics, .metrics = ctl_figures_write, .unready = unready, .context = c
        };
        unsigned port;
        if (!c->options->metrics)
                return 0;
        int r = zp_monitor_new(&options, &c->monitor, &port, err);
        if (r == 0)
                ctl_log(CTL_LOG_INFO, "metrics at port %u", port);
        return r;
}

static int start_election(struct ctl_controller *c, struct zp_error *err) {
        const char *namespace = c->config->lease_namespace;
        const struct zp_kube_lease_options options = { .kube = c->world.kube,
                                                       .namespace = namespace
                                                                            ? namespace
                                                                            : zp_kube_config_namespace(c->kube_config),
                                                       .name = c->config->lease_name,
                                                       .identity = c->identity,
                                                       .acquired = acquired,
                                                       .lost = lost,
                                                       .notice = { tell, c },
                                                       .context = c };
        if (c->options->is_elected)
                return zp_kube_lease_start(&options, &c->lease, err);
        acquired(c);
        return 0;
}

static int start_parts(struct ctl_controller *c, struct zp_error *err) {
        int r = ctl_config_load(c->options->config, &c->config, err);
        if (r == 0)
                r = connect_kube(c, err);
        if (r == 0)
                r = make_world(c, err);
        if (r == 0)
                r = start_metrics(c, err);
        if (r == 0)
                r = ctl_watches_start(c, err);
        if (r == 0)
                r = start_election(c, err);
        return r;
}

static void stop_parts(struct ctl_controller *c) {
        struct ctl_world *w = &c->world;
        if (w->queue)
                ctl_work_end(c);
        if (c->lease)
                zp_kube_lease_stop(zp_steal(&c->lease));
        zp_monitor_free(c->monitor);
        if (w->events)
                zp_kube_events_stop(w->events);
        atomic_store(&c->kube_cancel.requested, true);
        ctl_watches_stop(c);
        zp_learned_free(w->learned);
        ctl_slots_free(w->slots);
        ctl_queue_free(w->queue);
        ctl_usage_free(w->usage);
        ctl_cache_free(w->clusters);
        ctl_cache_free(w->snapshots);
        if (c->hook)
                zp_http_free(c->hook);
        if (w->kube)
                zp_kube_free(w->kube);
        if (c->kube_config)
                zp_kube_config_free(c->kube_config);
        ctl_config_free(c->config);
}

/* ---- the main thread ---- */

static int block_signals(int *signal_fd, struct zp_error *err) {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        signal(SIGPIPE, SIG_IGN);
        sigprocmask(SIG_BLOCK, &set, NULL); /* in all threads to come */
        *signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
        return *signal_fd < 0 ? zp_error_errno(err, errno, "signals") : 0;
}

static int run_until_told(struct ctl_controller *c, int signal_fd, struct zp_error *err) {
        struct pollfd fds[] = { { .fd = signal_fd, .events = POLLIN }, { .fd = c->event_fd, .events = POLLIN } };
        bool works = false;
        for (;;) {
                uint64_t count;
                if (poll(fds, 2, -1) < 0 && errno != EINTR)
                        return zp_error_errno(err, errno, "poll");
                if (fds[0].revents)
                        return 0;
                if (fds[1].revents && read(c->event_fd, &count, sizeof count) < 0)
                        return zp_error_errno(err, errno, "wake");
                if (atomic_load(&c->is_lost))
                        return zp_error_set(err, ESTALE, "%s is not the leader any more", c->identity);
                int r = ctl_watches_start_pods(c, err);
                if (r == 0 && !works && atomic_load(&c->is_leader) && ctl_watches_are_synced(c)) {
                        works = true;
                        r = ctl_work_begin(c, err);
                        ctl_log(CTL_LOG_INFO, "at work: %zu ImageSnapshots", ctl_cache_size(c->world.snapshots));
                }
                if (r < 0)
                        return r;
        }
}

int ctl_controller_run(const struct ctl_options *options, struct zp_error *err) {
        struct ctl_controller *c = calloc(1, sizeof *c);
        zp_autoclose int signal_fd = -1;
        if (!c)
                return zp_error_errno(err, ENOMEM, "controller");
        c->options = options;
        c->event_fd = eventfd(0, EFD_CLOEXEC);
        pthread_mutex_init(&c->warm_up_lock, NULL);
        set_identity(c);
        int r = c->event_fd < 0 ? zp_error_errno(err, errno, "eventfd") : block_signals(&signal_fd, err);
        if (r == 0)
                r = start_parts(c, err);
        if (r == 0)
                r = run_until_told(c, signal_fd, err);
        stop_parts(c);
        if (c->event_fd >= 0)
                close(c->event_fd);
        pthread_mutex_destroy(&c->warm_up_lock);
        free(c);
        return r;
}
