/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/control/metrics-server.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "monitor/monitor.h"
#include "snapshotter/control/log.h"

struct snap_metrics_server {
        struct zp_monitor *monitor;
        struct snap_metrics_sources sources; /* used by the monitor's one thread */
        struct stat root;
};

static bool write_metrics(void *context, struct zp_buffer *out) {
        struct snap_metrics_server *server = context;
        return snap_metrics_text(&server->sources, out);
}

/* The database is open, and the directory held, whatever their names are by now; mounts go by the names. */
static const char *unhealthy(void *context) {
        const struct snap_metrics_server *server = context;
        struct stat root, database;
        zp_autoclose int fd = open(server->sources.root, O_PATH | O_DIRECTORY | O_CLOEXEC);
        bool has_root = fd >= 0 && fstat(fd, &root) == 0 && root.st_dev == server->root.st_dev &&
                        root.st_ino == server->root.st_ino &&
                        fstatat(fd, "metadata.db", &database, AT_SYMLINK_NOFOLLOW) == 0;
        return has_root ? NULL
                        : "the root directory, or its metadata.db, is gone or another one: put it back, and restart"
                          " the daemon";
}

static void tell(void *context, const char *text) {
        (void) context;
        snap_log_event(SNAP_LOG_DEBUG, "metrics", "error", text, NULL);
}

int snap_metrics_server_new(const char *listen, const struct snap_metrics_sources *sources,
                            struct snap_metrics_server **out, unsigned *port, struct zp_error *err) {
        zp_auto(snap_metrics_server_free) struct snap_metrics_server *server = calloc(1, sizeof *server);
        if (!server)
                return zp_error_errno(err, ENOMEM, "metrics");
        server->sources = *sources;
        if (stat(sources->root, &server->root) < 0)
                return zp_error_errno(err, errno, "stat '%s'", sources->root);
        const struct zp_monitor_options options = { .listen = listen,
                                                    .metrics = write_metrics,
                                                    .unhealthy = unhealthy,
                                                    .context = server,
                                                    .notice = { tell, NULL } };
        int r = zp_monitor_new(&options, &server->monitor, port, err);
        if (r == 0)
                *out = zp_steal(&server);
        return r;
}

void snap_metrics_server_free(struct snap_metrics_server *server) {
        if (!server)
                return;
        zp_monitor_free(server->monitor);
        free(server);
}
