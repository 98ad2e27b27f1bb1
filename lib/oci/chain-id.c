/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/chain-id.h"

#include <stdio.h>

void zp_chain_ids(const struct zp_digest *diff_ids, size_t count, struct zp_digest *chain_ids) {
        char text[2 * ZP_DIGEST_TEXT_SIZE], below[ZP_DIGEST_TEXT_SIZE], layer[ZP_DIGEST_TEXT_SIZE];
        for (size_t i = 0; i < count; i++) {
                if (i == 0) {
                        chain_ids[0] = diff_ids[0];
                        continue;
                }
                int size = snprintf(text, sizeof text, "%s %s", zp_digest_text(&chain_ids[i - 1], below),
                                    zp_digest_text(&diff_ids[i], layer));
                zp_digest_of(text, (size_t) size, &chain_ids[i]);
        }
}
