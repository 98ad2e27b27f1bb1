/* SPDX-License-Identifier: Apache-2.0
 *
 * A device with known contents, an origin whose faults a test chooses, and reads that wait for their answer.
 */
#ifndef DEVICE_FIXTURE_H
#define DEVICE_FIXTURE_H

#include "../pack/pack-fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "base/file.h"
#include "device/device.h"
#include "pack/index.h"

#define FRAME 16384u
#define FRAMES 40u
#define SIZE (FRAMES * FRAME - 8192u)

/* What happens to reads of an origin; by the frame's number in the pack. */
struct faults {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        bool is_held;      /* nothing is answered */
        int fail[FRAMES];  /* so many reads fail */
        int spoil[FRAMES]; /* so many give other bytes */
        int asked[FRAMES]; /* reads so far */
        int raised, cancelled;
        size_t outstanding, outstanding_max; /* bytes */
};

struct test_origin {
        struct zp_device_origin origin;
        struct faults *faults;
        struct zp_pool *pool;
        int fd;
        struct zp_pack_index index;
};

struct test_read {
        struct zp_pool_item item;
        struct test_origin *from;
        uint64_t offset;
        uint32_t size, frame;
        void *buffer;
        zp_device_origin_done done;
        void *context;
};

static inline int outcome_of(struct test_read *read) {
        struct faults *faults = read->from->faults;
        pthread_mutex_lock(&faults->lock);
        while (faults->is_held)
                pthread_cond_wait(&faults->changed, &faults->lock);
        int outcome = faults->fail[read->frame] > 0 ? -ECONNRESET : faults->spoil[read->frame] > 0;
        if (outcome < 0)
                faults->fail[read->frame]--;
        if (outcome > 0)
                faults->spoil[read->frame]--;
        faults->outstanding -= read->size;
        pthread_mutex_unlock(&faults->lock);
        return outcome;
}

static inline void answer_read(void *argument, unsigned worker) {
        (void) worker;
        struct test_read *read = argument;
        int outcome = outcome_of(read);
        if (outcome >= 0 && pread(read->from->fd, read->buffer, read->size, (off_t) read->offset) != read->size)
                abort();
        if (outcome > 0)
                ((uint8_t *) read->buffer)[read->size / 2] ^= 1;
        struct zp_error err = { 0 };
        if (outcome < 0)
                zp_error_set(&err, -outcome, "the origin fails");
        read->done(read->context, outcome < 0 ? outcome : 0, outcome < 0 ? &err : NULL);
        free(read);
}

static inline void start_read(struct zp_device_origin *origin, uint64_t offset, uint32_t size, void *buffer,
                              enum zp_device_urgency urgency, zp_device_origin_done done, void *context) {
        (void) urgency;
        struct test_origin *from = (struct test_origin *) origin;
        struct test_read *read = calloc(1, sizeof *read);
        if (!read)
                abort();
        *read = (struct test_read){ .from = from, .offset = offset, .size = size, .buffer = buffer, .done = done };
        read->context = context;
        while (zp_pack_index_frame(&from->index, read->frame).packed_offset != offset)
                read->frame++;
        pthread_mutex_lock(&from->faults->lock);
        from->faults->asked[read->frame]++;
        from->faults->outstanding += size;
        if (from->faults->outstanding > from->faults->outstanding_max)
                from->faults->outstanding_max = from->faults->outstanding;
        pthread_cond_broadcast(&from->faults->changed);
        pthread_mutex_unlock(&from->faults->lock);
        zp_pool_submit(from->pool, &read->item, answer_read, read);
}

static inline void count_raise(struct zp_device_origin *origin, enum zp_device_urgency urgency, void *context) {
        (void) urgency;
        (void) context;
        struct faults *faults = ((struct test_origin *) origin)->faults;
        pthread_mutex_lock(&faults->lock);
        faults->raised++;
        pthread_mutex_unlock(&faults->lock);
}

