/* SPDX-License-Identifier: Apache-2.0
 *
 * `zeropull remove`.
 */
#include "cli/output.h"
#include "cli/view.h"

static int remove_one(const struct cli_call *call, struct zp_store *store, const char *name, json_t *removed,
                      struct zp_error *err) {
        struct zp_image_record image = { 0 };
        int r = cli_lookup(store, name, &image, err);
        if (r < 0)
                return r;
        char text[ZP_DIGEST_TEXT_SIZE];
        r = zp_store_remove_image(store, &image.manifest_digest, err);
        if (r == 0 && !call->json)
                puts(zp_digest_text(&image.manifest_digest, text));
        if (r == 0 && json_array_append_new(removed, cli_json_digest(&image.manifest_digest)) < 0)
                r = zp_error_errno(err, ENOMEM, "remove");
        zp_image_record_clear(&image);
        return r;
}

static int run(struct cli_call *call, struct zp_error *err) {
        zp_auto(zp_store_close) struct zp_store *store = NULL;
        int r = zp_store_open(call->store, ZP_STORE_WRITE, &store, err);
        if (r < 0)
                return r;
        json_t *removed = json_array();
        for (int i = 0; i < call->argument_count && r == 0; i++)
                r = remove_one(call, store, call->arguments[i], removed, err);
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
