/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/control/walk.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"

/* A directory on the way down. */
struct level {
        dev_t device;
        ino_t inode;
        char **names; /* subdirectories still to be walked; the last one is under way */
        size_t count, room;
};

struct walk {
        const struct snap_walker *walker;
        struct level *levels;
        size_t depth, room;
        int root_fd;
        int fd; /* of the deepest level */
        struct zp_error *err;
};

static int add_name(struct walk *w, struct level *level, const char *name) {
        if (level->count == level->room) {
                size_t room = level->room ? 2 * level->room : 8;
                char **names = reallocarray(level->names, room, sizeof *names);
                if (!names)
                        return zp_error_errno(w->err, ENOMEM, "walk");
                level->names = names;
                level->room = room;
        }
        level->names[level->count] = strdup(name);
        if (!level->names[level->count])
                return zp_error_errno(w->err, ENOMEM, "walk");
        level->count++;
        return 0;
}

static int visit_entry(struct walk *w, struct level *level, const char *name) {
        struct stat st;
        if (fstatat(w->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : zp_error_errno(w->err, errno, "'%s'", name);
        int r = w->walker->enter(w->walker->context, w->fd, name, &st, w->err);
        if (r == 0 && S_ISDIR(st.st_mode) && st.st_dev == level->device)
                r = add_name(w, level, name);
        return r;
}

/* Visits what is in the directory w->fd, which becomes the deepest level. */
static int list_level(struct walk *w) {
        struct stat st;
        if (w->depth == w->room) {
                size_t room = w->room ? 2 * w->room : 16;
                struct level *levels = reallocarray(w->levels, room, sizeof *levels);
                if (!levels)
                        return zp_error_errno(w->err, ENOMEM, "walk");
                w->levels = levels;
                w->room = room;
        }
        if (fstat(w->fd, &st) < 0)
                return zp_error_errno(w->err, errno, "walk");
        struct level *level = &w->levels[w->depth++];
        *level = (struct level){ .device = st.st_dev, .inode = st.st_ino };
        zp_autoclosedir DIR *dir = zp_open_listing(w->fd, ".");
        if (!dir)
                return zp_error_errno(w->err, errno, "walk");
        int r = zp_check_cancel(w->walker->cancel, w->err);
        for (struct dirent *entry; r == 0 && (entry = zp_next_entry(dir));)
                r = visit_entry(w, level, entry->d_name);
        return r;
}

/* 1: went down into the next subdirectory, 0: it is not there any more. */
static int go_down(struct walk *w, const char *name) {
        int fd = openat(w->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT || errno == ENOTDIR || errno == ELOOP
                               ? 0
                               : zp_error_errno(w->err, errno, "'%s'", name);
        close(w->fd);
        w->fd = fd;
        return 1;
}

static void drop_name(struct level *level) {
        free(level->names[--level->count]);
}

static void drop_levels(struct walk *w, size_t depth) {
        while (w->depth > depth) {
                struct level *level = &w->levels[--w->depth];
                while (level->count > 0)
                        drop_name(level);
                free(level->names);
        }
}

/* What is at `name` if it is this level; -1: it is not. */
static int open_level(int dir_fd, const char *name, const struct level *level) {
        struct stat st;
        zp_autoclose int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        bool is_it = fd >= 0 && fstat(fd, &st) == 0 && st.st_dev == level->device && st.st_ino == level->inode;
        return is_it ? zp_steal_fd(&fd) : -1;
}

/* From the root down to where the levels are still as they were: what was moved away is passed over, with all that was
 * to come in it. */
static int come_back(struct walk *w) {
        zp_autoclose int fd = fcntl(w->root_fd, F_DUPFD_CLOEXEC, 0);
        if (fd < 0)
                return zp_error_errno(w->err, errno, "walk");
        size_t depth = 1;
        for (; depth < w->depth; depth++) {
                const struct level *above = &w->levels[depth - 1];
                int next = open_level(fd, above->names[above->count - 1], &w->levels[depth]);
                if (next < 0)
                        break;
                close(fd);
                fd = next;
        }
        drop_levels(w, depth);
        close(w->fd);
        w->fd = zp_steal_fd(&fd);
        return 0;
}

/* A directory that was moved away meanwhile has another parent. */
static int go_up(struct walk *w) {
        int fd = open_level(w->fd, "..", &w->levels[w->depth - 1]);
        if (fd < 0)
                return come_back(w);
        close(w->fd);
        w->fd = fd;
        return 0;
}

/* The directory above is the deepest level now, and done with the one that was left. */
static int leave(struct walk *w) {
        struct level *level = &w->levels[w->depth - 1];
        int r = w->walker->leave ? w->walker->leave(w->walker->context, w->fd, level->names[level->count - 1], w->err)
                                 : 0;
        drop_name(level);
        return r;
}

static int walk_down(struct walk *w) {
        int r = list_level(w);
        while (r >= 0 && w->depth > 0) {
                struct level *level = &w->levels[w->depth - 1];
                if (level->count > 0) {
                        r = go_down(w, level->names[level->count - 1]);
                        if (r == 1)
                                r = list_level(w);
                        else if (r == 0)
                                drop_name(level);
                        continue;
                }
                drop_levels(w, w->depth - 1);
                r = w->depth > 0 ? go_up(w) : 0;
                if (r == 0 && w->depth > 0)
                        r = leave(w);
        }
        return r;
}

int snap_walk(int dir_fd, const char *name, const struct snap_walker *walker, struct zp_error *err) {
        zp_autoclose int root_fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        struct walk w = { .walker = walker, .root_fd = root_fd, .err = err };
        struct stat st;
        if (root_fd < 0 || fstat(root_fd, &st) < 0 || (w.fd = fcntl(root_fd, F_DUPFD_CLOEXEC, 0)) < 0)
                return zp_error_errno(err, errno, "'%s'", name);
        int r = walker->enter(walker->context, w.fd, ".", &st, err);
        if (r == 0)
                r = walk_down(&w);
        drop_levels(&w, 0);
        free(w.levels);
        close(w.fd);
        return r < 0 ? zp_error_wrap(err, "walk '%s'", name) : 0;
}

/* ---- usage ---- */

struct counted {
        dev_t device;
        ino_t inode;
};

/* Files with several names, open addressing; {0, 0} is free. */
struct counting {
        struct snap_usage usage;
        struct counted *seen;
        size_t count, room;
};

static size_t place_of(const struct counting *c, const struct stat *st) {
        size_t at = (size_t) ((st->st_ino * UINT64_C(0x9e3779b97f4a7c15)) >> 20) & (c->room - 1);
        while (c->seen[at].inode && (c->seen[at].inode != st->st_ino || c->seen[at].device != st->st_dev))
                at = (at + 1) & (c->room - 1);
        return at;
}

static int grow(struct counting *c, struct zp_error *err) {
        struct counting bigger = *c;
        bigger.room = c->room ? 2 * c->room : 64;
        bigger.seen = calloc(bigger.room, sizeof *bigger.seen);
        if (!bigger.seen)
                return zp_error_errno(err, ENOMEM, "disk usage");
        for (size_t i = 0; i < c->room; i++)
                if (c->seen[i].inode) {
                        struct stat st = { .st_dev = c->seen[i].device, .st_ino = c->seen[i].inode };
                        bigger.seen[place_of(&bigger, &st)] = c->seen[i];
                }
        free(c->seen);
        *c = bigger;
        return 0;
}

static int count_entry(void *context, int dir_fd, const char *name, const struct stat *st, struct zp_error *err) {
        struct counting *c = context;
        (void) dir_fd;
        (void) name;
        if (!S_ISDIR(st->st_mode) && st->st_nlink > 1) {
                int r = c->count >= c->room / 2 ? grow(c, err) : 0;
                if (r < 0)
                        return r;
                size_t at = place_of(c, st);
                if (c->seen[at].inode)
                        return 0;
                c->seen[at] = (struct counted){ st->st_dev, st->st_ino };
                c->count++;
        }
        c->usage.size += (uint64_t) st->st_blocks * 512;
        c->usage.inodes++;
        return 0;
}

int snap_disk_usage(int dir_fd, const char *name, const struct zp_cancel *cancel, struct snap_usage *out,
                    struct zp_error *err) {
        struct counting counting = { 0 };
        struct snap_walker walker = { .enter = count_entry, .context = &counting, .cancel = cancel };
        int r = snap_walk(dir_fd, name, &walker, err);
        free(counting.seen);
        *out = counting.usage;
        return r;
}

/* ---- removal ---- */

static int remove_one(void *context, int dir_fd, const char *name, int flags) {
        struct zp_error *first = context;
        if (unlinkat(dir_fd, name, flags) < 0 && errno != ENOENT && !first->code)
                zp_error_errno(first, errno, "remove '%s'", name);
        return 0;
}

static int remove_file(void *context, int dir_fd, const char *name, const struct stat *st, struct zp_error *err) {
        (void) err;
        return S_ISDIR(st->st_mode) ? 0 : remove_one(context, dir_fd, name, 0);
}

static int remove_directory(void *context, int dir_fd, const char *name, struct zp_error *err) {
        (void) err;
        return remove_one(context, dir_fd, name, AT_REMOVEDIR);
}

int snap_remove_tree(int dir_fd, const char *name, const struct zp_cancel *cancel, struct zp_error *err) {
        struct zp_error first = { 0 };
        struct snap_walker walker = {
                .enter = remove_file, .leave = remove_directory, .context = &first, .cancel = cancel
        };
        struct stat st;
        if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : zp_error_errno(err, errno, "'%s'", name);
        if (S_ISDIR(st.st_mode)) {
                int r = snap_walk(dir_fd, name, &walker, err);
                if (r < 0)
                        return r;
        }
        remove_one(&first, dir_fd, name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0);
        if (first.code && err)
                *err = first;
        return first.code ? -first.code : 0;
}
