/* SPDX-License-Identifier: Apache-2.0
 *
 * `zeropull status`.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "cli/cli.h"
#include "cli/node-status.h"
#include "cli/output.h"
#include "oci/json.h"
#include "snapshotter/control/config.h"

enum { ROOT, CONFIG };

static const struct cli_option options[] = {
        [ROOT] = { "root", 'r', "DIR", "the snapshotter's root directory" },
        [CONFIG] = { "config", 'c', "FILE", "the snapshotter's settings (" SNAP_CONFIG_PATH ")" },
        { 0 },
};

static const char *text_of(json_t *object, const char *key) {
        const char *text = json_string_value(json_object_get(object, key));
        return text ? text : "";
}

static uint64_t number_of(json_t *object, const char *key) {
        return (uint64_t) json_integer_value(json_object_get(object, key));
}

static void print_escaped(const char *before, const char *text, const char *after) {
        fputs(before, stdout);
        cli_print_escaped(stdout, text, strlen(text));
        fputs(after, stdout);
}

static void print_daemon(json_t *status) {
        char size[CLI_SIZE_TEXT];
        json_t *daemon = json_object_get(status, "daemon"), *data = json_object_get(daemon, "dataPlane");
        json_t *counters = json_object_get(data, "statistics"), *cache = json_object_get(status, "cache");
        json_t *snapshots = json_object_get(status, "snapshots");
        if (json_is_true(json_object_get(daemon, "running")))
                printf("Daemon      running, process %llu\n", (unsigned long long) number_of(daemon, "pid"));
        else
                puts("Daemon      not running (`systemctl start zeropull-snapshotter`); this is what it has left");
        if (counters)
                printf("Data plane  answers; %s fetched, %llu frames verified, %llu wrong, %llu reads failed\n",
                       cli_size_text(number_of(counters, "fetched_bytes"), size),
                       (unsigned long long) number_of(counters, "fetched_frames"),
                       (unsigned long long) number_of(counters, "wrong_frames"),
                       (unsigned long long) number_of(counters, "failed_reads"));
        else if (data)
                print_escaped("Data plane  ", text_of(data, "reason"), "\n");
        printf("Kernel      %s; requests of a killed data plane are %s\n", text_of(daemon, "kernel"),
               json_is_true(json_object_get(daemon, "kernelResends")) ? "sent again" : "kept in a journal");
        print_escaped("Root        ", text_of(status, "root"), "\n");
        print_escaped("Store       ", text_of(status, "store"), "\n");
        printf("Cache       %s in %llu devices, %llu of them complete\n",
               cli_size_text(number_of(cache, "bytes"), size), (unsigned long long) number_of(cache, "devices"),
               (unsigned long long) number_of(cache, "complete"));
        printf("Snapshots   %llu active, %llu views, %llu committed (%llu layers not downloaded)\n",
               (unsigned long long) number_of(snapshots, "active"), (unsigned long long) number_of(snapshots, "view"),
               (unsigned long long) number_of(snapshots, "committed"),
               (unsigned long long) number_of(snapshots, "accelerated"));
}

static void print_images(json_t *status) {
        size_t i;
        json_t *image;
        char present[CLI_SIZE_TEXT], total[CLI_SIZE_TEXT];
        json_t *list = json_object_get(status, "images");
        if (json_array_size(list))
                puts("\nImages, the last asked for first");
        json_array_foreach(list, i, image) {
                print_escaped("  ", text_of(image, "image"), "\n");
                if (!json_is_true(json_object_get(image, "accelerated"))) {
                        print_escaped("    not accelerated: ", text_of(image, "reason"), "\n");
                } else if (!json_object_get(image, "totalBytes")) {
                        puts("    accelerated; not in the store any more");
                } else {
                        printf("    accelerated; %s of %s here\n",
                               cli_size_text(number_of(image, "presentBytes"), present),
                               cli_size_text(number_of(image, "totalBytes"), total));
                }
        }
}

static void print_container(json_t *container) {
        unsigned long long layers = number_of(container, "layers");
        if (!json_is_true(json_object_get(container, "accelerated"))) {
                print_escaped("    not accelerated: ", text_of(container, "reason"), "");
                if (layers)
                        printf("; %llu layer%s shared with an image that is", layers, layers == 1 ? " is" : "s are");
                puts("");
                return;
        }
        const char *whole = text_of(container, "firstLayersOf");
        print_escaped("    accelerated: ", *whole ? "an image of the first layers of " : text_of(container, "image"),
                      "");
        print_escaped("", whole, "");
        printf(", %llu of %llu layers, %s\n", layers, (unsigned long long) number_of(container, "ofLayers"),
               text_of(container, "mount")[0] ? "mounted" : "not mounted");
}

static void print_containers(json_t *status) {
        size_t i;
        json_t *container;
        json_t *list = json_object_get(status, "containers");
        if (json_array_size(list))
                puts("\nContainers");
        json_array_foreach(list, i, container) {
                print_escaped("  ", text_of(container, "key"), "\n");
                print_container(container);
        }
}

/* The directories: from the settings, unless they are of another root directory than the one asked for. */
static int find_directories(struct cli_call *call, struct snap_config *config, struct zp_error *err) {
        const char *file = call->values[CONFIG], *root = call->values[ROOT];
        bool is_default = !file;
        int r = 0;
        if (!is_default || access(SNAP_CONFIG_PATH, F_OK) == 0)
                r = snap_config_load(is_default ? SNAP_CONFIG_PATH : file, config, err);
        if (r < 0)
                return cli_file_failed(call, r);
        if (root && is_default && (!config->root || strcmp(config->root, root) != 0)) {
                snap_config_clear(config);
        }
        const char *chosen = root ? root : config->root ? config->root : SNAP_CONFIG_ROOT;
        char *resolved = realpath(chosen, NULL);
        if (!resolved) {
                r = zp_error_errno(err, errno, "root directory '%s'", chosen);
                if (r == -ENOENT)
                        zp_error_hint(err, "no snapshotter has used it; --root or --config says which one");
                return r;
        }
        free(config->root);
        config->root = resolved;
        if (!config->store)
                config->store = zp_format("%s/store", resolved);
        return config->store ? 0 : zp_error_errno(err, ENOMEM, "status");
}

static int run(struct cli_call *call, struct zp_error *err) {
        struct snap_config config;
        zp_auto(json_decref) json_t *status = NULL;
        snap_config_init(&config);
        int r = find_directories(call, &config, err);
        if (r == 0)
                r = cli_node_status(config.root, config.store, &status, err);
        if ((r == -EACCES || r == -EPERM) && geteuid() != 0)
                zp_error_hint(err, "what the snapshotter has is root's: run this as root");
        snap_config_clear(&config);
        if (r < 0)
                return r;
        if (call->json)
                return cli_print_json(zp_steal(&status), err);
        print_daemon(status);
        print_images(status);
        print_containers(status);
        return 0;
}

const struct cli_command cli_status = {
        .name = "status",
        .arguments = "",
        .summary = "Tell what this node's snapshotter does: which images start at once, and why others do not",
        .example = "zeropull status --json",
        .options = options,
        .run = run,
};
