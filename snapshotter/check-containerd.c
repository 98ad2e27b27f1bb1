/* SPDX-License-Identifier: Apache-2.0
 *
 * containerd's settings: https://github.com/containerd/containerd, docs/man and docs/cri.
 */
#include "snapshotter/check.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/unix-socket.h"
#include "oci/toml.h"

#define SETTINGS_MAX ((size_t) 1 << 20)
#define PATIENCE_MS 10000

#define CRI_1 "io.containerd.grpc.v1.cri"
#define CRI_2 "io.containerd.cri.v1.images"
#define TRANSFER "io.containerd.transfer.v1.local"
#define SHIPPED "deploy/snapshotter/containerd-1.toml and containerd-2.toml in zeropull's sources have it all"

/* ---- asking the program ---- */

/* What the program prints, at most SETTINGS_MAX bytes, and within a time; -ENOENT: there is no such program. */
static int ask_program(char *const *argv, struct zp_buffer *out) {
        posix_spawn_file_actions_t actions;
        char part[4096];
        int ends[2], status;
        pid_t pid;
        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
        posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
        int code = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
        posix_spawn_file_actions_destroy(&actions);
        close(ends[1]);
        ssize_t size = code ? 0 : 1;
        while (size > 0 && out->size < SETTINGS_MAX) {
                struct pollfd wait = { .fd = ends[0], .events = POLLIN };
                size = poll(&wait, 1, PATIENCE_MS) == 1 ? read(ends[0], part, sizeof part) : -1;
                if (size > 0 && !zp_buffer_append(out, part, (size_t) size))
                        size = -1;
        }
        close(ends[0]);
        if (code)
                return -code;
        if (size != 0)
                kill(pid, SIGKILL);
        bool is_done = waitpid(pid, &status, 0) == pid && size == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
        return is_done && out->data ? 0 : -EIO;
}

/* ---- what is set ---- */

struct settings {
        json_t *root;
        unsigned major;     /* of containerd; 0: not known */
        const char *plugin; /* the snapshotter's name there; NULL: it has none */
};

static json_t *plugin_section(const struct settings *s, const char *name) {
        return json_object_get(json_object_get(s->root, "plugins"), name);
}

static const char *text_of(json_t *table, const char *key) {
        const char *text = json_string_value(json_object_get(table, key));
        return text ? text : "";
}

static bool is_disabled(const struct settings *s, const char *plugin) {
        size_t i;
        json_t *entry;
        json_array_foreach(json_object_get(s->root, "disabled_plugins"), i, entry) {
                const char *name = json_string_value(entry);
                if (name && (strcmp(name, plugin) == 0 || strcmp(name, "cri") == 0))
                        return true;
        }
        return false;
}

static void check_version(struct snap_check *check, struct settings *s) {
        char *argv[] = { "containerd", "--version", NULL };
        zp_autobuffer struct zp_buffer text = { 0 };
        unsigned minor = 0;
        int r = ask_program(argv, &text);
        if (r < 0) {
                snap_check_add(check, "containerd", SNAP_CHECK_NOTE,
                               "put it into PATH, so that the settings in effect can be asked for",
                               "its version is not known: containerd: %s", strerrordesc_np(-r));
                return;
        }
        text.data[strcspn(text.data, "\n")] = '\0';
        /* "containerd github.com/containerd/containerd v1.6.20 REVISION" */
        for (char *rest = text.data, *word; (word = strtok_r(rest, " ", &rest));)
                if (sscanf(word + (*word == 'v'), "%u.%u", &s->major, &minor) == 2)
                        break;
        if (s->major && (s->major > 1 || minor >= 6))
                snap_check_add(check, "containerd", SNAP_CHECK_OK, NULL, "version %u.%u", s->major, minor);
        else
                snap_check_add(check, "containerd", SNAP_CHECK_MISSING, "install 1.6 or later",
                               "version %u.%u is too old, or not known", s->major, minor);
}

static int read_settings(struct snap_check *check, const char *file, struct settings *s) {
        char *argv[] = { "containerd", "--config", (char *) file, "config", "dump", NULL };
        zp_autobuffer struct zp_buffer text = { 0 };
        zp_autofree char *raw = NULL;
        struct zp_error err = { 0 };
        size_t size = 0;
        int r = zp_read_file(AT_FDCWD, file, SETTINGS_MAX, &raw, &size, &err);
        if (r == 0 && ask_program(argv, &text) == 0 && zp_toml_parse(text.data, text.size, file, &s->root, NULL) == 0) {
                snap_check_add(check, "containerd settings", SNAP_CHECK_OK, NULL, "'%.300s', as containerd reads it",
                               file);
                return 0;
        }
        if (r == 0)
                r = zp_toml_parse(raw, size, file, &s->root, &err);
        if (r < 0)
                snap_check_add(check, "containerd settings", SNAP_CHECK_MISSING, SHIPPED, "%s", err.message);
        else
                snap_check_add(check, "containerd settings", SNAP_CHECK_NOTE, NULL,
                               "'%.300s' alone: files it imports, and defaults, are not known", file);
        return r;
}

/* ---- findings ---- */

static void check_plugin(struct snap_check *check, const struct snap_config *config, struct settings *s) {
        const char *name, *other = NULL;
        json_t *plugin;
        json_object_foreach(json_object_get(s->root, "proxy_plugins"), name, plugin) {
                if (strcmp(text_of(plugin, "type"), "snapshot") != 0)
                        continue;
                if (strcmp(text_of(plugin, "address"), config->address) == 0)
                        s->plugin = name;
                else if (strcmp(name, "zeropull") == 0)
                        other = text_of(plugin, "address");
        }
        if (s->plugin)
                snap_check_add(check, "proxy plugin", SNAP_CHECK_OK, NULL, "'%.64s' at '%.200s'", s->plugin,
                               config->address);
        else if (other)
                snap_check_add(check, "proxy plugin", SNAP_CHECK_MISSING,
                               "give both the same address, and restart containerd",
                               "containerd looks for it at '%.120s', it serves at '%.120s'", other, config->address);
        else
                snap_check_add(check, "proxy plugin", SNAP_CHECK_MISSING, SHIPPED,
                               "none of type \"snapshot\" at '%.200s'", config->address);
}

