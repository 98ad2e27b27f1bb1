/* SPDX-License-Identifier: Apache-2.0
 *
 * hosts.toml. What it names is not there, so no file of this machine is read.
 */
#include <stdint.h>
#include <stdlib.h>

#include "oci/hosts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct zp_hosts hosts;
        if (zp_hosts_parse((const char *) data, size, "/nonexistent", &hosts, NULL) < 0)
                return 0;
        for (size_t i = 0; i < hosts.count; i++)
                if (i + 1 < hosts.count && !hosts.hosts[i].base)
                        abort(); /* only the last may be the registry itself */
        zp_hosts_clear(&hosts);
        return 0;
}
