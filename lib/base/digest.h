/* SPDX-License-Identifier: Apache-2.0
 *
 * SHA-256 digests as the OCI specifications write them: "sha256:" + 64 lower-case hex digits.
 */
#ifndef ZP_BASE_DIGEST_H
#define ZP_BASE_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

#define ZP_SHA256_SIZE 32
#define ZP_SHA256_HEX_SIZE 65  /* with the final NUL */
#define ZP_DIGEST_TEXT_SIZE 72 /* "sha256:" + hex + NUL */

struct zp_digest {
        uint8_t bytes[ZP_SHA256_SIZE];
};

/* Parses "sha256:<64 lower-case hex>". Any other algorithm or form is -EINVAL with a message that
 * names the text; `sha512:` gets a message of its own (-ENOTSUP). */
int zp_digest_parse(const char *text, struct zp_digest *out, struct zp_error *err);
/* Parses exactly 64 lower-case hex digits (no algorithm). */
bool zp_digest_parse_hex(const char *hex, struct zp_digest *out);
/* Writes "sha256:<hex>"; returns `text`. */
char *zp_digest_text(const struct zp_digest *digest, char text[ZP_DIGEST_TEXT_SIZE]);
/* Writes the hex digits alone; returns `hex`. */
char *zp_digest_hex(const struct zp_digest *digest, char hex[ZP_SHA256_HEX_SIZE]);
bool zp_digest_equal(const struct zp_digest *a, const struct zp_digest *b);
/* The digest of one buffer. Cannot fail but for exhausted memory, which aborts. */
void zp_digest_of(const void *data, size_t size, struct zp_digest *out);

/* A running SHA-256. One thread at a time. */
struct zp_sha256;
struct zp_sha256 *zp_sha256_new(void); /* NULL: out of memory */
void zp_sha256_reset(struct zp_sha256 *hash);
void zp_sha256_update(struct zp_sha256 *hash, const void *data, size_t size);
/* Gives the digest of all since the last reset, and resets. */
void zp_sha256_finish(struct zp_sha256 *hash, struct zp_digest *out);
void zp_sha256_free(struct zp_sha256 *hash);
ZP_DEFINE_AUTO(struct zp_sha256, zp_sha256_free);

#endif
