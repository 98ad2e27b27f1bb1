/* SPDX-License-Identifier: Apache-2.0
 *
 * The pack reader: single reads with a few frames remembered, and passes over all frames on a pool.
 */
#include "pack/reader.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/file.h"
#include "pack/index.h"
#include "pack/pack-internal.h"

/* Decompressed frames remembered, and workspaces kept: small sequential reads by a few threads. */
#define REMEMBERED 4

/* What it takes to load a frame. */
struct workspace {
        struct workspace *next;
        struct zp_pack_decoder *decoder;
        uint8_t packed[];
};

struct cached {
        unsigned references; /* guarded by pack->lock */
        uint32_t number;
        uint8_t data[];
};

struct zp_pack {
        int fd;
        char *name;
        uint8_t *index_bytes;
        struct zp_pack_index index;
        pthread_mutex_t lock;
        struct cached *cache[REMEMBERED]; /* guarded by lock: the last used first */
        struct workspace *spare;          /* guarded by lock */
        unsigned spare_count;             /* guarded by lock */
};

static void workspace_free(struct workspace *workspace) {
        if (!workspace)
                return;
        zp_pack_decoder_free(workspace->decoder);
        free(workspace);
}

static struct workspace *workspace_new(const struct zp_pack *pack) {
        struct workspace *workspace = malloc(sizeof *workspace + zp_pack_packed_size_max(pack->index.frame_size));
        if (!workspace)
                return NULL;
        workspace->decoder = zp_pack_decoder_new();
        if (!workspace->decoder) {
                free(workspace);
                return NULL;
        }
        return workspace;
}

static struct workspace *take_workspace(struct zp_pack *pack) {
        pthread_mutex_lock(&pack->lock);
        struct workspace *workspace = pack->spare;
        if (workspace) {
                pack->spare = workspace->next;
                pack->spare_count--;
        }
        pthread_mutex_unlock(&pack->lock);
        return workspace ? workspace : workspace_new(pack);
}

static void give_workspace_back(struct zp_pack *pack, struct workspace *workspace) {
        pthread_mutex_lock(&pack->lock);
        bool is_kept = pack->spare_count < REMEMBERED;
        if (is_kept) {
                workspace->next = pack->spare;
                pack->spare = workspace;
                pack->spare_count++;
        }
        pthread_mutex_unlock(&pack->lock);
        if (!is_kept)
                workspace_free(workspace);
}

/* Loads a frame of `frame->size` bytes to `out`. */
static int load(struct zp_pack *pack, struct workspace *workspace, const struct zp_pack_frame *frame, void *out,
                struct zp_error *err) {
        int ret = zp_pread_all(pack->fd, workspace->packed, frame->packed_size, frame->packed_offset, pack->name, err);
        if (ret < 0)
                return ret;
        return zp_pack_decode(workspace->decoder, frame, workspace->packed, out, pack->name, err);
}

int zp_pack_open(int pack_fd, const char *name, const void *index, size_t index_size,
                 const struct zp_digest *index_digest, struct zp_pack **out, struct zp_error *err) {
        struct zp_pack_index checked;
        int ret = zp_pack_index_parse(index, index_size, index_digest, name, &checked, err);
        if (ret < 0)
                return ret;
        struct zp_pack *pack = calloc(1, sizeof *pack);
        if (!pack)
                return zp_error_errno(err, ENOMEM, "open '%s'", name);
        pthread_mutex_init(&pack->lock, NULL);
        pack->fd = pack_fd;
        pack->name = strdup(name);
        pack->index_bytes = malloc(index_size);
        if (!pack->name || !pack->index_bytes) {
                zp_pack_close(pack);
                return zp_error_errno(err, ENOMEM, "open '%s'", name);
        }
        memcpy(pack->index_bytes, index, index_size);
        pack->index = checked;
        pack->index.entries = pack->index_bytes + ZP_INDEX_HEADER_SIZE;
        *out = pack;
        return 0;
}

void zp_pack_close(struct zp_pack *pack) {
        if (!pack)
                return;
        for (unsigned i = 0; i < REMEMBERED; i++)
                free(pack->cache[i]);
        for (struct workspace *next; pack->spare; pack->spare = next) {
                next = pack->spare->next;
                workspace_free(pack->spare);
        }
        pthread_mutex_destroy(&pack->lock);
        free(pack->index_bytes);
        free(pack->name);
        free(pack);
}

