/* SPDX-License-Identifier: Apache-2.0
 *
 * `zeropull rpull`: what a pull leaves in containerd, but layers.
 */
#include <string.h>

#include "base/cleanup.h"
#include "cli/containerd/services.h"
#include "cli/hint.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/remote-names.h"
#include "cli/source-options.h"
#include "oci/chain-id.h"
#include "ship/artifact.h"

enum { OPTION_ADDRESS = OPTION_AFTER_REGISTRY, OPTION_NAMESPACE, OPTION_SNAPSHOTTER };

#define DEFAULT_ADDRESS "/run/containerd/containerd.sock"
#define DEFAULT_NAMESPACE "default"
#define DEFAULT_SNAPSHOTTER "zeropull"
/* containerd's own limit for identifiers */
#define IDENTIFIER_MAX 76

static const struct cli_option options[] = {
        CLI_REGISTRY_OPTIONS,
        [OPTION_ADDRESS] = { "address", 0, "SOCKET", "containerd's (default: " DEFAULT_ADDRESS ")" },
        [OPTION_NAMESPACE] = { "namespace", 'n', "NAME", "containerd's namespace (default: " DEFAULT_NAMESPACE ")" },
        [OPTION_SNAPSHOTTER] = { "snapshotter", 0, "NAME", "the plugin's name (default: " DEFAULT_SNAPSHOTTER ")" },
        { 0 },
};

struct rpull {
        struct cli_call *call;
        struct containerd *containerd;
        struct zp_source *source;
        const struct zp_source_options *source_options;
        const char *name; /* the image's, as containerd has it */
        struct zp_reference reference;
        struct zp_image image;
        struct zp_digest chain_ids[ZP_LIMIT_LAYERS];
};

/* ---- layers ---- */

/* That the image has no snapshot can be seen from here. */
static bool has_snapshot(struct rpull *pull, struct zp_error *err) {
        zp_auto(zp_remote_close) struct zp_remote *remote = NULL;
        zp_autofree char *beside = NULL;
        struct zp_remote_artifact *artifacts = NULL;
        struct zp_error ignored;
        size_t count = 1;
        if (cli_remote_beside(zp_source_name(pull->source), "", &beside, &ignored) == 0 &&
            zp_remote_open(beside, pull->source_options, &remote, &ignored) == 0 &&
            zp_remote_find(remote, &pull->image.manifest_digest, ZP_ARTIFACT_TYPE, &artifacts, &count, &ignored) == 0)
                zp_remote_artifacts_free(artifacts, count);
        if (count == 0)
                zp_error_set(err, ENOENT, "%s has no snapshot of it", beside);
        return count > 0;
}

/* The words with which the snapshotter's reason begins, and what they are as an exit code: see snapshotter's metrics.
 */
static bool is_refusal(const char *reason) {
        return strncmp(reason, "denied:", strlen("denied:")) == 0 ||
               strncmp(reason, "malformed:", strlen("malformed:")) == 0;
}

/* What does the same with the layers, at the containerd and in the namespace that were named here. */
static void hint_at_ctr(const struct rpull *pull, struct zp_error *err) {
        const char *const *values = (const char *const *) pull->call->values;
        const char *address = values[OPTION_ADDRESS], *namespace = values[OPTION_NAMESPACE];
        zp_autofree char *word = address ? cli_shell_word(address) : NULL;
        if (address && !word)
                return;
        zp_error_hint(err, "`ctr %s%s%s%s%s%simages pull %s--snapshotter %s %s` downloads it",
                      address ? "--address " : "", address ? word : "", address ? " " : "",
                      namespace ? "--namespace " : "", namespace ? namespace : "", namespace ? " " : "",
                      values[OPTION_PLAIN_HTTP] ? "--plain-http " : "", containerd_snapshotter(pull->containerd),
                      pull->name);
}

static int cannot(struct rpull *pull, unsigned layer, const char *chain_id, struct zp_error *err) {
        zp_autofree char *reason = NULL;
        if (has_snapshot(pull, err)) {
                (void) containerd_refusal(pull->containerd, chain_id, &reason, NULL); /* then it is not said */
                if (reason && is_refusal(reason))
                        pull->call->exit_code = CLI_REFUSED;
                zp_error_set(err, ENODATA, "layer %u of %u would have to be downloaded: %s", layer + 1,
                             pull->image.layer_count, reason ? reason : "the snapshotter's log says why");
        }
        hint_at_ctr(pull, err);
        return -err->code;
}

