/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/named.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "oci/auth-file.h"
#include "store/store.h"
#include "trust/policy.h"

/* Above what those who use such a file take, or as much of it as tells that it can be read. */
#define FILE_MAX ((size_t) 8 << 20)
/* Each, when somebody waits for what was found. */
#define PATIENCE_MS 3000
#define NAMED_MAX 24 /* more than there can be: at most 16 of them are preloads */

/* Of a file of ours, or of authorities that another library reads. */
static int look_at_file(const char *path, struct zp_error *err) {
        zp_autofree char *text = NULL;
        size_t size = 0;
        int r = zp_read_file(AT_FDCWD, path, FILE_MAX, &text, &size, err);
        if (r == 0 && size == 0)
                r = zp_error_set(err, EINVAL, "'%s': it is empty", path);
        if (text)
                explicit_bzero(text, size);
        return r;
}

/* One file, or several between colons, of which those that are not there are passed over. */
static int look_at_auth_file(const char *path, struct zp_error *err) {
        zp_autofree char *list = strdup(path);
        if (!list)
                return zp_error_errno(err, ENOMEM, "'%s'", path);
        if (!strchr(path, ':'))
                return zp_auth_file_check(path, err);
        int r = 0;
        for (char *rest = list, *one; r == 0 && (one = strsep(&rest, ":"));)
                if (*one && (r = zp_auth_file_check(one, err)) == -ENOENT) {
                        zp_error_clear(err);
                        r = 0;
                }
        return r;
}

static int look_at_policy(const char *path, struct zp_error *err) {
        zp_auto(zp_policy_free) struct zp_policy *policy = NULL;
        return zp_policy_load(path, &policy, err);
}

static int look_at_store(const char *path, struct zp_error *err) {
        zp_auto(zp_store_close) struct zp_store *store = NULL;
        return zp_store_open(path, ZP_STORE_READ, &store, err);
}

const char *snap_named_policy(const struct snap_config *config) {
        if (config->policy)
                return config->policy;
        /* as zp_policy_load_if_present(): a link that leads nowhere is one that cannot be read */
        bool is_there = faccessat(AT_FDCWD, ZP_POLICY_DEFAULT_PATH, F_OK, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT;
        return is_there ? ZP_POLICY_DEFAULT_PATH : NULL;
}

struct named {
        int (*look_at)(const char *path, struct zp_error *err);
        const char *setting, *remedy;
        const char *path;
};

struct list {
        struct named items[NAMED_MAX];
        size_t count;
};

static void add(struct list *list, int (*look_at)(const char *path, struct zp_error *err), const char *setting,
                const char *path, const char *remedy) {
        if (path && list->count < NAMED_MAX)
                list->items[list->count++] = (struct named){ look_at, setting, remedy, path };
}

static void list_all(const struct snap_config *config, struct list *list) {
        const struct snap_config_reports *reports = &config->reports;
        static const char no_report[] = "put it there, for root to read: until then nothing is reported";
        add(list, look_at_policy, "policy", snap_named_policy(config),
            "put it right: until then no image is accelerated");
        add(list, look_at_auth_file, "auth_file", config->auth_file,
            "put it there, for root to read: until then no image is accelerated");
        add(list, look_at_file, "ca_file", config->ca_file,
            "put it there, for root to read: until then no registry with TLS is believed");
        add(list, look_at_file, "report_starts token", reports->token_file, no_report);
        add(list, look_at_file, "report_starts CA", reports->ca_file, no_report);
        for (char **preload = config->data.preloads; preload && *preload; preload++)
                add(list, look_at_store, "preload", *preload,
                    "mount what belongs there: until then it is fetched from registries");
}

static void look_at_all(const struct list *list, int (*look)(const struct named *one, struct zp_error *err),
                        snap_named_told told, void *context) {
        for (size_t i = 0; i < list->count; i++) {
                const struct named *one = &list->items[i];
                struct zp_error err = { 0 };
                int r = look(one, &err);
                told(context, one->setting, one->path, r < 0 ? err.message : NULL, one->remedy);
        }
}

/* ---- when somebody waits for it ---- */

/* In the child, which has nothing open that somebody waits to see closed. */
static _Noreturn void look_and_tell(const struct named *one, int out) {
        struct zp_error err = { 0 };
        if (dup2(out, STDIN_FILENO) < 0 || close_range(STDIN_FILENO + 1, ~0U, 0) < 0)
                _exit(1);
        one->look_at(one->path, &err);
        _exit(write(STDIN_FILENO, &err, sizeof err) != sizeof err);
}

enum heard { ANSWER, NO_ANSWER, NOTHING_MORE };

static enum heard hear(int in, struct zp_error *answer) {
        struct pollfd fd = { .fd = in, .events = POLLIN };
        int count;
        while ((count = poll(&fd, 1, PATIENCE_MS)) < 0 && errno == EINTR)
                continue;
        if (count == 0)
                return NO_ANSWER;
        return count == 1 && read(in, answer, sizeof *answer) == sizeof *answer ? ANSWER : NOTHING_MORE;
}

/* By a process of its own: one that waits for a file system can sometimes not even be killed, and whoever waits for it
 * waits as well. So nobody does. */
static int look_for_a_while(const struct named *one, struct zp_error *err) {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) < 0)
                return zp_error_errno(err, errno, "'%s'", one->path);
        zp_autoclose int in = ends[0], out = ends[1];
        pid_t pid = fork();
        if (pid == 0)
                look_and_tell(one, out);
        if (pid < 0)
                return zp_error_errno(err, errno, "'%s'", one->path);
        zp_cleanup_fd(&out);
        enum heard heard = hear(in, err);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, heard == NO_ANSWER ? WNOHANG : 0);
        if (heard == NO_ANSWER)
                zp_error_set(err, ETIMEDOUT, "'%.300s': its file system does not answer", one->path);
        else if (heard == NOTHING_MORE)
                zp_error_set(err, EIO, "'%.300s': it could not be looked at", one->path);
        return -err->code;
}

void snap_named_look(const struct snap_config *config, snap_named_told told, void *context) {
        struct list list = { 0 };
        list_all(config, &list);
        look_at_all(&list, look_for_a_while, told, context);
}

/* ---- at the daemon's start ---- */

static void log_problem(void *context, const char *setting, const char *path, const char *problem, const char *remedy) {
        (void) context;
        if (problem)
                snap_log_event(SNAP_LOG_WARN, "what the settings name cannot be used", "setting", setting, "path", path,
                               "error", problem, "hint", remedy, NULL);
}

static void free_copy(struct list *list) {
        for (size_t i = 0; i < list->count; i++)
                free((char *) list->items[i].path);
        free(list);
}

static int look_until_it_answers(const struct named *one, struct zp_error *err) {
        return one->look_at(one->path, err);
}

static void *log_all(void *argument) {
        look_at_all(argument, look_until_it_answers, log_problem, NULL);
        free_copy(argument);
        return NULL;
}

void snap_named_log(const struct snap_config *config) {
        sigset_t all, before;
        pthread_t thread;
        struct list *list = calloc(1, sizeof *list);
        if (!list)
                return;
        list_all(config, list);
        size_t copied = 0; /* the thread may outlive the settings */
        for (size_t i = 0; i < list->count; i++)
                copied += (list->items[i].path = strdup(list->items[i].path)) != NULL;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        if (copied == list->count && pthread_create(&thread, NULL, log_all, list) == 0)
                pthread_detach(thread);
        else
                free_copy(list);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
}
