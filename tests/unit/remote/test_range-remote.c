/* SPDX-License-Identifier: Apache-2.0
 *
 * Which remotes a reader keeps. Nobody is asked anything: opening a blob talks to no network.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "remote/range-internal.h"

static struct zp_range_reader *reader;
static struct zp_error err;

static int setup(void **state) {
        static const struct zp_range_options options;
        (void) state;
        return zp_range_reader_new(&options, &reader, &err);
}

static int teardown(void **state) {
        (void) state;
        zp_range_reader_free(reader);
        return 0;
}

static struct zp_range_blob *open_blob(unsigned number) {
        const struct zp_descriptor blob = { .size = 1 };
        struct zp_range_blob *out = NULL;
        char name[64];
        snprintf(name, sizeof name, "docker://127.0.0.1:1/repository-%u", number);
        assert_int_equal(zp_range_blob_open(reader, name, &blob, &out, &err), 0);
        return out;
}

static unsigned known(void) {
        unsigned count = 0;
        pthread_mutex_lock(&reader->lock);
        for (const struct zp_range_remote *remote = reader->remotes; remote; remote = remote->next)
                count++;
        pthread_mutex_unlock(&reader->lock);
        return count;
}

static bool is_known(const struct zp_range_remote *wanted) {
        bool is_known = false;
        pthread_mutex_lock(&reader->lock);
        for (const struct zp_range_remote *remote = reader->remotes; remote; remote = remote->next)
                is_known = is_known || remote == wanted;
        pthread_mutex_unlock(&reader->lock);
        return is_known;
}

/* The thread does it in its own time. */
static void await_known(unsigned count) {
        time_t until = time(NULL) + 30;
        while (known() != count) {
                if (time(NULL) > until)
                        fail_msg("%u remotes are known, not %u", known(), count);
                sched_yield();
        }
}

static void no_more_than_a_few_remotes_are_kept_of_which_no_blob_is_open(void **state) {
        (void) state;
        for (unsigned i = 0; i < 200; i++)
                zp_range_blob_close(open_blob(i));
        await_known(ZP_RANGE_REMOTES_KEPT);
}

static void a_remote_is_kept_while_one_blob_of_it_is_open(void **state) {
        (void) state;
        struct zp_range_blob *one = open_blob(0), *other = open_blob(0);
        const struct zp_range_remote *remote = one->remote;
        assert_ptr_equal(other->remote, remote);
        zp_range_blob_close(other);
        for (unsigned i = 1; i < 100; i++)
                zp_range_blob_close(open_blob(i));
        await_known(ZP_RANGE_REMOTES_KEPT + 1);
        assert_true(is_known(remote));
        zp_range_blob_close(one);
        await_known(ZP_RANGE_REMOTES_KEPT);
}

static void those_that_were_left_last_are_kept(void **state) {
        (void) state;
        const struct zp_range_remote *last[ZP_RANGE_REMOTES_KEPT];
        for (unsigned i = 0; i < 100; i++) {
                struct zp_range_blob *blob = open_blob(i);
                if (i >= 100 - ZP_RANGE_REMOTES_KEPT)
                        last[i + ZP_RANGE_REMOTES_KEPT - 100] = blob->remote;
                zp_range_blob_close(blob);
        }
        await_known(ZP_RANGE_REMOTES_KEPT);
        for (unsigned i = 0; i < ZP_RANGE_REMOTES_KEPT; i++)
                assert_true(is_known(last[i]));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(no_more_than_a_few_remotes_are_kept_of_which_no_blob_is_open, setup,
                                                teardown),
                cmocka_unit_test_setup_teardown(a_remote_is_kept_while_one_blob_of_it_is_open, setup, teardown),
                cmocka_unit_test_setup_teardown(those_that_were_left_last_are_kept, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
