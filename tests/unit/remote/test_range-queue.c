/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "remote/range-internal.h"

#define KIB 1024u
#define D ZP_RANGE_DEMAND
#define A ZP_RANGE_AHEAD
#define B ZP_RANGE_BACKGROUND

struct world {
        struct zp_range_remote remote;
        struct zp_range_blob blob;
        struct zp_range_read reads[8];
        unsigned count;
};

static void begin(struct world *world) {
        *world = (struct world){ 0 };
        world->blob.remote = &world->remote;
        TAILQ_INIT(&world->blob.waiting);
        for (unsigned p = 0; p < ZP_RANGE_PRIORITIES; p++)
                TAILQ_INIT(&world->remote.waiting[p]);
}

static struct zp_range_read *add(struct world *world, uint64_t offset, uint64_t size, enum zp_range_priority priority) {
        struct zp_range_read *read = &world->reads[world->count++];
        *read = (struct zp_range_read){ .blob = &world->blob, .offset = offset, .size = size, .priority = priority };
        zp_range_enqueue(read, false);
        return read;
}

static void expect_parts(struct zp_range_reads *parts, unsigned count, struct zp_range_read *const *expected) {
        struct zp_range_read *part = TAILQ_FIRST(parts);
        for (unsigned i = 0; i < count; i++, part = TAILQ_NEXT(part, by_place)) {
                assert_ptr_equal(part, expected[i]);
                assert_false(part->is_waiting);
        }
        assert_null(part);
}

/* Gathers from `read`, and expects these in this order. */
static void expect(struct zp_range_read *read, unsigned count, struct zp_range_read *const *expected) {
        const struct zp_range_options limits = { .coalesce_bytes = 100 * KIB,
                                                 .gap_bytes = 4 * KIB,
                                                 .ahead_bytes = 40 * KIB };
        struct zp_range_reads parts = TAILQ_HEAD_INITIALIZER(parts);
        zp_range_gather(read, &limits, 1000, &parts);
        expect_parts(&parts, count, expected);
}
static void expect_several(struct zp_range_read *read, unsigned count, struct zp_range_read *const *expected) {
        const struct zp_range_options limits = { .ahead_bytes = 40 * KIB };
        struct zp_range_reads parts = TAILQ_HEAD_INITIALIZER(parts);
        zp_range_gather_several(read, &limits, 1000, &parts);
        expect_parts(&parts, count, expected);
}
#define EXPECT_SEVERAL(read, ...)                                                      \
        do {                                                                           \
                struct zp_range_read *const expected_[] = { __VA_ARGS__ };             \
                expect_several(read, sizeof expected_ / sizeof *expected_, expected_); \
        } while (0)
#define EXPECT(read, ...)                                                      \
        do {                                                                   \
                struct zp_range_read *const expected_[] = { __VA_ARGS__ };     \
                expect(read, sizeof expected_ / sizeof *expected_, expected_); \
        } while (0)

static void neighbours_on_both_sides_go_along_in_order(void **state) {
        struct world world;
        (void) state;
        begin(&world);
        struct zp_range_read *c = add(&world, 20 * KIB, 10 * KIB, D), *a = add(&world, 0, 10 * KIB, D);
        struct zp_range_read *b = add(&world, 10 * KIB, 10 * KIB, D);
        EXPECT(b, a, b, c);
        assert_true(TAILQ_EMPTY(&world.blob.waiting));
        assert_true(TAILQ_EMPTY(&world.remote.waiting[D]));
}

static void gaps_up_to_the_limit_are_bridged(void **state) {
        struct world world;
        (void) state;
        begin(&world);
        struct zp_range_read *a = add(&world, 0, 10 * KIB, D), *b = add(&world, 14 * KIB, 10 * KIB, D);
        struct zp_range_read *c = add(&world, 28 * KIB + 1, 10 * KIB, D);
        EXPECT(a, a, b);
        EXPECT(c, c);
}

static void no_run_is_longer_than_the_limit(void **state) {
        struct world world;
        (void) state;
        begin(&world);
        struct zp_range_read *a = add(&world, 0, 50 * KIB, D), *b = add(&world, 50 * KIB, 50 * KIB, D);
        struct zp_range_read *c = add(&world, 100 * KIB, 1, D);
        EXPECT(a, a, b);
        EXPECT(c, c);
}

static void one_read_may_be_longer_than_the_limit(void **state) {
        struct world world;
        (void) state;
        begin(&world);
        struct zp_range_read *a = add(&world, 0, 500 * KIB, D);
        add(&world, 500 * KIB, 1, D);
        EXPECT(a, a);
}

static void less_urgent_reads_go_along_behind_but_not_before(void **state) {
        struct world world;
        (void) state;
        begin(&world);
        struct zp_range_read *a = add(&world, 0, KIB, B), *b = add(&world, KIB, KIB, D),
                             *c = add(&world, 2 * KIB, KIB, B);
        EXPECT(b, b, c);
        EXPECT(a, a);
}

