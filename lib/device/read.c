/* SPDX-License-Identifier: Apache-2.0
 *
 * The reads: which frames they need, which they still wait for, and their answers.
 */
#include "device/device-internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/file.h"

/* So many fetches of one read are told to hurry; more only with frames that are tiny. */
#define RAISED_MAX 8

/* The part of a frame that a read wants: where in the device, how long. */
static uint64_t part_of(const struct zp_device_read *read, uint32_t frame, uint32_t *size) {
        uint64_t frame_size = read->device->index.frame_size, start = frame * frame_size;
        uint64_t from = start > read->offset ? start : read->offset;
        uint64_t to = zp_min_u64(start + frame_size, read->offset + read->size);
        *size = (uint32_t) (to - from);
        return from;
}

static void fail_read(struct zp_device_read *read, int result, enum zp_read_failure failure) {
        read->result = result;
        read->failure = failure;
}

static void copy_part(struct zp_device_read *read, uint32_t frame, const uint8_t *data) {
        uint32_t size;
        uint64_t from = part_of(read, frame, &size);
        if (!read->buffer)
                read->buffer = malloc(read->size);
        if (!read->buffer) {
                fail_read(read, -ENOMEM, ZP_READ_NO_MEMORY);
                return;
        }
        memcpy(read->buffer + (from - read->offset), data + (from - (uint64_t) frame * read->device->index.frame_size),
               size);
        uint32_t i = frame - read->first_frame;
        read->filled[i / 64] |= UINT64_C(1) << i % 64;
}

static bool awaits(const struct zp_device_read *read, uint32_t frame) {
        uint32_t i = frame - read->first_frame; /* huge when before */
        return i < read->frame_count && read->waiting[i / 64] >> i % 64 & 1;
}

void zp_read_delist(struct zp_device_read *read) {
        *read->link = read->next;
        if (read->next)
                read->next->link = read->link;
}

static void move_to(struct zp_device_read *read, struct zp_device_read **finished) {
        zp_read_delist(read);
        read->next = *finished;
        *finished = read;
}

bool zp_reads_await(struct zp_device *device, uint32_t frame) {
        for (struct zp_device_read *read = device->engine->reads; read; read = read->next)
                if (read->device == device && awaits(read, frame))
                        return true;
        return false;
}

void zp_reads_settle(struct zp_device *device, uint32_t frame, const uint8_t *data, int result,
                     struct zp_device_read **finished) {
        for (struct zp_device_read *read = device->engine->reads, *next; read; read = next) {
                next = read->next;
                if (read->device != device || !awaits(read, frame))
                        continue;
                uint32_t i = frame - read->first_frame;
                read->waiting[i / 64] &= ~(UINT64_C(1) << i % 64);
                read->waiting_count--;
                if (result < 0)
                        fail_read(read, result, ZP_READ_WRONG);
                else if (data)
                        copy_part(read, frame, data);
                if (read->waiting_count == 0 || read->result < 0)
                        move_to(read, finished);
        }
}

void zp_reads_fail(struct zp_device_engine *engine, struct zp_device *device, uint64_t now_ms,
                   struct zp_device_read **finished) {
        for (struct zp_device_read *read = engine->reads, *next; read; read = next) {
                next = read->next;
                if ((device && read->device != device) || (now_ms && read->deadline_ms > now_ms))
                        continue;
                if (now_ms)
                        zp_given_up_note(read, now_ms);
                if (read->raw)
                        zp_raw_forsake(read->raw);
                fail_read(read, -EIO, ZP_READ_LATE);
                move_to(read, finished);
        }
}

/* Brings what is on the disk to what is only in memory. 1: a disk that failed has taken frames back. */
static int fill_buffer(struct zp_device_read *read) {
        for (uint32_t i = 0; i < read->frame_count; i++) {
                uint32_t size, frame = read->first_frame + i;
                uint64_t from = part_of(read, frame, &size);
                if (read->filled[i / 64] >> i % 64 & 1)
                        continue;
                if (!zp_device_has(read->device, frame))
                        return 1;
                int r = zp_pread_all(read->device->record.fd, read->buffer + (from - read->offset), size, from,
                                     read->device->hex, NULL);
                if (!zp_device_has(read->device, frame)) /* perhaps before it was read */
                        return 1;
                if (r < 0)
                        return r;
        }
        return 0;
}

