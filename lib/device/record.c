/* SPDX-License-Identifier: Apache-2.0 */
#include "device/record.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "base/file.h"

#define MAGIC UINT64_C(0x31545241505a5a50) /* in the machine's byte order: copies never travel */
#define HEADER_SIZE 4096
#define LOCK_PAUSE_NS 10000000
#define LOCK_TRIES 50
#define NAME_SIZE (ZP_SHA256_HEX_SIZE + 8)

struct header {
        uint64_t magic;
        uint64_t device_size;
        uint32_t frames;
        uint32_t reserved;
        uint8_t boot_id[ZP_RECORD_BOOT_ID_SIZE];
        uint8_t device[ZP_SHA256_SIZE];
};
_Static_assert(sizeof(struct header) == 72, "the record's header");

static size_t words(uint32_t frames) {
        return ((size_t) frames + 63) / 64;
}

/* Behind the header: the bits good for ever, then those of a boot. */
static uint64_t synced_at(const struct zp_record *record) {
        return record->device_size + HEADER_SIZE;
}
static uint64_t boot_at(const struct zp_record *record) {
        return synced_at(record) + words(record->frames) * sizeof(uint64_t);
}
static uint64_t end_of(const struct zp_record *record) {
        return boot_at(record) + words(record->frames) * sizeof(uint64_t);
}

static char *part_name(const struct zp_record *record, char name[NAME_SIZE]) {
        snprintf(name, NAME_SIZE, "%s.part", record->hex);
        return name;
}
static char *raw_name(const char *hex, char name[NAME_SIZE]) {
        snprintf(name, NAME_SIZE, "%s.raw", hex);
        return name;
}

int zp_record_boot_id(uint8_t boot_id[ZP_RECORD_BOOT_ID_SIZE], struct zp_error *err) {
        zp_autofree char *text = NULL;
        size_t size, used = 0;
        int r = zp_read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &text, &size, err);
        if (r < 0)
                return r;
        memset(boot_id, 0, ZP_RECORD_BOOT_ID_SIZE);
        for (const char *p = text; p[0] && p[1] && used < ZP_RECORD_BOOT_ID_SIZE; p += *p == '-' ? 1 : 2)
                if (*p != '-' && sscanf(p, "%2hhx", &boot_id[used++]) != 1)
                        break;
        return used == ZP_RECORD_BOOT_ID_SIZE ? 0 : zp_error_set(err, EBADMSG, "the kernel's boot id is unknown");
}

int zp_record_open_complete(int directory_fd, const char *hex, uint64_t device_size, struct zp_error *err) {
        char name[NAME_SIZE];
        struct stat st;
        zp_autoclose int fd = openat(directory_fd, raw_name(hex, name), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? -ENOENT : zp_error_errno(err, errno, "open '%s'", name);
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t) st.st_size != device_size)
                return -ENOENT; /* what it is, only its owner knows; the copy is made anew beside it */
        const struct timespec now[2] = { { .tv_nsec = UTIME_NOW }, { .tv_nsec = UTIME_OMIT } };
        futimens(fd, now); /* a directory that may only be read keeps no account of use */
        return zp_steal_fd(&fd);
}

static bool is_header_of(const struct header *header, const struct zp_record *record, const struct zp_digest *device) {
        return header->magic == MAGIC && header->device_size == record->device_size &&
               header->frames == record->frames && memcmp(header->device, device->bytes, ZP_SHA256_SIZE) == 0;
}

static int write_header(struct zp_record *record, const struct zp_digest *device, const uint8_t *boot_id,
                        const char *name, struct zp_error *err) {
        struct header header = { .magic = MAGIC, .device_size = record->device_size, .frames = record->frames };
        memcpy(header.boot_id, boot_id, sizeof header.boot_id);
        memcpy(header.device, device->bytes, sizeof header.device);
        return zp_pwrite_all(record->fd, &header, sizeof header, record->device_size, name, err);
}

/* The bits of another boot say nothing any more. They are gone from the disk before the new boot's name is there. */
static int begin_boot(struct zp_record *record, const struct zp_digest *device, const uint8_t *boot_id,
                      const char *name, struct zp_error *err) {
        size_t size = words(record->frames) * sizeof(uint64_t);
        zp_autofree void *zeros = calloc(1, size);
        if (!zeros)
                return zp_error_errno(err, ENOMEM, "'%s'", name);
        int r = zp_pwrite_all(record->fd, zeros, size, boot_at(record), name, err);
        if (r == 0 && fdatasync(record->fd) < 0)
                r = zp_error_errno(err, errno, "sync '%s'", name);
        return r < 0 ? r : write_header(record, device, boot_id, name, err);
}

