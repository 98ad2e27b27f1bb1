/* SPDX-License-Identifier: Apache-2.0
 *
 * The local copy of a device while it grows, and the record of which of its frames are good. Format: docs/node.md.
 *
 *   HEX.part   the device, sparse, and behind it the record: one file, so that neither is ever without the other
 *   HEX.raw    the device, complete
 *
 * A frame that was written is good for as long as the machine runs: a killed process does not take it out of the
 * kernel's memory. After a loss of power only those are good that had been synced before. So the record has two bits a
 * frame: one that is believed only in the boot (boot_id) in which it was set, written right after the frame, and one
 * that is written after fdatasync(2) and believed for ever. A read thus never waits for the disk, and nothing needs to
 * be hashed again.
 */
#ifndef ZP_DEVICE_RECORD_H
#define ZP_DEVICE_RECORD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/digest.h"

#define ZP_RECORD_BOOT_ID_SIZE 16

struct zp_record {
        int fd; /* the device's bytes at their offsets */
        uint64_t device_size;
        uint32_t frames;
        _Atomic uint32_t missing;   /* frames not good */
        _Atomic uint64_t *good;     /* a bit a frame; NULL: the device is complete */
        _Atomic uint64_t *unsynced; /* of them: those not synced yet */
        _Atomic bool is_broken;     /* the disk lost something: nothing more is kept */
        pthread_mutex_t lock;       /* held while a word of bits is written */
        bool is_finished;           /* there is no record behind the device any more; guarded by lock */
        char hex[ZP_SHA256_HEX_SIZE];
};

/* Opens the copy in `directory_fd`, or begins one. Who has it open has it alone: -EBUSY. The device's name binds frames
 * and sizes. `boot_id`: of this boot. */
int zp_record_open(int directory_fd, const struct zp_digest *device, uint64_t device_size, uint32_t frames,
                   const uint8_t boot_id[ZP_RECORD_BOOT_ID_SIZE], struct zp_record *out, struct zp_error *err);
void zp_record_close(struct zp_record *record);

/* Reads this boot's id. */
int zp_record_boot_id(uint8_t boot_id[ZP_RECORD_BOOT_ID_SIZE], struct zp_error *err);

/* Thread-safe, as zp_record_put for different frames. */
static inline bool zp_record_has(const struct zp_record *record, uint32_t frame) {
        return !record->good || atomic_load_explicit(&record->good[frame / 64], memory_order_acquire) >> frame % 64 & 1;
}
/* Keeps a frame that was checked: -ENOSPC, -EDQUOT or another error of the disk; then it is not kept. */
int zp_record_put(struct zp_record *record, uint32_t frame, uint64_t offset, const void *data, uint32_t size,
                  struct zp_error *err);
/* Whether some frame is good only for this boot. */
bool zp_record_is_unsynced(const struct zp_record *record);
/* Makes all frames good for ever that are good before the call. When the disk has lost some of them, all that were not
 * synced are taken back, nothing is kept any more, and the error is returned. One at a time. */
int zp_record_sync(struct zp_record *record, struct zp_error *err);
/* A copy without missing frames becomes the complete device: synced, renamed. The descriptor stays as it is. When the
 * disk has lost some frames, as zp_record_sync(). After another error all are good as long as the copy is open. */
int zp_record_finish(struct zp_record *record, int directory_fd, struct zp_error *err);

/* How many of a copy's frames are good, whoever has it open: a look from outside, which changes nothing and need not be
 * there any more a moment later. *frames 0: there is no copy that grows. */
int zp_record_look(int directory_fd, const struct zp_digest *device, uint64_t device_size, uint32_t *good,
                   uint32_t *frames, struct zp_error *err);

/* Opens a complete device, marked as used now; -ENOENT without a message when there is none. */
int zp_record_open_complete(int directory_fd, const char *hex, uint64_t device_size, struct zp_error *err);

#endif
