/* SPDX-License-Identifier: Apache-2.0
 *
 * `zeropull pull`.
 */
#include <string.h>

#include "cli/output.h"
#include "cli/progress.h"
#include "cli/remote-names.h"
#include "cli/signing.h"
#include "cli/source-options.h"
#include "cli/view.h"
#include "ship/pull.h"

enum {
        OPTION_PLATFORM = OPTION_AFTER_SOURCE,
        OPTION_COMPLETE,
        OPTION_FROM,
        OPTION_POLICY,
        OPTION_KEY,
        OPTION_PROGRESS
};

static const struct cli_option options[] = {
        CLI_REMOTE_OPTIONS,
        [OPTION_PLATFORM] = { "platform", 0, "OS/ARCH[/VAR]", "which image of an index (default: for here)" },
        [OPTION_COMPLETE] = { "complete", 0, NULL, "fetch all data now, not only what a start needs" },
        [OPTION_FROM] = { "from", 0, "REMOTE", "where the snapshot is (default: beside the image)" },
        [OPTION_POLICY] = { "policy", 0, "FILE", "which signatures are needed (default: /etc/zeropull/policy.yaml)" },
        [OPTION_KEY] = { "key", 0, "FILE", "this public key must have signed; may be repeated" },
        [OPTION_PROGRESS] = { "progress", 0, "json", "tell on stderr by lines of JSON how far it is" },
        { 0 },
};

/* What the events need to know. */
struct watch {
        struct progress *progress;
        bool is_fetching;
};

static void on_resolved(void *context, const struct zp_image *image) {
        const struct watch *w = context;
        char digest[ZP_DIGEST_TEXT_SIZE];
        progress_say(w->progress, "%s: %s, %u layer%s", image->name, zp_digest_text(&image->manifest_digest, digest),
                     image->layer_count, image->layer_count == 1 ? "" : "s");
}

static void on_begin(void *context, unsigned blob, const char *what, uint64_t size) {
        struct watch *w = context;
        w->is_fetching = true;
        progress_begin(w->progress, blob, what, "fetching", size);
}

static void on_progress(void *context, unsigned blob, uint64_t bytes_received) {
        const struct watch *w = context;
        progress_update(w->progress, blob, bytes_received);
}

static void on_end(void *context, unsigned blob) {
        const struct watch *w = context;
        progress_end(w->progress, blob, "fetched");
}

static void on_put_off(void *context, unsigned blob, const struct zp_error *why) {
        const struct watch *w = context;
        progress_end(w->progress, blob, "broke off");
        progress_say(w->progress, "%s; its parts are fetched one by one", why->message);
}

static void on_waiting(void *context) {
        const struct watch *w = context;
        progress_say(w->progress, "another process builds or pulls the same: waiting for it");
}

static int print_result(const struct cli_call *call, const struct zp_pull_result *result, struct zp_error *err) {
        char text[ZP_DIGEST_TEXT_SIZE], artifact[ZP_DIGEST_TEXT_SIZE];
        zp_digest_text(&result->image.manifest_digest, text);
        if (!call->json) {
                puts(text);
                return 0;
        }
        json_t *snapshot =
                result->was_present ? json_null() : json_string(zp_digest_text(&result->artifact_digest, artifact));
        return cli_print_json(json_pack("{s:s, s:o, s:i, s:i, s:i, s:I, s:b, s:b}", "digest", text, "snapshot",
                                        snapshot, "layersFetched", (int) result->layers_fetched, "layersReused",
                                        (int) result->layers_reused, "devicesFetched", (int) result->devices_fetched,
                                        "bytesReceived", (json_int_t) result->bytes_received, "wasPresent",
                                        (int) result->was_present, "complete", (int) result->is_complete),
                              err);
}

static int pull(struct cli_call *call, struct zp_source *source, struct zp_remote *remote, struct zp_trust *trust,
                const struct zp_pull_options *given, struct progress *progress, struct zp_error *err) {
        zp_auto(zp_store_close) struct zp_store *store = NULL;
        int r = zp_store_open(call->store, ZP_STORE_CREATE, &store, err);
        if (r < 0)
                return r;
        struct watch watch = { .progress = progress };
        struct zp_pull_options pull_options = *given;
        pull_options.events =
                (struct zp_pull_events){ &watch, on_resolved, on_begin, on_progress, on_end, on_waiting, on_put_off };
        struct zp_pull_result result = { 0 };
        r = cli_build_failed(call, zp_pull(source, remote, store, &pull_options, &result, err));
        /* a snapshot that lacks a part is not one that is not there */
        if (r == -ENOENT && watch.is_fetching)
                call->exit_code = CLI_FAILED;
        if (r == -EACCES && trust->is_refused)
                call->exit_code = CLI_REFUSED;
        if (r == 0) {
                char size[CLI_SIZE_TEXT];
                if (trust->reason[0])
                        progress_say(progress, "trusted: %s", trust->reason);
                if (result.was_present)
                        progress_say(progress, "the snapshot is already there%s",
                                     result.devices_fetched ? "; its data is here now" : "");
                else
                        progress_say(progress, "%u layer%s fetched, %u already there, %s", result.layers_fetched,
                                     result.layers_fetched == 1 ? "" : "s", result.layers_reused,
                                     cli_size_text(result.bytes_received, size));
                if (!result.is_complete)
                        progress_say(progress, "its data is not here; --complete fetches it");
                r = print_result(call, &result, err);
        }
        zp_image_record_clear(&result.image);
        return r;
}

