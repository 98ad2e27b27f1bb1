/* SPDX-License-Identifier: Apache-2.0
 *
 * `zeropull build`.
 */
#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "cli/base-image.h"
#include "cli/build-watch.h"
#include "cli/profile-file.h"
#include "cli/remote-names.h"
#include "cli/signing.h"
#include "cli/source-options.h"
#include "cli/view.h"

enum {
        OPTION_BASE = OPTION_AFTER_SOURCE,
        OPTION_FRAME_SIZE,
        OPTION_LEVEL,
        OPTION_PLATFORM,
        OPTION_POLICY,
        OPTION_PROFILE,
        OPTION_PROGRESS,
        OPTION_PUSH,
        OPTION_REBUILD,
        OPTION_RESULT_FILE,
        OPTION_SIGN_KEY,
        OPTION_PASSPHRASE_FILE
};

static const struct cli_option options[] = {
        CLI_SOURCE_OPTIONS,
        [OPTION_BASE] = { "base", 0, "REF|none", "refer to this image's data (default: the last one's)" },
        [OPTION_FRAME_SIZE] = { "frame-size", 0, "SIZE", "bytes per compressed frame (default: 512K)" },
        [OPTION_LEVEL] = { "level", 0, "N", "zstd level, 1 to 19 (default: faster than 3)" },
        [OPTION_PLATFORM] = { "platform", 0, "OS/ARCH[/VAR]", "the image for this one (default: for here)" },
        [OPTION_POLICY] = { "policy", 0, "FILE", "which signatures a fetched base needs" },
        [OPTION_PROFILE] = { "profile", 0, "FILE", "what a start reads: it comes first" },
        [OPTION_PROGRESS] = { "progress", 0, "json", "tell on stderr by lines of JSON how far it is" },
        [OPTION_PUSH] = { "push", 0, "[=REMOTE]", "publish it, beside the image or elsewhere" },
        [OPTION_REBUILD] = { "rebuild", 0, NULL, "convert again what the store has" },
        [OPTION_RESULT_FILE] = { "result-file", 0, "FILE", "write what --json prints there, too" },
        [OPTION_SIGN_KEY] = { "sign-key", 0, "FILE", "with --push: sign with this private key" },
        [OPTION_PASSPHRASE_FILE] = { "passphrase-file", 0, "FILE", "the key's passphrase is its first line" },
        { 0 },
};

/* What came of it; prefetch_size: what the profile puts first, NULL without one. *out NULL: no memory. */
static int result_json(const struct cli_call *call, struct zp_store *store, const struct zp_build_result *result,
                       const struct build_shipping *shipping, const uint64_t *prefetch_size, double seconds,
                       json_t **document, struct zp_error *err) {
        const struct zp_image_record *image = &result->image;
        struct cli_sizes sizes;
        int r = cli_image_sizes(store, image, &sizes, err);
        if (r < 0)
                return r;
        json_t *out = json_object();
        bool done = cli_json_set(out, "name", cli_json_text(call->arguments[0], strlen(call->arguments[0]))) &&
                    cli_json_set(out, "digest", cli_json_digest(&image->manifest_digest)) &&
                    cli_json_set(out, "platform", json_string(image->platform)) &&
                    cli_json_set(out, "layers", json_integer(image->layer_count)) &&
                    cli_json_set(out, "layersConverted", json_integer(result->layers_converted)) &&
                    cli_json_set(out, "layersReused", json_integer(result->layers_reused)) &&
                    cli_json_set(out, "wasPresent", json_boolean(result->was_present)) &&
                    cli_json_set(out, "imageSize", json_integer((json_int_t) image->image_size)) &&
                    cli_json_set(out, "snapshotSize", json_integer((json_int_t) sizes.packed)) &&
                    cli_json_set(out, "metadataSize", json_integer((json_int_t) image->metadata_size)) &&
                    cli_json_set(out, "prefetchSize",
                                 prefetch_size ? json_integer((json_int_t) *prefetch_size) : json_null()) &&
                    cli_json_set(out, "seconds", json_real(seconds)) &&
                    (!shipping->remote || publishing_add_json(out, shipping->remote, &shipping->result, shipping->key));
        if (!done) {
                json_decref(out);
                out = NULL;
        }
        *document = out;
        return 0;
}

