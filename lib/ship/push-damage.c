/* SPDX-License-Identifier: Apache-2.0
 *
 * Data of devices that was damaged in the store: it is set aside, so that the next build converts the layer again.
 */
#include "pack/reader.h"
#include "ship/push-internal.h"
#include "store/open-pack.h"

/* Not what its digest says, shorter, or not there. */
static bool is_damage(int result) {
        return result == -EBADMSG || result == -ENODATA || result == -ENOENT;
}

void zp_push_note_damage(struct zp_push *p, const struct zp_push_piece *piece, int result) {
        if (!piece->device || !is_damage(result))
                return;
        pthread_mutex_lock(&p->lock);
        if (!p->is_damaged)
                p->damaged = piece->device->digest;
        p->is_damaged = true;
        pthread_mutex_unlock(&p->lock);
}

/* 0, or why it cannot be read as it should be. */
static int check_pack(struct zp_push *p, const struct zp_device_record *device, struct zp_pool *pool,
                      struct zp_error *err) {
        struct zp_open_pack pack;
        int r = zp_store_open_pack(p->store, device, &pack, err);
        if (r == 0)
                r = zp_pack_verify(pack.pack, pool, p->options.cancel, NULL, NULL, err);
        zp_open_pack_close(&pack);
        return r;
}

/* 1: a build is to make it again, or has done so since it failed here. With its lock held. */
static int look_at(struct zp_push *p, const struct zp_digest *name, struct zp_pool *pool, struct zp_error *err) {
        struct zp_device_record device;
        bool has_failed = zp_digest_equal(name, &p->damaged);
        int r = zp_store_find_device(p->store, name, &device, err);
        if (r <= 0 || device.is_fetched || !device.is_complete)
                return r <= 0 ? r : has_failed && zp_device_is_lost(&device);
        zp_autoclose int fd = zp_store_open_device_file(p->store, name, "device.zst", err);
        if (fd < 0 && fd != -ENOENT)
                return fd;
        if (fd < 0)
                zp_error_clear(err);
        r = check_pack(p, &device, pool, err);
        if (r == 0)
                return has_failed;
        if (!is_damage(r))
                return r;
        r = zp_store_give_pack_up(p->store, name, fd, err);
        return r < 0 ? r : 1;
}

static int set_aside(struct zp_push *p, const struct zp_digest *name, struct zp_pool *pool, struct zp_error *err) {
        zp_auto(zp_store_unlock) struct zp_store_lock *lock = NULL;
        int r = zp_store_lock(p->store, name, p->options.cancel, NULL, NULL, &lock, err);
        return r < 0 ? r : look_at(p, name, pool, err);
}

static int set_all_aside(struct zp_push *p, struct zp_error *err) {
        zp_auto(zp_pool_free) struct zp_pool *pool = NULL;
        int r = zp_pool_new(zp_usable_cpus(), &pool, err);
        for (uint16_t i = 0; r >= 0 && i < p->artifact.device_count; i++) {
                r = set_aside(p, &p->artifact.devices[i].digest, pool, err);
                p->result.is_lost |= r == 1;
        }
        return r;
}

void zp_push_set_damage_aside(struct zp_push *p, struct zp_error *err) {
        struct zp_error problem = { 0 };
        const char *name = p->image->names && p->image->names[0] ? p->image->names[0] : "IMAGE";
        struct zp_device_record device;
        if (!p->is_damaged || zp_store_find_device(p->store, &p->damaged, &device, &problem) != 1 ||
            (!device.is_complete && !zp_device_is_lost(&device))) /* it never was here whole */
                return;
        bool is_fetched = device.is_fetched; /* from where it can be fetched again */
        int r = set_all_aside(p, &problem);
        if (!p->result.is_lost && !is_fetched) {
                if (r < 0)
                        zp_error_hint(err, "it could not be set aside: %s", problem.message);
                return;
        }
        err->code = EBADMSG;
        err->hint[0] = '\0'; /* whoever read one file knew less */
        if (p->result.is_lost)
                zp_error_hint(err, "the layer is converted again by: zeropull build %s", name);
        else
                zp_error_hint(err, "fetch it again: zeropull pull --complete %s", name);
}
