/* SPDX-License-Identifier: Apache-2.0
 *
 * Applies the entries of a tar to a layer's tree, in the order and with the effects of containerd 1.6's
 * archive.Apply on an overlayfs upper directory. docs/layer-semantics.md has the cases.
 */
#include "layer/apply.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "layer/apply-internal.h"
#include "layer/resolve.h"

#define WHITEOUT_PREFIX ".wh."
#define WHITEOUT_PREFIX_SIZE 4
#define OPAQUE_MARKER ".wh..wh..opq"
#define OPAQUE_MARKER_SIZE 12
#define MAX_ID INT64_C(0xfffffffe) /* 0xffffffff means "leave it" to chown(2) */
#define MAX_DEVICE_MAJOR 0xfff
#define MAX_DEVICE_MINOR 0xfffff

/* A directory's entry: its time is set again when all is unpacked. */
struct directory_entry {
        struct directory_entry *next;
        int64_t mtime_s;
        uint32_t mtime_ns;
        uint32_t path_size;
        char path[];
};

struct apply {
        struct zp_tar *tar;
        struct zp_tree *tree;
        zp_apply_store store;
        void *context;
        struct zp_apply_stats *stats;

        struct zp_clean_path path; /* of the current entry */
        /* The directory found last: entries mostly come directory by directory. NULL: none. Names that
         * exist stay what they are until something is removed. */
        struct zp_inode *last_dir;
        struct zp_clean_path last_dir_path;

        struct zp_arena arena;
        struct directory_entry *first_directory, **end_of_directories;
        uint64_t resolve_budget;
        bool has_implied; /* directories, at some time */
        bool has_removed; /* something: then paths may mean something else at the end */
};

/* True when something in a directory that has been without an entry of its own has a name elsewhere too. */
static bool has_linked_out(const struct zp_inode *dir, bool was_implied) {
        was_implied |= dir->is_implied || dir->inherits_xattrs;
        for (const struct zp_dentry *child = dir->first_child; child; child = child->next) {
                const struct zp_inode *inode = child->inode;
                if (S_ISDIR(inode->mode) ? has_linked_out(inode, was_implied) : was_implied && inode->nlink > 1)
                        return true;
        }
        return false;
}

/* What lower layers do to an implied directory and what is made in it shows in the merge only, and cannot show
 * there when it is gone but a hard link is left. */
static int remove_name(struct apply *apply, struct zp_dentry *dentry, struct zp_error *err) {
        if (S_ISDIR(dentry->inode->mode) && has_linked_out(dentry->inode, false))
                return zp_error_set(err, EBADMSG,
                                    "it replaces a directory without an entry of its own, which has hard links out of "
                                    "it: ambiguous");
        zp_tree_unlink(apply->tree, dentry);
        apply->has_removed = true;
        apply->last_dir = NULL;
        return 0;
}

/* To the caller a path that leads nowhere, or that no file system takes, is one more kind of bad archive. */
static int bad_path(int r, struct zp_error *err) {
        if (r != -ENAMETOOLONG && r != -ELOOP && r != -ENOTDIR && r != -ENOENT)
                return r;
        if (err)
                err->code = EBADMSG;
        return -EBADMSG;
}

/* A path with all its links followed inside the layer. */
static int root_path(struct apply *apply, const char *path, size_t size, struct zp_clean_path *out,
                     struct zp_error *err) {
        return bad_path(zp_tree_root_path(apply->tree, path, size, out, &apply->resolve_budget, err), err);
}

static int link_name(struct apply *apply, struct zp_inode *dir, const char *name, size_t name_size,
                     struct zp_inode *inode, struct zp_error *err) {
        int r = zp_tree_link(apply->tree, dir, name, name_size, inode, err);

        return r == -ENAMETOOLONG ? zp_error_set(err, EBADMSG, "name too long, or too many directories in each other")
                                  : r;
}

static int new_inode(struct apply *apply, struct zp_inode *dir, const char *name, size_t name_size, uint32_t mode,
                     struct zp_inode **out, struct zp_error *err) {
        int r = zp_tree_new_inode(apply->tree, mode, out, err);
        if (r >= 0)
                r = link_name(apply, dir, name, name_size, *out, err);
        if (r >= 0)
                r = zp_apply_inherit_acl(apply->tree, dir, *out, err);
        return r;
}

/* --- parents --- */

