/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/transport.h"

#include <stdbool.h>
#include <string.h>

#include "base/typo.h"

static const struct {
        const char *name;
        bool is_supported;
} transports[] = {
        { "docker-archive", true },
        { "oci-archive", true },
        { "oci", true },
        { "docker-daemon", false },
        { "containers-storage", false },
        { "dir", false },
        { "ostree", false },
        { "sif", false },
        { "tarball", false },
        { "atomic", false },
};

#define NAME_MAX_SIZE 24u
/* Shorter names are too like what repositories are called. */
#define TYPO_MIN_SIZE 8u
#define TYPO_DISTANCE 2u

static void give_hint(const char *name, struct zp_error *err) {
        bool may_be_repository = name[strcspn(name, "/@")] == '\0';
        zp_error_hint(
                err,
                "supported are docker://, oci:DIR[:TAG], oci-archive:FILE[:TAG] and docker-archive:FILE[:NAME]%s%.200s",
                may_be_repository ? "; a repository of that name on Docker Hub is docker.io/library/" : "",
                may_be_repository ? name : "");
}

int zp_transport_check(const char *name, struct zp_error *err) {
        size_t size = strcspn(name, ":/@");
        if (name[size] == '/' || name[size] == '@' || size == 0 || size > NAME_MAX_SIZE)
                return 0;
        for (size_t i = 0; i < sizeof transports / sizeof *transports; i++) {
                const char *transport = transports[i].name;
                bool is_same = strlen(transport) == size && memcmp(name, transport, size) == 0;
                if (is_same && transports[i].is_supported)
                        zp_error_set(err, EINVAL, "image source '%s': the path is missing behind '%s:'", name,
                                     transport);
                else if (is_same)
                        zp_error_set(err, EINVAL, "image source '%s': the transport '%s' is not supported", name,
                                     transport);
                else if (size >= TYPO_MIN_SIZE && strlen(transport) >= TYPO_MIN_SIZE &&
                         zp_typo_distance(name, size, transport, strlen(transport)) <= TYPO_DISTANCE)
                        zp_error_set(err, EINVAL, "image source '%s': there is no transport '%.*s'; is '%s' meant?",
                                     name, (int) size, name, transport);
                else
                        continue;
                give_hint(name, err);
                return -EINVAL;
        }
        return 0;
}