/* An image that no snapshot is accepted for is refused before anybody is asked. */
static int pull_trusted(struct cli_call *call, struct zp_source *source, struct zp_remote *remote,
                        struct zp_trust *trust, struct zp_pull_options *pull_options, struct progress *progress,
                        struct zp_error *err) {
        trust->remote = remote;
        trust->image = zp_source_name(source);
        int wanted = zp_trust_wants_check(trust, err);
        if (wanted < 0) {
                call->exit_code = trust->is_refused ? CLI_REFUSED : CLI_FAILED;
                return zp_error_wrap(err, "pull %s", trust->image);
        }
        if (wanted) {
                pull_options->check = zp_trust_check;
                pull_options->check_context = trust;
        }
        return pull(call, source, remote, trust, pull_options, progress, err);
}

static int with_trust(struct cli_call *call, struct zp_source *source, struct zp_remote *remote,
                      struct zp_pull_options *pull_options, struct progress *progress, struct zp_error *err) {
        zp_auto(zp_policy_free) struct zp_policy *policy = NULL;
        struct cli_keys keys = { 0 };
        int r = cli_load_policy(call, OPTION_POLICY, &policy, err);
        if (r == 0)
                r = cli_load_keys(call, OPTION_KEY, &keys, err);
        if (r == 0) {
                struct zp_trust trust = { .policy = policy, .keys = keys.keys, .key_count = keys.count };
                r = pull_trusted(call, source, remote, &trust, pull_options, progress, err);
        }
        cli_clear_keys(&keys);
        return r;
}

/* Where an image that is in no registry was fetched from before; malloc'ed. NULL: nowhere, or it is in one. */
static char *known_origin(const struct cli_call *call, const char *name) {
        zp_auto(zp_store_close) struct zp_store *store = NULL;
        struct zp_image_record image = { 0 };
        char *origin = NULL;
        if (strncmp(name, "docker://", strlen("docker://")) == 0)
                return NULL;
        if (zp_store_open(call->store, ZP_STORE_READ, &store, NULL) == 0 &&
            zp_store_lookup_image(store, name, &image, NULL) == 0)
                origin = image.origin ? strdup(image.origin) : NULL;
        zp_image_record_clear(&image);
        return origin;
}

static int run(struct cli_call *call, struct zp_error *err) {
        zp_auto(zp_secret_free) char *credentials = NULL;
        struct zp_source_options source_options;
        struct zp_build_options build_options;
        struct zp_platform platform;
        if (call->values[OPTION_PROGRESS] && strcmp(call->values[OPTION_PROGRESS], "json") != 0)
                return cli_usage_error(call, err, "--progress '%s': only 'json' is known",
                                       call->values[OPTION_PROGRESS]);
        int r = cli_take_platform(call, OPTION_PLATFORM, &platform, err);
        if (r == 0)
                r = cli_take_source_options(call, &source_options, &build_options, &credentials, err);
        if (r < 0)
                return r;
        build_options.platform = platform;
        zp_auto(progress_free) struct progress *progress = progress_new(call->quiet);
        if (call->values[OPTION_PROGRESS])
                progress_tell_json(progress);
        zp_auto(zp_source_close) struct zp_source *source = NULL;
        source_options.notice = (struct zp_notice){ cli_tell_notice, progress };
        zp_auto(zp_remote_close) struct zp_remote *remote = NULL;
        zp_autofree char *beside = NULL;
        r = zp_source_open(call->arguments[0], &source_options, &source, err);
        if (r == 0 && !call->values[OPTION_FROM] && !(beside = known_origin(call, zp_source_name(source))))
                r = cli_remote_beside(zp_source_name(source), "say where from: --from REMOTE", &beside, err);
        if (r == 0)
                r = cli_file_failed(call, zp_remote_open(beside ? beside : call->values[OPTION_FROM], &source_options,
                                                         &remote, err));
        if (r == -EINVAL)
                call->exit_code = CLI_USAGE;
        if (r < 0)
                return r;
        struct zp_pull_options pull_options = { .platform = build_options.platform,
                                                .is_complete = cli_flag(call, OPTION_COMPLETE),
                                                .threads = build_options.threads,
                                                .confine = true,
                                                .also_readable = cli_remote_local_path(remote, &source_options),
                                                .cancel = call->cancel };
        return with_trust(call, source, remote, &pull_options, progress, err);
}

const struct cli_command cli_pull = {
        .name = "pull",
        .arguments = "SOURCE",
        .summary = "Fetch an image's snapshot that somebody has published",
        .example = "zeropull pull registry.example/web:3\n  zeropull pull --complete registry.example/web:3 --from "
                   "dir:/mnt/snapshots",
        .options = options,
        .arguments_min = 1,
        .arguments_max = 1,
        .run = run,
};
