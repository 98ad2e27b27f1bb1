/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/node.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "snapshotter/control/control.h"
#include "snapshotter/control/directories.h"
#include "snapshotter/control/log.h"
#include "snapshotter/control/socket.h"
#include "snapshotter/data/store.h"
#include "snapshotter/supervisor/supervisor.h"
#include "store/store.h"

#define CONTROL_ARGUMENT "--control-plane"
#define DATA_ARGUMENT "--data-plane"

enum snap_part snap_node_part(int argc, char **argv) {
        if (argc > 1 && strcmp(argv[1], CONTROL_ARGUMENT) == 0)
                return SNAP_CONTROL_PLANE;
        return argc > 1 && strcmp(argv[1], DATA_ARGUMENT) == 0 ? SNAP_DATA_PLANE : SNAP_WHOLE;
}

/* ---- the data plane ---- */

static void log_notice(void *context, const char *line) {
        (void) context;
        snap_log_event(SNAP_LOG_WARN, line, NULL);
}

/* Where the store looks for whole devices: what is complete is used by both. */
static int open_copies(const struct snap_config *config, struct zp_error *err) {
        zp_autofree char *path = zp_format("%s/unpacked", config->store);
        if (!path)
                return zp_error_errno(err, ENOMEM, "data plane");
        int r = zp_make_directories(path, 0755, err);
        if (r < 0)
                return r;
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? zp_error_errno(err, errno, "'%s'", path) : fd;
}

/* Both sides of a restart of the data plane know it by its name. malloc'ed. */
static char *journal_path(const struct snap_config *config) {
        return zp_format("%s/requests", config->root);
}

static int run_data_plane(const struct snap_config *config, struct zp_error *err) {
        zp_autofree char *journal = journal_path(config);
        zp_auto(snap_store_free) struct snap_store *store = NULL;
        zp_autoclose int copies = open_copies(config, err);
        if (copies < 0)
                return copies;
        if (!journal)
                return zp_error_errno(err, ENOMEM, "data plane");
        int r = snap_store_new(config->store, &store, err);
        if (r < 0)
                return r;
        struct snap_data_options options = {
                .store = config->store,
                .lookups = snap_store_lookups(store),
                .journal = snap_worker_journal(journal),
                .device = { .cache_fd = copies,
                            .is_in_use = snap_store_is_in_use,
                            .notice = log_notice,
                            .context = store },
                .range = { .source = { .auth_file = config->auth_file, .ca_file = config->ca_file } },
        };
        snap_worker_ready();
        return snap_data_run(SNAP_WORKER_FUSE_FD, &options, err);
}

/* ---- the supervisor ---- */

static void log_line(void *context, bool is_bad, const char *line) {
        (void) context;
        snap_log_event(is_bad ? SNAP_LOG_WARN : SNAP_LOG_INFO, line, NULL);
}

/* The command line with one more argument in front. */
static char **worker_arguments(const char *program, const char *part, int argc, char **argv) {
        char **arguments = calloc((size_t) argc + 2, sizeof *arguments);
        if (!arguments)
                return NULL;
        arguments[0] = (char *) program;
        arguments[1] = (char *) part;
        memcpy(arguments + 2, argv + 1, (size_t) (argc - 1) * sizeof *argv);
        return arguments;
}

/* What would make every start of a worker fail is told now, and once; and the store is there before they both use it.
 */
static int prepare(const struct snap_config *config, struct zp_error *err) {
        zp_auto(snap_directories_close) struct snap_directories *directories = NULL;
        zp_auto(zp_store_close) struct zp_store *store = NULL;
        int r = snap_socket_check(config->address, err);
        if (r == 0)
                r = snap_directories_open(config->root, &directories, err);
        return r < 0 ? r : zp_store_open(config->store, ZP_STORE_CREATE, &store, err);
}

static int supervise(const struct snap_config *config, int argc, char **argv, struct zp_error *err) {
        zp_autofree char *program = realpath("/proc/self/exe", NULL);
        zp_autofree char **control = program ? worker_arguments(program, CONTROL_ARGUMENT, argc, argv) : NULL;
        zp_autofree char **data = program ? worker_arguments(program, DATA_ARGUMENT, argc, argv) : NULL;
        zp_autofree char *journal = journal_path(config);
        zp_autofree char **self = calloc((size_t) argc + 1, sizeof *self);
        if (!control || !data || !journal || !self)
                return zp_error_errno(err, ENOMEM, "supervisor");
        int r = prepare(config, err);
        if (r < 0)
                return r;
        memcpy(self, argv, (size_t) argc * sizeof *argv);
        self[0] = program;
        struct snap_worker workers[] = { { .name = "data plane", .argv = data, .serves_devices = true },
                                         { .name = "control plane", .argv = control } };
        struct snap_supervisor_options options = { .mount_directory = config->devices,
                                                   .journal = journal,
                                                   .workers = workers,
                                                   .worker_count = 2,
                                                   .argv = self,
                                                   .log = log_line };
        return snap_supervisor_run(&options, err);
}

int snap_node_run(enum snap_part part, const struct snap_config *config, int argc, char **argv, struct zp_error *err) {
        static const char *const parts[] = { [SNAP_WHOLE] = "supervisor",
                                             [SNAP_CONTROL_PLANE] = "control",
                                             [SNAP_DATA_PLANE] = "data" };
        bool is_alone = part == SNAP_WHOLE && !config->accelerate;
        snap_log_set_level(config->log_level);
        snap_log_set_part(parts[is_alone ? SNAP_CONTROL_PLANE : part]);
        if (part == SNAP_DATA_PLANE)
                return run_data_plane(config, err);
        if (part == SNAP_CONTROL_PLANE || !config->accelerate)
                return snap_control_run(config, err);
        return supervise(config, argc, argv, err);
}
