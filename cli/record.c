/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/record.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <poll.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/bytes.h"
#include "base/file.h"
#include "base/pool.h"
#include "blockfs/blockfs.h"
#include "cli/record-cgroups.h"
#include "cli/runtime-spec.h"
#include "mount/erofs_mount.h"

#define SERVING_THREADS 4
/* A signal that comes just before the wait is seen this late at most. */
#define LOOK_MS 200
/* File ids: 0 and 1 are taken. */
#define FIRST_ID 2u
#define SETTINGS "/sys/class/bdi"
#define MOUNT_ATTEMPTS 20

struct recorder {
        struct cli_recording *recording;
        int work_fd; /* directory with all of the following in it */
        char *work;
        int device_fds[ZP_LIMIT_DEVICES]; /* unpacked */
        uint16_t device_count;
        int fuse_fd;
        pthread_t server;
        bool is_serving;
};

/* ---- the devices, as files whose reads are seen ---- */

static int lookup(void *context, const char *name, uint64_t *id, uint64_t *size) {
        const struct recorder *r = context;
        char *end;
        unsigned long number = strtoul(name, &end, 10);
        if (*end || end == name || number >= r->device_count)
                return -ENOENT;
        *id = number + FIRST_ID;
        *size = r->recording->tree->devices[number].blocks * ZP_BLOCK_SIZE;
        return 0;
}

static int find_size(void *context, uint64_t id, uint64_t *size) {
        const struct recorder *r = context;
        if (id < FIRST_ID || id - FIRST_ID >= r->device_count)
                return -ENOENT;
        *size = r->recording->tree->devices[id - FIRST_ID].blocks * ZP_BLOCK_SIZE;
        return 0;
}

static void read_device(void *context, uint64_t id, uint64_t offset, uint32_t size, struct zp_blockfs_read *read) {
        const struct recorder *r = context;
        uint64_t whole = 0;
        if (find_size(context, id, &whole) < 0 || offset >= whole) {
                zp_blockfs_answer_data(read, NULL, 0);
                return;
        }
        size = (uint32_t) zp_min_u64(size, whole - offset);
        zp_trace_note(r->recording->trace, (uint16_t) (id - FIRST_ID), offset, size);
        zp_blockfs_answer_file(read, r->device_fds[id - FIRST_ID], offset, size);
}

static void *serve(void *context) {
        static const struct zp_blockfs_ops ops = { lookup, find_size, read_device };
        struct recorder *r = context;
        zp_blockfs_serve(r->fuse_fd, NULL, SERVING_THREADS, &ops, r, NULL);
        return NULL;
}

static int unpack(struct recorder *r, struct zp_error *err) {
        zp_auto(zp_pool_free) struct zp_pool *pool = NULL;
        const struct zp_loaded *tree = r->recording->tree;
        int code = zp_pool_new(zp_usable_cpus(), &pool, err);
        for (uint16_t i = 0; code == 0 && i < tree->device_count; i++) {
                int fd = zp_store_unpack_device(r->recording->store, &tree->devices[i].digest, pool,
                                                r->recording->cancel, err);
                if (fd < 0)
                        return fd;
                r->device_fds[r->device_count++] = fd;
        }
        return code;
}

/* ---- mounts ---- */

static char *below(const struct recorder *r, const char *name) {
        return zp_format("%s/%s", r->work, name);
}

/* Mounts of this process are nobody else's, and go when it goes. What is opened before sees none of them. */
static int leave_namespace(struct recorder *r, struct zp_error *err) {
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                return zp_error_errno(err, errno, "a mount namespace of its own");
        r->work_fd = open(r->work, O_PATH | O_DIRECTORY | O_CLOEXEC);
        return r->work_fd < 0 ? zp_error_errno(err, errno, "open '%s'", r->work) : 0;
}

static int make_directories(const struct recorder *r, struct zp_error *err) {
        static const char *const names[] = { "blocks", "lower", "own", "rootfs", "own/upper", "own/overlay" };
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
                if (mkdirat(r->work_fd, names[i], 0755) < 0)
                        return zp_error_errno(err, errno, "create '%s/%s'", r->work, names[i]);
                if (strcmp(names[i], "rootfs") != 0)
                        continue;
                /* what the program writes: on a tmpfs, since not every file system can be an overlay's upper one */
                zp_autofree char *own = below(r, "own");
                if (!own || mount("tmpfs", own, "tmpfs", 0, "mode=755") < 0)
                        return zp_error_errno(err, errno, "mount a tmpfs");
        }
        return 0;
}