/* As above, of a read that needs no buffer. Its bytes leave the disk for the reader after this look: what the disk
 * loses in between cannot be told any more. */
static int check_kept(const struct zp_device_read *read) {
        for (uint32_t i = 0; i < read->frame_count; i++)
                if (!zp_device_has(read->device, read->first_frame + i))
                        return 1;
        return 0;
}

static void begin_again(struct zp_device_read *read);

/* What could be read is known now. Whether it is over: else it begins again. */
static bool is_over(struct zp_device_read *read) {
        int r = read->result < 0 ? read->result : read->buffer ? fill_buffer(read) : check_kept(read);
        if (read->result == 0 && r < 0)
                fail_read(read, r, ZP_READ_LOCAL);
        return r <= 0;
}

/* The read is its owner's again. */
static void answer(struct zp_device_read *read, const void *data) {
        struct zp_device *device = read->device;
        struct zp_device_engine *engine = device->engine;
        bool is_failed = read->result < 0;
        if (is_failed)
                zp_given_up_tell(read);
        read->done(read, read->result, device->record.fd, data);
        pthread_mutex_lock(&engine->lock);
        engine->statistics.failed_reads += is_failed;
        if (--device->reads == 0)
                pthread_cond_broadcast(&engine->device_free);
        pthread_mutex_unlock(&engine->lock);
}

void zp_reads_finish(struct zp_device_read *finished) {
        for (struct zp_device_read *read = finished, *next; read; read = next) {
                next = read->next;
                if (read->raw)
                        zp_raw_end(zp_steal(&read->raw));
                if (!is_over(read)) {
                        begin_again(read);
                        continue;
                }
                zp_autofree uint8_t *buffer = read->buffer;
                answer(read, buffer);
        }
}

/* A fetch that shall hurry, and who knows of it. */
struct raised {
        struct zp_device_origin *origin;
        struct zp_fetch *fetch;
};

/* Wants the frames that are not here. Returns how many of `raised` are under way without hurry. */
static unsigned want_frames(struct zp_device *device, struct zp_device_read *read, struct raised raised[RAISED_MAX]) {
        unsigned count = 0;
        for (uint32_t i = 0; i < read->frame_count; i++) {
                uint32_t frame = read->first_frame + i;
                if (zp_device_has(device, frame))
                        continue;
                const uint8_t *recent = zp_recent_find(device, frame);
                if (recent) {
                        copy_part(read, frame, recent);
                        continue;
                }
                struct zp_fetch *fetch = zp_fetch_find(device, frame);
                bool is_slow = fetch && fetch->state == ZP_FETCH_UNDER_WAY && fetch->urgency != ZP_DEVICE_DEMAND;
                fetch = zp_fetch_want(device, frame, ZP_DEVICE_DEMAND);
                if (!fetch) {
                        fail_read(read, -ENOMEM, ZP_READ_NO_MEMORY);
                        break;
                }
                if (is_slow && count < RAISED_MAX)
                        raised[count++] = (struct raised){ device->origins[fetch->origin], fetch };
                read->waiting[i / 64] |= UINT64_C(1) << i % 64;
                read->waiting_count++;
        }
        return count;
}

static void enlist(struct zp_device_read *read) {
        struct zp_device_engine *engine = read->device->engine;
        if (engine->reads)
                engine->reads->link = &read->next;
        read->next = engine->reads;
        read->link = &engine->reads;
        engine->reads = read;
        uint64_t now = zp_monotonic_ms();
        if (!read->deadline_ms)
                read->deadline_ms = zp_given_up_deadline(read, now - read->waited_ms);
        zp_device_wake_timer(engine);
}

/* What happens to a fetch meanwhile does not matter: its address only names a read of the origin. */
static void raise_all(const struct raised *raised, unsigned count) {
        for (unsigned i = 0; i < count; i++)
                if (raised[i].origin->ops->raise)
                        raised[i].origin->ops->raise(raised[i].origin, ZP_DEVICE_DEMAND, raised[i].fetch);
}

