/* SPDX-License-Identifier: Apache-2.0
 *
 * A push is a list of pieces that a few threads work through, the largest first, and then the manifest.
 */
#include "ship/push.h"

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "ship/growing.h"
#include "ship/push-internal.h"

/* Sent even if it is there: that shows whether one may. */
static int send_empty_config(struct zp_push *p, struct zp_error *err) {
        struct zp_digest digest;
        uint64_t size = strlen(ZP_EMPTY_CONFIG);
        zp_digest_of(ZP_EMPTY_CONFIG, size, &digest);
        return zp_remote_put_blob(p->remote, &digest, size, NULL, zp_memory_read, (void *) ZP_EMPTY_CONFIG, NULL, err);
}

static int fail(const struct zp_push *p, struct zp_error *err) {
        char digest[ZP_DIGEST_TEXT_SIZE];
        bool is_named = p->image->names && p->image->names[0];
        return zp_error_wrap(err, "push %s",
                             is_named ? p->image->names[0] : zp_digest_text(&p->image->manifest_digest, digest));
}

int zp_push_open(struct zp_store *store, struct zp_remote *remote, const struct zp_push_options *options,
                 struct zp_push **out, struct zp_error *err) {
        struct zp_push *p = calloc(1, sizeof *p);
        if (!p)
                return zp_error_errno(err, ENOMEM, "push");
        p->store = store;
        p->remote = remote;
        p->options = *options;
        p->stop.parent = options->cancel;
        pthread_mutex_init(&p->lock, NULL);
        pthread_cond_init(&p->more, NULL);
        int r = zp_artifact_init(&p->artifact, err);
        if (r == 0)
                r = send_empty_config(p, err);
        p->may_stream = r == 0 && zp_push_is_worth_streaming(p);
        if (r < 0)
                zp_push_close(p);
        else
                *out = p;
        return r;
}

void zp_push_close(struct zp_push *p) {
        pthread_mutex_lock(&p->lock);
        zp_push_stop(p);
        pthread_mutex_unlock(&p->lock);
        zp_push_join_threads(p);
        for (struct zp_push_stream *next, *stream = p->streams; stream; stream = next) {
                next = stream->next;
                zp_growing_free(stream->pack);
                free(stream);
        }
        zp_push_clear_kept(p);
        zp_pool_free(p->pool);
        zp_artifact_clear(&p->artifact);
        pthread_cond_destroy(&p->more);
        pthread_mutex_destroy(&p->lock);
        free(p);
}

int zp_push_finish(struct zp_push *p, const struct zp_image_record *image, struct zp_push_result *result,
                   struct zp_error *err) {
        pthread_mutex_lock(&p->lock);
        p->image = image;
        pthread_mutex_unlock(&p->lock);
        int r = zp_push_add_image(p, err);
        if (r < 0)
                return fail(p, err);
        zp_push_start_threads(p, zp_push_threads_wanted(p) - 1);
        zp_push_send_pieces(p);
        zp_push_join_threads(p);
        r = zp_check_cancel(p->options.cancel, err);
        if (r == 0 && p->first_error.code) {
                *err = p->first_error;
                zp_push_set_damage_aside(p, err);
                r = -err->code;
        }
        if (r == 0)
                r = zp_push_publish(p, err);
        *result = p->result;
        return r < 0 ? fail(p, err) : 0;
}

int zp_push(struct zp_store *store, const struct zp_image_record *image, struct zp_remote *remote,
            const struct zp_push_options *options, struct zp_push_result *result, struct zp_error *err) {
        zp_auto(zp_push_close) struct zp_push *p = NULL;
        int r = zp_push_open(store, remote, options, &p, err);
        return r < 0 ? r : zp_push_finish(p, image, result, err);
}
