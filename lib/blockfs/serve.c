/* SPDX-License-Identifier: Apache-2.0
 *
 * The threads of a server, and how it takes over a connection.
 */
#include "blockfs/blockfs-internal.h"

#include <linux/fuse.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* FUSE_NOTIFY_RESEND of Linux 6.9's linux/fuse.h. */
#define NOTIFY_RESEND 7
/* So many lookups may hang before others have to wait. */
#define ASKERS 8

/* libfuse wants to hear FUSE_INIT before anything else. The kernel has long had its answer, so this one is made up,
 * with what bears on how answers are written, and the answer to it goes nowhere. */
static void make_up_init(struct zp_blockfs_server *server) {
        struct {
                struct fuse_in_header header;
                struct fuse_init_in init;
        } request = { .header = { .len = sizeof request, .opcode = FUSE_INIT, .unique = 1 },
                      .init = { .major = FUSE_KERNEL_VERSION,
                                .minor = FUSE_KERNEL_MINOR_VERSION,
                                .max_readahead = ZP_BLOCKFS_READ_MAX,
                                .flags = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_MAX_PAGES | FUSE_PARALLEL_DIROPS } };
        struct fuse_buf buffer = { .size = sizeof request, .mem = &request };
        server->is_mute = true;
        fuse_session_process_buf(server->session, &buffer);
        server->is_mute = false;
}

/* Asks for what the last server left unanswered. A kernel that does not know how says EINVAL. */
static int ask_again(int fuse_fd, struct zp_error *err) {
        struct fuse_out_header notice = { .len = sizeof notice, .error = NOTIFY_RESEND, .unique = 0 };
        if (write(fuse_fd, &notice, sizeof notice) < 0 && errno != EINVAL && errno != ENODEV)
                return zp_error_errno(err, errno, "FUSE: take over");
        return 0;
}

/* Whatever was not handed on to be answered later is answered by now. */
static void end_request(void) {
        zp_journal_done(zp_steal(&zp_blockfs_thread.slot));
}

static void replay(void *context, void *request, size_t size, struct zp_journal_slot *slot) {
        struct zp_blockfs_server *server = context;
        struct fuse_buf buffer = { .size = size, .mem = request };
        zp_blockfs_thread.slot = slot;
        fuse_session_process_buf(server->session, &buffer);
        end_request();
}

static void *serve_requests(void *argument) {
        struct zp_blockfs_server *server = argument;
        struct fuse_buf buffer = { 0 };
        zp_blockfs_thread.number = atomic_fetch_add(&server->threads, 1);
        while (!fuse_session_exited(server->session)) {
                int size = fuse_session_receive_buf(server->session, &buffer);
                if (size > 0)
                        fuse_session_process_buf(server->session, &buffer);
                end_request();
                if (size >= 0)
                        continue;
                if (size != -EINTR && size != -EAGAIN)
                        break;
        }
        free(buffer.mem);
        return NULL;
}

static int run_threads(struct zp_blockfs_server *server, unsigned count, struct zp_error *err) {
        if (count > ZP_JOURNAL_THREADS)
                count = ZP_JOURNAL_THREADS;
        zp_autofree pthread_t *threads = calloc(count, sizeof *threads);
        if (!threads)
                return zp_error_errno(err, ENOMEM, "FUSE");
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        unsigned started = 0;
        int code = 0;
        for (; started < count && code == 0; started += code == 0)
                code = pthread_create(&threads[started], NULL, serve_requests, server);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        for (unsigned i = 0; i < started; i++) /* fewer threads than wanted serve as well, none do not */
                pthread_join(threads[i], NULL);
        return started ? 0 : zp_error_errno(err, code, "FUSE: start a thread");
}

static void await_answers(struct zp_blockfs_server *server) {
        pthread_mutex_lock(&server->lock);
        while (server->pending)
                pthread_cond_wait(&server->answered, &server->lock);
        pthread_mutex_unlock(&server->lock);
}

int zp_blockfs_serve(int fuse_fd, const char *journal, unsigned threads, const struct zp_blockfs_ops *ops,
                     void *context, struct zp_error *err) {
        zp_autodetach struct zp_blockfs_server server = { .ops = ops, .context = context };
        int r = zp_blockfs_attach(&server, fuse_fd, err);
        if (r == 0)
                r = zp_pool_new(ASKERS, &server.askers, err);
        if (r == 0 && journal)
                r = zp_journal_open(journal, &server.journal, err);
        if (r == 0) {
                make_up_init(&server);
                if (journal)
                        zp_journal_replay(server.journal, replay, &server);
                else
                        r = ask_again(fuse_fd, err);
        }
        if (r == 0)
                r = run_threads(&server, threads, err);
        await_answers(&server);
        zp_pool_free(server.askers);
        zp_journal_close(server.journal);
        return r;
}
