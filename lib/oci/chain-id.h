/* SPDX-License-Identifier: Apache-2.0
 *
 * Names of layers together with what lies below them. OCI image-spec 1.1, config.md, "Layer ChainID".
 */
#ifndef ZP_OCI_CHAIN_ID_H
#define ZP_OCI_CHAIN_ID_H

#include <stddef.h>

#include "base/digest.h"

/* chain_ids[i] names the layers 0 to i; both arrays have `count` entries, lowest layer first. */
void zp_chain_ids(const struct zp_digest *diff_ids, size_t count, struct zp_digest *chain_ids);

#endif
