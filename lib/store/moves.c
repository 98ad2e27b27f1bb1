/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/file.h"
#include "store/store-internal.h"

/* GONE: removed in place, which no undo brings back; the next sweep then drops the record. */
enum move_kind { MOVED_OUT, MOVED_IN, EXCHANGED, GONE };

struct zp_move {
        enum move_kind kind;
        int dir_fd; /* devices/, layers/, images/ or unpacked/ */
        char name[NAME_MAX + 1];
        char tmp_name[NAME_MAX + 1];
        int lock_fd; /* keeps sweepers off what now lies in tmp/, until the transaction has ended */
};

static int grow(struct zp_store *store, struct zp_moves *moves, enum move_kind kind, int dir_fd, const char *name,
                const char *tmp_name, struct zp_move **out, struct zp_error *err) {
        struct zp_move *items = reallocarray(moves->items, moves->count + 1, sizeof *items);
        if (!items)
                return zp_error_errno(err, ENOMEM, "store '%s'", store->path);
        moves->items = items;
        struct zp_move *move = &items[moves->count];
        *move = (struct zp_move){ .kind = kind, .dir_fd = dir_fd, .lock_fd = -1 };
        snprintf(move->name, sizeof move->name, "%s", name);
        snprintf(move->tmp_name, sizeof move->tmp_name, "%s", tmp_name);
        *out = move;
        return 0;
}

/* Something that is not a directory cannot be locked so, but then nobody misses it either. */
static int lock_directory(int dir_fd, const char *name) {
        int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0)
                (void) flock(fd, LOCK_EX | LOCK_NB); /* held by another: as good */
        return fd;
}

static int done(struct zp_store *store, struct zp_moves *moves, struct zp_move *move, int result,
                struct zp_error *err) {
        if (result == 0) {
                moves->count++;
                return 0;
        }
        int code = zp_store_failed(store, move->name, err);
        if (move->lock_fd >= 0)
                close(move->lock_fd);
        return code;
}

/* A directory from a lower layer of an overlayfs (a store that came with a container's image) cannot be renamed. As
 * rename(2), fails with errno. */
static int remove_in_place(struct zp_move *move) {
        int r = zp_remove_tree(move->dir_fd, move->name, NULL);
        move->kind = GONE;
        errno = -r;
        return r < 0 ? -1 : 0;
}

int zp_moves_out(struct zp_store *store, struct zp_moves *moves, int dir_fd, const char *name, struct zp_error *err) {
        struct stat st;
        if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : zp_error_errno(err, errno, "store '%s': '%s'", store->path, name);
        char tmp_name[ZP_TMP_NAME_SIZE];
        zp_tmp_name(tmp_name);
        struct zp_move *move;
        int r = grow(store, moves, MOVED_OUT, dir_fd, name, tmp_name, &move, err);
        if (r < 0)
                return r;
        move->lock_fd = lock_directory(dir_fd, name);
        r = renameat(dir_fd, name, store->tmp_fd, tmp_name);
        if (r < 0 && errno == EXDEV)
                r = remove_in_place(move);
        return done(store, moves, move, r, err);
}

int zp_moves_in(struct zp_store *store, struct zp_moves *moves, const char *tmp_name, int dir_fd, const char *name,
                struct zp_error *err) {
        struct stat st;
        bool occupied = fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
        struct zp_move *move;
        int r = grow(store, moves, occupied ? EXCHANGED : MOVED_IN, dir_fd, name, tmp_name, &move, err);
        if (r < 0)
                return r;
        if (occupied)
                move->lock_fd = lock_directory(dir_fd, name);
        r = renameat2(store->tmp_fd, tmp_name, dir_fd, name, occupied ? RENAME_EXCHANGE : RENAME_NOREPLACE);
        if (r < 0 && errno == EXDEV && occupied) {
                r = remove_in_place(move);
                move->kind = MOVED_IN;
                if (r == 0)
                        r = renameat2(store->tmp_fd, tmp_name, dir_fd, name, RENAME_NOREPLACE);
        }
        return done(store, moves, move, r, err);
}

int zp_moves_join(struct zp_store *store, struct zp_moves *moves, struct zp_moves *from, struct zp_error *err) {
        if (from->count == 0)
                return 0;
        struct zp_move *items = reallocarray(moves->items, moves->count + from->count, sizeof *items);
        if (!items)
                return zp_error_errno(err, ENOMEM, "store '%s'", store->path);
        memcpy(&items[moves->count], from->items, from->count * sizeof *items);
        moves->items = items;
        moves->count += from->count;
        free(from->items);
        *from = (struct zp_moves){ 0 };
        return 0;
}

/* What was moved in, and is in tmp/ again. */
static void remove_new(struct zp_store *store, const struct zp_moves *moves, const struct zp_move *move) {
        if (moves->owns_new)
                zp_remove_tree(store->tmp_fd, move->tmp_name, NULL);
}

void zp_moves_undo(struct zp_store *store, struct zp_moves *moves) {
        for (size_t i = moves->count; i-- > 0;) {
                struct zp_move *move = &moves->items[i];
                /* What cannot be taken back is put right by the next sweep: a directory without a record
                 * goes, a record without a directory goes. */
                switch (move->kind) {
                case MOVED_OUT:
                        (void) renameat2(store->tmp_fd, move->tmp_name, move->dir_fd, move->name, RENAME_NOREPLACE);
                        break;
                case MOVED_IN:
                        (void) renameat2(move->dir_fd, move->name, store->tmp_fd, move->tmp_name, RENAME_NOREPLACE);
                        remove_new(store, moves, move);
                        break;
                case EXCHANGED:
                        if (renameat2(move->dir_fd, move->name, store->tmp_fd, move->tmp_name, RENAME_EXCHANGE) == 0)
                                remove_new(store, moves, move);
                        break;
                case GONE:
                        break;
                }
                if (move->lock_fd >= 0)
                        close(move->lock_fd);
        }
        moves->count = 0;
}

void zp_moves_finish(struct zp_store *store, struct zp_moves *moves) {
        for (size_t i = 0; i < moves->count; i++) {
                struct zp_move *move = &moves->items[i];
                /* What cannot be removed now is left to the next sweep. */
                if (move->kind == MOVED_OUT || move->kind == EXCHANGED)
                        zp_remove_tree(store->tmp_fd, move->tmp_name, NULL);
                if (move->lock_fd >= 0)
                        close(move->lock_fd);
        }
        free(moves->items);
        *moves = (struct zp_moves){ 0 };
}