/* Lets go of what is held, as one does who cancels. */
static inline void count_cancel(struct zp_device_origin *origin, void *context) {
        (void) context;
        struct faults *faults = ((struct test_origin *) origin)->faults;
        pthread_mutex_lock(&faults->lock);
        faults->cancelled++;
        faults->is_held = false;
        pthread_cond_broadcast(&faults->changed);
        pthread_mutex_unlock(&faults->lock);
}

static inline void close_origin(struct zp_device_origin *origin) {
        struct test_origin *from = (struct test_origin *) origin;
        zp_pool_free(from->pool);
        close(from->fd);
        free(from);
}

static const struct zp_device_origin_ops test_ops = {
        .read = start_read,
        .raise = count_raise,
        .cancel = count_cancel,
        .close = close_origin,
};

struct world {
        uint8_t *data;
        struct packed packed;
        char directory[40];
        int cache_fd;
        struct faults faults[2];
        struct zp_device_options options;
        struct zp_device_engine *engine;
        struct zp_device *device;
};

static inline struct zp_device_origin *new_origin(struct world *w, int number) {
        struct test_origin *origin = calloc(1, sizeof *origin);
        assert_non_null(origin);
        origin->origin.ops = &test_ops;
        origin->faults = &w->faults[number];
        origin->fd = dup(w->packed.fd);
        assert_int_equal(
                zp_pack_index_parse(w->packed.index, w->packed.info.index_size, NULL, "x", &origin->index, NULL), 0);
        assert_int_equal(zp_pool_new(16, &origin->pool, NULL), 0);
        return &origin->origin;
}

