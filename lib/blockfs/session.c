/* SPDX-License-Identifier: Apache-2.0
 *
 * The requests of the kernel, and a libfuse session around a descriptor that it did not open.
 */
#include "blockfs/blockfs-internal.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>

/* Names and sizes never change, so the kernel need not ask again. */
#define FOREVER_S 86400.0
/* Reads that the kernel may have under way for all mounts together, but for those it waits for at once. EROFS on a file
 * has no others: where they are used up by readers of a registry that hangs, nobody gets a block. */
#define BACKGROUND_REQUESTS 4096
/* What private images hold is their owner's: root's, as the attributes say. */
#define ROOT_MODE 0500
#define FILE_MODE 0400

_Thread_local struct zp_blockfs_thread zp_blockfs_thread;

struct zp_blockfs_read {
        fuse_req_t request;
        struct zp_journal_slot *slot;
};

static void fill_attributes(fuse_ino_t id, uint64_t size, struct stat *out) {
        bool is_root = id == FUSE_ROOT_ID;
        *out = (struct stat){ .st_ino = id, .st_blksize = 4096 };
        out->st_mode = is_root ? S_IFDIR | ROOT_MODE : S_IFREG | FILE_MODE;
        out->st_nlink = is_root ? 2 : 1;
        out->st_size = (off_t) size;
        out->st_blocks = (blkcnt_t) (size / 512);
}

static void on_init(void *userdata, struct fuse_conn_info *connection) {
        (void) userdata;
        connection->max_background = BACKGROUND_REQUESTS;
        /* where libfuse agrees on it, a lookup that hangs keeps no others */
        connection->want |=
                connection->capable & (FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE | FUSE_CAP_PARALLEL_DIROPS);
        /* files never change: what the kernel has of one need not be thrown away */
        connection->want &= ~(unsigned) FUSE_CAP_AUTO_INVAL_DATA;
}

/* Counts one that is answered later; its place in the journal goes with it. */
static struct zp_journal_slot *hold_request(struct zp_blockfs_server *server) {
        pthread_mutex_lock(&server->lock);
        server->pending++;
        pthread_mutex_unlock(&server->lock);
        return zp_steal(&zp_blockfs_thread.slot);
}

/* The request is gone once it is answered, the session only when all are. */
static void end_held(struct zp_blockfs_server *server, struct zp_journal_slot *slot) {
        zp_journal_done(slot);
        pthread_mutex_lock(&server->lock);
        if (--server->pending == 0)
                pthread_cond_signal(&server->answered);
        pthread_mutex_unlock(&server->lock);
}

/* What may take long to answer. */
struct question {
        struct zp_pool_item item;
        struct zp_blockfs_server *server;
        fuse_req_t request;
        struct zp_journal_slot *slot;
        fuse_ino_t id; /* or, when that is 0, the name */
        char name[NAME_MAX + 1];
};

static void answer_name(const struct question *question) {
        struct zp_blockfs_server *server = question->server;
        struct fuse_entry_param entry = { .attr_timeout = FOREVER_S, .entry_timeout = FOREVER_S };
        uint64_t id = 0, size = 0;
        int r = server->ops->lookup(server->context, question->name, &id, &size);
        if (r < 0) {
                fuse_reply_err(question->request, -r);
                return;
        }
        entry.ino = id;
        fill_attributes(id, size, &entry.attr);
        fuse_reply_entry(question->request, &entry);
}

static void reply_attributes(fuse_req_t request, fuse_ino_t id, uint64_t size) {
        struct stat attributes;
        fill_attributes(id, size, &attributes);
        fuse_reply_attr(request, &attributes, FOREVER_S);
}

static void answer_question(void *argument, unsigned worker) {
        struct question *question = argument;
        struct zp_blockfs_server *server = question->server;
        uint64_t size = 0;
        int r = 0;
        (void) worker;
        if (!question->id)
                answer_name(question);
        else if ((r = server->ops->find_size(server->context, question->id, &size)) < 0)
                fuse_reply_err(question->request, -r);
        else
                reply_attributes(question->request, question->id, size);
        end_held(server, question->slot);
        free(question);
}

static void ask(fuse_req_t request, fuse_ino_t id, const char *name) {
        struct zp_blockfs_server *server = fuse_req_userdata(request);
        struct question *question = strlen(name) <= NAME_MAX ? calloc(1, sizeof *question) : NULL;
        if (!question) {
                fuse_reply_err(request, strlen(name) > NAME_MAX ? ENAMETOOLONG : ENOMEM);
                return;
        }
        *question = (struct question){ .server = server, .request = request, .id = id };
        strcpy(question->name, name);
        question->slot = hold_request(server);
        zp_pool_submit(server->askers, &question->item, answer_question, question);
}

static void on_lookup(fuse_req_t request, fuse_ino_t parent, const char *name) {
        if (parent == FUSE_ROOT_ID)
                ask(request, 0, name);
        else
                fuse_reply_err(request, ENOTDIR);
}

static void on_getattr(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *info) {
        (void) info;
        if (id == FUSE_ROOT_ID)
                reply_attributes(request, id, 0);
        else
                ask(request, id, "");
}

static void on_open(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *info) {
        (void) id;
        if ((info->flags & O_ACCMODE) != O_RDONLY) {
                fuse_reply_err(request, EROFS);
                return;
        }
        info->fh = 0; /* another process may get the reads */
        info->direct_io = 1;
        fuse_reply_open(request, info);
}