/* A directory that has no entry of its own (yet): its attributes are those of a lower layer's. */
static int make_implied(struct apply *apply, struct zp_inode *dir, const char *name, size_t name_size,
                        struct zp_inode **out, struct zp_error *err) {
        if (zp_apply_has_default_acl(dir))
                return zp_error_set(err, EBADMSG,
                                    "its directory has no entry of its own and would inherit an ACL: ambiguous");
        int r = new_inode(apply, dir, name, name_size, S_IFDIR | 0755, out, err);
        if (r < 0)
                return r;
        (*out)->is_implied = true;
        apply->has_implied = true;
        if (dir->mode & S_ISGID)
                (*out)->gid = dir->gid;
        return 0;
}

/* Walks to a directory, creating what is missing. *is_link when there is a symbolic link on the way (then
 * nothing has been created). */
static int walk_parent(struct apply *apply, const char *path, size_t size, struct zp_inode **out, bool *is_link,
                       struct zp_error *err) {
        struct zp_inode *dir = zp_tree_root(apply->tree);
        const char *end = path + size;

        *is_link = false;
        while (path < end) {
                const char *slash = memchr(path, '/', (size_t) (end - path));
                size_t part = (size_t) ((slash ? slash : end) - path);
                struct zp_dentry *dentry = zp_tree_lookup(apply->tree, dir, path, part);
                if (dentry && S_ISLNK(dentry->inode->mode)) {
                        *is_link = true;
                        return 0;
                }
                if (dentry && !S_ISDIR(dentry->inode->mode))
                        return zp_error_set(err, EBADMSG, "a part of its path is not a directory");
                int r = dentry ? 0 : make_implied(apply, dir, path, part, &dir, err);
                if (r < 0)
                        return r;
                if (dentry)
                        dir = dentry->inode;
                path += part + 1;
        }
        *out = dir;
        return 0;
}

/* The directory that the first `size` bytes of the entry's path name. */
static int find_parent(struct apply *apply, size_t size, struct zp_inode **out, struct zp_error *err) {
        const char *path = apply->path.text;
        struct zp_clean_path real;
        bool is_link;

        if (apply->last_dir && apply->last_dir_path.size == size &&
            memcmp(apply->last_dir_path.text, path, size) == 0) {
                *out = apply->last_dir;
                return 0;
        }
        int r = walk_parent(apply, path, size, out, &is_link, err);
        if (r >= 0 && is_link) {
                r = root_path(apply, path, size, &real, err);
                if (r >= 0)
                        r = walk_parent(apply, real.text, real.size, out, &is_link, err);
                if (r >= 0 && is_link)
                        r = zp_error_set(err, EBADMSG, "too many symbolic links");
        }
        if (r < 0)
                return r;
        apply->last_dir = *out;
        memcpy(apply->last_dir_path.text, path, size);
        apply->last_dir_path.size = size;
        return 0;
}

/* --- whiteouts --- */

/* In the root overlayfs does not look at the mark. (Were this the lowest layer, which containerd unpacks
 * without overlayfs, directories without entries of their own would be gone.) */
static int apply_opaque(struct apply *apply, struct zp_inode *dir, struct zp_error *err) {
        if (dir != zp_tree_root(apply->tree))
                dir->is_opaque = true;
        else if (apply->has_implied)
                return zp_error_set(err, EBADMSG,
                                    "opaque marker in the root behind directories without entries: ambiguous");
        return 0;
}

static int apply_whiteout(struct apply *apply, struct zp_inode *dir, const char *name, size_t size,
                          struct zp_error *err) {
        struct zp_inode *inode;

        if (size == OPAQUE_MARKER_SIZE && memcmp(name, OPAQUE_MARKER, size) == 0)
                return apply_opaque(apply, dir, err);
        name += WHITEOUT_PREFIX_SIZE;
        size -= WHITEOUT_PREFIX_SIZE;
        if (size == 0 || (size == 1 && name[0] == '.') || (size == 2 && name[0] == '.' && name[1] == '.'))
                return zp_error_set(err, EBADMSG, "a whiteout of no name");
        if (zp_tree_lookup(apply->tree, dir, name, size))
                return zp_error_set(err, EBADMSG, "a whiteout of what this layer itself has: ambiguous");
        return new_inode(apply, dir, name, size, S_IFCHR, &inode, err);
}

/* --- kinds of entries --- */

static int apply_regular(struct apply *apply, const struct zp_tar_entry *entry, struct zp_inode *inode,
                         struct zp_error *err) {
        uint64_t size = (uint64_t) entry->size, ignored;
        const uint8_t *data;

        if (size > ZP_LIMIT_FILE_SIZE)
                return zp_error_set(err, E2BIG, "a file of %llu bytes", (unsigned long long) size);
        apply->stats->file_bytes += size;
        if (apply->stats->file_bytes > ZP_LIMIT_LAYER_SIZE)
                return zp_error_set(err, E2BIG, "the files of the layer have more than %llu bytes",
                                    (unsigned long long) ZP_LIMIT_LAYER_SIZE);
        inode->size = size;
        if (size > 0)
                return apply->store(apply->context, apply->path.text, apply->tar, apply->tree, inode, err);
        return zp_tar_data(apply->tar, &data, &ignored, err);
}