static int prepare_layer(struct rpull *pull, unsigned layer, struct zp_error *err) {
        struct containerd_labels labels = { 0 };
        char chain_id[ZP_DIGEST_TEXT_SIZE], parent[ZP_DIGEST_TEXT_SIZE] = "";
        zp_digest_text(&pull->chain_ids[layer], chain_id);
        if (layer > 0)
                zp_digest_text(&pull->chain_ids[layer - 1], parent);
        int r = -ENOMEM;
        if (containerd_labels_of_layer(&labels, &pull->image, pull->name, layer, chain_id))
                r = containerd_prepare(pull->containerd, chain_id, parent, &labels, err);
        else
                zp_error_errno(err, ENOMEM, "%s", pull->name);
        zp_arena_clear(&labels.arena);
        if (r == 0)
                return cannot(pull, layer, chain_id, err);
        if (r == -EAGAIN)
                zp_error_hint(err, "if it does not run: `systemctl start zeropull-snapshotter`; `zeropull-snapshotter "
                                   "--check` tells what it lacks");
        else if (r == -EINVAL) /* as containerd says of one that it does not know */
                zp_error_hint(err, "`zeropull-snapshotter --check` tells whether containerd's settings name it");
        return r > 0 ? 0 : zp_error_wrap(err, "layer %u of %u", layer + 1, pull->image.layer_count);
}

/* The last one's name goes to `chain_id`; "": there are no layers. */
static int prepare_layers(struct rpull *pull, char chain_id[ZP_DIGEST_TEXT_SIZE], struct zp_error *err) {
        const struct zp_image *image = &pull->image;
        chain_id[0] = '\0';
        if (image->layer_count == 0)
                return 0;
        zp_chain_ids(image->diff_ids, image->layer_count, pull->chain_ids);
        for (unsigned i = 0; i < image->layer_count; i++) {
                int r = prepare_layer(pull, i, err);
                if (r < 0)
                        return r;
        }
        zp_digest_text(&pull->chain_ids[image->layer_count - 1], chain_id);
        return containerd_hold_snapshot(pull->containerd, chain_id, err);
}

/* ---- documents ---- */

static int put_config(struct rpull *pull, const char *chain_id, struct zp_error *err) {
        struct containerd_labels labels = { 0 };
        const struct zp_descriptor config = { .digest = pull->image.config_digest, .size = pull->image.config_size };
        int r = containerd_labels_of_config(&labels, containerd_snapshotter(pull->containerd), chain_id)
                        ? containerd_put_blob(pull->containerd, &config, pull->image.config, &pull->reference, &labels,
                                              err)
                        : zp_error_errno(err, ENOMEM, "%s", pull->name);
        zp_arena_clear(&labels.arena);
        return r;
}

static int put_manifest(struct rpull *pull, const struct zp_descriptor *manifest, struct zp_error *err) {
        struct containerd_labels labels = { 0 };
        int r = containerd_labels_of_manifest(&labels, &pull->image)
                        ? containerd_put_blob(pull->containerd, manifest, pull->image.manifest, &pull->reference,
                                              &labels, err)
                        : zp_error_errno(err, ENOMEM, "%s", pull->name);
        zp_arena_clear(&labels.arena);
        return r;
}

/* The name comes last: whoever finds it finds all. */
static int fill(struct rpull *pull, struct zp_error *err) {
        const struct zp_descriptor manifest = { .media_type = pull->image.manifest_media_type,
                                                .digest = pull->image.manifest_digest,
                                                .size = pull->image.manifest_size };
        char chain_id[ZP_DIGEST_TEXT_SIZE];
        int r = prepare_layers(pull, chain_id, err);
        if (r == 0)
                r = put_config(pull, chain_id, err);
        if (r == 0)
                r = put_manifest(pull, &manifest, err);
        return r < 0 ? r : containerd_put_image(pull->containerd, pull->name, &manifest, err);
}

static int fill_leased(struct rpull *pull, struct progress *progress, struct zp_error *err) {
        struct zp_error after = { 0 };
        int r = containerd_lease_begin(pull->containerd, err);
        if (r == -ETIMEDOUT)
                progress_say(progress, "a lease may be left, for an hour");
        if (r < 0)
                return r;
        r = fill(pull, err);
        if (containerd_lease_end(pull->containerd, r < 0, &after) < 0)
                progress_say(progress, "a lease is left, for an hour: %s", after.message);
        return r;
}

