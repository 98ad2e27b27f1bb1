/* SPDX-License-Identifier: Apache-2.0
 *
 * A pack is sent while somebody else makes it.
 */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/file.h"
#include "ship/growing.h"

#define SIZE 3000001u

struct world {
        char directory[32];
        struct zp_remote *remote;
        int fd;
        struct zp_growing *growing;
        uint8_t *bytes;
        struct zp_cancel cancel;
        uint64_t told; /* by progress */
        /* what came of it */
        pthread_t thread;
        int result;
        struct zp_digest digest;
        uint64_t sent;
        struct zp_error err;
};

static int make(void **state) {
        struct world *w = calloc(1, sizeof *w);
        assert_non_null(w);
        strcpy(w->directory, "/tmp/zp-growing-XXXXXX");
        assert_non_null(mkdtemp(w->directory));
        zp_autofree char *name = zp_format("dir:%s", w->directory);
        struct zp_source_options options = { .cancel = &w->cancel };
        assert_int_equal(zp_remote_open(name, &options, &w->remote, NULL), 0);
        w->fd = memfd_create("pack", MFD_CLOEXEC);
        w->bytes = malloc(SIZE);
        assert_non_null(w->bytes);
        for (uint32_t i = 0, x = 1; i < SIZE; i++, x = x * 1103515245 + 12345)
                w->bytes[i] = (uint8_t) (x >> 16);
        assert_int_equal(zp_growing_new(w->fd, &w->growing, NULL), 0);
        *state = w;
        return 0;
}

static int drop(void **state) {
        struct world *w = *state;
        zp_growing_free(w->growing);
        zp_remote_close(w->remote);
        zp_remove_tree(AT_FDCWD, w->directory, NULL);
        close(w->fd);
        free(w->bytes);
        free(w);
        return 0;
}

static void note_progress(void *context, uint64_t bytes_sent) {
        struct world *w = context;
        assert_true(bytes_sent > w->told);
        w->told = bytes_sent;
}

static void *send_it(void *context) {
        struct world *w = context;
        struct zp_growing_sending sending = { w->remote, &w->cancel, note_progress, w };
        w->result = zp_growing_send(w->growing, &sending, &w->digest, &w->sent, &w->err);
        return NULL;
}

static void begin(struct world *w) {
        assert_int_equal(pthread_create(&w->thread, NULL, send_it, w), 0);
}

static void end(struct world *w) {
        pthread_join(w->thread, NULL);
}

static void write_up_to(struct world *w, size_t from, size_t to) {
        assert_int_equal(zp_pwrite_all(w->fd, w->bytes + from, to - from, from, "pack", NULL), 0);
        zp_growing_extend(w->growing, to);
}

static void check_sent(struct world *w) {
        struct zp_digest digest;
        assert_int_equal(w->result, 0);
        zp_digest_of(w->bytes, SIZE, &digest);
        assert_true(zp_digest_equal(&digest, &w->digest));
        assert_int_equal(zp_remote_has_blob(w->remote, &digest, SIZE, NULL), 1);
        assert_int_equal(w->sent, SIZE);
        assert_int_equal(w->told, SIZE);
}

static void what_is_made_meanwhile_is_sent_whole(void **state) {
        struct world *w = *state;
        write_up_to(w, 0, 1000);
        begin(w);
        for (size_t at = 1000; at < SIZE; at += 77777)
                write_up_to(w, at, at + 77777 < SIZE ? at + 77777 : SIZE);
        zp_growing_complete(w->growing, SIZE);
        end(w);
        check_sent(w);
}

static void its_end_alone_is_enough(void **state) {
        struct world *w = *state;
        assert_int_equal(zp_pwrite_all(w->fd, w->bytes, SIZE, 0, "pack", NULL), 0);
        zp_growing_complete(w->growing, SIZE);
        begin(w);
        end(w);
        check_sent(w);
}

static void numbers_may_come_in_any_order(void **state) {
        struct world *w = *state;
        write_up_to(w, 0, 2000000);
        zp_growing_extend(w->growing, 5);
        begin(w);
        write_up_to(w, 2000000, SIZE);
        zp_growing_complete(w->growing, SIZE);
        zp_growing_extend(w->growing, SIZE + 1000);
        zp_growing_abandon(w->growing);
        end(w);
        check_sent(w);
}

static void what_is_abandoned_is_not_stored(void **state) {
        struct world *w = *state;
        write_up_to(w, 0, 100000);
        begin(w);
        zp_growing_abandon(w->growing);
        zp_growing_complete(w->growing, SIZE);
        end(w);
        assert_int_equal(w->result, -ECANCELED);
        zp_autofree char *path = zp_format("%s/blobs", w->directory);
        assert_int_not_equal(access(path, F_OK), 0);
}

static void cancelled_sending_ends(void **state) {
        struct world *w = *state;
        write_up_to(w, 0, SIZE);
        atomic_store(&w->cancel.requested, true);
        begin(w);
        end(w);
        assert_int_equal(w->result, -ECANCELED);
}

static void pack_that_is_shorter_than_said_is_an_error(void **state) {
        struct world *w = *state;
        write_up_to(w, 0, 1000);
        zp_growing_complete(w->growing, SIZE);
        begin(w);
        end(w);
        assert_true(w->result < 0 && w->result != -ECANCELED);
        assert_non_null(strstr(w->err.message, "device.zst"));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(what_is_made_meanwhile_is_sent_whole, make, drop),
                cmocka_unit_test_setup_teardown(its_end_alone_is_enough, make, drop),
                cmocka_unit_test_setup_teardown(numbers_may_come_in_any_order, make, drop),
                cmocka_unit_test_setup_teardown(what_is_abandoned_is_not_stored, make, drop),
                cmocka_unit_test_setup_teardown(cancelled_sending_ends, make, drop),
                cmocka_unit_test_setup_teardown(pack_that_is_shorter_than_said_is_an_error, make, drop),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
