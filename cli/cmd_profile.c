/* SPDX-License-Identifier: Apache-2.0
 *
 * `zeropull profile record` and `zeropull profile merge`.
 */
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "builder/start.h"
#include "cli/new-file.h"
#include "cli/output.h"
#include "cli/profile-file.h"
#include "cli/record.h"

enum { OPTION_OUTPUT, OPTION_READ_AHEAD, OPTION_SECONDS };

static const struct cli_option options[] = {
        [OPTION_OUTPUT] = { "output", 'o', "FILE", "write the profile there (default: to stdout)" },
        [OPTION_READ_AHEAD] = { "read-ahead", 0, NULL, "record: with what the kernel reads beside, as on a node" },
        [OPTION_SECONDS] = { "seconds", 0, "N", "record: end the program after so long" },
        { 0 },
};

/* Where the profile goes. */
struct output {
        const char *path; /* NULL: to stdout */
        struct cli_new_file file;
        int stream_fd; /* a device like /dev/null, or a pipe; -1: it is the file */
};

/* Before there is a profile: nobody shall wait for one that cannot be written. */
static int open_output(const char *path, struct output *out, struct zp_error *err) {
        struct stat st;
        *out = (struct output){ .path = path, .file = { .dir_fd = -1, .fd = -1 }, .stream_fd = -1 };
        if (!path)
                return 0;
        if (stat(path, &st) == 0 && (S_ISCHR(st.st_mode) || S_ISFIFO(st.st_mode))) {
                out->stream_fd = open(path, O_WRONLY | O_NOCTTY | O_CLOEXEC);
                return out->stream_fd < 0 ? zp_error_errno(err, errno, "open '%s'", path) : 0;
        }
        int r = cli_new_file_find(&out->file, path, NULL, err);
        if (r == 0 && out->file.is_device)
                r = zp_error_set(err, EEXIST, "'%s' is a block device", path);
        return r == 0 ? cli_new_file_create(&out->file, err) : r;
}

static void close_output(struct output *out) {
        cli_new_file_clear(&out->file);
        if (out->stream_fd >= 0)
                close(out->stream_fd);
}

static int write_profile(struct output *out, const struct zp_profile *profile, struct zp_error *err) {
        zp_autobuffer struct zp_buffer text = { 0 };
        int r = zp_profile_format(profile, &text, err);
        if (r < 0)
                return r;
        if (!out->path) {
                fwrite(text.data, 1, text.size, stdout);
                return 0;
        }
        r = zp_write_all(out->stream_fd >= 0 ? out->stream_fd : out->file.fd, text.data ? text.data : "", text.size,
                         out->path, err);
        return r < 0 || out->stream_fd >= 0 ? r : cli_new_file_publish(&out->file, err);
}

/* ---- record ---- */

static int new_trace(const struct zp_loaded *tree, struct zp_trace **out, struct zp_error *err) {
        uint64_t blocks[ZP_LIMIT_DEVICES];
        for (uint16_t i = 0; i < tree->device_count; i++)
                blocks[i] = tree->devices[i].blocks;
        return zp_trace_new(tree->tree, blocks, tree->device_count, out, err);
}

/* What a recording was like, besides the profile that it gave. */
struct outcome {
        uint64_t bytes_read;
        uint64_t bytes_outside; /* the image's prefetch list */
        bool has_list;
        bool with_read_ahead;
};

static int compare_with_list(struct zp_store *store, const struct zp_image_record *image, const struct zp_loaded *tree,
                             struct zp_trace *trace, struct outcome *out, struct zp_error *err) {
        struct zp_prefetch_device devices[ZP_LIMIT_DEVICES];
        struct zp_prefetch list = { 0 };
        for (uint16_t i = 0; i < tree->device_count; i++)
                devices[i] =
                        (struct zp_prefetch_device){ tree->devices[i].digest, tree->devices[i].blocks * ZP_BLOCK_SIZE };
        int r = zp_start_read_list(store, &image->manifest_digest, devices, tree->device_count, &list, err);
        out->has_list = r == 1;
        if (r == 1)
                out->bytes_outside = zp_trace_blocks_outside(trace, devices, &list) * ZP_BLOCK_SIZE;
        zp_prefetch_clear(&list);
        return r < 0 ? r : 0;
}

static void say_recorded(const struct cli_call *call, const struct outcome *outcome, const struct zp_profile *profile) {
        char size[CLI_SIZE_TEXT];
        uint32_t ranges;
        if (call->quiet)
                return;
        zp_profile_entries(profile, &ranges);
        fprintf(stderr, "%s read, in %u range%s of files\n", cli_size_text(outcome->bytes_read, size), ranges,
                ranges == 1 ? "" : "s");
        if (outcome->has_list)
                fprintf(stderr, "%s of it is not in the snapshot's prefetch list\n",
                        cli_size_text(outcome->bytes_outside, size));
        if (outcome->with_read_ahead && !call->values[OPTION_READ_AHEAD])
                fputs("the kernel read ahead: the profile has more than the program asked for\n", stderr);
}