/* Nothing of it is awaited or there yet. */
static void want_all(struct zp_device_read *read) {
        read->next = NULL;
        free(zp_steal(&read->buffer));
        read->waiting_count = 0;
        memset(read->waiting, 0, sizeof read->waiting);
        memset(read->filled, 0, sizeof read->filled);
}

static bool prepare(struct zp_device *device, struct zp_device_read *read) {
        uint64_t end = device->index.device_size;
        uint64_t left = read->offset < end ? end - read->offset : 0;
        read->size = (uint32_t) zp_min_u64(read->size, zp_min_u64(left, ZP_DEVICE_READ_MAX));
        read->device = device;
        read->deadline_ms = 0;
        read->buffer = NULL;
        read->raw = NULL;
        read->result = 0;
        want_all(read);
        if (read->size == 0)
                return false;
        read->first_frame = (uint32_t) (read->offset / device->index.frame_size);
        read->frame_count =
                (uint32_t) ((read->offset + read->size - 1) / device->index.frame_size) + 1 - read->first_frame;
        return true;
}

/* Lock held, which it lets go: the read waits for what it wants, or is finished at once. */
static void proceed(struct zp_device_read *read, const struct raised *raised, unsigned raised_count) {
        struct zp_device *device = read->device; /* the read is its owner's again once it is finished */
        struct zp_device_engine *engine = device->engine;
        bool must_wait = read->waiting_count && read->result == 0;
        engine->statistics.waited_reads += must_wait;
        if (must_wait)
                enlist(read);
        zp_device_hold(device);
        pthread_mutex_unlock(&engine->lock);
        if (!must_wait)
                zp_reads_finish(read);
        raise_all(raised, raised_count);
        zp_device_pump(engine);
        pthread_mutex_lock(&engine->lock);
        zp_device_let_go(device);
        pthread_mutex_unlock(&engine->lock);
}

/* What the disk has lost comes once more, and is not kept on it. The device has the read already. */
static void begin_again(struct zp_device_read *read) {
        struct zp_device *device = read->device;
        struct zp_device_engine *engine = device->engine;
        struct raised raised[RAISED_MAX];
        unsigned raised_count = 0;
        want_all(read);
        pthread_mutex_lock(&engine->lock);
        if (device->is_closing)
                fail_read(read, -EIO, ZP_READ_LOCAL);
        else
                raised_count = want_frames(device, read, raised);
        proceed(read, raised, raised_count);
}

/* Lock held, which it lets go: the read waits for the file that has all of the device. */
static void begin_raw(struct zp_device_read *read) {
        struct zp_device_engine *engine = read->device->engine;
        struct zp_raw_read *raw = zp_raw_want(read);
        uint64_t offset = read->offset;
        uint32_t size = read->size;
        if (raw)
                enlist(read);
        else
                fail_read(read, -ENOMEM, ZP_READ_NO_MEMORY);
        pthread_mutex_unlock(&engine->lock);
        if (raw) /* the read may be over already */
                zp_raw_start(raw, offset, size);
        else
                zp_reads_finish(read);
}

void zp_read_take_raw(struct zp_device_read *read, int result, const void *bytes) {
        read->next = NULL;
        if (result == 0) {
                answer(read, bytes);
        } else if (read->device->origin_count) {
                begin_again(read);
        } else {
                fail_read(read, result == -ENOMEM ? -ENOMEM : -EIO,
                          result == -ENOMEM ? ZP_READ_NO_MEMORY : ZP_READ_LOCAL);
                zp_reads_finish(read);
        }
}

void zp_device_read(struct zp_device *device, struct zp_device_read *read) {
        struct zp_device_engine *engine = device->engine;
        struct raised raised[RAISED_MAX];
        if (!prepare(device, read)) {
                read->done(read, 0, -1, "");
                return;
        }
        pthread_mutex_lock(&engine->lock);
        engine->statistics.reads++;
        device->reads++;
        if (device->raw) {
                begin_raw(read);
                return;
        }
        unsigned raised_count = 0;
        if (!device->has_record || device->record.missing) {
                raised_count = want_frames(device, read, raised);
                zp_ahead_note(device, read->first_frame, read->frame_count, read->waiting_count > 0);
        }
        proceed(read, raised, raised_count);
}