static int start_serving(struct recorder *r, struct zp_error *err) {
        zp_autofree char *blocks = below(r, "blocks");
        if (!blocks)
                return zp_error_errno(err, ENOMEM, "record");
        r->fuse_fd = zp_blockfs_mount(blocks, NULL, err);
        if (r->fuse_fd < 0)
                return r->fuse_fd;
        int code = pthread_create(&r->server, NULL, serve, r);
        r->is_serving = code == 0;
        return code ? zp_error_errno(err, code, "start thread") : 0;
}

/* Only what is asked for shall be read. The kernel has a setting for each mount, in a directory whose name is only
 * known by its being new: "erofs-" and a number that no earlier one has. Returns how many have at least the number
 * `from`; *last is the highest number of all, and one more (0: there is none). */
static unsigned count_settings(unsigned long from, unsigned long *last) {
        zp_autoclosedir DIR *dir = opendir(SETTINGS);
        unsigned count = 0;
        unsigned long number;
        *last = 0;
        for (struct dirent *entry; dir && (entry = readdir(dir));) {
                if (sscanf(entry->d_name, "erofs-%lu", &number) != 1)
                        continue;
                count += number >= from;
                if (number >= *last)
                        *last = number + 1;
        }
        return count;
}

/* False: others mounted at the same moment, so that it may be theirs, and nothing was changed. */
static bool stop_read_ahead(struct recorder *r, unsigned long before) {
        unsigned long after;
        char path[80];
        if (count_settings(before, &after) != 1)
                return false;
        snprintf(path, sizeof path, SETTINGS "/erofs-%lu/read_ahead_kb", after - 1);
        zp_autoclose int fd = open(path, O_WRONLY | O_CLOEXEC);
        r->recording->with_read_ahead = fd < 0 || write(fd, "0", 1) != 1;
        return true;
}

/* Mounts, again and again while it cannot be told which setting is the mount's. */
static int mount_without_read_ahead(struct recorder *r, int meta_fd, const int *fds, const char *lower,
                                    struct zp_error *err) {
        r->recording->with_read_ahead = true;
        for (int attempt = 0;; attempt++) {
                unsigned long before;
                count_settings(0, &before);
                int code = zp_erofs_mount(meta_fd, fds, r->device_count, NULL, lower, 0, err);
                if (code < 0 || stop_read_ahead(r, before) || attempt == MOUNT_ATTEMPTS)
                        return code;
                code = zp_unmount(lower, true, err);
                if (code < 0)
                        return code;
        }
}

static int mount_snapshot(struct recorder *r, struct zp_error *err) {
        zp_autofree char *lower = below(r, "lower");
        int fds[ZP_LIMIT_DEVICES], code = lower ? 0 : zp_error_errno(err, ENOMEM, "record");
        uint16_t opened = 0;
        zp_autoclose int meta_fd = zp_store_open_image_file(r->recording->store, &r->recording->image->manifest_digest,
                                                            "snapshot.erofs", err);
        if (meta_fd < 0)
                return meta_fd;
        for (; code == 0 && opened < r->device_count; opened++) {
                char name[32];
                snprintf(name, sizeof name, "blocks/%u", opened);
                fds[opened] = openat(r->work_fd, name, O_RDONLY | O_CLOEXEC);
                if (fds[opened] < 0) {
                        code = zp_error_errno(err, errno, "open '%s'", name);
                        break;
                }
        }
        if (code == 0 && r->recording->with_read_ahead)
                code = zp_erofs_mount(meta_fd, fds, r->device_count, NULL, lower, 0, err);
        else if (code == 0)
                code = mount_without_read_ahead(r, meta_fd, fds, lower, err);
        for (uint16_t i = 0; i < opened; i++)
                close(fds[i]);
        return code;
}

static int mount_root(const struct recorder *r, struct zp_error *err) {
        zp_autofree char *options =
                zp_format("lowerdir=%s/lower,upperdir=%s/own/upper,workdir=%s/own/overlay", r->work, r->work, r->work);
        zp_autofree char *rootfs = below(r, "rootfs");
        if (!options || !rootfs)
                return zp_error_errno(err, ENOMEM, "record");
        return mount("overlay", rootfs, "overlay", 0, options) < 0 ? zp_error_errno(err, errno, "mount an overlay") : 0;
}

/* In the order that lets the server end: its mount goes last. */
static void unmount_all(struct recorder *r) {
        static const char *const names[] = { "rootfs", "lower", "own" };
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
                zp_autofree char *path = below(r, names[i]);
                if (path)
                        zp_unmount(path, true, NULL);
        }
        zp_autofree char *blocks = below(r, "blocks");
        if (r->fuse_fd >= 0 && blocks)
                zp_blockfs_unmount(blocks, NULL);
        if (r->is_serving)
                pthread_join(r->server, NULL);
        if (r->fuse_fd >= 0)
                close(r->fuse_fd);
}

