/* SPDX-License-Identifier: Apache-2.0
 *
 * `zeropull verify`.
 */
#include "cli/output.h"
#include "cli/source-options.h"
#include "cli/verify.h"

enum { OPTION_REBUILD = OPTION_AFTER_SOURCE, OPTION_KEY, OPTION_FROM };

static const struct cli_option options[] = {
        CLI_REGISTRY_OPTIONS,
        [OPTION_THREADS] = { "threads", 0, "N", "read, check and build on N threads (default: all CPUs)" },
        [OPTION_REBUILD] = { "rebuild", 0, NULL, "build again from the source, and compare byte by byte" },
        [OPTION_KEY] = { "key", 0, "FILE", "it is what this key's owner signed and published; may be repeated" },
        [OPTION_FROM] = { "from", 0, "REMOTE", "with --key: where it is published (default: beside the image)" },
        { 0 },
};

static int check_all(struct verifier *v, unsigned threads, struct zp_error *err) {
        zp_auto(zp_pool_free) struct zp_pool *pool = NULL;
        zp_auto(progress_free) struct progress *progress = progress_new(v->call->quiet);
        int r = zp_pool_new(threads ? threads : zp_usable_cpus(), &pool, err);
        v->progress = progress;
        v->pool = pool;
        for (size_t i = 0; i < v->device_count && r == 0; i++)
                r = verify_device(v, &v->devices[i], err);
        for (size_t i = 0; i < v->layer_count && r == 0; i++)
                r = verify_layer(v, &v->layers[i], err);
        for (size_t i = 0; i < v->image_count && r == 0; i++)
                r = verify_image(v, &v->images[i], err);
        return r;
}

/* Once the checks and their threads have ended: it starts processes. */
static int rebuild_all(struct verifier *v, const struct zp_source_options *source_options,
                       const struct zp_build_options *build_options, struct zp_error *err) {
        zp_auto(progress_free) struct progress *progress = progress_new(v->call->quiet);
        v->progress = progress;
        return verify_by_rebuild(v, source_options, build_options, err);
}

static int check_signatures(struct verifier *v, const struct zp_source_options *source_options, struct zp_error *err) {
        zp_auto(progress_free) struct progress *progress = progress_new(v->call->quiet);
        v->progress = progress;
        return verify_signatures(v, v->call->values[OPTION_FROM], source_options, err);
}

/* What was found, in one line, and what to do about it. */
static int conclude(const struct verifier *v, struct zp_error *err) {
        const char *s = v->problem_count > 1 ? "s" : "";
        if (v->unchecked_count == v->problem_count) {
                v->call->exit_code = CLI_UNCHECKED;
                zp_error_set(err, ENODATA,
                             "verify: %zu image%s not compared with a fresh build; nothing else was found",
                             v->unchecked_count, s);
                zp_error_hint(err, "once the source can be read again: zeropull verify --rebuild");
                return -ENODATA;
        }
        v->call->exit_code = v->refused_count == v->problem_count ? CLI_REFUSED : CLI_FAILED;
        zp_error_set(err, EBADMSG, "verify: %zu problem%s", v->problem_count, s);
        if (v->published_count + v->unchecked_count == v->problem_count) {
                if (v->published_hint[0])
                        zp_error_hint(err, "%s", v->published_hint);
                return -EBADMSG;
        }
        if (v->fetched_name)
                zp_error_hint(err, "fetch again what is damaged: zeropull pull --complete %s", v->fetched_name);
        zp_error_hint(err, "'zeropull build --rebuild SOURCE' makes an image and its layers again");
        return -EBADMSG;
}

/* Takes over the list of problems. */
static int report(const struct verifier *v, struct zp_error *err) {
        int r = 0;
        size_t images = v->image_count - v->gone_images, layers = v->layer_count - v->gone_layers;
        size_t devices = v->device_count - v->gone_devices;
        if (v->call->json)
                r = cli_print_json(json_pack("{s:I, s:I, s:I, s:I, s:I, s:o}", "images", (json_int_t) images, "layers",
                                             (json_int_t) layers, "devices", (json_int_t) devices, "incompleteDevices",
                                             (json_int_t) v->incomplete_devices, "notCompared",
                                             (json_int_t) v->unchecked_count, "problems", v->problems),
                                   err);
        else if (v->problem_count == 0 && !v->call->quiet)
                printf("verified: %zu image%s, %zu layer%s, %zu device%s%s\n", images, images == 1 ? "" : "s", layers,
                       layers == 1 ? "" : "s", devices, devices == 1 ? "" : "s",
                       v->incomplete_devices ? "; the data of some is not here" : "");
        return r == 0 && v->problem_count ? conclude(v, err) : r;
}

static int verify(struct cli_call *call, struct verifier *v, const struct zp_source_options *source_options,
                  const struct zp_build_options *build_options, struct zp_error *err) {
        v->problems = call->json ? json_array() : NULL;
        int r = verify_collect(v, err);
        if (r == 0)
                r = check_all(v, build_options->threads, err);
        if (r == 0 && cli_flag(call, OPTION_REBUILD))
                r = rebuild_all(v, source_options, build_options, err);
        if (r == 0 && v->keys.count)
                r = check_signatures(v, source_options, err);
        if (r < 0)
                json_decref(v->problems);
        else
                r = report(v, err);
        verify_clear(v);
        return r;
}

static int run(struct cli_call *call, struct zp_error *err) {
        zp_auto(zp_secret_free) char *credentials = NULL;
        zp_auto(zp_store_close) struct zp_store *store = NULL;
        struct zp_source_options source_options;
        struct zp_build_options build_options;
        int r = cli_take_source_options(call, &source_options, &build_options, &credentials, err);
        if (r == 0)
                r = zp_store_open(call->store, ZP_STORE_READ, &store, err);
        struct verifier v = { .call = call, .store = store };
        if (r == 0 && call->values[OPTION_FROM] && !call->values[OPTION_KEY])
                r = cli_usage_error(call, err, "--from wants --key beside it");
        if (r == 0)
                r = cli_load_keys(call, OPTION_KEY, &v.keys, err);
        if (r == 0)
                r = verify(call, &v, &source_options, &build_options, err);
        cli_clear_keys(&v.keys);
        return r;
}

const struct cli_command cli_verify = {
        .name = "verify",
        .arguments = "[IMAGE...]",
        .summary = "Check every digest of images, or of all the store",
        .example = "zeropull verify --rebuild registry.example/web:3",
        .options = options,
        .arguments_max = CLI_MANY,
        .run = run,
};