static inline int set_up(void **state) {
        struct world *w = calloc(1, sizeof *w);
        *state = w;
        w->data = sample_device(SIZE);
        w->packed = pack_bytes(w->data, SIZE, FRAME, 2);
        strcpy(w->directory, "/tmp/zeropull-device-XXXXXX");
        if (!mkdtemp(w->directory))
                return -1;
        w->cache_fd = open(w->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        for (int i = 0; i < 2; i++) {
                pthread_mutex_init(&w->faults[i].lock, NULL);
                pthread_cond_init(&w->faults[i].changed, NULL);
        }
        w->options = (struct zp_device_options){ .cache_fd = w->cache_fd, .deadline_ms = 60000, .retry_ms = 1 };
        return 0;
}

static inline struct zp_device_description describe(const struct world *w) {
        return (struct zp_device_description){ .digest = w->packed.info.index_digest,
                                               .index = w->packed.index,
                                               .index_size = w->packed.info.index_size,
                                               .raw_fd = -1 };
}

/* With `origins` origins. */
static inline void open_world(struct world *w, unsigned origins) {
        struct zp_error err = { 0 };
        struct zp_device_description description = describe(w);
        for (unsigned i = 0; i < origins; i++)
                description.origins[description.origin_count++] = new_origin(w, (int) i);
        if (!w->engine && zp_device_engine_new(&w->options, &w->engine, &err) < 0)
                fail_msg("%s", err.message);
        if (zp_device_open(w->engine, &description, &w->device, &err) < 0)
                fail_msg("%s", err.message);
        assert_int_equal(zp_device_size(w->device), SIZE);
}

static inline void close_world(struct world *w) {
        zp_device_close(w->device);
        zp_device_engine_free(w->engine);
        w->device = NULL;
        w->engine = NULL;
}

static inline int tear_down(void **state) {
        struct world *w = *state;
        close_world(w);
        assert_int_equal(zp_remove_tree(AT_FDCWD, w->directory, NULL), 0);
        close(w->cache_fd);
        packed_clear(&w->packed);
        free(w->data);
        free(w);
        return 0;
}

/* A read and its answer. */
struct waiting {
        struct zp_device_read read;
        pthread_mutex_t lock;
        pthread_cond_t answered;
        bool is_done;
        int result;
        uint8_t *bytes;
};

static inline void on_done(struct zp_device_read *read, int result, int fd, const void *data) {
        struct waiting *waiting = (struct waiting *) read;
        if (result == 0 && data)
                memcpy(waiting->bytes, data, read->size);
        else if (result == 0 && pread(fd, waiting->bytes, read->size, (off_t) read->offset) != read->size)
                result = -EDOM;
        pthread_mutex_lock(&waiting->lock);
        waiting->result = result;
        waiting->is_done = true;
        pthread_cond_signal(&waiting->answered);
        pthread_mutex_unlock(&waiting->lock);
}

static inline struct waiting *begin_attempt(struct world *w, uint64_t offset, uint32_t size, bool is_second) {
        struct waiting *waiting = calloc(1, sizeof *waiting);
        waiting->read =
                (struct zp_device_read){ .offset = offset, .size = size, .done = on_done, .is_second = is_second };
        waiting->bytes = malloc(size + 1);
        pthread_mutex_init(&waiting->lock, NULL);
        pthread_cond_init(&waiting->answered, NULL);
        zp_device_read(w->device, &waiting->read);
        return waiting;
}

static inline struct waiting *begin_read(struct world *w, uint64_t offset, uint32_t size) {
        return begin_attempt(w, offset, size, false);
}

/* The result; after success the bytes were the device's. */
static inline int end_read(struct world *w, struct waiting *waiting) {
        pthread_mutex_lock(&waiting->lock);
        while (!waiting->is_done)
                pthread_cond_wait(&waiting->answered, &waiting->lock);
        pthread_mutex_unlock(&waiting->lock);
        int result = waiting->result;
        if (result == 0 && memcmp(waiting->bytes, w->data + waiting->read.offset, waiting->read.size) != 0)
                result = -EILSEQ;
        free(waiting->bytes);
        free(waiting);
        return result;
}

static inline int read_range(struct world *w, uint64_t offset, uint32_t size) {
        return end_read(w, begin_read(w, offset, size));
}
static inline int read_frame(struct world *w, uint32_t frame) {
        return read_range(w, (uint64_t) frame * FRAME + 100, 1000);
}

static inline void hold_origin(struct faults *faults, bool is_held) {
        pthread_mutex_lock(&faults->lock);
        faults->is_held = is_held;
        pthread_cond_broadcast(&faults->changed);
        pthread_mutex_unlock(&faults->lock);
}

static inline size_t outstanding(struct faults *faults) {
        pthread_mutex_lock(&faults->lock);
        size_t bytes = faults->outstanding;
        pthread_mutex_unlock(&faults->lock);
        return bytes;
}
static inline int asked(struct faults *faults, uint32_t frame) {
        pthread_mutex_lock(&faults->lock);
        int count = faults->asked[frame];
        pthread_mutex_unlock(&faults->lock);
        return count;
}
static inline int asked_at_all(struct faults *faults) {
        int count = 0;
        for (uint32_t i = 0; i < FRAMES; i++)
                count += asked(faults, i);
        return count;
}

static inline void fail_reads(struct faults *faults, uint32_t frame, int times) {
        pthread_mutex_lock(&faults->lock);
        faults->fail[frame] = times;
        pthread_mutex_unlock(&faults->lock);
}
static inline void spoil_reads(struct faults *faults, uint32_t frame, int times) {
        pthread_mutex_lock(&faults->lock);
        faults->spoil[frame] = times;
        pthread_mutex_unlock(&faults->lock);
}

/* Waits, at most 30 s, for what the engine does on its own. */
#define await(condition)                                           \
        do {                                                       \
                time_t until_ = time(NULL) + 30;                   \
                while (!(condition)) {                             \
                        if (time(NULL) > until_)                   \
                                fail_msg("never: %s", #condition); \
                        sched_yield();                             \
                }                                                  \
        } while (0)

static inline bool has_file(const struct world *w, const char *ending) {
        char hex[ZP_SHA256_HEX_SIZE], name[ZP_SHA256_HEX_SIZE + 8];
        snprintf(name, sizeof name, "%s%s", zp_digest_hex(&w->packed.info.index_digest, hex), ending);
        return faccessat(w->cache_fd, name, F_OK, 0) == 0;
}

#endif
