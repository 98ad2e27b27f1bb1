/* SPDX-License-Identifier: Apache-2.0
 *
 * The data of devices that the store holds by their index alone. What has come of a pack stays when a pull is cut
 * short, and the next one goes on behind the last frame that is right.
 */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/fingerprint.h"
#include "ship/frames.h"
#include "ship/pull-internal.h"

#define THREADS_MAX 16u
#define THREADS_DEFAULT 4u

struct pack {
        int fd;
        struct zp_pack_index index;
        struct zp_frames frames;
        struct zp_sha256 *hash; /* of all */
        uint64_t size;          /* that has come */
};

static int take(void *context, const void *data, size_t size, struct zp_error *err) {
        struct pack *pack = context;
        int r = zp_frames_take(&pack->frames, data, size, err);
        if (r == 0)
                r = zp_write_all(pack->fd, data, size, "device.zst", err);
        zp_sha256_update(pack->hash, data, size);
        pack->size += size;
        return r;
}

/* How many frames an earlier pull has left that are right; what is behind them is dropped. */
static int take_up(struct pack *pack, struct zp_error *err) {
        zp_autofree uint8_t *buffer = malloc(zp_pack_packed_size_max(pack->index.frame_size));
        uint32_t number = 0;
        if (!buffer)
                return zp_error_errno(err, ENOMEM, "device.zst");
        for (; number < pack->index.frame_count; number++) {
                struct zp_pack_frame frame = zp_pack_index_frame(&pack->index, number);
                struct zp_digest digest;
                if (zp_pread_all(pack->fd, buffer, frame.packed_size, frame.packed_offset, "device.part", NULL) < 0)
                        break;
                zp_digest_of(buffer, frame.packed_size, &digest);
                if (!zp_digest_equal(&digest, &frame.digest))
                        break;
                zp_sha256_update(pack->hash, buffer, frame.packed_size);
                pack->size = frame.packed_offset + frame.packed_size;
        }
        zp_frames_skip(&pack->frames, number);
        if (ftruncate(pack->fd, (off_t) pack->size) < 0 || lseek(pack->fd, 0, SEEK_END) < 0)
                return zp_error_errno(err, errno, "device.part");
        return 0;
}

static int check_digest(struct pack *pack, const struct zp_device_record *device, const char *what,
                        struct zp_error *err) {
        char text[ZP_DIGEST_TEXT_SIZE];
        struct zp_digest digest;
        zp_sha256_finish(pack->hash, &digest);
        if (zp_digest_equal(&digest, &device->pack_digest))
                return 0;
        return zp_error_set(err, EBADMSG, "%s: blob %s: damaged: its digest differs", what,
                            zp_digest_text(&device->pack_digest, text));
}

static int fetch(struct zp_pull *p, const struct zp_device_record *device, struct pack *pack, const char *what,
                 struct zp_error *err) {
        int r = take_up(pack, err);
        if (r == 0)
                r = zp_pull_receive_rest(p, what, &device->pack_digest, device->pack_size, pack->size, take, pack, err);
        if (r == 0)
                r = check_digest(pack, device, what, err);
        return r < 0 ? r : zp_store_complete_device(p->store, &device->digest, &device->pack_digest, err);
}

static int read_index(struct zp_pull *p, const struct zp_device_record *device, uint8_t **bytes,
                      struct zp_pack_index *out, struct zp_error *err) {
        zp_autoclose int fd = zp_store_open_device_file(p->store, &device->digest, "device.idx", err);
        if (fd < 0)
                return fd;
        *bytes = malloc(device->index_size);
        if (!*bytes)
                return zp_error_errno(err, ENOMEM, "device.idx");
        int r = zp_pread_all(fd, *bytes, device->index_size, 0, "device.idx", err);
        return r < 0 ? r : zp_pack_index_parse(*bytes, device->index_size, &device->digest, "device.zst", out, err);
}

static int fetch_pack(struct zp_pull *p, const struct zp_device_record *device, const char *what,
                      struct zp_error *err) {
        zp_autofree uint8_t *bytes = NULL;
        zp_auto(zp_sha256_free) struct zp_sha256 *hash = zp_sha256_new();
        struct pack pack = { .hash = hash };
        int r = hash ? read_index(p, device, &bytes, &pack.index, err) : zp_error_errno(err, ENOMEM, "%s", what);
        if (r < 0)
                return r;
        zp_autoclose int fd = zp_store_open_partial(p->store, &device->digest, err);
        pack.fd = fd;
        r = fd < 0 ? fd : zp_frames_begin(&pack.frames, &pack.index, err);
        if (r < 0)
                return r;
        r = fetch(p, device, &pack, what, err);
        zp_frames_clear(&pack.frames);
        return r;
}

/* By the digest that the image's own artifact says, if that is at hand, then by the one that was said last about the
 * device, by whatever artifact: one of them may be a lie. */
static int fetch_by_either(struct zp_pull *p, struct zp_device_record *device, const char *what, struct zp_error *err) {
        const struct zp_artifact_device *said = zp_artifact_find_device(&p->artifact, &device->digest);
        if (!said && !device->has_pack_digest)
                return zp_error_set(err, ENODATA, "%s: nobody has said where its data is", what);
        const struct zp_digest last = device->pack_digest;
        bool has_other = said && device->has_pack_digest && !zp_digest_equal(&said->pack_digest, &last);
        struct zp_error of_other = { 0 };
        if (said)
                device->pack_digest = said->pack_digest;
        int r = fetch_pack(p, device, what, err);
        if (!has_other || (r != -ENOENT && r != -EBADMSG))
                return r;
        device->pack_digest = last;
        int other = fetch_pack(p, device, what, &of_other);
        if (other == 0)
                zp_error_clear(err);
        return other == 0 ? 0 : r;
}

/* 1: the data is here, in its whole length. */
static int is_here(struct zp_pull *p, const struct zp_device_record *device) {
        zp_autoclose int fd =
                device->is_complete ? zp_store_open_device_file(p->store, &device->digest, "device.zst", NULL) : -1;
        struct stat st;
        return fd >= 0 && fstat(fd, &st) == 0 && (uint64_t) st.st_size == device->pack_size;
}

static int pull_pack(struct zp_pull *p, unsigned number, struct zp_error *err) {
        zp_auto(zp_store_unlock) struct zp_store_lock *lock = NULL;
        struct zp_device_record device;
        const struct zp_digest *name = &p->devices[number].digest;
        char what[64];
        snprintf(what, sizeof what, "device %u, data", number + 1);
        int r = zp_store_lock(p->store, name, &p->stop, p->options->events.waiting, p->options->events.context, &lock,
                              err);
        if (r == 0)
                r = zp_store_find_device(p->store, name, &device, err); /* whoever held the lock may have fetched it */
        if (r == 0)
                return zp_error_set(err, ENOENT, "%s: it is no longer in the store", what);
        if (r < 0 || is_here(p, &device))
                return r < 0 ? r : 0;
        r = fetch_by_either(p, &device, what, err);
        if (r < 0)
                return r;
        pthread_mutex_lock(&p->lock);
        p->result->devices_fetched++;
        pthread_mutex_unlock(&p->lock);
        return 0;
}

unsigned zp_pull_threads(const struct zp_pull *p) {
        unsigned threads = p->options->threads ? p->options->threads : THREADS_DEFAULT;
        return threads > THREADS_MAX ? THREADS_MAX : threads;
}

int zp_pull_packs(struct zp_pull *p, struct zp_error *err) {
        return zp_pull_each(p, (unsigned) p->device_count, zp_pull_threads(p), pull_pack, err);
}
