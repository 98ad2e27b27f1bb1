/* SPDX-License-Identifier: Apache-2.0
 *
 * `zeropull build`.
 */
#include <string.h>

#include "base/limits.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/source-options.h"
#include "cli/view.h"

enum { OPTION_FRAME_SIZE = OPTION_AFTER_SOURCE, OPTION_LEVEL, OPTION_PLATFORM, OPTION_REBUILD };

static const struct cli_option options[] = {
        CLI_SOURCE_OPTIONS,
        [OPTION_FRAME_SIZE] = { "frame-size", 0, "SIZE", "bytes per compressed frame (default: 512K)" },
        [OPTION_LEVEL] = { "level", 0, "N", "zstd level, 1 to 19 (default: faster than 3)" },
        [OPTION_PLATFORM] = { "platform", 0, "OS/ARCH[/VAR]", "the image for this one (default: for here)" },
        [OPTION_REBUILD] = { "rebuild", 0, NULL, "convert again what the store has" },
        { 0 },
};

/* What the events need to know of the image. */
struct watch {
        struct progress *progress;
        bool is_found;
        uint16_t layer_count;
        uint64_t sizes[ZP_LIMIT_LAYERS];
        char digests[ZP_LIMIT_LAYERS][CLI_SHORT_DIGEST];
};

static void on_resolved(void *context, const struct zp_image *image) {
        struct watch *w = context;
        char platform[100], size[CLI_SIZE_TEXT], digest[ZP_DIGEST_TEXT_SIZE];
        uint64_t total = 0;
        w->is_found = true;
        w->layer_count = image->layer_count;
        for (uint16_t i = 0; i < image->layer_count; i++) {
                total += w->sizes[i] = image->layers[i].size;
                cli_short_digest(&image->layers[i].digest, w->digests[i]);
        }
        progress_say(w->progress, "%s: %s, %s, %u layer%s, %s", image->name,
                     zp_digest_text(&image->manifest_digest, digest), zp_platform_text(&image->platform, platform),
                     image->layer_count, image->layer_count == 1 ? "" : "s", cli_size_text(total, size));
}

static void on_layer_state(void *context, uint16_t layer, enum zp_layer_state state) {
        struct watch *w = context;
        char label[32], verb[64];
        snprintf(label, sizeof label, "layer %u/%u", layer + 1u, w->layer_count);
        snprintf(verb, sizeof verb, "converting %s", w->digests[layer]);
        if (state == ZP_LAYER_CONVERTING)
                progress_begin(w->progress, layer, label, verb, w->sizes[layer]);
        else if (state == ZP_LAYER_DONE)
                progress_end(w->progress, layer, "converted");
        else if (state == ZP_LAYER_REUSED)
                progress_say(w->progress, "%s: %s is already there", label, w->digests[layer]);
}

static void on_layer_progress(void *context, uint16_t layer, uint64_t blob_bytes_read) {
        struct watch *w = context;
        progress_update(w->progress, layer, blob_bytes_read);
}

static void on_waiting(void *context) {
        struct watch *w = context;
        progress_say(w->progress, "another process builds the same: waiting for it");
}

static void on_merging(void *context) {
        struct watch *w = context;
        progress_say(w->progress, "merging %u layer%s", w->layer_count, w->layer_count == 1 ? "" : "s");
}