/* For who does not see what is printed: the file was opened before anything was read. */
static int write_result(const char *path, int fd, json_t *document, struct zp_error *err) {
        zp_autofree char *text = document ? json_dumps(document, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;
        if (!text)
                return zp_error_errno(err, ENOMEM, "%s", path);
        return zp_write_all(fd, text, strlen(text), path, err);
}

static int print_result(const struct cli_call *call, const struct zp_build_result *result, json_t *document,
                        struct zp_error *err) {
        char text[ZP_DIGEST_TEXT_SIZE];
        if (call->json)
                return cli_print_json(document, err);
        json_decref(document);
        puts(zp_digest_text(&result->image.manifest_digest, text));
        return 0;
}

static void say_result(struct progress *progress, const struct zp_build_result *result, double seconds) {
        if (result->was_present)
                progress_say(progress, "the snapshot is already there (%.1f s)", seconds);
        else
                progress_say(progress, "done: %u layer%s converted, %u already there, in %.1f s",
                             result->layers_converted, result->layers_converted == 1 ? "" : "s", result->layers_reused,
                             seconds);
}

static double now_s(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

static int build_once(struct cli_call *call, struct zp_source *source, const struct zp_build_options *build_options,
                      struct build_watch *w, struct zp_build_result *result, struct zp_error *err) {
        struct build_shipping *s = &w->shipping;
        int r = cli_build_failed(call, zp_build(source, s->store, build_options, result, err));
        /* an image that lacks a part is not one that is not there */
        if (r == -ENOENT && w->is_found)
                call->exit_code = CLI_FAILED;
        if (r == -EINVAL && !w->is_found) /* the name leaves open which image is meant */
                call->exit_code = CLI_USAGE;
        if (s->error.code) {
                *err = s->error;
                r = -err->code;
        }
        if (r == 0 && s->push && (r = zp_push_finish(s->push, &result->image, &s->result, err)) < 0) {
                call->exit_code = CLI_FAILED;
                zp_error_hint(err, "the snapshot is in the store: `zeropull push` tries again");
        }
        if (s->push)
                zp_push_close(zp_steal(&s->push));
        return r;
}

/* What turns out to be damaged in the store is converted again, once. */
static int build_and_ship(struct cli_call *call, struct zp_source *source, struct zp_build_options *build_options,
                          struct build_watch *w, struct zp_build_result *result, struct zp_error *err) {
        struct build_shipping *s = &w->shipping;
        int r = build_once(call, source, build_options, w, result, err);
        if (r < 0 && s->result.is_lost) {
                progress_say(w->progress, "%s; what is damaged in the store is converted again", err->message);
                zp_error_clear(err);
                call->exit_code = CLI_DONE;
                zp_image_record_clear(&result->image);
                build_options->confine = false; /* it is by now */
                r = build_once(call, source, build_options, w, result, err);
        }
        if (r == 0 && s->remote)
                r = cli_check_may_sign(call, s->store, s->key, &result->image, err);
        if (r == 0 && s->remote) {
                r = cli_sign_published(s->remote, s->key, &s->result, &result->image.manifest_digest, err);
                if (r < 0)
                        call->exit_code = CLI_FAILED;
        }
        return r;
}

/* What a build is asked for, besides the options of zp_build itself. */
struct making {
        struct zp_source *source;
        const struct zp_source_options *source_options;
        struct zp_remote *remote; /* NULL: it is not published */
        struct zp_key *key;       /* NULL: nor signed */
        struct progress *progress;
        int result_fd; /* -1: nobody wants the result in a file */
};

static int find_base(struct cli_call *call, const struct making *making, struct zp_build_options *build_options,
                     struct zp_store *store, struct zp_image_record *out, struct zp_error *err) {
        struct cli_base_wish wish = { .text = call->values[OPTION_BASE],
                                      .image = zp_source_name(making->source),
                                      .remote = making->remote ? zp_remote_name(making->remote) : NULL,
                                      .source_options = making->source_options,
                                      .platform = &build_options->platform,
                                      .sign_key = making->key,
                                      .policy_option = OPTION_POLICY,
                                      .progress = making->progress };
        if (build_options->rebuild && !wish.text)
                return 0;
        int r = cli_find_base(call, &wish, store, out, err);
        if (r == 1)
                build_options->base = out;
        return r < 0 ? r : 0;
}

static int build(struct cli_call *call, const struct making *making, struct zp_build_options *build_options,
                 struct zp_error *err) {
        zp_auto(zp_store_close) struct zp_store *store = NULL;
        int r = zp_store_open(call->store, ZP_STORE_CREATE, &store, err);
        if (r < 0)
                return r;
        struct progress *progress = making->progress;
        struct build_watch watch = { .progress = progress, .cancel.parent = call->cancel };
        struct build_shipping *s = &watch.shipping;
        s->store = store;
        s->remote = making->remote;
        s->key = making->key;
        s->publishing = (struct publishing){ progress, ZP_LIMIT_LAYERS };
        s->options = (struct zp_push_options){ .cancel = call->cancel, .events = publishing_events(&s->publishing) };
        build_options->rebuild = cli_flag(call, OPTION_REBUILD);
        build_options->with_maps = s->remote != NULL;
        build_options->confine = true;
        build_options->cancel = &watch.cancel;
        build_options->events = build_watch_events(&watch);
        struct zp_build_result result = { 0 };
        struct zp_image_record base = { 0 };
        double start = now_s();
        r = find_base(call, making, build_options, store, &base, err);
        if (r == 0)
                r = build_and_ship(call, making->source, build_options, &watch, &result, err);
        zp_image_record_clear(&base);
        const bool has_profile = build_options->profile != NULL;
        uint64_t prefetch_size = 0;
        if (r == 0 && has_profile)
                r = cli_profile_effect(store, &result.image, &prefetch_size, err);
        if (r == 0) {
                double seconds = now_s() - start;
                say_result(progress, &result, seconds);
                if (has_profile && prefetch_size == 0)
                        progress_say(progress, "warning: the profile names nothing that this image has data of");
                if (s->remote)
                        publishing_say_result(&s->publishing, s->remote, &s->result, s->key);
                json_t *document = NULL;
                r = result_json(call, store, &result, s, has_profile ? &prefetch_size : NULL, seconds, &document, err);
                if (r == 0 && making->result_fd >= 0)
                        r = write_result(call->values[OPTION_RESULT_FILE], making->result_fd, document, err);
                if (r == 0)
                        r = print_result(call, &result, document, err);
                else
                        json_decref(document);
        }
        zp_image_record_clear(&result.image);
        return r;
}

/* Where to publish, if at all. */
static int open_remote(struct cli_call *call, const struct zp_source *source,
                       const struct zp_source_options *source_options, struct zp_build_options *build_options,
                       struct zp_remote **out, struct zp_error *err) {
        const char *name = call->values[OPTION_PUSH];
        zp_autofree char *beside = NULL;
        int r = 0;
        if (!name)
                return 0;
        if (!name[0])
                r = cli_remote_beside(zp_source_name(source), "say where to: --push=REMOTE", &beside, err);
        if (r == 0)
                r = cli_file_failed(call, zp_remote_open(beside ? beside : name, source_options, out, err));
        if (r < 0)
                return r;
        const char *path = cli_remote_local_path(*out, source_options);
        *(path == source_options->ca_file ? &build_options->also_readable : &build_options->also_writable) = path;
        return 0;
}

static int take_pack_options(struct cli_call *call, struct zp_pack_options *out, struct zp_error *err) {
        uint64_t frame_size = ZP_PACK_DEFAULT_FRAME_SIZE, level = 0;
        int r = cli_value_size(call, OPTION_FRAME_SIZE, 4096, ZP_LIMIT_FRAME_SIZE, &frame_size, err);
        if (r == 0)
                r = cli_value_number(call, OPTION_LEVEL, 1, 19, &level, err);
        *out = (struct zp_pack_options){ .frame_size = (uint32_t) frame_size, .level = (int) level };
        return r;
}

static int open_result(const struct cli_call *call, int *fd, struct zp_error *err) {
        const char *path = call->values[OPTION_RESULT_FILE];
        if (!path)
                return 0;
        *fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        return *fd < 0 ? zp_error_errno(err, errno, "open '%s'", path) : 0;
}

static int run(struct cli_call *call, struct zp_error *err) {
        zp_autoclose int result_fd = -1;
        zp_auto(zp_secret_free) char *credentials = NULL;
        struct zp_source_options source_options;
        struct zp_build_options build_options;
        struct zp_platform platform;
        int r = cli_take_platform(call, OPTION_PLATFORM, &platform, err);
        if (r == 0)
                r = cli_take_source_options(call, &source_options, &build_options, &credentials, err);
        if (r == 0 && call->values[OPTION_SIGN_KEY] && !call->values[OPTION_PUSH])
                r = cli_usage_error(call, err, "--sign-key wants --push beside it: what is published is signed");
        if (r == 0)
                r = take_pack_options(call, &build_options.pack, err);
        if (r < 0)
                return r;
        build_options.platform = platform;
        if (call->values[OPTION_PROGRESS] && strcmp(call->values[OPTION_PROGRESS], "json") != 0)
                return cli_usage_error(call, err, "--progress '%s': only 'json' is known",
                                       call->values[OPTION_PROGRESS]);
        zp_auto(progress_free) struct progress *progress = progress_new(call->quiet);
        if (call->values[OPTION_PROGRESS])
                progress_tell_json(progress);
        zp_auto(zp_source_close) struct zp_source *source = NULL;
        zp_auto(zp_remote_close) struct zp_remote *remote = NULL;
        zp_auto(zp_key_free) struct zp_key *key = NULL;
        zp_auto(zp_profile_free) struct zp_profile *profile = NULL;
        source_options.notice = (struct zp_notice){ cli_tell_notice, progress };
        r = cli_load_sign_key(call, OPTION_SIGN_KEY, OPTION_PASSPHRASE_FILE, &key, err);
        if (r == 0)
                r = cli_load_profile(call, call->values[OPTION_PROFILE], &profile, err);
        if (r == 0)
                r = open_result(call, &result_fd, err);
        if (r < 0)
                return r;
        build_options.profile = profile;
        r = cli_build_failed(call, zp_source_open(call->arguments[0], &source_options, &source, err));
        if (r == 0)
                r = open_remote(call, source, &source_options, &build_options, &remote, err);
        if (r == -EINVAL)
                call->exit_code = CLI_USAGE;
        struct making making = { source, &source_options, remote, key, progress, result_fd };
        return r < 0 ? r : build(call, &making, &build_options, err);
}

const struct cli_command cli_build = {
        .name = "build",
        .arguments = "SOURCE",
        .summary = "Turn an image into a snapshot in the store",
        .example = "zeropull build docker://registry.example/web:3\n  zeropull build --push registry.example/web:3",
        .options = options,
        .arguments_min = 1,
        .arguments_max = 1,
        .run = run,
};
