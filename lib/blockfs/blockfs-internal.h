/* SPDX-License-Identifier: Apache-2.0
 *
 * How a session of libfuse is attached to a descriptor that was opened elsewhere.
 */
#ifndef ZP_BLOCKFS_BLOCKFS_INTERNAL_H
#define ZP_BLOCKFS_BLOCKFS_INTERNAL_H

#define FUSE_USE_VERSION 314
#include <fuse3/fuse_lowlevel.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/pool.h"
#include "blockfs/blockfs.h"
#include "blockfs/journal.h"

struct zp_blockfs_server {
        const struct zp_blockfs_ops *ops; /* NULL while only the beginning is agreed on */
        void *context;
        struct fuse_session *session;
        bool is_mute;               /* what libfuse answers goes nowhere; only before the threads start */
        struct zp_journal *journal; /* NULL: none */
        _Atomic unsigned threads;   /* that have started */
        pthread_mutex_t lock;
        pthread_cond_t answered;
        uint64_t pending;       /* not answered yet; guarded by lock */
        struct zp_pool *askers; /* for what may block */
};

/* What libfuse calls for a thread knows nothing but the session, so it is here. */
struct zp_blockfs_thread {
        unsigned number;
        struct zp_journal_slot *slot; /* of the request that is being looked at */
};
extern _Thread_local struct zp_blockfs_thread zp_blockfs_thread;

/* The session on a copy of `fuse_fd`; `server` is zeroed but for ops and context. To be detached also after an error.
 */
int zp_blockfs_attach(struct zp_blockfs_server *server, int fuse_fd, struct zp_error *err);
void zp_blockfs_detach(struct zp_blockfs_server *server);
#define zp_autodetach __attribute__((cleanup(zp_blockfs_detach)))

#endif
