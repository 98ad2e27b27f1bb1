/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fingerprint.h"

#include <stdlib.h>
#include <unistd.h>

#define PIECE (64u * 1024u)

int zp_fingerprint(int fd, const char *name, uint64_t *size, struct zp_digest *digest, struct zp_error *err) {
        zp_auto(zp_sha256_free) struct zp_sha256 *hash = zp_sha256_new();
        zp_autofree uint8_t *buffer = malloc(PIECE);
        if (!hash || !buffer)
                return zp_error_errno(err, ENOMEM, "read '%s'", name);
        *size = 0;
        for (ssize_t n; (n = pread(fd, buffer, PIECE, (off_t) *size)) != 0;) {
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return zp_error_errno(err, errno, "read '%s'", name);
                zp_sha256_update(hash, buffer, (size_t) n);
                *size += (uint64_t) n;
        }
        zp_sha256_finish(hash, digest);
        return 0;
}
