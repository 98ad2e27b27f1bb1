/* SPDX-License-Identifier: Apache-2.0 */
#include "blockfs/journal.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "base/cleanup.h"

#define MAGIC UINT64_C(0x32304c4e4a505a) /* "ZPJNL02" */
/* More requests than the kernel has under way: its background ones, and a reader each besides. */
#define SLOTS 5120
#define SLOT_SIZE 512
/* The kernel insists on room for a write of the largest size, of which it never sends one: only the first page is used.
 */
#define AREA_SIZE ((size_t) (1 << 20) + 8192)
#define AREA_USED 4096

struct zp_journal_slot {
        _Atomic uint32_t size; /* of the request; 0: free */
        _Atomic uint32_t is_taken;
        uint8_t request[SLOT_SIZE - 8];
};
_Static_assert(sizeof(struct zp_journal_slot) == SLOT_SIZE, "a slot");

struct shared {
        uint64_t magic;
        uint8_t reserved[4088];
        struct zp_journal_slot slots[SLOTS];
        uint8_t areas[ZP_JOURNAL_THREADS][AREA_SIZE];
};

struct zp_journal {
        struct shared *shared;
};

/* The pages that are used are there before anybody relies on them: no disk is full later. */
static int allocate(int fd) {
        if (ftruncate(fd, sizeof(struct shared)) < 0)
                return -errno;
        int code = posix_fallocate(fd, 0, offsetof(struct shared, areas));
        for (unsigned i = 0; i < ZP_JOURNAL_THREADS && code == 0; i++)
                code = posix_fallocate(fd, (off_t) (offsetof(struct shared, areas) + i * AREA_SIZE), AREA_USED);
        return -code;
}

/* Of this layout, or one that nobody has begun. */
static bool is_ours(int fd, const struct stat *st) {
        uint64_t magic = 0;
        return st->st_size == 0 || ((size_t) st->st_size == sizeof(struct shared) &&
                                    pread(fd, &magic, sizeof magic, 0) == sizeof magic && (magic == MAGIC || !magic));
}

/* Another's stays as it was, beside: its server may still be at work in that memory. */
static int open_file(const char *path, struct zp_error *err) {
        struct stat st;
        zp_autofree char *aside = zp_format("%s.old", path);
        if (!aside)
                return zp_error_errno(err, ENOMEM, "'%s'", path);
        for (int attempt = 0; attempt < 2; attempt++) {
                zp_autoclose int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
                if (fd < 0 || fstat(fd, &st) < 0)
                        return zp_error_errno(err, errno, "open '%s'", path);
                if (is_ours(fd, &st))
                        return zp_steal_fd(&fd);
                if (rename(path, aside) < 0)
                        return zp_error_errno(err, errno, "rename '%s'", path);
        }
        return zp_error_set(err, EEXIST, "'%s': somebody else makes it", path);
}

int zp_journal_open(const char *path, struct zp_journal **out, struct zp_error *err) {
        zp_autoclose int fd = open_file(path, err);
        if (fd < 0)
                return fd;
        int r = allocate(fd);
        if (r < 0)
                return zp_error_errno(err, -r, "'%s'", path);
        struct zp_journal *journal = malloc(sizeof *journal);
        void *memory = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (!journal || memory == MAP_FAILED) {
                free(journal);
                return zp_error_errno(err, ENOMEM, "map '%s'", path);
        }
        journal->shared = memory;
        if (journal->shared->magic != MAGIC)
                memset(journal->shared, 0, offsetof(struct shared, areas));
        journal->shared->magic = MAGIC;
        *out = journal;
        return 0;
}

void zp_journal_close(struct zp_journal *journal) {
        if (!journal)
                return;
        munmap(journal->shared, sizeof(struct shared));
        free(journal);
}

static struct zp_journal_slot *take_slot(struct zp_journal *journal) {
        for (unsigned i = 0; i < SLOTS; i++) {
                struct zp_journal_slot *slot = &journal->shared->slots[i];
                uint32_t no = 0;
                if (atomic_compare_exchange_strong(&slot->is_taken, &no, 1))
                        return slot;
        }
        return NULL;
}

static bool needs_answer(const struct fuse_in_header *header) {
        return header->opcode != FUSE_FORGET && header->opcode != FUSE_BATCH_FORGET && header->opcode != FUSE_INTERRUPT;
}

/* From the area, where the kernel put it, into a slot, and only then out of the area. */
static struct zp_journal_slot *keep(struct zp_journal *journal, uint8_t *area, size_t size) {
        struct fuse_in_header *header = (void *) area;
        struct zp_journal_slot *slot = NULL;
        if (size <= sizeof slot->request && needs_answer(header))
                slot = take_slot(journal);
        if (slot) {
                memcpy(slot->request, area, size);
                atomic_store(&slot->size, (uint32_t) size);
        }
        atomic_thread_fence(memory_order_seq_cst);
        *(volatile uint32_t *) &header->len = 0;
        return slot;
}

ssize_t zp_journal_read(struct zp_journal *journal, unsigned number, int fd, void *buffer, size_t size,
                        struct zp_journal_slot **slot) {
        uint8_t *area = journal->shared->areas[number];
        *slot = NULL;
        ssize_t got = read(fd, area, size < AREA_SIZE ? size : AREA_SIZE);
        if (got < (ssize_t) sizeof(struct fuse_in_header))
                return got;
        memcpy(buffer, area, (size_t) got);
        *slot = keep(journal, area, (size_t) got);
        return got;
}

void zp_journal_done(struct zp_journal_slot *slot) {
        if (!slot)
                return;
        atomic_store(&slot->size, 0);
        atomic_store(&slot->is_taken, 0);
}

static uint64_t unique_of(const void *request) {
        return ((const struct fuse_in_header *) request)->unique;
}

/* Whether the server died between the two steps of keep(). */
static bool is_in_slot(const struct zp_journal *journal, const void *request) {
        for (unsigned i = 0; i < SLOTS; i++) {
                const struct zp_journal_slot *slot = &journal->shared->slots[i];
                if (slot->size && unique_of(slot->request) == unique_of(request))
                        return true;
        }
        return false;
}

void zp_journal_replay(struct zp_journal *journal,
                       void (*replay)(void *context, void *request, size_t size, struct zp_journal_slot *slot),
                       void *context) {
        for (unsigned i = 0; i < SLOTS; i++) /* a slot that was taken and not filled is still in its area */
                journal->shared->slots[i].is_taken = journal->shared->slots[i].size != 0;
        for (unsigned i = 0; i < ZP_JOURNAL_THREADS; i++) {
                struct fuse_in_header *header = (void *) journal->shared->areas[i];
                if (header->len >= sizeof *header && header->len <= AREA_USED && !is_in_slot(journal, header))
                        keep(journal, (void *) header, header->len);
                header->len = 0;
        }
        for (unsigned i = 0; i < SLOTS; i++) {
                struct zp_journal_slot *slot = &journal->shared->slots[i];
                uint8_t copy[sizeof slot->request];
                uint32_t size = slot->size;
                if (size == 0)
                        continue;
                if (size < sizeof(struct fuse_in_header) || size > sizeof copy) {
                        zp_journal_done(slot);
                        continue;
                }
                memcpy(copy, slot->request, size);
                replay(context, copy, size, slot);
        }
}
