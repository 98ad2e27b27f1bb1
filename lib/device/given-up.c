/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads that were given up: they are told, and what they waited for is remembered for a moment. For the kernel reads a
 * page anew whose read-ahead has failed, before it tells the program, which shall not wait twice as long for that.
 */
#include "device/device-internal.h"

#include <inttypes.h>
#include <stdio.h>

/* So soon the kernel comes again. */
#define AGAIN_MS 2000
/* Its second attempt is a short one, and the first ends so much earlier. */
#define SECOND_SHARE 60
#define SECOND_MIN_MS 100
/* A device's reads that fail for the same reason make a line in this time. */
#define TELL_EVERY_MS 60000

static struct zp_given_up *slot_of(const struct zp_device *device, uint32_t frame) {
        uint64_t hash = ((uintptr_t) device / sizeof *device + frame) * UINT64_C(0x9e3779b97f4a7c15);
        return &device->engine->given_up[hash % ZP_GIVEN_UP_SLOTS];
}

static bool is_awaited(const struct zp_device_read *read, uint32_t i) {
        return read->raw || read->waiting[i / 64] >> i % 64 & 1;
}

static bool is_given_up(const struct zp_given_up *slot, const struct zp_device *device, uint32_t frame,
                        uint64_t now_ms) {
        return slot->device == device && slot->frame == frame && slot->reads && now_ms < slot->until_ms;
}

void zp_given_up_note(const struct zp_device_read *read, uint64_t now_ms) {
        if (read->is_second) /* the program is told now: who comes next begins */
                return;
        for (uint32_t i = 0; i < read->frame_count; i++) {
                uint32_t frame = read->first_frame + i;
                struct zp_given_up *slot = slot_of(read->device, frame);
                if (!is_awaited(read, i))
                        continue;
                unsigned others = is_given_up(slot, read->device, frame, now_ms) ? slot->reads : 0;
                *slot = (struct zp_given_up){ read->device, frame, others + 1, now_ms + AGAIN_MS };
        }
}

uint64_t zp_given_up_deadline(struct zp_device_read *read, uint64_t now_ms) {
        uint64_t whole = read->device->engine->options.deadline_ms, second = whole / SECOND_SHARE;
        if (second < SECOND_MIN_MS)
                second = SECOND_MIN_MS;
        for (uint32_t i = 0; i < read->frame_count; i++) {
                uint32_t frame = read->first_frame + i;
                struct zp_given_up *slot = slot_of(read->device, frame);
                if (!is_awaited(read, i) || !is_given_up(slot, read->device, frame, now_ms))
                        continue;
                read->is_second = true;
                slot->reads--;
        }
        if (read->is_second)
                return now_ms + second;
        return now_ms + (whole > 2 * second ? whole - second : whole);
}

/* What to say of each, and what to do about it. */
static const struct {
        const char *what, *remedy;
} reasons[ZP_READ_FAILURES] = {
        [ZP_READ_LATE] = { "what is not here could not be had in time",
                           "see that where it comes from can be reached from here; later reads try again" },
        [ZP_READ_WRONG] = { "what came is not what the index says, twice",
                            "replace it where it is a file here; else see what is between here and there, or have the "
                            "snapshot published again; later reads try again" },
        [ZP_READ_LOCAL] = { "the local copy cannot be read", "see the disk that has the store, or the preload" },
        [ZP_READ_NO_MEMORY] = { "there is no memory", "see what takes this node's memory; later reads try again" },
};

void zp_given_up_tell(const struct zp_device_read *read) {
        struct zp_device *device = read->device;
        struct zp_device_engine *engine = device->engine;
        struct zp_told *told = &device->told[read->failure];
        char line[ZP_ERROR_MESSAGE_MAX + 512], again[64] = "";
        uint64_t now = zp_monotonic_ms();
        pthread_mutex_lock(&engine->lock);
        bool is_due = engine->options.notice && !device->is_closing && now >= told->next_ms;
        if (is_due && told->untold)
                snprintf(again, sizeof again, " (and %" PRIu64 " more since the last line)", told->untold);
        bool has_cause = read->failure != ZP_READ_NO_MEMORY && device->cause[0];
        if (is_due)
                snprintf(line, sizeof line, "device %s: a read of %" PRIu32 " bytes at %" PRIu64 " fails%s: %s%s%s: %s",
                         device->hex, read->size, read->offset, again, reasons[read->failure].what,
                         has_cause ? ": " : "", has_cause ? device->cause : "", reasons[read->failure].remedy);
        told->untold = is_due ? 0 : told->untold + 1;
        told->next_ms = is_due ? now + TELL_EVERY_MS : told->next_ms;
        pthread_mutex_unlock(&engine->lock);
        if (is_due)
                engine->options.notice(engine->options.context, line);
}