static int print_recorded(const struct cli_call *call, const struct outcome *outcome, const struct zp_profile *profile,
                          struct zp_error *err) {
        uint32_t ranges;
        if (!call->json)
                return 0;
        zp_profile_entries(profile, &ranges);
        return cli_print_json(
                json_pack("{s:I, s:i, s:o, s:b}", "bytesRead", (json_int_t) outcome->bytes_read, "ranges", (int) ranges,
                          "bytesOutsidePrefetch",
                          outcome->has_list ? json_integer((json_int_t) outcome->bytes_outside) : json_null(),
                          "readAhead", (int) outcome->with_read_ahead),
                err);
}

static int record_image(struct cli_call *call, struct zp_store *store, const struct zp_image_record *image,
                        unsigned seconds, struct zp_profile *profile, struct zp_error *err) {
        zp_autoloaded struct zp_loaded tree = { 0 };
        zp_auto(zp_trace_free) struct zp_trace *trace = NULL;
        int r = zp_snapshot_load(store, image, &tree, err);
        if (r == 0)
                r = new_trace(&tree, &trace, err);
        struct cli_recording recording = { .store = store,
                                           .image = image,
                                           .tree = &tree,
                                           .command = call->arguments + 2,
                                           .seconds = seconds,
                                           .cancel = call->cancel,
                                           .trace = trace,
                                           .with_read_ahead = call->values[OPTION_READ_AHEAD] != NULL };
        if (r == 0)
                r = cli_hint_complete(cli_record(&recording, err), call->arguments[1], err);
        if (r == 0)
                r = zp_trace_profile(trace, profile, err);
        struct outcome outcome = { .with_read_ahead = recording.with_read_ahead };
        if (r == 0) {
                outcome.bytes_read = zp_trace_blocks(trace) * ZP_BLOCK_SIZE;
                r = compare_with_list(store, image, &tree, trace, &outcome, err);
        }
        if (r == 0) {
                say_recorded(call, &outcome, profile);
                r = print_recorded(call, &outcome, profile, err);
        }
        return r < 0 ? zp_error_wrap(err, "record %s", call->arguments[1]) : 0;
}

static int run_record(struct cli_call *call, struct zp_profile *profile, struct zp_error *err) {
        zp_auto(zp_store_close) struct zp_store *store = NULL;
        struct zp_image_record image = { 0 };
        uint64_t seconds = 0;
        int r = cli_value_number(call, OPTION_SECONDS, 1, 86400, &seconds, err);
        if (r == 0 && geteuid() != 0)
                r = zp_error_set(err, EPERM, "recording takes root: the image is mounted and run");
        if (r == 0)
                r = cli_open_image(call, ZP_STORE_WRITE, call->arguments[1], &store, &image, err);
        if (r == 0)
                r = record_image(call, store, &image, (unsigned) seconds, profile, err);
        zp_image_record_clear(&image);
        return r;
}

/* ---- merge ---- */

static int run_merge(struct cli_call *call, struct zp_profile *profile, struct zp_error *err) {
        int r = 0;
        if (call->values[OPTION_SECONDS] || call->values[OPTION_READ_AHEAD])
                return cli_usage_error(call, err, "--%s is for 'profile record'",
                                       call->values[OPTION_SECONDS] ? "seconds" : "read-ahead");
        for (int i = 1; r == 0 && i < call->argument_count; i++)
                r = cli_file_failed(call, cli_add_profile(profile, call->arguments[i], err));
        return r;
}

static int run(struct cli_call *call, struct zp_error *err) {
        zp_auto(zp_profile_free) struct zp_profile *profile = zp_profile_new();
        bool is_record = strcmp(call->arguments[0], "record") == 0;
        if (!is_record && strcmp(call->arguments[0], "merge") != 0)
                return cli_usage_error(call, err, "profile: '%s' is neither 'record' nor 'merge'", call->arguments[0]);
        if (!profile)
                return zp_error_errno(err, ENOMEM, "profile");
        if (call->json && !call->values[OPTION_OUTPUT])
                return cli_usage_error(call, err, "--json wants --output beside it: stdout has one or the other");
        struct output output;
        int r = cli_file_failed(call, open_output(call->values[OPTION_OUTPUT], &output, err));
        if (r == 0)
                r = is_record ? run_record(call, profile, err) : run_merge(call, profile, err);
        if (r == 0)
                r = cli_file_failed(call, write_profile(&output, profile, err));
        close_output(&output);
        return r;
}

const struct cli_command cli_profile = {
        .name = "profile",
        .arguments = "record IMAGE [-- COMMAND...] | merge FILE...",
        .summary = "See what a start reads, for build --profile",
        .example = "zeropull profile record web:3 -o web.profile -- python3 -c 'import flask'",
        .options = options,
        .arguments_min = 2,
        .arguments_max = INT_MAX,
        .run = run,
};
