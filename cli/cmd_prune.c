/* SPDX-License-Identifier: Apache-2.0
 *
 * `zeropull prune`.
 */
#include <inttypes.h>

#include "cli/output.h"
#include "cli/view.h"

enum { OPTION_DRY_RUN };

static const struct cli_option options[] = {
        [OPTION_DRY_RUN] = { "dry-run", 'n', NULL, "only tell what would be removed" },
        { 0 },
};

static int run(struct cli_call *call, struct zp_error *err) {
        zp_auto(zp_store_close) struct zp_store *store = NULL;
        bool is_dry = cli_flag(call, OPTION_DRY_RUN);
        struct zp_prune_result result = { 0 };
        int r = zp_store_open(call->store, is_dry ? ZP_STORE_READ : ZP_STORE_WRITE, &store, err);
        if (r == 0)
                r = zp_store_prune(store, is_dry, &result, err);
        if (r < 0)
                return r;
        if (call->json)
                return cli_print_json(json_pack("{s:I, s:I, s:I, s:I, s:I, s:b}", "layers", (json_int_t) result.layers,
                                                "devices", (json_int_t) result.devices, "unpacked",
                                                (json_int_t) result.unpacked, "partial", (json_int_t) result.partial,
                                                "bytes", (json_int_t) result.bytes, "dryRun", (int) is_dry),
                                      err);
        char size[CLI_SIZE_TEXT];
        if (!call->quiet)
                printf("%s: %" PRIu64 " layer%s, %" PRIu64 " device%s, %" PRIu64 " unpacked, %" PRIu64
                       " partly fetched, %s\n",
                       is_dry ? "would remove" : "removed", result.layers, result.layers == 1 ? "" : "s",
                       result.devices, result.devices == 1 ? "" : "s", result.unpacked, result.partial,
                       cli_size_text(result.bytes, size));
        return 0;
}

const struct cli_command cli_prune = {
        .name = "prune",
        .arguments = "",
        .summary = "Remove what no image uses, and unpacked devices",
        .example = "zeropull prune --dry-run",
        .options = options,
        .run = run,
};