uint64_t zp_pack_device_size(const struct zp_pack *pack) {
        return pack->index.device_size;
}

/* Called with the lock held. */
static void put_first(struct zp_pack *pack, unsigned position, struct cached *cached) {
        memmove(&pack->cache[1], &pack->cache[0], position * sizeof pack->cache[0]);
        pack->cache[0] = cached;
}

/* A remembered frame with a reference for the caller, or NULL. */
static struct cached *find_cached(struct zp_pack *pack, uint32_t number) {
        struct cached *found = NULL;
        pthread_mutex_lock(&pack->lock);
        for (unsigned i = 0; i < REMEMBERED && !found; i++) {
                if (!pack->cache[i] || pack->cache[i]->number != number)
                        continue;
                found = pack->cache[i];
                found->references++;
                put_first(pack, i, found);
        }
        pthread_mutex_unlock(&pack->lock);
        return found;
}

static void release_cached(struct zp_pack *pack, struct cached *cached) {
        pthread_mutex_lock(&pack->lock);
        bool is_last = --cached->references == 0;
        pthread_mutex_unlock(&pack->lock);
        if (is_last)
                free(cached);
}

/* Takes the place of the one used least recently. */
static void remember(struct zp_pack *pack, struct cached *cached) {
        pthread_mutex_lock(&pack->lock);
        struct cached *forgotten = pack->cache[REMEMBERED - 1];
        cached->references++;
        put_first(pack, REMEMBERED - 1, cached);
        pthread_mutex_unlock(&pack->lock);
        if (forgotten)
                release_cached(pack, forgotten);
}

static int read_part(struct zp_pack *pack, struct workspace *workspace, uint32_t number, uint32_t inside, void *buf,
                     size_t size, struct zp_error *err) {
        struct cached *cached = find_cached(pack, number);
        if (!cached) {
                struct zp_pack_frame frame = zp_pack_index_frame(&pack->index, number);
                cached = malloc(sizeof *cached + frame.size);
                if (!cached)
                        return zp_error_errno(err, ENOMEM, "read '%s'", pack->name);
                *cached = (struct cached){ .references = 1, .number = number };
                int ret = load(pack, workspace, &frame, cached->data, err);
                if (ret < 0) {
                        free(cached);
                        return ret;
                }
                remember(pack, cached);
        }
        memcpy(buf, cached->data + inside, size);
        release_cached(pack, cached);
        return 0;
}

static int read_range(struct zp_pack *pack, struct workspace *workspace, uint64_t offset, uint8_t *buf, size_t size,
                      struct zp_error *err) {
        while (size > 0) {
                uint32_t number = (uint32_t) (offset / pack->index.frame_size);
                struct zp_pack_frame frame = zp_pack_index_frame(&pack->index, number);
                uint32_t inside = (uint32_t) (offset - frame.device_offset);
                size_t part = (size_t) zp_min_u64(size, frame.size - inside);
                int ret = part == frame.size ? load(pack, workspace, &frame, buf, err)
                                             : read_part(pack, workspace, number, inside, buf, part, err);
                if (ret < 0)
                        return ret;
                offset += part;
                buf += part;
                size -= part;
        }
        return 0;
}

int zp_pack_read(struct zp_pack *pack, uint64_t offset, void *buf, size_t size, struct zp_error *err) {
        uint64_t device_size = pack->index.device_size;
        if (offset > device_size || size > device_size - offset)
                return zp_error_set(err, ERANGE, "read '%s': past the end of the device", pack->name);
        struct workspace *workspace = take_workspace(pack);
        if (!workspace)
                return zp_error_errno(err, ENOMEM, "read '%s'", pack->name);
        int ret = read_range(pack, workspace, offset, buf, size, err);
        give_workspace_back(pack, workspace);
        return ret;
}

/* A pass loads every frame once. Its jobs take one frame each and queue up again, so that others who use
 * the pool have their turn. */
struct pass {
        struct zp_pack *pack;
        struct zp_pool *pool;
        const struct zp_cancel *cancel;
        zp_pack_visit visit; /* NULL: the frames are only checked */
        void *visit_context;
        pthread_mutex_t lock;
        pthread_cond_t changed;
        uint32_t next_number;    /* guarded by lock */
        unsigned jobs_left;      /* guarded by lock */
        uint64_t bytes_done;     /* guarded by lock */
        struct zp_error failure; /* guarded by lock: the first */
};