/* The files there are could be many; who uses one knows its name. */
static void on_readdir(fuse_req_t request, fuse_ino_t id, size_t size, off_t offset, struct fuse_file_info *info) {
        (void) id;
        (void) size;
        (void) offset;
        (void) info;
        fuse_reply_buf(request, NULL, 0);
}

static void on_read(fuse_req_t request, fuse_ino_t id, size_t size, off_t offset, struct fuse_file_info *info) {
        (void) info;
        struct zp_blockfs_server *server = fuse_req_userdata(request);
        if (offset < 0 || size > ZP_BLOCKFS_READ_MAX) {
                fuse_reply_err(request, EINVAL);
                return;
        }
        struct zp_blockfs_read *read = malloc(sizeof *read);
        if (!read) {
                fuse_reply_err(request, ENOMEM);
                return;
        }
        *read = (struct zp_blockfs_read){ request, hold_request(server) };
        server->ops->read(server->context, id, (uint64_t) offset, (uint32_t) size, read);
}

static const struct fuse_lowlevel_ops operations = {
        .init = on_init,
        .lookup = on_lookup,
        .getattr = on_getattr,
        .open = on_open,
        .readdir = on_readdir,
        .read = on_read,
};

static void end_read(struct zp_blockfs_read *read, struct zp_blockfs_server *server) {
        struct zp_journal_slot *slot = read->slot;
        free(read);
        end_held(server, slot);
}

void zp_blockfs_answer_error(struct zp_blockfs_read *read, int code) {
        struct zp_blockfs_server *server = fuse_req_userdata(read->request);
        fuse_reply_err(read->request, code);
        end_read(read, server);
}

void zp_blockfs_answer_data(struct zp_blockfs_read *read, const void *data, size_t size) {
        struct zp_blockfs_server *server = fuse_req_userdata(read->request);
        fuse_reply_buf(read->request, data, size);
        end_read(read, server);
}

void zp_blockfs_answer_file(struct zp_blockfs_read *read, int fd, uint64_t offset, size_t size) {
        struct zp_blockfs_server *server = fuse_req_userdata(read->request);
        struct fuse_bufvec bytes = FUSE_BUFVEC_INIT(size);
        bytes.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
        bytes.buf[0].fd = fd;
        bytes.buf[0].pos = (off_t) offset;
        /* What cannot be read of the file, libfuse answers as an error. What the kernel does not take has nobody who
         * waits: the request, or the whole file system, is gone. */
        (void) fuse_reply_data(read->request, &bytes, 0);
        end_read(read, server);
}

/* Once the kernel has taken a request from its queue it must be able to store it: when the page of the buffer is not
 * there and this process is being killed, the page cannot be had, and the kernel fails the request for good. So the
 * page is touched first. Requests but for FORGET are shorter than what is touched. */
static ssize_t read_request(int fd, void *buffer, size_t size, void *userdata) {
        struct zp_blockfs_server *server = userdata;
        struct zp_blockfs_thread *thread = &zp_blockfs_thread;
        if (server->journal)
                return zp_journal_read(server->journal, thread->number, fd, buffer, size, &thread->slot);
        for (size_t at = 0; at < size && at <= 4096; at += 4096)
                ((volatile char *) buffer)[at] = 0;
        return read(fd, buffer, size);
}

static ssize_t write_answer(int fd, struct iovec *parts, int count, void *userdata) {
        struct zp_blockfs_server *server = userdata;
        if (!server->is_mute)
                return writev(fd, parts, count);
        size_t size = 0;
        for (int i = 0; i < count; i++)
                size += parts[i].iov_len;
        return (ssize_t) size;
}

static ssize_t splice_answer(int in, off_t *in_offset, int out, off_t *out_offset, size_t size, unsigned flags,
                             void *userdata) {
        (void) userdata;
        return splice(in, in_offset, out, out_offset, size, flags);
}

static const struct fuse_custom_io io = {
        .writev = write_answer,
        .read = read_request,
        .splice_send = splice_answer,
};

int zp_blockfs_attach(struct zp_blockfs_server *server, int fuse_fd, struct zp_error *err) {
        char *arguments[] = { (char *) "zeropull", NULL };
        struct fuse_args args = FUSE_ARGS_INIT(1, arguments);
        pthread_mutex_init(&server->lock, NULL);
        pthread_cond_init(&server->answered, NULL);
        zp_autoclose int fd = fcntl(fuse_fd, F_DUPFD_CLOEXEC, 3);
        if (fd < 0)
                return zp_error_errno(err, errno, "FUSE: descriptor");
        server->session = fuse_session_new(&args, &operations, sizeof operations, server);
        fuse_opt_free_args(&args);
        if (!server->session)
                return zp_error_set(err, ENOMEM, "FUSE: cannot make a session");
        int r = fuse_session_custom_io(server->session, &io, fd);
        if (r < 0)
                return zp_error_errno(err, -r, "FUSE: session");
        zp_steal_fd(&fd); /* now the session's */
        return 0;
}

void zp_blockfs_detach(struct zp_blockfs_server *server) {
        if (server->session)
                fuse_session_destroy(server->session);
        pthread_cond_destroy(&server->answered);
        pthread_mutex_destroy(&server->lock);
}
