/* SPDX-License-Identifier: Apache-2.0
 *
 * The ring between the reading and the converting thread of a layer.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "builder/ring.h"

#define PIECES 1000u

static void *produce(void *context) {
        struct zp_ring *ring = context;
        for (unsigned i = 0; i < PIECES; i++) {
                uint8_t *buffer = zp_ring_acquire(ring);
                if (!buffer)
                        return NULL;
                memset(buffer, (int) (i & 0xff), i % 7 + 1);
                zp_ring_publish(ring, i % 7 + 1);
        }
        zp_ring_end(ring, NULL);
        return NULL;
}

static void everything_arrives_in_order(void **state) {
        (void) state;
        struct zp_ring *ring = zp_ring_new();
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, produce, ring), 0);
        const uint8_t *data;
        unsigned count = 0;
        for (int64_t size; (size = zp_ring_next(ring, &data, NULL)) > 0; count++) {
                assert_int_equal(size, count % 7 + 1);
                assert_int_equal(data[0], count & 0xff);
                assert_int_equal(data[size - 1], count & 0xff);
        }
        assert_int_equal(count, PIECES);
        pthread_join(thread, NULL);
        zp_ring_free(ring);
}

static void a_stopped_consumer_wakes_the_producer(void **state) {
        (void) state;
        struct zp_ring *ring = zp_ring_new();
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, produce, ring), 0);
        const uint8_t *data;
        assert_true(zp_ring_next(ring, &data, NULL) > 0);
        zp_ring_stop(ring);
        pthread_join(thread, NULL); /* returns although the ring is full */
        assert_null(zp_ring_acquire(ring));
        zp_ring_free(ring);
}

static void a_failure_is_told_at_once(void **state) {
        (void) state;
        struct zp_ring *ring = zp_ring_new();
        struct zp_error failure = { .code = EBADMSG, .message = "digest differs" }, err = { 0 };
        assert_non_null(zp_ring_acquire(ring));
        zp_ring_publish(ring, 10);
        zp_ring_end(ring, &failure);
        const uint8_t *data;
        assert_int_equal(zp_ring_next(ring, &data, &err), -EBADMSG);
        assert_string_equal(err.message, "digest differs");
        zp_ring_free(ring);
}

static void nothing_published_is_the_end(void **state) {
        (void) state;
        struct zp_ring *ring = zp_ring_new();
        zp_ring_publish(ring, 0);
        zp_ring_end(ring, NULL);
        const uint8_t *data;
        assert_int_equal(zp_ring_next(ring, &data, NULL), 0);
        assert_int_equal(zp_ring_next(ring, &data, NULL), 0);
        zp_ring_free(ring);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(everything_arrives_in_order),
                cmocka_unit_test(a_stopped_consumer_wakes_the_producer),
                cmocka_unit_test(a_failure_is_told_at_once),
                cmocka_unit_test(nothing_published_is_the_end),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