struct pass_job {
        struct zp_pool_item item;
        struct pass *pass;
        struct workspace *workspace;
        uint8_t *plain;
};

struct extracting {
        int fd;
        const char *name;
        uint64_t offset;
};

/* Writes a frame but for its blocks of zeros. */
static int write_sparse(void *context, uint64_t device_offset, const uint8_t *data, size_t size, struct zp_error *err) {
        const struct extracting *out = context;
        uint64_t offset = out->offset + device_offset;
        size_t start = 0, end = 0; /* of the run to write */
        for (size_t at = 0; at <= size; at += ZP_PACK_BLOCK_SIZE) {
                bool is_data = at < size && !zp_is_zero(data + at, ZP_PACK_BLOCK_SIZE);
                if (is_data && end != at)
                        start = at;
                if (is_data)
                        end = at + ZP_PACK_BLOCK_SIZE;
                if (is_data || end != at || end == start)
                        continue;
                int ret = zp_pwrite_all(out->fd, data + start, end - start, offset + start, out->name, err);
                if (ret < 0)
                        return ret;
        }
        return 0;
}

static int do_frame(struct pass_job *job, const struct zp_pack_frame *frame, struct zp_error *err) {
        struct pass *pass = job->pass;
        int ret = load(pass->pack, job->workspace, frame, job->plain, err);
        if (ret < 0 || !pass->visit)
                return ret;
        return pass->visit(pass->visit_context, frame->device_offset, job->plain, frame->size, err);
}

/* Runs on a worker. */
static void run_job(void *argument, unsigned worker) {
        (void) worker;
        struct pass_job *job = argument;
        struct pass *pass = job->pass;
        pthread_mutex_lock(&pass->lock);
        if (pass->failure.code || zp_cancelled(pass->cancel) || pass->next_number == pass->pack->index.frame_count) {
                pass->jobs_left--;
                pthread_cond_signal(&pass->changed);
                pthread_mutex_unlock(&pass->lock);
                return;
        }
        struct zp_pack_frame frame = zp_pack_index_frame(&pass->pack->index, pass->next_number++);
        pthread_mutex_unlock(&pass->lock);

        struct zp_error err = { 0 };
        int ret = do_frame(job, &frame, &err);

        pthread_mutex_lock(&pass->lock);
        if (ret < 0 && !pass->failure.code)
                pass->failure = err;
        if (ret == 0)
                pass->bytes_done += frame.size;
        pthread_cond_signal(&pass->changed);
        pthread_mutex_unlock(&pass->lock);
        zp_pool_submit(pass->pool, &job->item, run_job, job);
}

static void free_jobs(struct pass_job *jobs, unsigned count) {
        for (unsigned i = 0; i < count; i++) {
                workspace_free(jobs[i].workspace);
                free(jobs[i].plain);
        }
        free(jobs);
}

static struct pass_job *new_jobs(struct pass *pass, unsigned count) {
        struct pass_job *jobs = calloc(count, sizeof *jobs);
        if (!jobs)
                return NULL;
        for (unsigned i = 0; i < count; i++) {
                jobs[i].pass = pass;
                jobs[i].workspace = workspace_new(pass->pack);
                jobs[i].plain = malloc(pass->pack->index.frame_size);
                if (!jobs[i].workspace || !jobs[i].plain) {
                        free_jobs(jobs, count);
                        return NULL;
                }
        }
        return jobs;
}

/* Waits for the jobs and tells how it goes. */
static void wait_pass(struct pass *pass, void (*progress)(void *context, uint64_t bytes), void *context) {
        uint64_t told = 0;
        pthread_mutex_lock(&pass->lock);
        for (;;) {
                uint64_t done = pass->bytes_done;
                if (progress && done > told) {
                        pthread_mutex_unlock(&pass->lock);
                        progress(context, done - told);
                        told = done;
                        pthread_mutex_lock(&pass->lock);
                } else if (pass->jobs_left > 0) {
                        pthread_cond_wait(&pass->changed, &pass->lock);
                } else {
                        break;
                }
        }
        pthread_mutex_unlock(&pass->lock);
}

