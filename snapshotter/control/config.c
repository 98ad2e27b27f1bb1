/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/control/config.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/yaml.h"
#include "oci/listen.h"
#include "snapshotter/control/directories.h"
#include "snapshotter/control/log.h"
#include "snapshotter/control/socket.h"

#define FILE_MAX 65536
#define CONTAINERD_SOCKET "/run/containerd/containerd.sock"
/* Of a socket that others listen at. */
#define KERNEL_PATH_MAX (sizeof((struct sockaddr_un *) NULL)->sun_path - 1)

void snap_config_init(struct snap_config *config) {
        *config = (struct snap_config){
                .log_level = SNAP_LOG_INFO, .accelerate = true, .check_rights = true, .registry_timeout_s = 10
        };
}

void snap_config_clear(struct snap_config *config) {
        free(config->root);
        free(config->address);
        free(config->store);
        free(config->devices);
        free(config->policy);
        free(config->auth_file);
        free(config->ca_file);
        free(config->metrics);
        free(config->image_service);
        free(config->agent);
        free(config->containerd);
        free(config->starts);
        snap_config_clear_data(&config->data);
        snap_config_clear_reports(&config->reports);
        snap_config_init(config);
}

/* ---- directories ---- */

char *snap_config_resolve(const char *path) {
        char *real = realpath(path, NULL);
        return real ? real : strdup(path);
}

char *snap_config_store(const struct snap_config *config) {
        return config->store ? strdup(config->store) : zp_format("%s/store", config->root);
}

static int check_root(const char *setting, struct zp_error *err) {
        zp_autofree char *root = snap_config_resolve(setting);
        return root ? snap_directories_check_path(root, err) : zp_error_errno(err, ENOMEM, "configuration");
}

/* Below the root directory it has a place of its own: in others the daemon removes what it does not know. */
static int check_store(const char *root_setting, const char *setting, struct zp_error *err) {
        static const char *const taken[] = { "", "snapshots", "trash", "mounts", "bases", "devices", "starts" };
        zp_autofree char *root = snap_config_resolve(root_setting), *store = snap_config_resolve(setting);
        if (!root || !store)
                return zp_error_errno(err, ENOMEM, "configuration");
        size_t length = strlen(root);
        if (strncmp(store, root, length) != 0 || (store[length] && store[length] != '/'))
                return 0;
        const char *rest = store + length + strspn(store + length, "/");
        for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
                if (strcspn(rest, "/") == strlen(taken[i]) && strncmp(rest, taken[i], strlen(taken[i])) == 0)
                        return zp_error_set(err, EINVAL,
                                            "'store' is what the daemon keeps other things in: '%.400s'; default: "
                                            "'store' in the root directory",
                                            setting);
        return 0;
}

/* ---- the file ---- */

static int read_path(struct zp_yaml *yaml, const yaml_node_t *node, const char *what, char **out) {
        return node ? zp_yaml_path(yaml, node, what, out) : 0;
}

/* A unix socket's. */
static int read_socket(struct zp_yaml *yaml, const yaml_node_t *node, const char *what, size_t max, char **out) {
        int r = read_path(yaml, node, what, out);
        if (r == 0 && node && strlen(*out) > max)
                r = zp_yaml_fail(yaml, node, "%s: a path of more than %zu bytes is none of a socket", what, max);
        return r;
}

static int read_bool(struct zp_yaml *yaml, const yaml_node_t *node, const char *what, bool *out) {
        const char *text;
        if (!node)
                return 0;
        int r = zp_yaml_text(yaml, node, what, &text);
        if (r < 0)
                return r;
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
                return zp_yaml_fail(yaml, node, "%s: '%.40s' is neither 'true' nor 'false'", what, text);
        *out = strcmp(text, "true") == 0;
        return 0;
}

static int read_metrics(struct zp_yaml *yaml, const yaml_node_t *node, char **out) {
        const char *text;
        struct zp_error why = { 0 };
        if (!node)
                return 0;
        int r = zp_yaml_text(yaml, node, "metrics", &text);
        if (r < 0)
                return r;
        if (zp_listen_check(text, &why) < 0)
                return zp_yaml_fail(yaml, node, "metrics: %s", why.message);
        *out = strdup(text);
        return *out ? 0 : zp_yaml_no_memory(yaml);
}

static int read_level(struct zp_yaml *yaml, const yaml_node_t *node, enum snap_log_level *out) {
        const char *text;
        if (!node)
                return 0;
        int r = zp_yaml_text(yaml, node, "log_level", &text);
        if (r == 0 && !snap_log_parse_level(text, out))
                r = zp_yaml_fail(yaml, node, "log_level: '%.40s' is none of debug, info, warn, error", text);
        return r;
}