/* ---- the program ---- */

/* In the child. runc is the first process of a PID namespace: when it dies, and it dies with this process, however that
 * ends, the kernel ends the container with it. runc wants to see its own processes in /proc. */
static void exec_runc(int parent_fd, char *const *arguments) {
        struct pollfd end = { .fd = parent_fd, .events = POLLIN };
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (poll(&end, 1, 0) == 0 && mount("proc", "/proc", "proc", 0, NULL) == 0) {
                dup2(STDERR_FILENO, STDOUT_FILENO);
                execvp(arguments[0], arguments);
        }
        _exit(127);
}

/* The container is called as its directory, like nobody else's: names are cgroups. */
static pid_t start_runc(const struct recorder *r, const char *action, const char *option, const char *value) {
        zp_autofree char *state = below(r, "runc");
        zp_autofree char *container = cli_container_name(strrchr(r->work, '/') + 1);
        zp_autoclose int self = pidfd_open(getpid(), 0);
        if (!state || !container || self < 0)
                return -1;
        char *arguments[] = { (char *) "runc", (char *) "--root", state,     (char *) action,
                              (char *) option, (char *) value,    container, NULL };
        if (!value) {
                arguments[5] = container;
                arguments[6] = NULL;
        }
        pid_t child = (pid_t) syscall(SYS_clone, CLONE_NEWPID | CLONE_NEWNS | SIGCHLD, NULL, NULL, NULL, NULL);
        if (child == 0)
                exec_runc(self, arguments);
        return child;
}

/* Waits until the program has ended or was ended; the latter is told through *was_ended. */
static int await(struct recorder *r, pid_t child, bool *was_ended, struct zp_error *err) {
        const struct cli_recording *recording = r->recording;
        zp_autoclose int fd = pidfd_open(child, 0);
        struct pollfd news = { .fd = fd, .events = POLLIN };
        uint64_t waited_ms = 0;
        int status = 0;
        while (fd >= 0 && poll(&news, 1, LOOK_MS) <= 0) {
                waited_ms += LOOK_MS;
                bool is_late = recording->seconds && waited_ms >= recording->seconds * UINT64_C(1000);
                *was_ended |= is_late || zp_cancelled(recording->cancel);
                if (*was_ended)
                        kill(child, SIGKILL);
        }
        while (waitpid(child, &status, 0) < 0 && errno == EINTR)
                ;
        if (*was_ended)
                return zp_check_cancel(recording->cancel, err);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
                return 0;
        return zp_error_set(err, ECHILD, "the program ended with %s %d", WIFEXITED(status) ? "status" : "signal",
                            WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

static int run_program(struct recorder *r, struct zp_error *err) {
        zp_autofree char *spec = NULL;
        bool was_ended = false;
        int code = cli_runtime_spec(r->recording->store, r->recording->image, r->recording->command, &spec, err);
        if (code == 0)
                code = zp_replace_file(r->work_fd, "config.json", spec, strlen(spec), 0600, err);
        if (code < 0)
                return code;
        pid_t child = start_runc(r, "run", "--bundle", r->work);
        if (child < 0)
                return zp_error_errno(err, errno, "start runc");
        code = await(r, child, &was_ended, err);
        if (was_ended) {
                child = start_runc(r, "delete", "--force", NULL);
                if (child > 0)
                        waitpid(child, NULL, 0);
        }
        return code;
}

static int record(struct recorder *r, struct zp_error *err) {
        int code = unpack(r, err);
        if (code < 0 || (code = leave_namespace(r, err)) < 0 || (code = make_directories(r, err)) < 0 ||
            (code = start_serving(r, err)) < 0 || (code = mount_snapshot(r, err)) < 0 ||
            (code = mount_root(r, err)) < 0)
                return code;
        return run_program(r, err);
}

int cli_record(struct cli_recording *recording, struct zp_error *err) {
        zp_auto(zp_staging_free) struct zp_staging *staging = NULL;
        struct recorder r = { .recording = recording, .work_fd = -1, .fuse_fd = -1 };
        int code = zp_staging_new(recording->store, &staging, err);
        if (code < 0)
                return code;
        cli_sweep_cgroups();
        r.work = zp_staging_path(staging);
        code = r.work ? record(&r, err) : zp_error_errno(err, ENOMEM, "record");
        if (r.work)
                unmount_all(&r);
        for (uint16_t i = 0; i < r.device_count; i++)
                close(r.device_fds[i]);
        if (r.work_fd >= 0)
                close(r.work_fd);
        free(r.work);
        return code;
}
