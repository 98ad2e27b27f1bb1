/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/node.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/database.h"
#include "base/file.h"
#include "blockfs/blockfs.h"
#include "snapshotter/control/control.h"
#include "snapshotter/control/directories.h"
#include "snapshotter/control/log.h"
#include "snapshotter/control/metastore.h"
#include "snapshotter/control/room.h"
#include "snapshotter/control/socket.h"
#include "snapshotter/data/store.h"
#include "snapshotter/keychain/share.h"
#include "snapshotter/mounts/mounts.h"
#include "snapshotter/supervisor/supervisor.h"
#include "store/store.h"

#define RUNNING_VARIABLE "ZEROPULL_RUNNING"
#define DATA_PLANE_END_MS 5000 /* it ends at once */

/* The exit code. */
static int finish(int result, const struct zp_error *err) {
        if (result < 0)
                snap_log_event(SNAP_LOG_ERROR, err->message, err->hint[0] ? "hint" : NULL, err->hint, NULL);
        return result < 0 ? 1 : 0;
}

/* ---- the data plane ---- */

static void log_notice(void *context, const char *line) {
        (void) context;
        snap_log_event(SNAP_LOG_WARN, line, NULL);
}

/* A server that stalls is told of for each request that it has: one line a second will do. */
static void log_server(void *context, const char *line) {
        static atomic_llong next_s;
        struct timespec now;
        (void) context;
        clock_gettime(CLOCK_MONOTONIC, &now);
        long long next = atomic_load(&next_s);
        if (now.tv_sec >= next && atomic_compare_exchange_strong(&next_s, &next, now.tv_sec + 1))
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

static int serve_devices(const struct snap_config *config, int fuse_fd, struct zp_error *err) {
        zp_autofree char *journal = journal_path(config);
        zp_auto(snap_store_free) struct snap_store *store = NULL;
        zp_autoclose int copies = open_copies(config, err);
        if (copies < 0)
                return copies;
        if (!journal)
                return zp_error_errno(err, ENOMEM, "data plane");
        int r = snap_store_new(config->store, &config->data, &store, err);
        if (r < 0)
                return r;
        const struct zp_keychain keychain = { snap_share_ask, config->root };
        struct snap_data_options options = {
                .store = config->store,
                .preloads = (const char *const *) config->data.preloads,
                .lookups = snap_store_lookups(store),
                .journal = snap_worker_journal(journal),
                .starts = snap_worker_starts(),
                .start_directory = config->reports.url ? config->starts : NULL,
                .start_ms = (unsigned) config->reports.seconds * 1000,
                .device = { .cache_fd = copies,
                            .cache_limit = config->data.cache_limit,
                            .background_bytes_per_s = config->data.background_bandwidth,
                            .is_in_use = snap_store_is_in_use,
                            .notice = log_notice,
                            .context = store },
                .range = { .source = { .auth_file = config->auth_file,
                                       .keychain = config->image_service || config->agent ? &keychain : NULL,
                                       .ca_file = config->ca_file,
                                       .notice = { log_server, NULL } } },
        };
        snap_worker_ready();
        return snap_data_run(fuse_fd, &options, err);
}

static int run_data_plane(void *context, int fuse_fd) {
        struct zp_error err = { 0 };
        snap_log_set_part("data");
        return finish(serve_devices(context, fuse_fd, &err), &err);
}

/* ---- the control plane ---- */

static int run_control_plane(void *context, int listener) {
        struct zp_error err = { 0 };
        snap_log_set_part("control");
        return finish(snap_control_run(context, listener, &err), &err);
}

static int run_control_plane_alone(const struct snap_config *config, int listener, struct zp_error *err) {
        snap_log_set_part("control");
        snap_supervisor_do_without();
        return snap_control_run(config, listener, err);
}

/* ---- the supervisor ---- */

static void log_line(void *context, bool is_bad, const char *line) {
        (void) context;
        snap_log_event(is_bad ? SNAP_LOG_WARN : SNAP_LOG_INFO, line, NULL);
}

static void detach_mounts(void *context) {
        const struct snap_config *config = context;
        snap_mounts_detach_served(config->root);
}

/* What in the root directory would make every start of a control plane fail; what may pass, it says itself. */
static int check_root(const char *root, struct zp_error *err) {
        static const char *const directories[] = { "devices", "mounts", "bases" };
        zp_auto(snap_metastore_close) struct snap_metastore *metastore = NULL;
        for (size_t i = 0; i < sizeof directories / sizeof *directories; i++) {
                zp_autofree char *path = zp_format("%s/%s", root, directories[i]);
                if (!path)
                        return zp_error_errno(err, ENOMEM, "root directory '%s'", root);
                /* without asking what is mounted there, which may have to wait for us */
                zp_autoclose int fd = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (fd < 0 && errno == ENOTDIR) {
                        zp_error_set(err, ENOTDIR, "'%s' is not a directory", path);
                        zp_error_hint(err, "move it away: the daemon makes its own");
                        return -ENOTDIR;
                }
        }
        zp_autofree char *path = zp_format("%s/metadata.db", root);
        int r = path ? snap_directories_expect_database(root, err) : -ENOMEM;
        if (r == 0)
                r = snap_metastore_open_to_read(path, ZP_DATABASE_PATIENCE_MS, &metastore, err);
        if (r == -EBADMSG)
                return r;
        zp_error_clear(err);
        return 0;
}

/* What would make every start of a worker fail is told now, and once; and the store is there before they both use it.
 * With a mount that was left to us, containers have somebody to read from only while we run: they go on without a
 * control plane. */
static int prepare(const struct snap_config *config, struct zp_error *err) {
        zp_auto(snap_directories_close) struct snap_directories *directories = NULL;
        zp_auto(zp_store_close) struct zp_store *store = NULL;
        zp_auto(snap_room_free) struct snap_room *room = NULL;
        int r = snap_room_new(config->root, config->store, &room, err);
        if (r < 0)
                return r;
        r = snap_directories_open(config->root, &directories, err);
        if (snap_room_make(room, r, true)) {
                zp_error_clear(err);
                r = snap_directories_open(config->root, &directories, err);
        }
        if (r == 0 && !snap_supervisor_is_successor())
                r = check_root(config->root, err);
        if (r == 0) /* nobody else uses it: a second daemon takes nothing from the first */
                snap_room_prepare(room);
        if (r == -EBUSY && snap_supervisor_is_successor()) {
                /* one that was killed, and waits for a device's file, which only we can give it */
                snap_log_event(SNAP_LOG_WARN, "the last control plane is still there", NULL);
                zp_error_clear(err);
                r = 0;
        }
        return r < 0 ? r : zp_store_open(config->store, ZP_STORE_CREATE, &store, err);
}

static int listen_or_go_on(const char *address, struct snap_socket *out, struct zp_error *err) {
        zp_autoclose int handed = snap_supervisor_take_listener();
        if (handed < 0 || !snap_socket_adopt(handed, address, out))
                return snap_socket_listen(address, out, err);
        zp_steal_fd(&handed);
        return 0;
}

/* The arguments lie one behind the other, and the kernel shows what is there. getopt_long(3) may have put them into
 * another order, but not the first. */
static size_t title_size(int argc, char **argv) {
        size_t size = 0;
        for (int i = 0; i < argc; i++)
                size += strlen(argv[i]) + 1;
        return size;
}

/* What containers and containerd rely on as long as the daemon runs; the socket as it is written, for that is how it is
 * known again. malloc'ed. */
static char *foundations(const struct snap_config *config) {
        zp_autofree char *root = snap_config_resolve(config->root);
        zp_autofree char *wanted = snap_config_store(config);
        zp_autofree char *store = wanted ? snap_config_resolve(wanted) : NULL;
        return root && store ? zp_format("root: %s, address: %s, store: %s", root, config->address, store) : NULL;
}

int snap_node_may_follow(const struct snap_config *config, struct zp_error *err) {
        const char *running = getenv(RUNNING_VARIABLE);
        if (!running)
                return 0;
        zp_autofree char *own = foundations(config);
        if (!own)
                return zp_error_errno(err, ENOMEM, "settings");
        if (strcmp(own, running) == 0)
                return check_root(config->root, err);
        zp_error_set(err, EBUSY, "'root', 'address' and 'store' stay what they are while the daemon runs: %.400s",
                     running);
        zp_error_hint(err, "set them back; to change them, end the containers that use them, and the daemon");
        return -EBUSY;
}

static int supervise(const struct snap_config *config, int listener, int argc, char **argv, struct zp_error *err) {
        zp_autofree char *program = realpath("/proc/self/exe", NULL);
        zp_autofree char *journal = journal_path(config);
        zp_autofree char **self = calloc((size_t) argc + 1, sizeof *self);
        if (!program || !journal || !self)
                return zp_error_errno(err, ENOMEM, "supervisor");
        int r = prepare(config, err);
        if (r < 0)
                return r;
        zp_autofree char *running = foundations(config); /* all of it is there now */
        if (!running)
                return zp_error_errno(err, ENOMEM, "supervisor");
        memcpy(self, argv, (size_t) argc * sizeof *argv);
        self[0] = program;
        void *context = (void *) config;
        struct snap_worker workers[] = {
                { .name = "data plane",
                  .run = run_data_plane,
                  .context = context,
                  .serves_devices = true,
                  .end_ms = DATA_PLANE_END_MS },
                { .name = "control plane",
                  .run = run_control_plane,
                  .context = context,
                  .listen_fd = listener,
                  .end_ms = SNAP_CONTROL_END_MS },
        };
        struct snap_supervisor_options options = { .mount_directory = config->devices,
                                                   .journal = journal,
                                                   .mounted_anew = detach_mounts,
                                                   .workers = workers,
                                                   .worker_count = 2,
                                                   .argv = self,
                                                   .test_option = "--test-config",
                                                   .test_variable = RUNNING_VARIABLE,
                                                   .test_value = running,
                                                   .title = argv[0],
                                                   .title_size = title_size(argc, argv),
                                                   .log = log_line,
                                                   .context = context };
        return snap_supervisor_run(&options, err);
}

/* Who has been accelerated goes on to read, whatever the settings say now: snapshots with a base, disks in use. In
 * doubt there is somebody. */
static bool has_readers(const struct snap_config *config) {
        zp_auto(snap_metastore_close) struct snap_metastore *metastore = NULL;
        zp_autofree char *path = zp_format("%s/metadata.db", config->root);
        struct snap_counts counts = { 0 };
        int r = path ? snap_metastore_open_to_read(path, ZP_DATABASE_PATIENCE_MS, &metastore, NULL) : -ENOMEM;
        if (r == 0)
                r = snap_metastore_count(metastore, &counts, NULL);
        return (r < 0 && r != -ENOENT) || counts.accelerated > 0 || zp_blockfs_is_mounted(config->devices, NULL) != 0;
}

int snap_node_run(const struct snap_config *settings, int argc, char **argv, struct zp_error *err) {
        struct snap_config config = *settings;
        struct snap_socket socket;
        config.serves_devices = config.accelerate || has_readers(&config);
        snap_log_set_level(config.log_level);
        snap_log_set_part("supervisor");
        int r = listen_or_go_on(config.address, &socket, err);
        if (r < 0)
                return r;
        r = config.serves_devices ? supervise(&config, socket.fd, argc, argv, err)
                                  : run_control_plane_alone(&config, socket.fd, err);
        snap_socket_close(&socket);
        return r;
}