static int read_version(struct zp_yaml *yaml, const yaml_node_t *root, const yaml_node_t *node) {
        size_t version;
        if (!node)
                return zp_yaml_fail(yaml, root, "configuration: 'version' is missing");
        int r = zp_yaml_number(yaml, node, "version", &version);
        return r == 0 && version != 1 ? zp_yaml_fail(yaml, node, "version: only 1 is known") : r;
}

enum {
        VERSION,
        ROOT,
        ADDRESS,
        LOG_LEVEL,
        REMAP_IDS,
        ACCELERATE,
        STORE,
        POLICY,
        REGISTRY_TIMEOUT,
        AUTH_FILE,
        CA_FILE,
        METRICS,
        CHECK_RIGHTS,
        IMAGE_SERVICE,
        CONTAINERD,
        AGENT,
        REPORT_STARTS,
        DATA,
        COUNT = DATA + SNAP_DATA_SETTINGS
};

static int read_rights(struct zp_yaml *yaml, yaml_node_t *const *values, struct snap_config *config) {
        int r = read_bool(yaml, values[CHECK_RIGHTS], "check_rights", &config->check_rights);
        if (r == 0)
                r = read_socket(yaml, values[IMAGE_SERVICE], "image_service", SNAP_SOCKET_PATH_MAX,
                                &config->image_service);
        if (r == 0)
                r = read_socket(yaml, values[CONTAINERD], "containerd", KERNEL_PATH_MAX, &config->containerd);
        if (r == 0)
                r = read_socket(yaml, values[AGENT], "agent", SNAP_SOCKET_PATH_MAX, &config->agent);
        if (r == 0 && config->agent && config->image_service)
                r = zp_yaml_fail(yaml, values[AGENT], "agent: who pulls, 'image_service' knows; leave one out");
        return r;
}

static int read_acceleration(struct zp_yaml *yaml, yaml_node_t *const *values, struct snap_config *config) {
        int r = read_bool(yaml, values[ACCELERATE], "accelerate", &config->accelerate);
        if (r == 0)
                r = read_path(yaml, values[POLICY], "policy", &config->policy);
        if (r == 0)
                r = read_path(yaml, values[AUTH_FILE], "auth_file", &config->auth_file);
        if (r == 0)
                r = read_path(yaml, values[CA_FILE], "ca_file", &config->ca_file);
        if (r == 0)
                r = read_rights(yaml, values, config);
        if (r < 0 || !values[REGISTRY_TIMEOUT])
                return r;
        return zp_yaml_number(yaml, values[REGISTRY_TIMEOUT], "registry_timeout_s", &config->registry_timeout_s);
}

static int read_directories(struct zp_yaml *yaml, yaml_node_t *const *values, struct snap_config *config) {
        struct zp_error why = { 0 };
        int r = read_path(yaml, values[ROOT], "root", &config->root);
        if (r == 0 && config->root && check_root(config->root, &why) < 0)
                r = zp_yaml_fail(yaml, values[ROOT], "%s", why.message);
        if (r == 0)
                r = read_path(yaml, values[STORE], "store", &config->store);
        if (r == 0 && config->root && config->store && check_store(config->root, config->store, &why) < 0)
                r = zp_yaml_fail(yaml, values[STORE], "%s", why.message);
        return r;
}

static int read_document(struct zp_yaml *yaml, const yaml_node_t *root) {
        static const char *const names[COUNT] = {
                "version",    "root",           "address",      "log_level",          "remap_ids",
                "accelerate", "store",          "policy",       "registry_timeout_s", "auth_file",
                "ca_file",    "metrics",        "check_rights", "image_service",      "containerd",
                "agent",      "report_starts",  "preloads",     "cache_limit",        "background_bandwidth",
                "complete",   "complete_images"
        };
        struct snap_config *config = yaml->context;
        yaml_node_t *values[COUNT];
        int r = zp_yaml_members(yaml, root, "configuration", names, COUNT, values);
        if (r == 0)
                r = read_version(yaml, root, values[VERSION]);
        if (r == 0)
                r = read_directories(yaml, values, config);
        if (r == 0)
                r = read_socket(yaml, values[ADDRESS], "address", SNAP_SOCKET_PATH_MAX, &config->address);
        if (r == 0)
                r = read_level(yaml, values[LOG_LEVEL], &config->log_level);
        if (r == 0)
                r = read_bool(yaml, values[REMAP_IDS], "remap_ids", &config->remap_ids);
        if (r == 0)
                r = read_acceleration(yaml, values, config);
        if (r == 0)
                r = read_metrics(yaml, values[METRICS], &config->metrics);
        if (r == 0)
                r = snap_config_read_reports(yaml, values[REPORT_STARTS], &config->reports);
        return r < 0 ? r : snap_config_read_data(yaml, values + DATA, &config->data);
}

