/* SPDX-License-Identifier: Apache-2.0
 *
 * `zeropull remove`.
 */
#include "cli/output.h"
#include "cli/view.h"

static int remove_one(const struct cli_call *call, struct zp_store *store, const struct zp_digest *digest,
                      json_t *removed, struct zp_error *err) {
        char text[ZP_DIGEST_TEXT_SIZE];
        int r = zp_store_remove_image(store, digest, err);
        if (r == 0 && !call->json)
                puts(zp_digest_text(digest, text));
        if (r == 0 && json_array_append_new(removed, cli_json_digest(digest)) < 0)
                r = zp_error_errno(err, ENOMEM, "remove");
        return r;
}

/* Which images the arguments name, each once. */
static int look_up(const struct cli_call *call, struct zp_store *store, struct zp_digest *digests, int *count,
                   struct zp_error *err) {
        for (int i = 0; i < call->argument_count; i++) {
                struct zp_image_record image = { 0 };
                int r = cli_lookup(store, call->arguments[i], &image, err);
                if (r < 0)
                        return r;
                bool is_known = false;
                for (int j = 0; j < *count; j++)
                        is_known |= zp_digest_equal(&digests[j], &image.manifest_digest);
                if (!is_known)
                        digests[(*count)++] = image.manifest_digest;
                zp_image_record_clear(&image);
        }
        return 0;
}

static int run(struct cli_call *call, struct zp_error *err) {
        zp_auto(zp_store_close) struct zp_store *store = NULL;
        zp_autofree struct zp_digest *digests = calloc((size_t) call->argument_count, sizeof *digests);
        int count = 0;
        int r = digests ? zp_store_open(call->store, ZP_STORE_WRITE, &store, err)
                        : zp_error_errno(err, ENOMEM, "remove");
        if (r == 0)
                r = look_up(call, store, digests, &count, err);
        if (r < 0)
                return r;
        json_t *removed = json_array();
        for (int i = 0; i < count && r == 0; i++)
                r = remove_one(call, store, &digests[i], removed, err);
        if (!call->json || r < 0) {
                json_decref(removed);
                return r;
        }
        return cli_print_json(removed, err);
}

const struct cli_command cli_remove = {
        .name = "remove",
        .arguments = "IMAGE...",
        .summary = "Remove images; 'prune' then frees the layers nobody uses",
        .example = "zeropull remove registry.example/web:3 && zeropull prune",
        .arguments_min = 1,
        .arguments_max = CLI_MANY,
        .run = run,
};