/* 1: the file's record is this device's, and read; 0: it is not. */
static int read_record(struct zp_record *record, const struct zp_digest *device, const uint8_t *boot_id,
                       const char *name, struct zp_error *err) {
        struct stat st;
        struct header header;
        size_t count = words(record->frames), size = count * sizeof(uint64_t);
        if (fstat(record->fd, &st) < 0)
                return zp_error_errno(err, errno, "'%s'", name);
        if (!S_ISREG(st.st_mode) || (uint64_t) st.st_size != end_of(record))
                return 0;
        int r = zp_pread_all(record->fd, &header, sizeof header, record->device_size, name, err);
        if (r < 0 || !is_header_of(&header, record, device))
                return r;
        zp_autofree uint64_t *bits = malloc(2 * size);
        if (!bits)
                return zp_error_errno(err, ENOMEM, "'%s'", name);
        r = zp_pread_all(record->fd, bits, 2 * size, synced_at(record), name, err);
        bool same_boot = memcmp(header.boot_id, boot_id, sizeof header.boot_id) == 0;
        if (r == 0 && !same_boot)
                r = begin_boot(record, device, boot_id, name, err);
        if (record->frames % 64) /* there are no frames behind the last */
                bits[count - 1] &= (UINT64_C(1) << record->frames % 64) - 1,
                        bits[2 * count - 1] &= (UINT64_C(1) << record->frames % 64) - 1;
        for (size_t i = 0; r == 0 && i < count; i++) {
                uint64_t unsynced = same_boot ? bits[count + i] & ~bits[i] : 0;
                atomic_store(&record->unsynced[i], unsynced);
                atomic_store(&record->good[i], bits[i] | unsynced);
                record->missing -= (uint32_t) __builtin_popcountll(bits[i] | unsynced);
        }
        return r < 0 ? r : 1;
}

/* A file that was cut to the device's size is complete: only the rename is missing. */
static bool is_cut(const struct zp_record *record) {
        struct stat st;
        return fstat(record->fd, &st) == 0 && (uint64_t) st.st_size == record->device_size;
}

static int finish_cut(struct zp_record *record, int directory_fd, struct zp_error *err) {
        free(record->good);
        record->good = NULL;
        return zp_record_finish(record, directory_fd, err);
}

/* The last owner may have been killed a moment ago and not be gone yet. */
static int lock_part(int fd, const char *name, struct zp_error *err) {
        const struct timespec pause = { .tv_nsec = LOCK_PAUSE_NS };
        for (int tries = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; tries++) {
                if (errno != EWOULDBLOCK)
                        return zp_error_errno(err, errno, "lock '%s'", name);
                if (tries == LOCK_TRIES)
                        return zp_error_set(err, EBUSY, "'%s': another process uses it", name);
                nanosleep(&pause, NULL);
        }
        return 0;
}