/* Where CRI has its settings depends on containerd's version; a file may have the old form. */
static json_t *find_cri(const struct settings *s, const char **name) {
        json_t *images = plugin_section(s, CRI_2);
        *name = CRI_2;
        if (images)
                return images;
        *name = CRI_1;
        return json_object_get(plugin_section(s, CRI_1), "containerd");
}

static void check_cri(struct snap_check *check, const struct settings *s) {
        const char *name;
        json_t *cri = find_cri(s, &name);
        /* true is what 1.6 to 2.0 take when nothing is said; a dump says it */
        json_t *annotations = json_object_get(cri, "disable_snapshot_annotations");
        bool are_off = json_is_true(annotations) || (!annotations && s->major < 2);
        if (is_disabled(s, name) || is_disabled(s, CRI_1))
                snap_check_add(check, "kubernetes", SNAP_CHECK_NOTE, "for Kubernetes, take it out of disabled_plugins",
                               "the CRI plugin is disabled");
        else if (strcmp(text_of(cri, "snapshotter"), s->plugin) != 0)
                snap_check_add(check, "kubernetes", SNAP_CHECK_NOTE, SHIPPED,
                               "pods use the snapshotter '%.64s' (plugin \"%s\")", text_of(cri, "snapshotter"), name);
        else if (are_off)
                snap_check_add(check, "kubernetes", SNAP_CHECK_MISSING,
                               "disable_snapshot_annotations = false, beside snapshotter",
                               "pods use it, but CRI does not say which image a layer belongs to (plugin \"%s\")",
                               name);
        else
                snap_check_add(check, "kubernetes", SNAP_CHECK_OK, NULL, "pods use it, and CRI names the images");
}

static bool is_unpacked_for(const struct settings *s) {
        size_t i;
        json_t *entry;
        json_array_foreach(json_object_get(plugin_section(s, TRANSFER), "unpack_config"), i,
                           entry) if (strcmp(text_of(entry, "snapshotter"), s->plugin) == 0) return true;
        return false;
}

static void check_transfer(struct snap_check *check, const struct settings *s) {
        json_t *plugin = json_object_get(json_object_get(s->root, "proxy_plugins"), s->plugin);
        const char *says = text_of(json_object_get(plugin, "exports"), "enable_remote_snapshot_annotations");
        if (s->major < 2)
                snap_check_add(check, "ctr image pull", SNAP_CHECK_NOTE, "zeropull rpull does it in its place",
                               "before containerd 2, ctr does not say which image a layer belongs to");
        else if (!is_unpacked_for(s))
                snap_check_add(check, "ctr image pull", SNAP_CHECK_NOTE, SHIPPED,
                               "the transfer service has no unpack_config of it");
        else if (strcmp(says, "true") != 0)
                snap_check_add(check, "ctr image pull", SNAP_CHECK_NOTE,
                               "exports of the proxy plugin: enable_remote_snapshot_annotations = \"true\"",
                               "the transfer service does not say which image a layer belongs to");
        else
                snap_check_add(check, "ctr image pull", SNAP_CHECK_OK, NULL, "unpacks into it, and names the images");
}

#define ANSWER_MS 3000

/* Whether somebody is there who speaks HTTP/2: the supervisor listens also while no control plane can run. */
static bool answers(int fd) {
        /* RFC 9113, 3.4: the client begins with this and its settings (none), the server with its own */
        static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0";
        struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
        char byte;
        return send(fd, preface, sizeof preface, MSG_NOSIGNAL) == sizeof preface && poll(&poll_fd, 1, ANSWER_MS) == 1 &&
               read(fd, &byte, 1) == 1;
}

static void check_daemon(struct snap_check *check, const struct snap_config *config) {
        zp_autoclose int fd = zp_unix_connect(config->address, SOCK_STREAM, NULL);
        zp_autofree char *database = zp_format("%s/metadata.db", config->root);
        if (fd >= 0 && database && access(database, F_OK) < 0 && errno == ENOENT)
                snap_check_add(check, "daemon", SNAP_CHECK_MISSING, "put it back, and restart the daemon",
                               "serves at '%.110s', but what it began with is gone: '%.200s'", config->address,
                               database);
        else if (fd >= 0 && !answers(fd))
                snap_check_add(
                        check, "daemon", SNAP_CHECK_MISSING, "its log says why: journalctl -u zeropull-snapshotter",
                        "listens at '%.200s', but nothing answers within %d s", config->address, ANSWER_MS / 1000);
        else if (fd >= 0)
                snap_check_add(check, "daemon", SNAP_CHECK_OK, NULL, "serves at '%.200s'", config->address);
        else
                snap_check_add(check, "daemon", SNAP_CHECK_NOTE, "systemctl enable --now zeropull-snapshotter",
                               "nobody serves at '%.200s': %s", config->address, strerrordesc_np(-fd));
}

void snap_check_containerd(struct snap_check *check, const struct snap_config *config, const char *file) {
        struct settings settings = { 0 };
        check_version(check, &settings);
        if (read_settings(check, file, &settings) == 0)
                check_plugin(check, config, &settings);
        if (settings.plugin) {
                check_cri(check, &settings);
                check_transfer(check, &settings);
        }
        json_decref(settings.root);
        check_daemon(check, config);
}
