/* SPDX-License-Identifier: Apache-2.0
 *
 * Notes what containers read in their first seconds, image by image, and leaves it in files for the control plane,
 * which knows how to tell it (control/reports.h). An image's seconds begin with the first read of one of its devices
 * after it was announced; what is read of others meanwhile is not noted. Each image is noted once in this process's
 * life, for later starts find most of it in the kernel's page cache.
 */
#include "snapshotter/data/data-internal.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/condition.h"
#include "base/file.h"

/* Images that start at the same time: others are noted another time. */
#define RECORDINGS 8
#define READS_MAX 65536
/* Of images that were noted already; the oldest is forgotten. */
#define SEEN 512
/* A container that has not read anything by then is not about to. */
#define PATIENCE_MS UINT64_C(600000)

struct noted_read {
        uint64_t device, offset, size; /* device: its number */
};

struct recording {
        bool is_used;
        struct zp_digest image;
        uint64_t until_ms; /* of its seconds, once they have begun; before, of the patience */
        bool has_begun;
        uint64_t *devices; /* the image's, by number, sorted */
        size_t device_count;
        struct noted_read *reads;
        size_t count, capacity;
        bool is_partial;
};

struct snap_starts {
        const char *directory;
        uint64_t duration_ms;
        atomic_uint active; /* recordings in use: without any, reads cost nothing */
        pthread_mutex_t lock;
        pthread_cond_t wake;
        pthread_t thread;
        /* guarded by lock */
        bool is_ending;
        struct recording recordings[RECORDINGS];
        struct zp_digest seen[SEEN];
        size_t seen_count;
};

static void clear(struct recording *recording) {
        free(recording->devices);
        free(recording->reads);
}

/* ---- files ---- */

static bool format_reads(const struct recording *recording, struct zp_buffer *text) {
        if (recording->is_partial && !zp_buffer_text(text, SNAP_DATA_STARTS_PARTIAL))
                return false;
        for (size_t i = 0; i < recording->count; i++) {
                const struct noted_read *read = &recording->reads[i];
                char line[80];
                snprintf(line, sizeof line, "%016" PRIx64 " %" PRIu64 " %" PRIu64 "\n", read->device, read->offset,
                         read->size);
                if (!zp_buffer_text(text, line))
                        return false;
        }
        return true;
}

/* News, and no reason to fail: what cannot be written is not told. */
static void write_recording(const struct snap_starts *starts, const struct recording *recording) {
        zp_autobuffer struct zp_buffer text = { 0 };
        char hex[ZP_SHA256_HEX_SIZE];
        zp_autofree char *path = zp_format("%s/%s", starts->directory, zp_digest_hex(&recording->image, hex));
        if (path && recording->count > 0 && format_reads(recording, &text))
                zp_replace_file(AT_FDCWD, path, text.data, text.size, 0600, NULL);
}

/* ---- the thread that ends recordings ---- */

/* Takes out one that is over; else *next_ms is when the next will be. Lock held. */
static bool take_over(struct snap_starts *starts, struct recording *out, uint64_t *next_ms) {
        uint64_t now = zp_monotonic_ms();
        *next_ms = UINT64_MAX;
        for (size_t i = 0; i < RECORDINGS; i++) {
                struct recording *recording = &starts->recordings[i];
                if (!recording->is_used)
                        continue;
                if (now >= recording->until_ms) {
                        *out = *recording;
                        *recording = (struct recording){ 0 };
                        atomic_fetch_sub(&starts->active, 1);
                        return true;
                }
                if (recording->until_ms < *next_ms)
                        *next_ms = recording->until_ms;
        }
        return false;
}

static void wait_until(struct snap_starts *starts, uint64_t until_ms) {
        if (until_ms == UINT64_MAX)
                pthread_cond_wait(&starts->wake, &starts->lock);
        else
                zp_condition_wait_until(&starts->wake, &starts->lock, until_ms);
}

static void *end_recordings(void *context) {
        struct snap_starts *starts = context;
        pthread_mutex_lock(&starts->lock);
        while (!starts->is_ending) {
                struct recording over;
                uint64_t next_ms;
                if (!take_over(starts, &over, &next_ms)) {
                        wait_until(starts, next_ms);
                        continue;
                }
                pthread_mutex_unlock(&starts->lock);
                write_recording(starts, &over);
                clear(&over);
                pthread_mutex_lock(&starts->lock);
        }
        pthread_mutex_unlock(&starts->lock);
        return NULL;
}