static int create_part(struct zp_record *record, int directory_fd, const struct zp_digest *device,
                       const uint8_t *boot_id, const char *name, struct zp_error *err) {
        if (unlinkat(directory_fd, name, 0) < 0 && errno != ENOENT)
                return zp_error_errno(err, errno, "remove '%s'", name);
        close(record->fd);
        record->fd = openat(directory_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (record->fd < 0)
                return zp_error_errno(err, errno, "create '%s'", name);
        int r = lock_part(record->fd, name, err);
        if (r == 0 && ftruncate(record->fd, (off_t) end_of(record)) < 0)
                r = zp_error_errno(err, errno, "'%s'", name);
        return r < 0 ? r : write_header(record, device, boot_id, name, err);
}

static int open_part(struct zp_record *record, int directory_fd, const struct zp_digest *device, const uint8_t *boot_id,
                     struct zp_error *err) {
        char name[NAME_SIZE];
        part_name(record, name);
        record->fd = openat(directory_fd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
        int r = 0;
        if (record->fd >= 0) {
                r = lock_part(record->fd, name, err);
                if (r == 0 && is_cut(record))
                        return finish_cut(record, directory_fd, err);
                if (r == 0)
                        r = read_record(record, device, boot_id, name, err);
        } else if (errno != ENOENT && errno != ELOOP) {
                return zp_error_errno(err, errno, "open '%s'", name);
        }
        if (r == 0)
                r = create_part(record, directory_fd, device, boot_id, name, err);
        return r < 0 ? r : 0;
}

int zp_record_open(int directory_fd, const struct zp_digest *device, uint64_t device_size, uint32_t frames,
                   const uint8_t boot_id[ZP_RECORD_BOOT_ID_SIZE], struct zp_record *out, struct zp_error *err) {
        *out = (struct zp_record){ .fd = -1, .device_size = device_size, .frames = frames };
        zp_digest_hex(device, out->hex);
        pthread_mutex_init(&out->lock, NULL);
        out->fd = zp_record_open_complete(directory_fd, out->hex, device_size, err);
        if (out->fd >= 0)
                return 0;
        int found = out->fd;
        out->fd = -1;
        if (found != -ENOENT)
                return found;
        out->missing = frames;
        out->good = calloc(words(frames), sizeof *out->good);
        out->unsynced = calloc(words(frames), sizeof *out->unsynced);
        int r = out->good && out->unsynced ? open_part(out, directory_fd, device, boot_id, err)
                                           : zp_error_errno(err, ENOMEM, "device '%s'", out->hex);
        if (r < 0) {
                zp_record_close(out);
                return r;
        }
        const struct timespec now[2] = { { .tv_nsec = UTIME_NOW }, { .tv_nsec = UTIME_OMIT } };
        futimens(out->fd, now);
        return 0;
}

void zp_record_close(struct zp_record *record) {
        if (record->fd >= 0)
                close(record->fd);
        free(record->good);
        free(record->unsynced);
        pthread_mutex_destroy(&record->lock);
        record->fd = -1;
        record->good = record->unsynced = NULL;
}

/* The word of this boot's bits as it is now. When that fails, a crash costs the frame: no error. */
static void write_boot_word(struct zp_record *record, uint32_t word) {
        pthread_mutex_lock(&record->lock);
        uint64_t bits = atomic_load(&record->good[word]);
        if (!record->is_finished)
                zp_pwrite_all(record->fd, &bits, sizeof bits, boot_at(record) + word * sizeof bits, record->hex, NULL);
        pthread_mutex_unlock(&record->lock);
}

static void take_back(struct zp_record *record, uint32_t word, uint64_t frames) {
        uint64_t lost = atomic_fetch_and(&record->good[word], ~frames) & frames;
        atomic_fetch_and(&record->unsynced[word], ~frames);
        atomic_fetch_add(&record->missing, (uint32_t) __builtin_popcountll(lost));
        if (lost)
                write_boot_word(record, word);
}

int zp_record_put(struct zp_record *record, uint32_t frame, uint64_t offset, const void *data, uint32_t size,
                  struct zp_error *err) {
        if (record->is_broken)
                return zp_error_set(err, EIO, "'%s': the disk has lost data before", record->hex);
        int r = zp_pwrite_all(record->fd, data, size, offset, record->hex, err);
        if (r < 0)
                return r;
        uint32_t word = frame / 64;
        uint64_t bit = UINT64_C(1) << frame % 64;
        atomic_fetch_or(&record->unsynced[word], bit);
        if (!(atomic_fetch_or(&record->good[word], bit) & bit))
                atomic_fetch_sub(&record->missing, 1);
        if (record->is_broken) { /* since just now: whoever broke it may have missed this bit */
                take_back(record, word, bit);
                return zp_error_set(err, EIO, "'%s': the disk has lost data", record->hex);
        }
        write_boot_word(record, word);
        return 0;
}

bool zp_record_is_unsynced(const struct zp_record *record) {
        for (size_t i = 0; record->good && !record->is_finished && i < words(record->frames); i++)
                if (atomic_load(&record->unsynced[i]))
                        return true;
        return false;
}

/* A sync has failed: which frames it has lost, it does not say. */
static void lose_unsynced(struct zp_record *record) {
        record->is_broken = true;
        for (uint32_t i = 0; record->good && i < words(record->frames); i++)
                take_back(record, i, atomic_load(&record->unsynced[i]));
}

int zp_record_sync(struct zp_record *record, struct zp_error *err) {
        if (!record->good || record->is_finished)
                return 0;
        size_t count = words(record->frames);
        zp_autofree uint64_t *copy = calloc(2 * count, sizeof *copy);
        if (!copy)
                return zp_error_errno(err, ENOMEM, "sync '%s'", record->hex);
        uint64_t *good = copy, *unsynced = copy + count;
        for (size_t i = 0; i < count; i++) {
                good[i] = atomic_load(&record->good[i]); /* all of them are written */
                unsynced[i] = atomic_load(&record->unsynced[i]) & good[i];
        }
        if (fdatasync(record->fd) < 0) {
                int r = zp_error_errno(err, errno, "sync '%s'", record->hex);
                lose_unsynced(record);
                return r;
        }
        int r = 0;
        for (size_t i = 0; i < count && r == 0; i++) {
                if (unsynced[i])
                        r = zp_pwrite_all(record->fd, &good[i], sizeof good[i], synced_at(record) + i * sizeof good[i],
                                          record->hex, err);
                if (r == 0)
                        atomic_fetch_and(&record->unsynced[i], ~unsynced[i]);
        }
        return r;
}

int zp_record_finish(struct zp_record *record, int directory_fd, struct zp_error *err) {
        char part[NAME_SIZE], raw[NAME_SIZE];
        part_name(record, part);
        if (fdatasync(record->fd) < 0) {
                int r = zp_error_errno(err, errno, "sync '%s'", record->hex);
                lose_unsynced(record);
                if (!record->good) /* cut before: nothing tells what is good of it */
                        unlinkat(directory_fd, part, 0);
                return r;
        }
        pthread_mutex_lock(&record->lock);
        record->is_finished = true; /* nothing is written behind the device any more */
        pthread_mutex_unlock(&record->lock);
        if (ftruncate(record->fd, (off_t) record->device_size) < 0 || fsync(record->fd) < 0) {
                int r = zp_error_errno(err, errno, "complete '%s'", record->hex);
                unlinkat(directory_fd, part, 0); /* who has it open goes on with it, and nobody after him */
                return r;
        }
        if (renameat(directory_fd, part, directory_fd, raw_name(record->hex, raw)) < 0)
                return zp_error_errno(err, errno, "complete '%s'", record->hex);
        record->missing = 0;
        return zp_sync(directory_fd, "cache", err);
}

/* ---- from outside ---- */

static int count_good(const struct zp_record *record, bool same_boot, uint32_t *good, const char *name,
                      struct zp_error *err) {
        size_t count = words(record->frames), size = count * sizeof(uint64_t);
        zp_autofree uint64_t *bits = malloc(2 * size + 1);
        if (!bits)
                return zp_error_errno(err, ENOMEM, "'%s'", name);
        int r = zp_pread_all(record->fd, bits, 2 * size, synced_at(record), name, err);
        for (size_t i = 0; r == 0 && i < count; i++) {
                uint64_t word = bits[i] | (same_boot ? bits[count + i] : 0);
                if (i == count - 1 && record->frames % 64)
                        word &= (UINT64_C(1) << record->frames % 64) - 1;
                *good += (uint32_t) __builtin_popcountll(word);
        }
        return r;
}

int zp_record_look(int directory_fd, const struct zp_digest *device, uint64_t device_size, uint32_t *good,
                   uint32_t *frames, struct zp_error *err) {
        char name[NAME_SIZE];
        struct zp_record record = { .device_size = device_size };
        struct header header;
        struct stat st;
        uint8_t boot_id[ZP_RECORD_BOOT_ID_SIZE];
        *good = *frames = 0;
        zp_digest_hex(device, record.hex);
        zp_autoclose int fd = openat(directory_fd, part_name(&record, name), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? 0 : zp_error_errno(err, errno, "open '%s'", name);
        record.fd = fd;
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t) st.st_size < device_size + HEADER_SIZE)
                return 0; /* just made, or of another size */
        int r = zp_pread_all(fd, &header, sizeof header, device_size, name, err);
        if (r < 0)
                return r;
        record.frames = header.frames;
        if (!is_header_of(&header, &record, device) || (uint64_t) st.st_size != end_of(&record))
                return 0;
        r = zp_record_boot_id(boot_id, err);
        if (r == 0)
                r = count_good(&record, memcmp(header.boot_id, boot_id, sizeof boot_id) == 0, good, name, err);
        *frames = r == 0 ? record.frames : 0;
        return r;
}
