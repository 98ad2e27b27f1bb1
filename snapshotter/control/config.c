/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/control/config.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/yaml.h"

#define FILE_MAX 65536

void snap_config_init(struct snap_config *config) {
        *config = (struct snap_config){ .log_level = SNAP_LOG_INFO };
}

void snap_config_clear(struct snap_config *config) {
        free(config->root);
        free(config->address);
        snap_config_init(config);
}

static int read_path(struct zp_yaml *yaml, const yaml_node_t *node, const char *what, char **out) {
        const char *text;
        if (!node)
                return 0;
        int r = zp_yaml_text(yaml, node, what, &text);
        if (r < 0)
                return r;
        if (text[0] != '/')
                return zp_yaml_fail(yaml, node, "%s: '%.200s' is not an absolute path", what, text);
        *out = strdup(text);
        return *out ? 0 : zp_yaml_no_memory(yaml);
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

static int read_document(struct zp_yaml *yaml, const yaml_node_t *root) {
        enum { VERSION, ROOT, ADDRESS, LOG_LEVEL, REMAP_IDS, COUNT };
        static const char *const names[] = { "version", "root", "address", "log_level", "remap_ids" };
        struct snap_config *config = yaml->context;
        yaml_node_t *values[COUNT];
        int r = zp_yaml_members(yaml, root, "configuration", names, COUNT, values);
        if (r == 0)
                r = read_version(yaml, root, values[VERSION]);
        if (r == 0)
                r = read_path(yaml, values[ROOT], "root", &config->root);
        if (r == 0)
                r = read_path(yaml, values[ADDRESS], "address", &config->address);
        if (r == 0)
                r = read_level(yaml, values[LOG_LEVEL], &config->log_level);
        return r < 0 ? r : read_bool(yaml, values[REMAP_IDS], "remap_ids", &config->remap_ids);
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