/* ---- the command ---- */

static int rpull(struct cli_call *call, struct rpull *pull, struct progress *progress, struct zp_error *err) {
        const struct zp_platform platform = zp_platform_host();
        char digest[ZP_DIGEST_TEXT_SIZE];
        int r = cli_build_failed(call, zp_source_resolve(pull->source, &platform, &pull->image, err));
        if (r < 0)
                return r;
        zp_digest_text(&pull->image.manifest_digest, digest);
        progress_say(progress, "%s: %s, %u layer%s", pull->name, digest, pull->image.layer_count,
                     pull->image.layer_count == 1 ? "" : "s");
        r = fill_leased(pull, progress, err);
        if (r < 0)
                return zp_error_wrap(err, "%s", pull->name);
        if (!call->json) {
                puts(pull->name);
                return 0;
        }
        return cli_print_json(json_pack("{s:s, s:s, s:i}", "image", pull->name, "digest", digest, "layers",
                                        (int) pull->image.layer_count),
                              err);
}

/* A letter or digit, then these and - _ . between: what containerd takes, and a header as well. */
static int take_identifier(struct cli_call *call, int option, const char **value, struct zp_error *err) {
        static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
        if (!call->values[option])
                return 0;
        *value = call->values[option];
        size_t size = strspn(*value, letters);
        if (size == 0 || size > IDENTIFIER_MAX || (*value)[size])
                return cli_usage_error(call, err, "--%s: '%s' is no name in containerd", options[option].name, *value);
        return 0;
}

static int take_containerd_options(struct cli_call *call, struct containerd_options *out, struct zp_error *err) {
        const char *address = call->values[OPTION_ADDRESS];
        *out = (struct containerd_options){ .address = address ? address : DEFAULT_ADDRESS,
                                            .namespace = DEFAULT_NAMESPACE,
                                            .snapshotter = DEFAULT_SNAPSHOTTER,
                                            .cancel = call->cancel };
        int r = take_identifier(call, OPTION_NAMESPACE, &out->namespace, err);
        return r < 0 ? r : take_identifier(call, OPTION_SNAPSHOTTER, &out->snapshotter, err);
}

/* Only what is in a registry can be found there by the snapshotter. */
static int take_name(struct cli_call *call, struct rpull *pull, struct zp_error *err) {
        const char *name = zp_source_name(pull->source);
        int r = zp_reference_of_name(name, &pull->reference, err);
        if (r == -ENOTSUP)
                return cli_usage_error(call, err, "'%s' is not in a registry", name);
        pull->name = name + strlen(ZP_REGISTRY_SCHEME);
        return r;
}

static int run(struct cli_call *call, struct zp_error *err) {
        zp_auto(zp_secret_free) char *credentials = NULL;
        struct zp_source_options source_options;
        struct containerd_options containerd_options;
        int r = take_containerd_options(call, &containerd_options, err);
        if (r == 0)
                r = cli_take_registry_options(call, &source_options, &credentials, err);
        if (r < 0)
                return r;
        zp_auto(progress_free) struct progress *progress = progress_new(call->quiet);
        zp_auto(zp_source_close) struct zp_source *source = NULL;
        zp_auto(containerd_close) struct containerd *containerd = NULL;
        source_options.notice = (struct zp_notice){ cli_tell_notice, progress };
        r = zp_source_open(call->arguments[0], &source_options, &source, err);
        if (r == -EINVAL)
                call->exit_code = CLI_USAGE;
        if (r == 0 && (r = containerd_open(&containerd_options, &containerd, err)) < 0)
                zp_error_wrap(err, "%s", zp_source_name(source));
        if (r < 0)
                return r;
        struct rpull pull = {
                .call = call, .containerd = containerd, .source = source, .source_options = &source_options
        };
        r = take_name(call, &pull, err);
        if (r == 0)
                r = rpull(call, &pull, progress, err);
        zp_image_clear(&pull.image);
        zp_reference_clear(&pull.reference);
        return r;
}

const struct cli_command cli_rpull = {
        .name = "rpull",
        .arguments = "IMAGE",
        .summary = "Put an image into containerd without its layers",
        .example = "zeropull rpull registry.example/web:3\n  ctr run --rm --snapshotter zeropull "
                   "registry.example/web:3 web",
        .options = options,
        .arguments_min = 1,
        .arguments_max = 1,
        .run = run,
};
