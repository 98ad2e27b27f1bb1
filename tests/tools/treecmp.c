/* SPDX-License-Identifier: Apache-2.0
 *
 * treecmp LEFT RIGHT: compares two directory trees entry by entry, as a process sees them: what readdir
 * lists and with which type, mode, owner, size, mtime, link count, hard-link groups, device number, link
 * target, extended attributes and content. LEFT is the reference. Prints one difference a line; exit
 * status 0: the same, 1: they differ, 2: could not compare.
 *
 * Not compared, because the file systems define it: atime, ctime, inode numbers, and of directories the
 * size and link count (overlayfs reports 1 for merged ones). trusted.overlay.* is overlayfs's own.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define XATTR_LIST_SIZE (64u << 10)
#define XATTR_VALUE_SIZE (64u << 10)
#define CONTENT_BUFFER (256u << 10)

enum side { LEFT, RIGHT, SIDES };
static const char *const side_names[SIDES] = { "left", "right" };

struct entry {
        char *name;
        unsigned char d_type;
};

struct listing {
        struct entry *entries; /* sorted by name */
        size_t count, capacity;
};

/* (device, inode) → number of the entry at which it was first seen */
struct link_slot {
        dev_t dev;
        ino_t ino;
        uint64_t first; /* 0: free */
};

struct link_map {
        struct link_slot *slots;
        size_t capacity, count;
};

struct comparison {
        bool skip_late_dir_mtime;
        int64_t dir_mtime_limit;
        bool skip_d_type;
        uint64_t max_printed;
        uint64_t differences;
        uint64_t entries;
        struct link_map links[SIDES];
        char *path; /* of the entry at hand, relative to the roots */
        size_t path_size, path_capacity;
};

static void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
static void fail(const char *format, ...) {
        va_list args;
        fputs("treecmp: ", stderr);
        va_start(args, format);
        vfprintf(stderr, format, args);
        va_end(args);
        fputc('\n', stderr);
        exit(2);
}

static void *must_realloc(void *old, size_t count, size_t size) {
        void *memory = reallocarray(old, count, size);
        if (!memory)
                fail("out of memory");
        return memory;
}

/* Names may hold any byte: everything that is not plain ASCII is shown as \xNN, so that lines stay lines. */
static void print_escaped(const char *text, size_t size) {
        for (size_t i = 0; i < size; i++) {
                unsigned char c = (unsigned char) text[i];
                if (c < 0x20 || c >= 0x7f || c == '\\')
                        printf("\\x%02x", c);
                else
                        putchar(c);
        }
}