int snap_config_load(const char *path, struct snap_config *config, struct zp_error *err) {
        zp_autofree char *text = NULL;
        size_t size;
        int r = zp_read_file(AT_FDCWD, path, FILE_MAX, &text, &size, err);
        if (r < 0)
                return zp_error_wrap(err, "configuration");
        struct zp_yaml yaml = { .path = path, .what = "configuration", .context = config, .err = err };
        return zp_yaml_read(text, size, &yaml, read_document);
}

/* What the node has of private images, and of containers, is root's. A directory that somebody made for it is taken;
 * one that has something in it may be somebody else's, too. */
static int close_to_others(const char *root, struct zp_error *err) {
        struct stat st;
        zp_autoclosedir DIR *directory = zp_open_listing(AT_FDCWD, root);
        if (!directory || fstat(dirfd(directory), &st) < 0)
                return zp_error_errno(err, errno, "root directory '%s'", root);
        if (!(st.st_mode & (S_IRWXG | S_IRWXO)))
                return 0;
        if (!zp_next_entry(directory) && st.st_uid == geteuid())
                return fchmod(dirfd(directory), 0700) < 0 ? zp_error_errno(err, errno, "root directory '%s'", root) : 0;
        snap_log_event(SNAP_LOG_WARN, "others may look into the root directory", "root", root, "hint",
                       "chmod 0700 it, unless others have a place in it", NULL);
        return 0;
}

/* The kernel takes no directory of an overlayfs for the upper one of another. */
static void look_below(const char *root) {
        struct statfs st;
        if (statfs(root, &st) == 0 && st.f_type == OVERLAYFS_SUPER_MAGIC)
                snap_log_event(SNAP_LOG_WARN, "the root directory is on an overlayfs: no container can be mounted",
                               "root", root, "hint", "put it on ext4, xfs (ftype=1) or btrfs", NULL);
}

bool snap_config_is_open_to_writers(const char *store) {
        struct stat st;
        return stat(store, &st) == 0 && st.st_mode & (S_IWGRP | S_IWOTH);
}

static int check_sockets(const struct snap_config *config, struct zp_error *err) {
        const char *containerd = config->containerd ? config->containerd : CONTAINERD_SOCKET;
        const struct {
                const char *setting, *path;
        } sockets[] = { { "address", config->address },
                        { "image_service", config->image_service },
                        { "agent", config->accelerate && config->check_rights ? config->agent : NULL } };
        for (size_t i = 0; i < sizeof sockets / sizeof *sockets; i++) {
                const char *path = sockets[i].path;
                if (path && strcmp(path, containerd) == 0)
                        return zp_error_set(err, EINVAL, "'%s' is containerd's own socket: '%s' wants another", path,
                                            sockets[i].setting);
                if (i && path && strcmp(path, config->address) == 0)
                        return zp_error_set(err, EINVAL, "'%s' and 'address' are one socket, '%s'", sockets[i].setting,
                                            path);
        }
        if (strlen(config->address) > SNAP_SOCKET_PATH_MAX) /* an option's: a file's was read with its line */
                return zp_error_set(err, EINVAL, "'address': a path of more than %d bytes is none of a socket",
                                    SNAP_SOCKET_PATH_MAX);
        return 0;
}

int snap_config_check(const struct snap_config *config, struct zp_error *err) {
        int r = check_root(config->root, err);
        if (r == 0 && config->store)
                r = check_store(config->root, config->store, err);
        return r < 0 ? r : check_sockets(config, err);
}

int snap_config_finish(struct snap_config *config, struct zp_error *err) {
        int r = zp_make_directories(config->root, 0700, err);
        if (r < 0)
                return r;
        char *root = realpath(config->root, NULL);
        if (!root)
                return zp_error_errno(err, errno, "root directory '%s'", config->root);
        free(config->root);
        config->root = root;
        r = close_to_others(root, err);
        if (r < 0)
                return r;
        look_below(root);
        config->devices = zp_format("%s/devices", root);
        config->starts = zp_format("%s/starts", root);
        if (!config->store)
                config->store = zp_format("%s/store", root);
        if (!config->containerd)
                config->containerd = strdup(CONTAINERD_SOCKET);
        if (config->store && snap_config_is_open_to_writers(config->store))
                snap_log_event(SNAP_LOG_WARN, "others may write into the store", "store", config->store, "hint",
                               "chmod go-w it: who writes there decides what containers run", NULL);
        return config->devices && config->starts && config->store && config->containerd
                       ? 0
                       : zp_error_errno(err, ENOMEM, "configuration");
}
