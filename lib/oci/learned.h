/* SPDX-License-Identifier: Apache-2.0
 *
 * What registries have shown of themselves, for a while: a program that comes back to them need not ask again.
 */
#ifndef ZP_OCI_LEARNED_H
#define ZP_OCI_LEARNED_H

#include <stdbool.h>

#include "base/cleanup.h"
#include "base/error.h"

/* Nothing that matters for trust: at worst a registry that has changed since is asked in vain once. */
enum zp_lesson {
        ZP_LESSON_HTTP = 1,         /* a server that may speak either speaks this */
        ZP_LESSON_HTTPS = 2,        /* or this */
        ZP_LESSON_NO_REFERRERS = 4, /* this repository has no referrers API */
};

/* Thread-safe. */
struct zp_learned;
int zp_learned_new(struct zp_learned **out, struct zp_error *err);
void zp_learned_free(struct zp_learned *learned);
ZP_DEFINE_AUTO(struct zp_learned, zp_learned_free);

/* In all of them `learned` may be NULL: then nothing is known, and nothing kept. `host` is a registry or server, as in
 * a reference, or a remote's name. Lessons are kept for ten minutes, those of the hosts that were met last. */
bool zp_learned_knows(struct zp_learned *learned, const char *host, enum zp_lesson lesson);
void zp_learned_note(struct zp_learned *learned, const char *host, enum zp_lesson lesson);
/* All of that host's. */
void zp_learned_forget(struct zp_learned *learned, const char *host);

#endif
