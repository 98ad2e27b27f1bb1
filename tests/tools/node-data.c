/* SPDX-License-Identifier: Apache-2.0
 *
 * The supervisor and the data plane without a control plane: `node-data MOUNT STORE CACHE [NAME=VALUE...]`. Where a
 * device's pack can be fetched is in STORE/devices/HEX/remote (the remote's name, the pack's digest and its size, a
 * line each), an image's start-up ranges in STORE/images/HEX/ranges (device, offset, length). Each start of a worker is
 * a line "worker PID" on standard output; what is logged goes to standard error.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "snapshotter/data/store.h"
#include "snapshotter/supervisor/supervisor.h"

static FILE *open_text(const char *store, const char *directory, const struct zp_digest *name, const char *file) {
        char hex[ZP_SHA256_HEX_SIZE];
        zp_autofree char *path = zp_format("%s/%s/%s/%s", store, directory, zp_digest_hex(name, hex), file);
        return path ? fopen(path, "re") : NULL;
}

static int find_remote(void *context, const struct zp_digest *device, char **remote, struct zp_descriptor *pack,
                       struct zp_error *err) {
        zp_autofclose FILE *file = open_text(context, "devices", device, "remote");
        char name[512], digest[80];
        if (!file)
                return zp_error_set(err, ENOENT, "no remote");
        if (fscanf(file, "%511s %79s %" SCNu64, name, digest, &pack->size) != 3)
                return zp_error_set(err, EBADMSG, "malformed remote");
        *remote = strdup(name);
        return zp_digest_parse(digest, &pack->digest, err);
}

static int find_ranges(void *context, const struct zp_digest *image, snap_data_range range, void *argument,
                       struct zp_error *err) {
        zp_autofclose FILE *file = open_text(context, "images", image, "ranges");
        if (!file)
                return zp_error_set(err, ENOENT, "no ranges");
        char hex[80];
        uint64_t offset, length;
        struct zp_digest device;
        while (fscanf(file, "%79s %" SCNu64 " %" SCNu64, hex, &offset, &length) == 3)
                if (zp_digest_parse_hex(hex, &device))
                        range(argument, &device, offset, length);
        return 0;
}

/* All devices of the store. */
static int list_all(void *context, struct zp_digest **out, size_t *count, struct zp_error *err) {
        zp_autofree char *path = zp_format("%s/devices", (const char *) context);
        zp_autoclosedir DIR *directory = path ? zp_open_listing(AT_FDCWD, path) : NULL;
        *out = calloc(64, sizeof **out);
        if (!directory || !*out)
                return zp_error_errno(err, errno, "devices");
        for (struct dirent *entry; *count < 64 && (entry = zp_next_entry(directory));)
                *count += zp_digest_parse_hex(entry->d_name, &(*out)[*count]);
        return 0;
}

static void print_notice(void *context, const char *line) {
        (void) context;
        fprintf(stderr, "data: %s\n", line);
}

static void print_log(void *context, bool is_bad, const char *line) {
        (void) context;
        fprintf(stderr, "supervisor%s: %s\n", is_bad ? " (bad)" : "", line);
}

/* The store's own answers. `notice` is given the same context, which it does not need. */
static void ask_database(struct snap_data_options *options) {
        struct snap_store *store;
        if (snap_store_new(options->store, NULL, &store, NULL) < 0)
                abort();
        options->lookups = snap_store_lookups(store);
        options->device.is_in_use = snap_store_is_in_use;
        options->device.context = store;
}

static void set(struct snap_data_options *options, const char **preloads, const char *setting) {
        const char *value = strchr(setting, '=');
        size_t length = value ? (size_t) (value - setting) : strlen(setting);
        unsigned long long number = value ? strtoull(++value, NULL, 10) : 0;
#define IS(name) (length == strlen(name) && memcmp(setting, name, length) == 0)
        if (IS("deadline_ms"))
                options->device.deadline_ms = (unsigned) number;
        else if (IS("retry_ms"))
                options->device.retry_ms = (unsigned) number;
        else if (IS("stall_ms"))
                options->range.source.stall_timeout_ms = (unsigned) number;
        else if (IS("idle_ms"))
                options->idle_ms = (unsigned) number;
        else if (IS("cache_limit"))
                options->device.cache_limit = number;
        else if (IS("completes_all"))
                options->lookups.list_wanted = list_all;
        else if (IS("background"))
                options->device.background_bytes_per_s = number;
        else if (IS("database"))
                ask_database(options);
        else if (IS("preload"))
                preloads[0] = value;
        else if (IS("exit"))
                exit((int) number);
        else
                abort();
#undef IS
}

struct arguments {
        int count;
        char **values;
};

static int run_data_plane(void *context, int fuse_fd) {
        const struct arguments *arguments = context;
        char **argv = arguments->values;
        struct zp_error err = { 0 };
        const char *preloads[2] = { 0 };
        zp_autofree char *journal = zp_format("%s.journal", argv[1]);
        struct snap_data_options options = {
                .store = argv[2],
                .preloads = preloads,
                .journal = snap_worker_journal(journal),
                .lookups = { .find_remote = find_remote, .find_ranges = find_ranges, .context = argv[2] },
                .device = { .cache_fd = open(argv[3], O_RDONLY | O_DIRECTORY | O_CLOEXEC), .notice = print_notice },
                .range = { .source = { .plain_http = true } },
        };
        printf("worker %d\n", (int) getpid());
        fflush(stdout);
        for (int i = 4; i < arguments->count; i++)
                set(&options, preloads, argv[i]);
        snap_worker_ready();
        if (snap_data_run(fuse_fd, &options, &err) == 0)
                return 0;
        fprintf(stderr, "data: %s\n", err.message);
        return 1;
}

int main(int argc, char **argv) {
        if (argc < 4)
                return 2;
        struct arguments arguments = { argc, argv };
        zp_autofree char *journal = zp_format("%s.journal", argv[1]);
        struct snap_worker worker = { .name = "data plane",
                                      .run = run_data_plane,
                                      .context = &arguments,
                                      .serves_devices = true,
                                      .end_ms = 5000 };
        struct snap_supervisor_options options = { .mount_directory = argv[1],
                                                   .journal = journal,
                                                   .workers = &worker,
                                                   .worker_count = 1,
                                                   .argv = argv,
                                                   .log = print_log };
        struct zp_error err = { 0 };
        if (snap_supervisor_run(&options, &err) == 0)
                return 0;
        fprintf(stderr, "supervisor: %s\n", err.message);
        return 1;
}
