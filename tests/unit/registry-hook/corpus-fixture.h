/* SPDX-License-Identifier: Apache-2.0
 *
 * The payloads of tests/fuzz/corpus/provider, by name.
 */
#ifndef ZP_TEST_CORPUS_FIXTURE_H
#define ZP_TEST_CORPUS_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>

#include "tests/fuzz/provider-request.h"

#define A_DIGEST "sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
#define B_DIGEST "sha256:3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d"
#define C_DIGEST "sha256:2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6"

static inline const char *corpus_folder(void) {
        const char *folder = getenv("ZP_FUZZ_CORPUS");
        if (!folder)
                fail_msg("ZP_FUZZ_CORPUS, the folder tests/fuzz/corpus, is not set: run through `meson test`");
        return folder;
}

/* To be cleared by provider_request_clear. */
static inline void corpus_load(const char *name, struct provider_request *out) {
        char path[4096], data[65536];
        snprintf(path, sizeof path, "%s/provider/%s", corpus_folder(), name);
        FILE *file = fopen(path, "re");
        if (!file)
                fail_msg("%s: cannot be opened", path);
        size_t size = fread(data, 1, sizeof data, file);
        fclose(file);
        if (!provider_request_parse(data, size, out))
                fail_msg("%s: not in the form of provider-request.h", path);
}

/* "push HOST/REPOSITORY:TAG@DIGEST ID" of each event, a line each; returns `text`. */
static inline char *corpus_events_text(const struct hook_events *events, char text[4096]) {
        size_t at = 0;
        text[0] = '\0';
        for (size_t i = 0; i < events->count; i++) {
                const struct hook_event *event = &events->items[i];
                char digest[ZP_DIGEST_TEXT_SIZE] = "";
                if (event->has_digest)
                        zp_digest_text(&event->digest, digest);
                at += (size_t) snprintf(text + at, 4096 - at, "%s %s/%s%s%s%s%s %s\n",
                                        event->kind == HOOK_PUSH ? "push" : "delete", event->host, event->repository,
                                        event->tag[0] ? ":" : "", event->tag, digest[0] ? "@" : "", digest, event->id);
                assert_true(at < 4096);
        }
        return text;
}

#endif