static int apply_symlink(struct apply *apply, const struct zp_tar_entry *entry, struct zp_inode *inode,
                         struct zp_error *err) {
        size_t size = entry->link_target_size;

        if (size == 0 || size > ZP_LIMIT_SYMLINK)
                return zp_error_set(err, EBADMSG, "a symbolic link's target of %zu bytes", size);
        if (memchr(entry->link_target, '\0', size))
                return zp_error_set(err, EBADMSG, "a NUL in the target of a symbolic link");
        uint8_t *target = zp_tree_alloc(apply->tree, size + 1);
        if (!target)
                return zp_error_set(err, ENOMEM, "out of memory for the layer's tree");
        memcpy(target, entry->link_target, size);
        inode->data = target;
        inode->size = size;
        return 0;
}

static int apply_device(const struct zp_tar_entry *entry, struct zp_inode *inode, struct zp_error *err) {
        if (entry->type == '6')
                return 0;
        if (entry->device_major < 0 || entry->device_major > MAX_DEVICE_MAJOR || entry->device_minor < 0 ||
            entry->device_minor > MAX_DEVICE_MINOR)
                return zp_error_set(err, EBADMSG, "device number %lld:%lld", (long long) entry->device_major,
                                    (long long) entry->device_minor);
        inode->rdev_major = (uint32_t) entry->device_major;
        inode->rdev_minor = (uint32_t) entry->device_minor;
        return 0;
}

/* Where a hard link's target is: the directory part with all links resolved, the last component as it
 * stands. */
static int find_link_target(struct apply *apply, const struct zp_tar_entry *entry, struct zp_inode **out,
                            struct zp_error *err) {
        const char *target = entry->link_target;
        size_t size = entry->link_target_size;
        const char *slash = memrchr(target, '/', size);
        size_t dir_size = slash ? (size_t) (slash - target) + 1 : 0;
        struct zp_clean_path dir, path;

        int r = root_path(apply, target, dir_size, &dir, err);
        if (r >= 0 && dir.size + 1 + size - dir_size >= ZP_LIMIT_PATH)
                r = zp_error_set(err, EBADMSG, "path of %u bytes or more", ZP_LIMIT_PATH);
        if (r < 0)
                return r;
        dir.text[dir.size] = '/';
        memcpy(dir.text + dir.size + 1, target + dir_size, size - dir_size);
        r = zp_path_clean(dir.text, dir.size + 1 + size - dir_size, &path, err);
        return bad_path(r < 0 ? r : zp_tree_lstat(apply->tree, path.text, path.size, out, err), err);
}

/* The usual case: the target's path has neither ".." nor links in it. NULL: not that case. */
static struct zp_inode *find_plain_target(struct apply *apply, const struct zp_tar_entry *entry) {
        const char *p = entry->link_target, *end = p + entry->link_target_size;
        struct zp_inode *inode = zp_tree_root(apply->tree);

        while (p < end) {
                const char *slash = memchr(p, '/', (size_t) (end - p));
                size_t part = (size_t) ((slash ? slash : end) - p);
                if (!S_ISDIR(inode->mode))
                        return NULL;
                if (part > 0 && !(part == 1 && p[0] == '.')) {
                        struct zp_dentry *dentry = zp_tree_lookup(apply->tree, inode, p, part);
                        if (!dentry)
                                return NULL;
                        inode = dentry->inode;
                }
                if (!slash)
                        return inode;
                p = slash + 1;
        }
        return NULL; /* ends in a slash, or is empty */
}

static int apply_hard_link(struct apply *apply, const struct zp_tar_entry *entry, struct zp_inode *dir,
                           const char *name, size_t name_size, struct zp_inode **out, struct zp_error *err) {
        if (memchr(entry->link_target, '\0', entry->link_target_size))
                return zp_error_set(err, EBADMSG, "a NUL in the target of a hard link");
        *out = find_plain_target(apply, entry);
        int r = *out ? 0 : find_link_target(apply, entry, out, err);
        if (r < 0)
                return zp_error_wrap(err, "hard link to '%.400s'", entry->link_target);
        if (S_ISDIR((*out)->mode))
                return zp_error_set(err, EBADMSG, "hard link to '%.400s', which is a directory", entry->link_target);
        if (zp_inode_is_whiteout(*out))
                return zp_error_set(err, EBADMSG, "hard link to '%.400s', which is a whiteout: ambiguous",
                                    entry->link_target);
        return link_name(apply, dir, name, name_size, *out, err);
}

