/* SPDX-License-Identifier: Apache-2.0
 *
 * What a server leaves behind when it dies, and that nothing else is taken for a request.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "blockfs/journal.h"

struct fixture {
        char path[40];
        int kernel, server; /* packets, as from /dev/fuse */
        struct zp_journal *journal;
        uint64_t replayed[16];
        unsigned count;
};

static int set_up(void **state) {
        struct fixture *f = calloc(1, sizeof *f);
        int ends[2];
        if (!f || socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) < 0)
                return -1;
        f->kernel = ends[0];
        f->server = ends[1];
        strcpy(f->path, "/tmp/zeropull-journal-XXXXXX");
        close(mkstemp(f->path));
        *state = f;
        return zp_journal_open(f->path, &f->journal, NULL);
}

static int tear_down(void **state) {
        struct fixture *f = *state;
        zp_journal_close(f->journal);
        close(f->kernel);
        close(f->server);
        unlink(f->path);
        free(f);
        return 0;
}

static struct zp_journal_slot *receive(struct fixture *f, unsigned thread, uint64_t unique, uint32_t opcode) {
        struct {
                struct fuse_in_header header;
                struct fuse_read_in in;
        } request = { .header = { .len = sizeof request, .opcode = opcode, .unique = unique },
                      .in = { .offset = unique } };
        uint8_t buffer[sizeof request];
        struct zp_journal_slot *slot;
        assert_int_equal(write(f->kernel, &request, sizeof request), sizeof request);
        assert_int_equal(zp_journal_read(f->journal, thread, f->server, buffer, sizeof buffer, &slot), sizeof request);
        assert_memory_equal(buffer, &request, sizeof request);
        return slot;
}

static void note(void *context, void *request, size_t size, struct zp_journal_slot *slot) {
        struct fixture *f = context;
        const struct fuse_in_header *header = request;
        assert_int_equal(size, sizeof *header + sizeof(struct fuse_read_in));
        assert_int_equal(((const struct fuse_read_in *) (header + 1))->offset, header->unique);
        assert_non_null(slot);
        f->replayed[f->count++] = header->unique;
}

/* The next server. */
static void take_over(struct fixture *f) {
        zp_journal_close(f->journal);
        assert_int_equal(zp_journal_open(f->path, &f->journal, NULL), 0);
        f->count = 0;
        zp_journal_replay(f->journal, note, f);
}

static void what_is_not_answered_comes_again_until_it_is(void **state) {
        struct fixture *f = *state;
        struct zp_journal_slot *answered = receive(f, 0, 2, FUSE_READ);
        receive(f, 1, 4, FUSE_READ);
        receive(f, 0, 6, FUSE_LOOKUP);
        assert_null(receive(f, 2, 8, FUSE_FORGET));
        assert_null(receive(f, 2, 10, FUSE_INTERRUPT));
        zp_journal_done(answered);
        take_over(f);
        assert_int_equal(f->count, 2);
        assert_int_equal(f->replayed[0] + f->replayed[1], 4 + 6);
        receive(f, 0, 12, FUSE_READ); /* takes no slot that is in use */
        take_over(f);
        assert_int_equal(f->count, 3);
}

/* The kernel has written it, and the server died before it did anything. */
static void a_request_that_only_the_kernel_knew_of_comes_again_once(void **state) {
        struct fixture *f = *state;
        struct fuse_in_header header = { .len = sizeof header + sizeof(struct fuse_read_in), .opcode = FUSE_READ };
        struct fuse_read_in in = { .offset = 20 };
        header.unique = 20;
        int fd = open(f->path, O_RDWR);
        off_t areas = lseek(fd, 0, SEEK_END) - ZP_JOURNAL_THREADS * ((off_t) (1 << 20) + 8192);
        for (int i = 0; i < 2; i++) { /* the second time it is in a slot already */
                assert_int_equal(pwrite(fd, &header, sizeof header, areas), sizeof header);
                assert_int_equal(pwrite(fd, &in, sizeof in, areas + (off_t) sizeof header), sizeof in);
                take_over(f);
                assert_int_equal(f->count, 1);
                assert_int_equal(f->replayed[0], 20);
        }
        close(fd);
}

/* Of which a server may still have the memory. */
static void assert_is_beside(const struct fixture *f, char first) {
        char path[50], byte = 0;
        snprintf(path, sizeof path, "%s.old", f->path);
        int fd = open(path, O_RDONLY);
        assert_int_equal(read(fd, &byte, 1), 1);
        assert_int_equal(byte, first);
        close(fd);
        assert_int_equal(unlink(path), 0);
}

static void a_file_that_is_no_journal_makes_room_for_one_and_is_kept(void **state) {
        struct fixture *f = *state;
        receive(f, 0, 2, FUSE_READ);
        int fd = open(f->path, O_RDWR);
        assert_int_equal(pwrite(fd, "x", 1, 0), 1); /* another magic */
        close(fd);
        take_over(f);
        assert_int_equal(f->count, 0);
        assert_is_beside(f, 'x');
        receive(f, 0, 4, FUSE_READ);
        assert_int_equal(truncate(f->path, 100), 0);
        take_over(f);
        assert_int_equal(f->count, 0);
        assert_is_beside(f, 'Z');
}

static void sizes_that_cannot_be_are_no_requests(void **state) {
        struct fixture *f = *state;
        static const uint32_t sizes[] = { 1, 39, 505, 0x7fffffff, 0xffffffff };
        int fd = open(f->path, O_RDWR);
        for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
                receive(f, 0, 2 + i, FUSE_READ);
                for (unsigned slot = 0; slot <= i; slot++)
                        assert_int_equal(pwrite(fd, &sizes[i], 4, 4096 + slot * 512), 4);
                take_over(f);
                assert_int_equal(f->count, 0);
        }
        close(fd);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(what_is_not_answered_comes_again_until_it_is, set_up, tear_down),
                cmocka_unit_test_setup_teardown(a_request_that_only_the_kernel_knew_of_comes_again_once, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(a_file_that_is_no_journal_makes_room_for_one_and_is_kept, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(sizes_that_cannot_be_are_no_requests, set_up, tear_down),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
