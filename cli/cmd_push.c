/* SPDX-License-Identifier: Apache-2.0
 *
 * `zeropull push`.
 */
#include "cli/publishing.h"
#include "cli/remote-names.h"
#include "cli/signing.h"
#include "cli/source-options.h"
#include "cli/view.h"

enum { OPTION_MOUNT_FROM = OPTION_AFTER_SOURCE, OPTION_SIGN_KEY, OPTION_PASSPHRASE_FILE };

static const struct cli_option options[] = {
        CLI_REMOTE_OPTIONS,
        [OPTION_MOUNT_FROM] = { "mount-from", 0, "REPOSITORY", "of the same registry: take blobs from there" },
        [OPTION_SIGN_KEY] = { "sign-key", 0, "FILE", "sign the snapshot with this private key" },
        [OPTION_PASSPHRASE_FILE] = { "passphrase-file", 0, "FILE", "the key's passphrase is its first line" },
        { 0 },
};

static int print_result(const struct cli_call *call, const struct zp_push_result *result,
                        const struct zp_remote *remote, const struct zp_key *key, struct zp_error *err) {
        char text[ZP_DIGEST_TEXT_SIZE];
        if (!call->json) {
                puts(zp_digest_text(&result->artifact_digest, text));
                return 0;
        }
        json_t *out = json_object();
        if (!publishing_add_json(out, remote, result, key)) {
                json_decref(out);
                out = NULL;
        }
        return cli_print_json(out, err);
}

static int push(struct cli_call *call, struct zp_store *store, const struct zp_image_record *image,
                const char *remote_name, const struct zp_source_options *source_options, unsigned threads,
                const struct zp_key *key, struct zp_error *err) {
        zp_auto(progress_free) struct progress *progress = progress_new(call->quiet);
        zp_auto(zp_remote_close) struct zp_remote *remote = NULL;
        struct zp_source_options options_with_notice = *source_options;
        options_with_notice.notice = (struct zp_notice){ cli_tell_notice, progress };
        int r = cli_file_failed(call, zp_remote_open(remote_name, &options_with_notice, &remote, err));
        if (r == -EINVAL)
                call->exit_code = CLI_USAGE;
        if (r < 0)
                return r;
        struct publishing publishing = { .progress = progress };
        struct zp_push_options push_options = {
                .threads = threads,
                .mount_from = call->values[OPTION_MOUNT_FROM],
                .cancel = call->cancel,
                .events = publishing_events(&publishing),
        };
        struct zp_push_result result;
        r = cli_hint_complete(zp_push(store, image, remote, &push_options, &result, err), call->arguments[0], err);
        if (r == 0)
                r = cli_sign_published(remote, key, &result, &image->manifest_digest, err);
        if (r < 0)
                return r;
        publishing_say_result(&publishing, remote, &result, key);
        return print_result(call, &result, remote, key, err);
}

/* For writing, if that is allowed: what a push finds out makes the next one cheap. */
static int open_image(const struct cli_call *call, struct zp_store **store, struct zp_image_record *image,
                      struct zp_error *err) {
        int r = zp_store_open(call->store, ZP_STORE_WRITE, store, err);
        if (r == -EACCES || r == -EROFS || r == -EPERM) {
                zp_error_clear(err);
                r = zp_store_open(call->store, ZP_STORE_READ, store, err);
        }
        return r < 0 ? r : cli_lookup(*store, call->arguments[0], image, err);
}

static int run(struct cli_call *call, struct zp_error *err) {
        zp_auto(zp_secret_free) char *credentials = NULL;
        zp_auto(zp_store_close) struct zp_store *store = NULL;
        zp_auto(zp_key_free) struct zp_key *key = NULL;
        struct zp_source_options source_options;
        struct zp_build_options build_options;
        int r = cli_take_source_options(call, &source_options, &build_options, &credentials, err);
        if (r == 0)
                r = cli_load_sign_key(call, OPTION_SIGN_KEY, OPTION_PASSPHRASE_FILE, &key, err);
        if (r < 0)
                return r;
        struct zp_image_record image = { 0 };
        zp_autofree char *beside = NULL;
        r = open_image(call, &store, &image, err);
        if (r == 0)
                r = cli_check_may_sign(call, store, key, &image, err);
        const char *remote = call->argument_count > 1 ? call->arguments[1] : NULL;
        if (r == 0 && !remote) {
                const char *name = cli_remote_name_of(image.names, call->arguments[0]);
                r = cli_remote_beside(name ? name : "this image", "say where to: zeropull push IMAGE REMOTE", &beside,
                                      err);
                remote = beside;
                if (r == -EINVAL)
                        call->exit_code = CLI_USAGE;
        }
        if (r == 0)
                r = push(call, store, &image, remote, &source_options, build_options.threads, key, err);
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