static int print_result(const struct cli_call *call, struct zp_store *store, const struct zp_build_result *result,
                        const char *source, double seconds, struct zp_error *err) {
        const struct zp_image_record *image = &result->image;
        char text[ZP_DIGEST_TEXT_SIZE];
        if (!call->json) {
                puts(zp_digest_text(&image->manifest_digest, text));
                return 0;
        }
        struct cli_sizes sizes;
        int r = cli_image_sizes(store, image, &sizes, err);
        if (r < 0)
                return r;
        json_t *out = json_object();
        bool done = cli_json_set(out, "name", cli_json_text(source, strlen(source))) &&
                    cli_json_set(out, "digest", cli_json_digest(&image->manifest_digest)) &&
                    cli_json_set(out, "platform", json_string(image->platform)) &&
                    cli_json_set(out, "layers", json_integer(image->layer_count)) &&
                    cli_json_set(out, "layersConverted", json_integer(result->layers_converted)) &&
                    cli_json_set(out, "layersReused", json_integer(result->layers_reused)) &&
                    cli_json_set(out, "wasPresent", json_boolean(result->was_present)) &&
                    cli_json_set(out, "imageSize", json_integer((json_int_t) image->image_size)) &&
                    cli_json_set(out, "snapshotSize", json_integer((json_int_t) sizes.packed)) &&
                    cli_json_set(out, "metadataSize", json_integer((json_int_t) image->metadata_size)) &&
                    cli_json_set(out, "seconds", json_real(seconds));
        if (!done) {
                json_decref(out);
                out = NULL;
        }
        return cli_print_json(out, err);
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

static int build(struct cli_call *call, struct zp_source *source, struct zp_build_options *build_options,
                 struct progress *progress, struct zp_error *err) {
        zp_auto(zp_store_close) struct zp_store *store = NULL;
        int r = zp_store_open(call->store, ZP_STORE_CREATE, &store, err);
        if (r < 0)
                return r;
        struct watch watch = { .progress = progress };
        build_options->rebuild = cli_flag(call, OPTION_REBUILD);
        build_options->confine = true;
        build_options->events = (struct zp_build_events){ &watch,     on_resolved, on_layer_state, on_layer_progress,
                                                          on_waiting, on_merging };
        struct zp_build_result result = { 0 };
        double start = now_s();
        r = cli_build_failed(call, zp_build(source, store, build_options, &result, err));
        if (r == -ENOENT && watch.is_found) /* not the image is missing */
                call->exit_code = CLI_FAILED;
        if (r == -EINVAL && !watch.is_found) /* the name leaves open which image is meant */
                call->exit_code = CLI_USAGE;
        if (r == 0) {
                double seconds = now_s() - start;
                say_result(progress, &result, seconds);
                r = print_result(call, store, &result, call->arguments[0], seconds, err);
        }
        zp_image_record_clear(&result.image);
        return r;
}

static int take_pack_options(struct cli_call *call, struct zp_pack_options *out, struct zp_error *err) {
        uint64_t frame_size = ZP_PACK_DEFAULT_FRAME_SIZE, level = 0;
        int r = cli_value_size(call, OPTION_FRAME_SIZE, 4096, ZP_LIMIT_FRAME_SIZE, &frame_size, err);
        if (r == 0)
                r = cli_value_number(call, OPTION_LEVEL, 1, 19, &level, err);
        *out = (struct zp_pack_options){ .frame_size = (uint32_t) frame_size, .level = (int) level };
        return r;
}

static int run(struct cli_call *call, struct zp_error *err) {
        zp_auto(cli_wipe) char *credentials = NULL;
        struct zp_source_options source_options;
        struct zp_build_options build_options;
        if (call->values[OPTION_PLATFORM] &&
            zp_platform_parse(call->values[OPTION_PLATFORM], &(struct zp_platform){ 0 }, err) < 0)
                return cli_usage_error(call, err, "--platform: %s", err->message);
        int r = cli_take_source_options(call, &source_options, &build_options, &credentials, err);
        if (r == 0)
                r = take_pack_options(call, &build_options.pack, err);
        if (r < 0)
                return r;
        if (call->values[OPTION_PLATFORM])
                zp_platform_parse(call->values[OPTION_PLATFORM], &build_options.platform, err);
        build_options.platform.is_required = call->values[OPTION_PLATFORM] != NULL;
        zp_auto(progress_free) struct progress *progress = progress_new(call->quiet);
        zp_auto(zp_source_close) struct zp_source *source = NULL;
        source_options.notice = (struct zp_notice){ cli_tell_notice, progress };
        r = cli_build_failed(call, zp_source_open(call->arguments[0], &source_options, &source, err));
        if (r == -EINVAL)
                call->exit_code = CLI_USAGE;
        return r < 0 ? r : build(call, source, &build_options, progress, err);
}

const struct cli_command cli_build = {
        .name = "build",
        .arguments = "SOURCE",
        .summary = "Turn an image into a snapshot in the store",
        .example = "zeropull build docker://registry.example/web:3\n  zeropull build oci:./layout:latest",
        .options = options,
        .arguments_min = 1,
        .arguments_max = 1,
        .run = run,
};
