/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/publishing.h"

static void on_begin(void *context, unsigned blob, const char *what, uint64_t size) {
        const struct publishing *p = context;
        progress_begin(p->progress, p->first_task + blob, what, "sending", size);
}

static void on_progress(void *context, unsigned blob, uint64_t bytes_sent) {
        const struct publishing *p = context;
        progress_update(p->progress, p->first_task + blob, bytes_sent);
}

static void on_end(void *context, unsigned blob, bool was_there) {
        const struct publishing *p = context;
        progress_end(p->progress, p->first_task + blob, was_there ? "found there" : "sent");
}

static void on_put_off(void *context, unsigned blob, const struct zp_error *why) {
        const struct publishing *p = context;
        progress_end(p->progress, p->first_task + blob, "broke off");
        progress_say(p->progress, "%s; it will be sent when it is complete", why->message);
}

struct zp_push_events publishing_events(struct publishing *publishing) {
        return (struct zp_push_events){ publishing, on_begin, on_progress, on_end, on_put_off };
}

void publishing_say_result(struct publishing *publishing, const struct zp_remote *remote,
                           const struct zp_push_result *result, const struct zp_key *key) {
        char size[CLI_SIZE_TEXT], digest[ZP_DIGEST_TEXT_SIZE];
        progress_say(publishing->progress, "%s: snapshot %s: %u blobs sent (%s), %u were there", zp_remote_name(remote),
                     zp_digest_text(&result->artifact_digest, digest), result->blobs_sent,
                     cli_size_text(result->bytes_sent, size), result->blobs_present);
        if (key)
                progress_say(publishing->progress, "signed by %s", zp_digest_text(zp_key_id(key), digest));
}

bool publishing_add_json(json_t *object, const struct zp_remote *remote, const struct zp_push_result *result,
                         const struct zp_key *key) {
        return cli_json_set(object, "remote", json_string(zp_remote_name(remote))) &&
               cli_json_set(object, "snapshot", cli_json_digest(&result->artifact_digest)) &&
               cli_json_set(object, "blobsSent", json_integer(result->blobs_sent)) &&
               cli_json_set(object, "blobsPresent", json_integer(result->blobs_present)) &&
               cli_json_set(object, "bytesSent", json_integer((json_int_t) result->bytes_sent)) &&
               cli_json_set(object, "signedBy", key ? cli_json_digest(zp_key_id(key)) : json_null());
}
