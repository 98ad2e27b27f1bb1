/* SPDX-License-Identifier: Apache-2.0
 *
 * One blob of a pull.
 */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "ship/metadata.h"
#include "ship/pull-internal.h"

struct receiving {
        struct zp_pull *pull;
        unsigned number;
        uint64_t received;
        int (*take)(void *context, const void *data, size_t size, struct zp_error *err);
        void *context;
};

static int receive(void *context, const void *data, size_t size, struct zp_error *err) {
        struct receiving *in = context;
        struct zp_pull *p = in->pull;
        int r = zp_check_cancel(&p->stop, err);
        if (r < 0)
                return r;
        in->received += size;
        pthread_mutex_lock(&p->lock);
        p->result->bytes_received += size;
        if (p->options->events.progress)
                p->options->events.progress(p->options->events.context, in->number, in->received);
        pthread_mutex_unlock(&p->lock);
        return in->take(in->context, data, size, err);
}

/* From `offset` on; only a whole blob is checked. */
static int receive_from(struct zp_pull *p, const char *what, const struct zp_digest *digest, uint64_t size,
                        uint64_t offset, zp_blob_sink take, void *context, struct zp_error *err) {
        struct receiving in = { .pull = p, .received = offset, .take = take, .context = context };
        struct zp_descriptor blob = { .digest = *digest, .size = size };
        pthread_mutex_lock(&p->lock);
        in.number = p->blobs++;
        if (p->options->events.begin)
                p->options->events.begin(p->options->events.context, in.number, what, size);
        pthread_mutex_unlock(&p->lock);
        int r = offset == 0 ? zp_remote_get_whole(p->remote, &blob, receive, &in, err)
                            : zp_remote_get_blob(p->remote, &blob, offset, size - offset, receive, &in, err);
        if (r < 0)
                return zp_error_wrap(err, "%s", what);
        pthread_mutex_lock(&p->lock);
        if (p->options->events.end)
                p->options->events.end(p->options->events.context, in.number);
        pthread_mutex_unlock(&p->lock);
        return 0;
}

int zp_pull_receive_rest(struct zp_pull *p, const char *what, const struct zp_digest *digest, uint64_t size,
                         uint64_t offset, zp_blob_sink take, void *context, struct zp_error *err) {
        return offset < size ? receive_from(p, what, digest, size, offset, take, context, err) : 0;
}

/* A blob that fits into memory: no more is touched than arrives. */
struct whole {
        uint8_t *data;
        size_t used;
};

static int into_whole(void *context, const void *data, size_t size, struct zp_error *err) {
        struct whole *whole = context;
        (void) err;
        memcpy(whole->data + whole->used, data, size);
        whole->used += size;
        return 0;
}

int zp_pull_receive_whole(struct zp_pull *p, const char *what, const struct zp_digest *digest, uint64_t size,
                          uint8_t **out, struct zp_error *err) {
        int r = zp_pull_take_from_bundle(p, what, digest, size, out, err);
        if (r != 0)
                return r < 0 ? r : 0;
        struct whole whole = { .data = malloc(size) };
        if (!whole.data)
                return zp_error_errno(err, ENOMEM, "%s", what);
        r = receive_from(p, what, digest, size, 0, into_whole, &whole, err);
        if (r < 0)
                free(whole.data);
        else
                *out = whole.data;
        return r;
}

int zp_pull_receive_metadata(struct zp_pull *p, const char *what, const struct zp_artifact_metadata *metadata,
                             struct zp_staging *staging, const char *file, struct zp_error *err) {
        zp_autofree uint8_t *blob = NULL;
        int r = zp_pull_receive_whole(p, what, &metadata->blob_digest, metadata->blob_size, &blob, err);
        if (r < 0)
                return r;
        zp_autoclose int fd = zp_staging_create(staging, file, err);
        r = fd < 0 ? fd : zp_metadata_unpack(blob, metadata->blob_size, metadata, fd, file, err);
        return r < 0 ? zp_error_wrap(err, "%s", what) : zp_steal_fd(&fd);
}