static void what_nobody_waits_for_makes_no_request_long(void **state) {
        struct world world;
        (void) state;
        begin(&world);
        struct zp_range_read *a = add(&world, 0, 20 * KIB, D), *b = add(&world, 20 * KIB, 20 * KIB, B);
        struct zp_range_read *c = add(&world, 40 * KIB, 20 * KIB, B), *d = add(&world, 60 * KIB, 20 * KIB, B);
        EXPECT(a, a, b);
        EXPECT(c, c, d);
}

static void the_queue_knows_how_much_waits(void **state) {
        struct world world;
        (void) state;
        begin(&world);
        struct zp_range_read *a = add(&world, 0, 10 * KIB, B);
        add(&world, 20 * KIB, 5 * KIB, B);
        assert_int_equal(world.remote.waiting_bytes[B], 15 * KIB);
        EXPECT(a, a);
        assert_int_equal(world.remote.waiting_bytes[B], 5 * KIB);
        assert_int_equal(world.remote.waiting_bytes[D], 0);
}

static void reads_that_pause_or_ask_another_server_stay(void **state) {
        struct world world;
        (void) state;
        begin(&world);
        struct zp_range_read *a = add(&world, 0, KIB, D), *paused = add(&world, KIB, KIB, D);
        struct zp_range_read *other = add(&world, 2 * KIB, KIB, D), *d = add(&world, 3 * KIB, KIB, D);
        paused->not_before_ms = 1001;
        other->server = 1;
        EXPECT(a, a, d);
        assert_true(paused->is_waiting && other->is_waiting);
}

/* What was read already is not asked for again. */
static void a_read_that_was_cut_stands_where_it_goes_on(void **state) {
        struct world world;
        (void) state;
        begin(&world);
        struct zp_range_read *a = add(&world, 0, 10 * KIB, D), *b = add(&world, 2 * KIB, KIB, D);
        zp_range_dequeue(a);
        a->filled = 9 * KIB;
        zp_range_enqueue(a, true);
        assert_ptr_equal(TAILQ_FIRST(&world.remote.waiting[D]), a);
        assert_ptr_equal(TAILQ_FIRST(&world.blob.waiting), b);
        assert_ptr_equal(TAILQ_NEXT(b, by_place), a);
}

static void several_ranges_go_in_the_queues_order_and_neighbours_together(void **state) {
        struct world world;
        (void) state;
        begin(&world);
        struct zp_range_read *c = add(&world, 500 * KIB, 8 * KIB, A), *a = add(&world, 100 * KIB, 8 * KIB, A);
        struct zp_range_read *d = add(&world, 508 * KIB, 8 * KIB, A), *b = add(&world, 92 * KIB, 8 * KIB, A);
        struct zp_range_read *demand = add(&world, 108 * KIB, KIB, D), *more = add(&world, 0, 9 * KIB, A);
        EXPECT_SEVERAL(c, c, d, b, a);
        assert_true(demand->is_waiting && more->is_waiting);
        EXPECT_SEVERAL(more, more);
}

static void several_ranges_leave_what_is_not_due_or_has_failed_so(void **state) {
        struct world world;
        (void) state;
        begin(&world);
        struct zp_range_read *a = add(&world, 0, KIB, A), *b = add(&world, 10 * KIB, KIB, A);
        struct zp_range_read *c = add(&world, 20 * KIB, KIB, A), *d = add(&world, 30 * KIB, KIB, A);
        a->not_before_ms = 2000;
        c->goes_alone = true;
        EXPECT_SEVERAL(b, b, d);
}

static void several_ranges_pass_over_no_more_than_the_limit_of_others(void **state) {
        struct world world;
        struct zp_range_blob other = { .remote = &world.remote };
        (void) state;
        begin(&world);
        TAILQ_INIT(&other.waiting);
        struct zp_range_read *a = add(&world, 0, KIB, A), *between[3], *b = NULL, *c;
        for (unsigned i = 0; i < 3; i++) {
                between[i] = &world.reads[world.count++];
                *between[i] = (struct zp_range_read){
                        .blob = &other, .offset = i * 100 * KIB, .size = 20 * KIB, .priority = A
                };
                zp_range_enqueue(between[i], false);
                if (i == 1)
                        b = add(&world, 10 * KIB, KIB, A);
        }
        c = add(&world, 20 * KIB, KIB, A);
        EXPECT_SEVERAL(a, a, b);
        assert_true(c->is_waiting);
        EXPECT_SEVERAL(between[0], between[0], between[1]);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(neighbours_on_both_sides_go_along_in_order),
                cmocka_unit_test(gaps_up_to_the_limit_are_bridged),
                cmocka_unit_test(no_run_is_longer_than_the_limit),
                cmocka_unit_test(one_read_may_be_longer_than_the_limit),
                cmocka_unit_test(less_urgent_reads_go_along_behind_but_not_before),
                cmocka_unit_test(what_nobody_waits_for_makes_no_request_long),
                cmocka_unit_test(the_queue_knows_how_much_waits),
                cmocka_unit_test(reads_that_pause_or_ask_another_server_stay),
                cmocka_unit_test(a_read_that_was_cut_stands_where_it_goes_on),
                cmocka_unit_test(several_ranges_go_in_the_queues_order_and_neighbours_together),
                cmocka_unit_test(several_ranges_leave_what_is_not_due_or_has_failed_so),
                cmocka_unit_test(several_ranges_pass_over_no_more_than_the_limit_of_others),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