static uint32_t file_type(char type) {
        switch (type) {
        case '0':
                return S_IFREG;
        case '2':
                return S_IFLNK | 0777;
        case '3':
                return S_IFCHR;
        case '4':
                return S_IFBLK;
        case '5':
                return S_IFDIR;
        case '6':
                return S_IFIFO;
        default:
                return 0;
        }
}

static int make_entry(struct apply *apply, const struct zp_tar_entry *entry, struct zp_inode *dir, const char *name,
                      size_t name_size, struct zp_inode **out, struct zp_error *err) {
        if (entry->type == '1')
                return apply_hard_link(apply, entry, dir, name, name_size, out, err);
        uint32_t mode = file_type(entry->type);
        if (mode == 0)
                return zp_error_set(err, EBADMSG, "unknown type '%c' (%d) in the tar", entry->type,
                                    (uint8_t) entry->type);
        int r = new_inode(apply, dir, name, name_size, mode, out, err);
        if (r < 0)
                return r;
        if (S_ISREG(mode))
                return apply_regular(apply, entry, *out, err);
        if (S_ISLNK(mode))
                return apply_symlink(apply, entry, *out, err);
        return S_ISDIR(mode) ? 0 : apply_device(entry, *out, err);
}

/* --- attributes --- */

/* containerd sets times it cannot pass on, before 1970 or past 2^63 - 1 ns, to 0. */
static void bound_time(const struct zp_tar_entry *entry, int64_t *seconds, uint32_t *nanoseconds) {
        const int64_t max_s = INT64_MAX / 1000000000, max_ns = INT64_MAX % 1000000000;

        *seconds = entry->mtime_s;
        *nanoseconds = entry->mtime_ns;
        if (*seconds < 0 || *seconds > max_s || (*seconds == max_s && *nanoseconds > max_ns)) {
                *seconds = 0;
                *nanoseconds = 0;
        }
}

static int set_attributes(struct apply *apply, const struct zp_tar_entry *entry, struct zp_inode *inode,
                          struct zp_error *err) {
        if (entry->uid < 0 || entry->uid > MAX_ID || entry->gid < 0 || entry->gid > MAX_ID)
                return zp_error_set(err, EBADMSG, "owner %lld:%lld", (long long) entry->uid, (long long) entry->gid);
        zp_apply_owner(inode, (uint32_t) entry->uid, (uint32_t) entry->gid);
        for (size_t i = 0; i < entry->xattr_count; i++) {
                int r = zp_apply_xattr(apply->tree, inode, &entry->xattrs[i], err);
                if (r < 0)
                        return r;
        }
        zp_apply_mode(inode, entry->mode);
        bound_time(entry, &inode->mtime_s, &inode->mtime_ns);
        inode->inherits_xattrs |= inode->is_implied;
        inode->is_implied = false;
        return 0;
}

static int remember_directory(struct apply *apply, const struct zp_inode *inode, struct zp_error *err) {
        struct directory_entry *entry = NULL;

        if (apply->arena.used_bytes < ZP_LIMIT_LAYER_METADATA)
                entry = zp_arena_alloc(&apply->arena, sizeof *entry + apply->path.size);
        if (!entry)
                return zp_error_set(err, ENOMEM, "out of memory for the layer's directories");
        entry->mtime_s = inode->mtime_s;
        entry->mtime_ns = inode->mtime_ns;
        entry->path_size = (uint32_t) apply->path.size;
        memcpy(entry->path, apply->path.text, apply->path.size);
        *apply->end_of_directories = entry;
        apply->end_of_directories = &entry->next;
        return 0;
}

/* Directories with an entry whose time was not set again: they have the time of the unpacking. */
static bool has_lost_time(const struct zp_inode *dir) {
        for (const struct zp_dentry *child = dir->first_child; child; child = child->next) {
                const struct zp_inode *inode = child->inode;
                if (S_ISDIR(inode->mode) && ((!inode->is_implied && inode->scratch == 0) || has_lost_time(inode)))
                        return true;
        }
        return false;
}

/* The paths are resolved anew, so that a name which has become a link, or a file, gets the time of the
 * directory it was. With nothing removed on the way they lead where they led. */
