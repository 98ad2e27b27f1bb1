/* SPDX-License-Identifier: Apache-2.0
 *
 * A journal of FUSE requests as a killed server may have left it: runs of bytes anywhere in it, each with 3 bytes of
 * where and 1 of how many in front. A request that is replayed is as long as it says, and fits.
 */
#include <assert.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blockfs/journal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char path[] = "/tmp/fuzz-journal-XXXXXX";

static void remove_file(void) {
        unlink(path);
}

static void replay(void *context, void *request, size_t size, struct zp_journal_slot *slot) {
        uint8_t sum = 0;
        (void) context;
        assert(size >= sizeof(struct fuse_in_header) && size <= 4096);
        for (size_t i = 0; i < size; i++)
                sum ^= ((uint8_t *) request)[i];
        *(volatile uint8_t *) request = sum;
        zp_journal_done(slot);
}

static void count(void *context, void *request, size_t size, struct zp_journal_slot *slot) {
        (void) request;
        (void) size;
        (void) slot;
        ++*(unsigned *) context;
}

static void scatter(int fd, const uint8_t *data, size_t size) {
        for (size_t at = 0, length; at + 4 <= size; at += 4 + length) {
                off_t where = (off_t) (data[at] | data[at + 1] << 8 | data[at + 2] << 16);
                length = data[at + 3] < size - at - 4 ? data[at + 3] : size - at - 4;
                assert(pwrite(fd, data + at + 4, length, where) == (ssize_t) length);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static int fd = -1;
        struct zp_journal *journal;
        unsigned left = 0;
        if (fd < 0) {
                fd = mkostemp(path, O_CLOEXEC);
                assert(fd >= 0);
                atexit(remove_file);
        }
        assert(ftruncate(fd, 0) == 0);
        assert(zp_journal_open(path, &journal, NULL) == 0);
        zp_journal_close(journal);
        scatter(fd, data, size);
        assert(zp_journal_open(path, &journal, NULL) == 0);
        zp_journal_replay(journal, replay, NULL);
        zp_journal_replay(journal, count, &left);
        assert(left == 0); /* all were answered */
        zp_journal_close(journal);
        return 0;
}
