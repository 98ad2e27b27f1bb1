/* SPDX-License-Identifier: Apache-2.0
 *
 * `zeropull push`.
 */
#include <string.h>

#include "cli/output.h"
#include "cli/progress.h"
#include "cli/remote-names.h"
#include "cli/source-options.h"
#include "cli/view.h"
#include "ship/push.h"

enum { OPTION_MOUNT_FROM = OPTION_AFTER_SOURCE };

static const struct cli_option options[] = {
        CLI_REMOTE_OPTIONS,
        [OPTION_MOUNT_FROM] = { "mount-from", 0, "REPOSITORY", "of the same registry: take blobs from there" },
        { 0 },
};

/* Blobs are tasks of the progress, which has room for so many. */
#define TASKS 128u

static void on_begin(void *context, unsigned blob, const char *what, uint64_t size) {
        if (blob < TASKS)
                progress_begin(context, blob, what, "sending", size);
}

static void on_progress(void *context, unsigned blob, uint64_t bytes_sent) {
        if (blob < TASKS)
                progress_update(context, blob, bytes_sent);
}

static void on_end(void *context, unsigned blob, bool was_there) {
        if (blob < TASKS)
                progress_end(context, blob, was_there ? "found there" : "sent");
}

static int print_result(const struct cli_call *call, const struct zp_push_result *result, const char *remote,
                        struct zp_error *err) {
        char text[ZP_DIGEST_TEXT_SIZE];
        if (!call->json) {
                puts(zp_digest_text(&result->artifact_digest, text));
                return 0;
        }
        return cli_print_json(json_pack("{s:s, s:s, s:I, s:I, s:I}", "remote", remote, "digest",
                                        zp_digest_text(&result->artifact_digest, text), "blobsSent",
                                        (json_int_t) result->blobs_sent, "blobsPresent",
                                        (json_int_t) result->blobs_present, "bytesSent",
                                        (json_int_t) result->bytes_sent),
                              err);
}

static int push(struct cli_call *call, struct zp_store *store, const struct zp_image_record *image,
                const char *remote_name, const struct zp_source_options *source_options, unsigned threads,
                struct zp_error *err) {
        zp_auto(zp_remote_close) struct zp_remote *remote = NULL;
        int r = zp_remote_open(remote_name, source_options, &remote, err);
        if (r == -EINVAL)
                call->exit_code = CLI_USAGE;
        if (r < 0)
                return r;
        zp_auto(progress_free) struct progress *progress = progress_new(call->quiet);
        struct zp_push_options push_options = {
                .threads = threads,
                .mount_from = call->values[OPTION_MOUNT_FROM],
                .cancel = call->cancel,
                .events = { progress, on_begin, on_progress, on_end },
        };
        struct zp_push_result result;
        r = zp_push(store, image, remote, &push_options, &result, err);
        if (r < 0)
                return r;
        char size[CLI_SIZE_TEXT];
        progress_say(progress, "%s: %u blobs sent (%s), %u were there", zp_remote_name(remote), result.blobs_sent,
                     cli_size_text(result.bytes_sent, size), result.blobs_present);
        return print_result(call, &result, zp_remote_name(remote), err);
}

static int run(struct cli_call *call, struct zp_error *err) {
        zp_auto(cli_wipe) char *credentials = NULL;
        zp_auto(zp_store_close) struct zp_store *store = NULL;
        struct zp_source_options source_options;
        struct zp_build_options build_options;
        int r = cli_take_source_options(call, &source_options, &build_options, &credentials, err);
        if (r < 0)
                return r;
        struct zp_image_record image = { 0 };
        zp_autofree char *beside = NULL;
        r = cli_open_image(call, ZP_STORE_READ, call->arguments[0], &store, &image, err);
        const char *remote = call->argument_count > 1 ? call->arguments[1] : NULL;
        if (r == 0 && !remote) {
                r = cli_remote_beside(image.names && image.names[0] ? image.names[0] : "this image",
                                      "say where to: zeropull push IMAGE REMOTE", &beside, err);
                remote = beside;
        }
        if (r == 0)
                r = push(call, store, &image, remote, &source_options, build_options.threads, err);
        zp_image_record_clear(&image);
        return r;
}

const struct cli_command cli_push = {
        .name = "push",
        .arguments = "IMAGE [REMOTE]",
        .summary = "Publish an image's snapshot, beside the image or elsewhere",
        .example = "zeropull push registry.example/web:3\n  zeropull push web:3 dir:/mnt/snapshots",
        .options = options,
        .arguments_min = 1,
        .arguments_max = 2,
        .run = run,
};