static int set_directory_times(struct apply *apply, struct zp_error *err) {
        struct zp_clean_path path;
        struct zp_inode *inode;

        if (!apply->has_removed)
                return 0;
        for (const struct directory_entry *entry = apply->first_directory; entry; entry = entry->next) {
                int r = root_path(apply, entry->path, entry->path_size, &path, err);
                if (r >= 0)
                        r = bad_path(zp_tree_lstat(apply->tree, path.text, path.size, &inode, err), err);
                if (r >= 0 && inode->is_implied)
                        r = zp_error_set(err, EBADMSG, "removed and back without an entry: ambiguous");
                if (r < 0)
                        return zp_error_wrap(err, "entry '%.*s': its directory at the end",
                                             entry->path_size > 400 ? 400 : (int) entry->path_size, entry->path);
                inode->mtime_s = entry->mtime_s;
                inode->mtime_ns = entry->mtime_ns;
                inode->scratch = 1;
        }
        if (has_lost_time(zp_tree_root(apply->tree)))
                return zp_error_set(err, EBADMSG,
                                    "the paths of directories lead elsewhere at the end, so that one has no time "
                                    "of its own: ambiguous");
        return 0;
}

/* --- entries --- */

static int apply_entry(struct apply *apply, const struct zp_tar_entry *entry, struct zp_error *err) {
        struct zp_clean_path *path = &apply->path;
        struct zp_inode *dir, *inode;

        if (entry->type == 'S')
                return zp_error_set(err, EBADMSG, "unknown type 'S' (%d, old GNU sparse file) in the tar", 'S');
        if (memchr(entry->path, '\0', entry->path_size))
                return zp_error_set(err, EBADMSG, "a NUL in the path");
        int r = bad_path(zp_path_clean(entry->path, entry->path_size, path, err), err);
        if (r < 0 || path->size == 0)
                return r; /* the root's own attributes are not the layer's to set */

        const char *slash = memrchr(path->text, '/', path->size);
        const char *name = slash ? slash + 1 : path->text;
        size_t name_size = path->size - (size_t) (name - path->text);
        r = find_parent(apply, slash ? (size_t) (slash - path->text) : 0, &dir, err);
        if (r < 0)
                return r;
        if (name_size >= WHITEOUT_PREFIX_SIZE && memcmp(name, WHITEOUT_PREFIX, WHITEOUT_PREFIX_SIZE) == 0)
                return apply_whiteout(apply, dir, name, name_size, err);

        struct zp_dentry *existing = zp_tree_lookup(apply->tree, dir, name, name_size);
        bool is_merged = existing && entry->type == '5' && S_ISDIR(existing->inode->mode);
        if (existing && !is_merged)
                r = remove_name(apply, existing, err);
        if (r < 0 || entry->type == 'g')
                return r; /* a global PAX header: nothing of it is applied, but its name was */
        if (is_merged)
                inode = existing->inode;
        else
                r = make_entry(apply, entry, dir, name, name_size, &inode, err);
        if (r >= 0)
                r = set_attributes(apply, entry, inode, err);
        if (r >= 0 && entry->type == '5')
                r = remember_directory(apply, inode, err);
        return r;
}

static int apply_all(struct apply *apply, struct zp_error *err) {
        struct zp_tar_entry entry;
        int r;

        while ((r = zp_tar_next(apply->tar, &entry, err)) > 0) {
                if (++apply->stats->entries > ZP_LIMIT_LAYER_ENTRIES)
                        return zp_error_set(err, E2BIG, "more than %u entries", ZP_LIMIT_LAYER_ENTRIES);
                r = apply_entry(apply, &entry, err);
                if (r < 0)
                        return zp_tar_blame(&entry, err);
        }
        return r < 0 ? r : set_directory_times(apply, err);
}

int zp_layer_apply(struct zp_tar *tar, zp_apply_store store, void *context, struct zp_tree **out,
                   struct zp_apply_stats *stats, struct zp_error *err) {
        zp_auto(zp_tree_free) struct zp_tree *tree = zp_tree_new();
        zp_autofree struct apply *apply = calloc(1, sizeof *apply);

        if (!tree || !apply)
                return zp_error_set(err, ENOMEM, "out of memory for a layer's tree");
        *stats = (struct zp_apply_stats){ 0 };
        apply->tar = tar;
        apply->tree = tree;
        apply->store = store;
        apply->context = context;
        apply->stats = stats;
        apply->resolve_budget = ZP_RESOLVE_BUDGET;
        apply->end_of_directories = &apply->first_directory;
        int r = apply_all(apply, err);
        zp_arena_clear(&apply->arena);
        if (r < 0)
                return r;
        *out = zp_steal(&tree);
        return 0;
}
