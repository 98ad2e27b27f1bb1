/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/control/control.h"

#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/resident.h"
#include "snapshotter/control/metrics-server.h"
#include "snapshotter/control/server.h"
#include "snapshotter/keychain/learner.h"
#include "snapshotter/named.h"
#include "snapshotter/supervisor/supervisor.h"

/* systemd waits 90 s, Kubernetes 30. */
#define STOP_GRACE_MS 10000
#define PULL_GRACE_MS 5000
_Static_assert(PULL_GRACE_MS + STOP_GRACE_MS < SNAP_CONTROL_END_MS, "it is killed after its own grace, not before");
/* Between two attempts when there are no file descriptors left. */
#define ACCEPT_PAUSE_NS 100000000
/* Of all descriptors: what clients may not take, mounts and directories have. */
#define OWN_DESCRIPTORS 128
#define DESCRIPTORS_MAX 1024
/* Without a new connection for so long: little goes on. */
#define REST_MS 30000

/* Before the first thread: all inherit it. */
static int block_signals(int *fd, struct zp_error *err) {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        signal(SIGPIPE, SIG_IGN);
        signal(SIGHUP, SIG_IGN);
        signal(SIGXFSZ, SIG_IGN);
        if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0 || (*fd = signalfd(-1, &set, SFD_CLOEXEC)) < 0)
                return zp_error_errno(err, errno, "signals");
        return 0;
}

/* The number tells how many there are: a new descriptor has the lowest that is free. */
static bool is_too_many(int fd) {
        struct rlimit limit;
        rlim_t max = DESCRIPTORS_MAX;
        if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < max + OWN_DESCRIPTORS)
                max = limit.rlim_cur > OWN_DESCRIPTORS ? limit.rlim_cur - OWN_DESCRIPTORS : 0;
        return (rlim_t) fd >= max;
}

static void take(struct snap_server *server, int fd, bool *is_full) {
        bool was_full = *is_full;
        *is_full = is_too_many(fd);
        if (!*is_full) {
                snap_server_add_connection(server, fd);
                return;
        }
        close(fd);
        if (!was_full)
                snap_log_event(SNAP_LOG_ERROR, "connections are refused: clients have too many", NULL);
}

static void accept_one(struct snap_server *server, int listener, bool *is_full) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
                take(server, fd, is_full);
                return;
        }
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
                snap_log_event(SNAP_LOG_ERROR, "cannot accept a connection", "error", strerrordesc_np(errno), NULL);
                nanosleep(&(struct timespec){ .tv_nsec = ACCEPT_PAUSE_NS }, NULL);
        }
}

static int serve(struct snap_server *server, int listener, int signals, struct zp_error *err) {
        bool is_full = false;
        struct pollfd fds[] = { { .fd = listener, .events = POLLIN }, { .fd = signals, .events = POLLIN } };
        for (;;) {
                int count = poll(fds, 2, REST_MS);
                if (count < 0 && errno != EINTR)
                        return zp_error_errno(err, errno, "poll");
                if (count == 0)
                        zp_resident_rest();
                if (fds[1].revents)
                        return 0;
                if (fds[0].revents)
                        accept_one(server, listener, &is_full);
        }
}

/* Who watches may miss it: nobody's container does. */
static struct snap_metrics_server *start_metrics(const struct snap_config *config, struct snap_service *service,
                                                 struct snap_metrics *metrics) {
        struct snap_metrics_sources sources = { .metrics = metrics,
                                                .metastore = snap_service_metastore(service),
                                                .root = config->root,
                                                .store = config->store,
                                                .devices = config->devices,
                                                .has_data_plane = config->serves_devices };
        struct snap_metrics_server *server = NULL;
        struct zp_error err = { 0 };
        unsigned port;
        if (!config->metrics)
                return NULL;
        if (snap_metrics_server_new(config->metrics, &sources, &server, &port, &err) < 0) {
                snap_log_event(SNAP_LOG_ERROR, "no metrics", "error", err.message, NULL);
                return NULL;
        }
        char text[16];
        snprintf(text, sizeof text, "%u", port);
        snap_log_event(SNAP_LOG_INFO, "serving metrics", "address", config->metrics, "port", text, NULL);
        return server;
}

static int run(const struct snap_config *config, struct snap_service *service, struct snap_learner *learner,
               struct snap_metrics *metrics, int listener, int signals, struct zp_error *err) {
        zp_auto(snap_server_free) struct snap_server *server = NULL;
        int r = snap_server_new(service, metrics, &server, err);
        zp_auto(snap_metrics_server_free) struct snap_metrics_server *metrics_server =
                r == 0 ? start_metrics(config, service, metrics) : NULL;
        (void) metrics_server; /* ends with its scope */
        if (r == 0) {
                char pid[16];
                snprintf(pid, sizeof pid, "%d", (int) getpid());
                snap_log_event(SNAP_LOG_INFO, "serving", "pid", pid, "address", config->address, "root", config->root,
                               "version", ZP_VERSION, NULL);
                snap_worker_ready();
                r = serve(server, listener, signals, err);
        }
        if (r == 0) {
                snap_log_event(SNAP_LOG_INFO, "stopping", NULL);
                if (learner) /* first: pulls end only while layers are answered for */
                        snap_learner_stop(learner, PULL_GRACE_MS);
                snap_server_stop(server, STOP_GRACE_MS);
        }
        return r;
}

/* Each of the many threads would keep an arena with what its largest call needed. */
static void keep_memory_small(void) {
        mallopt(M_ARENA_MAX, 1);
        mallopt(M_MMAP_THRESHOLD, 128 << 10);
        mallopt(M_TRIM_THRESHOLD, 128 << 10);
}

int snap_control_run(const struct snap_config *config, int listener, struct zp_error *err) {
        zp_auto(snap_service_close) struct snap_service *service = NULL;
        zp_autoclose int signals = -1;
        int r = block_signals(&signals, err);
        if (r < 0)
                return r;
        keep_memory_small();
        if (snap_worker_starts() <= 1) /* not again after each death; 0: a process that does without a supervisor */
                snap_named_log(config);
        static struct snap_metrics metrics; /* as long as the process */
        zp_auto(snap_learner_free) struct snap_learner *learner = NULL;
        struct snap_learner_options learning = { config->root, config->image_service, config->containerd };
        if ((config->image_service || config->agent) && (r = snap_learner_new(&learning, &learner, err)) < 0)
                return r;
        struct snap_service_options options = {
                .root = config->root,
                .remap_ids = config->remap_ids,
                .store = config->store,
                .devices = config->serves_devices ? config->devices : NULL,
                .accelerate = config->accelerate,
                .acceleration = { .policy = config->policy,
                                  .metrics = &metrics,
                                  .timeout_ms = (unsigned) config->registry_timeout_s * 1000,
                                  .auth_file = config->auth_file,
                                  .ca_file = config->ca_file,
                                  .preloads = (const char *const *) config->data.preloads,
                                  .check_rights = config->check_rights,
                                  .keychain = learner ? snap_learner_keychain(learner) : NULL,
                                  .agent = config->agent },
        };
        r = snap_service_open(&options, &service, err);
        zp_auto(snap_reporter_free) struct snap_reporter *reporter = NULL;
        if (r == 0 && config->serves_devices && config->reports.url)
                r = snap_reporter_new(&config->reports, config->starts, config->store, &reporter, err);
        return r < 0 ? r : run(config, service, learner, &metrics, listener, signals, err);
}