static int run_pass(struct pass *pass, void (*progress)(void *context, uint64_t bytes), void *context,
                    struct zp_error *err) {
        const struct zp_pack *pack = pass->pack;
        unsigned count = (unsigned) zp_min_u64(zp_pool_size(pass->pool), pack->index.frame_count);
        if (count == 0)
                return zp_check_cancel(pass->cancel, err);
        struct pass_job *jobs = new_jobs(pass, count);
        if (!jobs)
                return zp_error_errno(err, ENOMEM, "read '%s'", pack->name);
        pthread_mutex_init(&pass->lock, NULL);
        pthread_cond_init(&pass->changed, NULL);
        pass->jobs_left = count;
        for (unsigned i = 0; i < count; i++)
                zp_pool_submit(pass->pool, &jobs[i].item, run_job, &jobs[i]);
        wait_pass(pass, progress, context);
        pthread_cond_destroy(&pass->changed);
        pthread_mutex_destroy(&pass->lock);
        free_jobs(jobs, count);
        if (pass->failure.code) {
                if (err)
                        *err = pass->failure;
                return -pass->failure.code;
        }
        return pass->bytes_done == pack->index.device_size ? 0 : zp_check_cancel(pass->cancel, err);
}

/* A hole at the end needs the size to be set; a file that is longer keeps what follows. */
static int extend_to(int fd, const char *name, uint64_t size, struct zp_error *err) {
        struct stat st;
        if (fstat(fd, &st) < 0)
                return zp_error_errno(err, errno, "stat '%s'", name);
        if (S_ISREG(st.st_mode) && (uint64_t) st.st_size < size && ftruncate(fd, (off_t) size) < 0)
                return zp_error_errno(err, errno, "extend '%s'", name);
        return 0;
}

int zp_pack_extract(struct zp_pack *pack, int out_fd, const char *out_name, uint64_t out_offset, struct zp_pool *pool,
                    const struct zp_cancel *cancel, void (*progress)(void *context, uint64_t bytes), void *context,
                    struct zp_error *err) {
        uint64_t end;
        if (zp_add_overflows(out_offset, pack->index.device_size, &end) || end > INT64_MAX)
                return zp_error_set(err, EFBIG, "write '%s': too large", out_name);
        struct extracting out = { .fd = out_fd, .name = out_name, .offset = out_offset };
        struct pass pass = {
                .pack = pack,
                .pool = pool,
                .cancel = cancel,
                .visit = write_sparse,
                .visit_context = &out,
        };
        int ret = run_pass(&pass, progress, context, err);
        return ret < 0 ? ret : extend_to(out_fd, out_name, end, err);
}

int zp_pack_check_end(int fd, const struct zp_pack_index *index, const char *name, struct zp_error *err) {
        struct stat st;
        if (fstat(fd, &st) < 0)
                return zp_error_errno(err, errno, "stat '%s'", name);
        if (S_ISREG(st.st_mode) && (uint64_t) st.st_size != index->pack_size)
                return zp_error_set(err, EBADMSG, "'%s': %lld bytes instead of %llu", name, (long long) st.st_size,
                                    (unsigned long long) index->pack_size);
        uint64_t size = zp_seek_table_size(index->frame_count);
        zp_autofree uint8_t *expected = malloc(size), *actual = malloc(size);
        if (!expected || !actual)
                return zp_error_errno(err, ENOMEM, "read '%s'", name);
        zp_seek_table_fill(index, expected);
        int ret = zp_pread_all(fd, actual, size, index->pack_size - size, name, err);
        if (ret < 0)
                return ret;
        if (memcmp(expected, actual, size) != 0)
                return zp_error_set(err, EBADMSG, "'%s': the seek table differs from the index", name);
        return 0;
}

int zp_pack_verify(struct zp_pack *pack, struct zp_pool *pool, const struct zp_cancel *cancel,
                   void (*progress)(void *context, uint64_t bytes), void *context, struct zp_error *err) {
        struct pass pass = { .pack = pack, .pool = pool, .cancel = cancel };
        int ret = zp_pack_check_end(pack->fd, &pack->index, pack->name, err);
        return ret < 0 ? ret : run_pass(&pass, progress, context, err);
}

int zp_pack_visit_frames(struct zp_pack *pack, struct zp_pool *pool, const struct zp_cancel *cancel,
                         zp_pack_visit visit, void *context, struct zp_error *err) {
        struct pass pass = { .pack = pack, .pool = pool, .cancel = cancel, .visit = visit, .visit_context = context };
        return run_pass(&pass, NULL, NULL, err);
}