int snap_starts_new(const char *directory, unsigned duration_ms, struct snap_starts **out, struct zp_error *err) {
        int r = zp_make_directories(directory, 0700, err);
        if (r < 0)
                return r;
        struct snap_starts *starts = calloc(1, sizeof *starts);
        if (!starts)
                return zp_error_errno(err, ENOMEM, "starts");
        starts->directory = directory;
        starts->duration_ms = duration_ms;
        pthread_mutex_init(&starts->lock, NULL);
        zp_condition_init(&starts->wake);
        int code = pthread_create(&starts->thread, NULL, end_recordings, starts);
        if (code) {
                free(starts);
                return zp_error_errno(err, code, "starts: thread");
        }
        *out = starts;
        return 0;
}

void snap_starts_free(struct snap_starts *starts) {
        if (!starts)
                return;
        pthread_mutex_lock(&starts->lock);
        starts->is_ending = true;
        pthread_cond_signal(&starts->wake);
        pthread_mutex_unlock(&starts->lock);
        pthread_join(starts->thread, NULL);
        for (size_t i = 0; i < RECORDINGS; i++)
                clear(&starts->recordings[i]);
        pthread_cond_destroy(&starts->wake);
        pthread_mutex_destroy(&starts->lock);
        free(starts);
}

/* ---- what happens ---- */

static bool is_seen(const struct snap_starts *starts, const struct zp_digest *image) {
        for (size_t i = 0; i < SEEN && i < starts->seen_count; i++)
                if (zp_digest_equal(&starts->seen[i], image))
                        return true;
        return false;
}

static int compare(const void *left, const void *right) {
        const uint64_t *a = left, *b = right;
        return (*a > *b) - (*a < *b);
}

/* Sorted; NULL: out of memory. */
static uint64_t *numbers_of(const struct zp_digest *devices, size_t count) {
        uint64_t *numbers = calloc(count + 1, sizeof *numbers);
        for (size_t i = 0; numbers && i < count; i++)
                numbers[i] = snap_device_id(&devices[i]);
        if (numbers)
                qsort(numbers, count, sizeof *numbers, compare);
        return numbers;
}

void snap_starts_announce(struct snap_starts *starts, const struct zp_digest *image, const struct zp_digest *devices,
                          size_t device_count, bool is_partial) {
        zp_autofree uint64_t *numbers = starts ? numbers_of(devices, device_count) : NULL;
        if (!numbers)
                return;
        pthread_mutex_lock(&starts->lock);
        for (size_t i = 0; i < RECORDINGS && !is_seen(starts, image); i++)
                if (!starts->recordings[i].is_used) {
                        starts->recordings[i] = (struct recording){ .is_used = true,
                                                                    .image = *image,
                                                                    .until_ms = zp_monotonic_ms() + PATIENCE_MS,
                                                                    .devices = zp_steal(&numbers),
                                                                    .device_count = device_count,
                                                                    .is_partial = is_partial };
                        starts->seen[starts->seen_count++ % SEEN] = *image;
                        atomic_fetch_add(&starts->active, 1);
                        pthread_cond_signal(&starts->wake);
                }
        pthread_mutex_unlock(&starts->lock);
}

/* One that goes on where the last one ended makes it longer. False: no room, and the rest is not noted. */
static bool add_read(struct recording *recording, const struct noted_read *read) {
        struct noted_read *last = recording->count ? &recording->reads[recording->count - 1] : NULL;
        if (last && last->device == read->device && last->offset + last->size == read->offset) {
                last->size += read->size;
                return true;
        }
        if (recording->count == recording->capacity) {
                size_t capacity = recording->capacity ? recording->capacity * 2 : 1024;
                struct noted_read *reads =
                        capacity > READS_MAX ? NULL : reallocarray(recording->reads, capacity, sizeof *reads);
                if (!reads)
                        return false;
                recording->reads = reads;
                recording->capacity = capacity;
        }
        recording->reads[recording->count++] = *read;
        return true;
}

void snap_starts_note(struct snap_starts *starts, uint64_t device, uint64_t offset, uint32_t size) {
        if (!starts || atomic_load_explicit(&starts->active, memory_order_relaxed) == 0)
                return;
        const struct noted_read read = { device, offset, size };
        pthread_mutex_lock(&starts->lock);
        for (size_t i = 0; i < RECORDINGS; i++) {
                struct recording *recording = &starts->recordings[i];
                if (!recording->is_used ||
                    !bsearch(&device, recording->devices, recording->device_count, sizeof device, compare))
                        continue;
                if (!recording->has_begun) {
                        recording->has_begun = true;
                        recording->until_ms = zp_monotonic_ms() + starts->duration_ms;
                        pthread_cond_signal(&starts->wake);
                }
                if (!add_read(recording, &read)) {
                        recording->until_ms = 0;
                        pthread_cond_signal(&starts->wake);
                }
        }
        pthread_mutex_unlock(&starts->lock);
}