static void differ(struct comparison *cmp, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void differ(struct comparison *cmp, const char *format, ...) {
        va_list args;
        if (cmp->differences++ >= cmp->max_printed)
                return;
        print_escaped(cmp->path_size ? cmp->path : ".", cmp->path_size ? cmp->path_size : 1);
        fputs(": ", stdout);
        va_start(args, format);
        vprintf(format, args);
        va_end(args);
        putchar('\n');
}

static size_t path_push(struct comparison *cmp, const char *name) {
        size_t before = cmp->path_size, add = strlen(name);
        if (before + add + 2 > cmp->path_capacity) {
                cmp->path_capacity = (before + add + 2) * 2;
                cmp->path = must_realloc(cmp->path, cmp->path_capacity, 1);
        }
        if (before)
                cmp->path[cmp->path_size++] = '/';
        memcpy(cmp->path + cmp->path_size, name, add + 1);
        cmp->path_size += add;
        return before;
}

static void path_pop(struct comparison *cmp, size_t before) {
        cmp->path_size = before;
        cmp->path[before] = '\0';
}

static struct link_slot *link_find(struct link_map *map, dev_t dev, ino_t ino) {
        size_t i = (size_t) (ino * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (map->capacity - 1);
        while (map->slots[i].first && (map->slots[i].dev != dev || map->slots[i].ino != ino))
                i = (i + 1) & (map->capacity - 1);
        return &map->slots[i];
}

static void link_map_grow(struct link_map *map) {
        struct link_map bigger = { .capacity = map->capacity ? map->capacity * 2 : 1024, .count = map->count };
        bigger.slots = calloc(bigger.capacity, sizeof(*bigger.slots));
        if (!bigger.slots)
                fail("out of memory");
        for (size_t i = 0; i < map->capacity; i++)
                if (map->slots[i].first)
                        *link_find(&bigger, map->slots[i].dev, map->slots[i].ino) = map->slots[i];
        free(map->slots);
        *map = bigger;
}

/* The number of the first entry that is this inode; `number` when it is this one. */
static uint64_t link_first(struct link_map *map, const struct stat *st, uint64_t number) {
        if (map->count * 2 >= map->capacity)
                link_map_grow(map);
        struct link_slot *slot = link_find(map, st->st_dev, st->st_ino);
        if (!slot->first) {
                *slot = (struct link_slot){ st->st_dev, st->st_ino, number };
                map->count++;
        }
        return slot->first;
}

static int compare_names(const void *a, const void *b) {
        return strcmp(((const struct entry *) a)->name, ((const struct entry *) b)->name);
}

static void listing_read(int fd, enum side side, const struct comparison *cmp, struct listing *out) {
        int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *dir = copy < 0 ? NULL : fdopendir(copy);
        if (!dir)
                fail("%s: cannot list '%s': %s", side_names[side], cmp->path, strerror(errno));
        for (;;) {
                errno = 0;
                struct dirent *d = readdir(dir);
                if (!d)
                        break;
                if (out->count == out->capacity) {
                        out->capacity = out->capacity ? out->capacity * 2 : 64;
                        out->entries = must_realloc(out->entries, out->capacity, sizeof(*out->entries));
                }
                char *name = strdup(d->d_name);
                if (!name)
                        fail("out of memory");
                out->entries[out->count++] = (struct entry){ name, d->d_type };
        }
        if (errno)
                fail("%s: readdir '%s': %s", side_names[side], cmp->path, strerror(errno));
        closedir(dir);
        if (out->count)
                qsort(out->entries, out->count, sizeof(*out->entries), compare_names);
}

static void listing_free(struct listing *listing) {
        for (size_t i = 0; i < listing->count; i++)
                free(listing->entries[i].name);
        free(listing->entries);
}

static void check_duplicates(struct comparison *cmp, const struct listing *listing, enum side side) {
        for (size_t i = 1; i < listing->count; i++) {
                if (strcmp(listing->entries[i - 1].name, listing->entries[i].name) != 0)
                        continue;
                size_t before = path_push(cmp, listing->entries[i].name);
                differ(cmp, "%s: readdir lists it twice", side_names[side]);
                path_pop(cmp, before);
        }
}

/* A path through /proc works at any depth, where a path from the root would be too long. */
static void proc_path(char *out, size_t size, int dir, const char *name) {
        snprintf(out, size, "/proc/self/fd/%d/%s", dir, name);
}

static int compare_strings(const void *a, const void *b) {
        return strcmp(*(const char *const *) a, *(const char *const *) b);
}

struct xattr_names {
        char *buffer;
        const char **names; /* sorted */
        size_t count;
};

static void xattr_names_read(const char *path, enum side side, const struct comparison *cmp, struct xattr_names *out) {
        out->buffer = must_realloc(NULL, XATTR_LIST_SIZE, 1);
        ssize_t size = llistxattr(path, out->buffer, XATTR_LIST_SIZE);
        if (size < 0 && errno == ENOTSUP)
                size = 0;
        if (size < 0)
                fail("%s: listxattr '%s': %s", side_names[side], cmp->path, strerror(errno));
        out->names = must_realloc(NULL, (size_t) size + 1, sizeof(*out->names));
        for (char *name = out->buffer; name < out->buffer + size; name += strlen(name) + 1)
                if (strncmp(name, "trusted.overlay.", strlen("trusted.overlay.")) != 0)
                        out->names[out->count++] = name;
        if (out->count)
                qsort(out->names, out->count, sizeof(*out->names), compare_strings);
}

static void xattr_names_free(struct xattr_names *names) {
        free(names->names);
        free(names->buffer);
}

static void compare_xattr_value(struct comparison *cmp, char paths[SIDES][320], const char *name) {
        static char values[SIDES][XATTR_VALUE_SIZE];
        ssize_t sizes[SIDES];
        for (int side = 0; side < SIDES; side++) {
                sizes[side] = lgetxattr(paths[side], name, values[side], XATTR_VALUE_SIZE);
                if (sizes[side] < 0) {
                        differ(cmp, "xattr %s: %s lists it but getxattr fails: %s", name, side_names[side],
                               strerror(errno));
                        return;
                }
        }
        if (sizes[LEFT] != sizes[RIGHT] || memcmp(values[LEFT], values[RIGHT], (size_t) sizes[LEFT]) != 0)
                differ(cmp, "xattr %s: values differ (%zd and %zd bytes)", name, sizes[LEFT], sizes[RIGHT]);
}

static void compare_xattrs(struct comparison *cmp, const int dirs[SIDES], const char *name) {
        char paths[SIDES][320];
        struct xattr_names names[SIDES] = { 0 };
        for (int side = 0; side < SIDES; side++) {
                proc_path(paths[side], sizeof(paths[side]), dirs[side], name);
                xattr_names_read(paths[side], (enum side) side, cmp, &names[side]);
        }
        size_t i = 0, j = 0;
        while (i < names[LEFT].count || j < names[RIGHT].count) {
                int order = i == names[LEFT].count    ? 1
                            : j == names[RIGHT].count ? -1
                                                      : strcmp(names[LEFT].names[i], names[RIGHT].names[j]);
                if (order < 0) {
                        differ(cmp, "xattr %s: only on the left", names[LEFT].names[i++]);
                } else if (order > 0) {
                        differ(cmp, "xattr %s: only on the right", names[RIGHT].names[j++]);
                } else {
                        compare_xattr_value(cmp, paths, names[LEFT].names[i]);
                        i++, j++;
                }
        }
        for (int side = 0; side < SIDES; side++)
                xattr_names_free(&names[side]);
}

static void compare_targets(struct comparison *cmp, const int dirs[SIDES], const char *name) {
        static char targets[SIDES][64 << 10];
        ssize_t sizes[SIDES];
        for (int side = 0; side < SIDES; side++) {
                sizes[side] = readlinkat(dirs[side], name, targets[side], sizeof(targets[side]));
                if (sizes[side] < 0) {
                        differ(cmp, "%s: readlink: %s", side_names[side], strerror(errno));
                        return;
                }
        }
        if (sizes[LEFT] != sizes[RIGHT] || memcmp(targets[LEFT], targets[RIGHT], (size_t) sizes[LEFT]) != 0)
                differ(cmp, "symlink targets differ (%zd and %zd bytes)", sizes[LEFT], sizes[RIGHT]);
}

/* Reads until the buffer is full or the file ends. */
static ssize_t read_full(int fd, char *buffer, size_t size) {
        size_t done = 0;
        while (done < size) {
                ssize_t n = read(fd, buffer + done, size - done);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -1;
                if (n == 0)
                        break;
                done += (size_t) n;
        }
        return (ssize_t) done;
}

static void compare_open_files(struct comparison *cmp, const int fds[SIDES]) {
        static char buffers[SIDES][CONTENT_BUFFER];
        for (uint64_t offset = 0;; offset += CONTENT_BUFFER) {
                ssize_t sizes[SIDES];
                for (int side = 0; side < SIDES; side++) {
                        sizes[side] = read_full(fds[side], buffers[side], CONTENT_BUFFER);
                        if (sizes[side] < 0) {
                                differ(cmp, "%s: read near %" PRIu64 ": %s", side_names[side], offset, strerror(errno));
                                return;
                        }
                }
                size_t common = (size_t) (sizes[LEFT] < sizes[RIGHT] ? sizes[LEFT] : sizes[RIGHT]);
                if (memcmp(buffers[LEFT], buffers[RIGHT], common) != 0) {
                        size_t at = 0;
                        while (buffers[LEFT][at] == buffers[RIGHT][at])
                                at++;
                        differ(cmp, "contents differ from byte %" PRIu64, offset + at);
                        return;
                }
                if (sizes[LEFT] != sizes[RIGHT]) {
                        differ(cmp, "contents end at different places near %" PRIu64, offset + common);
                        return;
                }
                if (common < CONTENT_BUFFER)
                        return;
        }
}

static void compare_contents(struct comparison *cmp, const int dirs[SIDES], const char *name) {
        int fds[SIDES] = { -1, -1 };
        bool opened = true;
        for (int side = 0; side < SIDES; side++) {
                fds[side] = openat(dirs[side], name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY);
                if (fds[side] < 0) {
                        differ(cmp, "%s: open: %s", side_names[side], strerror(errno));
                        opened = false;
                }
        }
        if (opened)
                compare_open_files(cmp, fds);
        for (int side = 0; side < SIDES; side++)
                if (fds[side] >= 0)
                        close(fds[side]);
}

static void compare_mtimes(struct comparison *cmp, const struct stat *left, const struct stat *right) {
        if (S_ISDIR(left->st_mode) && cmp->skip_late_dir_mtime && left->st_mtim.tv_sec >= cmp->dir_mtime_limit)
                return;
        if (left->st_mtim.tv_sec != right->st_mtim.tv_sec || left->st_mtim.tv_nsec != right->st_mtim.tv_nsec)
                differ(cmp, "mtime %" PRId64 ".%09ld and %" PRId64 ".%09ld", (int64_t) left->st_mtim.tv_sec,
                       left->st_mtim.tv_nsec, (int64_t) right->st_mtim.tv_sec, right->st_mtim.tv_nsec);
}

/* What stat shows; false when the types differ, so that nothing further can be compared. */
static bool compare_attributes(struct comparison *cmp, const struct stat *left, const struct stat *right) {
        if ((left->st_mode & S_IFMT) != (right->st_mode & S_IFMT)) {
                differ(cmp, "type %06o and %06o", left->st_mode & S_IFMT, right->st_mode & S_IFMT);
                return false;
        }
        if (left->st_mode != right->st_mode)
                differ(cmp, "mode %04o and %04o", left->st_mode & 07777, right->st_mode & 07777);
        if (left->st_uid != right->st_uid)
                differ(cmp, "uid %u and %u", left->st_uid, right->st_uid);
        if (left->st_gid != right->st_gid)
                differ(cmp, "gid %u and %u", left->st_gid, right->st_gid);
        compare_mtimes(cmp, left, right);
        if (S_ISDIR(left->st_mode))
                return true;
        if (left->st_size != right->st_size)
                differ(cmp, "size %" PRId64 " and %" PRId64, (int64_t) left->st_size, (int64_t) right->st_size);
        if (left->st_nlink != right->st_nlink)
                differ(cmp, "link count %ju and %ju", (uintmax_t) left->st_nlink, (uintmax_t) right->st_nlink);
        if ((S_ISCHR(left->st_mode) || S_ISBLK(left->st_mode)) && left->st_rdev != right->st_rdev)
                differ(cmp, "device %u:%u and %u:%u", major(left->st_rdev), minor(left->st_rdev), major(right->st_rdev),
                       minor(right->st_rdev));
        return true;
}

static void compare_link_groups(struct comparison *cmp, const struct stat stats[SIDES]) {
        uint64_t first[SIDES];
        for (int side = 0; side < SIDES; side++)
                first[side] = link_first(&cmp->links[side], &stats[side], cmp->entries);
        if (first[LEFT] != first[RIGHT])
                differ(cmp, "hard-link group differs (first name is entry %" PRIu64 " and %" PRIu64 ")", first[LEFT],
                       first[RIGHT]);
}

static void compare_directory(struct comparison *cmp, const int dirs[SIDES]);

static void compare_subdirectory(struct comparison *cmp, const int dirs[SIDES], const char *name) {
        int fds[SIDES];
        for (int side = 0; side < SIDES; side++) {
                fds[side] = openat(dirs[side], name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (fds[side] < 0)
                        fail("%s: open '%s': %s", side_names[side], cmp->path, strerror(errno));
        }
        compare_directory(cmp, fds);
        for (int side = 0; side < SIDES; side++)
                close(fds[side]);
}

static void compare_entry(struct comparison *cmp, const int dirs[SIDES], const char *name,
                          const struct stat stats[SIDES]) {
        cmp->entries++;
        if (!compare_attributes(cmp, &stats[LEFT], &stats[RIGHT]))
                return;
        compare_xattrs(cmp, dirs, name);
        if (S_ISDIR(stats[LEFT].st_mode)) {
                compare_subdirectory(cmp, dirs, name);
                return;
        }
        if (stats[LEFT].st_nlink > 1 || stats[RIGHT].st_nlink > 1)
                compare_link_groups(cmp, stats);
        if (S_ISLNK(stats[LEFT].st_mode))
                compare_targets(cmp, dirs, name);
        else if (S_ISREG(stats[LEFT].st_mode))
                compare_contents(cmp, dirs, name);
}

/* An overlayfs directory may list a name that is not there (a whiteout in a directory that is not merged):
 * for the left side such a name counts as absent. */
static bool entry_stat(struct comparison *cmp, int dir, const struct entry *entry, enum side side, struct stat *st) {
        if (fstatat(dir, entry->name, st, AT_SYMLINK_NOFOLLOW) == 0)
                return true;
        if (errno != ENOENT || side == RIGHT)
                differ(cmp, "%s: listed, but stat fails: %s", side_names[side], strerror(errno));
        return false;
}

static void compare_present(struct comparison *cmp, const int dirs[SIDES], const struct entry *left,
                            const struct entry *right) {
        struct stat stats[SIDES];
        bool has_left = left && entry_stat(cmp, dirs[LEFT], left, LEFT, &stats[LEFT]);
        bool has_right = right && entry_stat(cmp, dirs[RIGHT], right, RIGHT, &stats[RIGHT]);
        if (has_left != has_right)
                differ(cmp, "only on the %s", has_left ? "left" : "right");
        if (!has_left || !has_right)
                return;
        if (left->d_type != right->d_type && !cmp->skip_d_type)
                differ(cmp, "readdir type %u and %u", left->d_type, right->d_type);
        if (strcmp(left->name, ".") != 0 && strcmp(left->name, "..") != 0)
                compare_entry(cmp, dirs, left->name, stats);
}

static void compare_directory(struct comparison *cmp, const int dirs[SIDES]) {
        struct listing listings[SIDES] = { 0 };
        for (int side = 0; side < SIDES; side++) {
                listing_read(dirs[side], (enum side) side, cmp, &listings[side]);
                check_duplicates(cmp, &listings[side], (enum side) side);
        }
        const struct listing *l = &listings[LEFT], *r = &listings[RIGHT];
        size_t i = 0, j = 0;
        while (i < l->count || j < r->count) {
                int order = i == l->count ? 1 : j == r->count ? -1 : strcmp(l->entries[i].name, r->entries[j].name);
                size_t before = path_push(cmp, order <= 0 ? l->entries[i].name : r->entries[j].name);
                compare_present(cmp, dirs, order <= 0 ? &l->entries[i] : NULL, order >= 0 ? &r->entries[j] : NULL);
                path_pop(cmp, before);
                i += order <= 0;
                j += order >= 0;
        }
        for (int side = 0; side < SIDES; side++)
                listing_free(&listings[side]);
}

/* One directory deep costs two descriptors. */
static void raise_descriptor_limit(void) {
        struct rlimit limit;
        if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
                limit.rlim_cur = limit.rlim_max;
                setrlimit(RLIMIT_NOFILE, &limit);
        }
}

static void compare_roots(struct comparison *cmp, char *const paths[SIDES]) {
        int fds[SIDES];
        struct stat stats[SIDES];
        for (int side = 0; side < SIDES; side++) {
                fds[side] = open(paths[side], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                if (fds[side] < 0 || fstat(fds[side], &stats[side]) < 0)
                        fail("%s: %s", paths[side], strerror(errno));
        }
        cmp->path = must_realloc(NULL, 256, 1);
        cmp->path_capacity = 256;
        cmp->path[0] = '\0';
        compare_entry(cmp, fds, ".", stats);
        for (int side = 0; side < SIDES; side++) {
                close(fds[side]);
                free(cmp->links[side].slots);
        }
        free(cmp->path);
}

static int64_t number_argument(const char *text, const char *option) {
        char *end;
        errno = 0;
        long long value = strtoll(text, &end, 10);
        if (errno || end == text || *end)
                fail("--%s: '%s' is not a number", option, text);
        return value;
}

static const char usage[] =
        "usage: treecmp [OPTION…] LEFT RIGHT\n"
        "  --ignore-dir-mtime-after EPOCH  do not compare the mtime of a directory whose left one is not before\n"
        "                                  EPOCH: one that unpacking itself touched last\n"
        "  --ignore-d-type                 do not compare the types readdir reports\n"
        "  --max N                         print at most N differences (default 50)\n";

int main(int argc, char **argv) {
        static const struct option options[] = {
                { "ignore-dir-mtime-after", required_argument, NULL, 't' },
                { "ignore-d-type", no_argument, NULL, 'd' },
                { "max", required_argument, NULL, 'm' },
                { "help", no_argument, NULL, 'h' },
                { 0 },
        };
        struct comparison cmp = { .max_printed = 50 };
        for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
                switch (option) {
                case 't':
                        cmp.skip_late_dir_mtime = true;
                        cmp.dir_mtime_limit = number_argument(optarg, "ignore-dir-mtime-after");
                        break;
                case 'd':
                        cmp.skip_d_type = true;
                        break;
                case 'm':
                        cmp.max_printed = (uint64_t) number_argument(optarg, "max");
                        break;
                case 'h':
                        fputs(usage, stdout);
                        return 0;
                default:
                        fputs(usage, stderr);
                        return 2;
                }
        }
        if (argc - optind != SIDES) {
                fputs(usage, stderr);
                return 2;
        }
        raise_descriptor_limit();
        compare_roots(&cmp, argv + optind);
        if (cmp.differences > cmp.max_printed)
                printf("… and %" PRIu64 " more\n", cmp.differences - cmp.max_printed);
        if (cmp.differences) {
                printf("%" PRIu64 " differences in %" PRIu64 " entries\n", cmp.differences, cmp.entries);
                return 1;
        }
        fprintf(stderr, "treecmp: %" PRIu64 " entries are the same\n", cmp.entries);
        return 0;
}
