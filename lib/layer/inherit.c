/* SPDX-License-Identifier: Apache-2.0
 *
 * What directories have from the layers below. When containerd unpacks a layer and has to make a directory that
 * the tar has not listed (yet), it looks for the path in the directories of the lower layers, nearest first,
 * whether or not a layer between hides it, and copies owner, mode, time and xattrs of what it finds.
 *
 * All layers are walked together, so that a path is met once with everything that any layer has there. Only
 * where a symbolic link stands on the way is the path resolved in that layer alone.
 */
#include "layer/merge-internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/limits.h"
#include "layer/resolve.h"

/* Mark of a directory that inherits or has one below it that does, in its scratch during the walk. */
#define IS_WANTED 1

static const char ACL_ACCESS[] = "system.posix_acl_access";
static const char ACL_DEFAULT[] = "system.posix_acl_default";

/* A directory that containerd has made without an entry, and what it has found for it. */
struct heir {
        struct heir *next;         /* of the same layer: parents come before their children */
        const struct heir *parent; /* the directory it is in; NULL: that has had its entry from the start */
        struct zp_inode *dir;
        const struct zp_inode *below; /* NULL: nothing found */
};

struct layer_set {
        uint64_t words[(ZP_LIMIT_LAYERS + 63) / 64];
};

/* Layers that have something else than a directory on the way to where the walk is. */
struct barred {
        struct layer_set by_file, by_link;
};

struct walk {
        struct zp_tree *const *layers;
        struct zp_tree *out;
        struct zp_arena arena;
        struct heir *heirs[ZP_LIMIT_LAYERS], **end_of_heirs[ZP_LIMIT_LAYERS];
        uint64_t resolve_budget;
        char path[2 * ZP_LIMIT_PATH]; /* clean */
        size_t path_size;
};

static bool is_heir(const struct zp_inode *dir) {
        return dir->is_implied || dir->inherits_xattrs;
}

static bool is_wanted(const struct zp_inode *inode) {
        return S_ISDIR(inode->mode) && inode->scratch == IS_WANTED;
}

/* ---- sets of layers ---- */

static void add_layer(struct layer_set *set, unsigned layer) {
        set->words[layer / 64] |= UINT64_C(1) << layer % 64;
}

/* The highest layer of the set that is below `layer`, or -1. */
static int highest_below(const struct layer_set *set, unsigned layer) {
        uint64_t word = layer % 64 ? set->words[layer / 64] & ((UINT64_C(1) << layer % 64) - 1) : 0;
        for (unsigned i = layer / 64;; word = set->words[--i]) {
                if (word)
                        return (int) (i * 64) + 63 - __builtin_clzll(word);
                if (i == 0)
                        return -1;
        }
}

/* ---- paths ---- */

static int enter(struct walk *w, const struct zp_dentry *name, struct zp_error *err) {
        if (w->path_size + 1 + name->name_size >= sizeof w->path)
                return zp_error_errno(err, ENAMETOOLONG, "directory '/%s'", w->path);
        if (w->path_size > 0)
                w->path[w->path_size++] = '/';
        memcpy(w->path + w->path_size, name->name, name->name_size + 1u);
        w->path_size += name->name_size;
        return 0;
}

static void leave(struct walk *w, size_t path_size) {
        w->path_size = path_size;
        w->path[path_size] = '\0';
}

/* Enters a directory from the root; for messages. */
static bool enter_from_root(struct walk *w, const struct zp_inode *dir, const struct zp_inode *wanted) {
        size_t before = w->path_size;
        if (dir == wanted)
                return true;
        for (const struct zp_dentry *child = dir->first_child; child; child = child->next) {
                if (!S_ISDIR(child->inode->mode) || enter(w, child, NULL) < 0)
                        continue;
                if (enter_from_root(w, child->inode, wanted))
                        return true;
                leave(w, before);
        }
        return false;
}

/* ---- which directories inherit ---- */

static bool mark_wanted(struct zp_inode *dir, bool is_root) {
        bool wanted = !is_root && is_heir(dir);
        for (struct zp_dentry *child = dir->first_child; child; child = child->next) {
                child->inode->scratch = 0;
                if (S_ISDIR(child->inode->mode) && mark_wanted(child->inode, false))
                        wanted = true;
        }
        dir->scratch = wanted ? IS_WANTED : 0;
        return wanted;
}

/* containerd unpacks the lowest layer without overlayfs. There an opaque marker removes what it finds in its
 * directory and has not had an entry yet: implied directories with all that is in them. */
static int check_lowest(struct walk *w, const struct zp_inode *dir, struct zp_error *err) {
        size_t before = w->path_size;
        for (const struct zp_dentry *child = dir->first_child; child; child = child->next) {
                if (!is_wanted(child->inode))
                        continue;
                if (dir->is_opaque && before > 0)
                        return zp_error_set(err, EBADMSG,
                                            "directory '/%s': opaque in the lowest layer, with directories in it that "
                                            "have no entries of their own: ambiguous",
                                            w->path);
                int r = enter(w, child, err);
                if (r == 0)
                        r = check_lowest(w, child->inode, err);
                if (r < 0)
                        return r;
                leave(w, before);
        }
        return 0;
}

/* ---- what containerd finds for them ---- */

static int in_the_way(unsigned layer, struct zp_error *err) {
        return zp_error_set(err, ENOTDIR,
                            "in layer %u a part of the path is not a directory; containerd refuses this too",
                            layer + 1);
}

/* The path in one layer, through the links that stand in its way there. *found stays NULL: nothing. */
static int find_through_links(struct walk *w, unsigned layer, struct zp_inode **found, struct zp_error *err) {
        struct zp_clean_path real;
        int r = zp_tree_root_path(w->layers[layer], w->path, w->path_size, &real, &w->resolve_budget, err);
        if (r < 0)
                return zp_error_wrap(err, "in layer %u", layer + 1);
        r = zp_tree_lstat(w->layers[layer], real.text, real.size, found, NULL);
        return r < 0 && r != -ENOENT ? in_the_way(layer, err) : 0;
}

/* The nearest layer below that has something at the path decides. `members` begins with the directory's own. */
static int find_below(struct walk *w, const struct zp_merge_member *members, size_t count, const struct barred *barred,
                      const struct zp_inode **out, struct zp_error *err) {
        int layer = members[0].layer;
        size_t next = 1;
        *out = NULL;
        for (;;) {
                int member = next < count ? members[next].layer : -1;
                int file = highest_below(&barred->by_file, (unsigned) layer);
                int link = highest_below(&barred->by_link, (unsigned) layer);
                struct zp_inode *found = member >= 0 ? members[next].name->inode : NULL;
                if (file > member && file > link)
                        return in_the_way((unsigned) file, err);
                if (member < 0 && link < 0)
                        return 0;
                layer = member > link ? member : link;
                next += layer == member;
                if (layer == link || S_ISLNK(found->mode)) {
                        found = NULL;
                        int r = find_through_links(w, (unsigned) layer, &found, err);
                        if (r < 0)
                                return r;
                        if (!found)
                                continue;
                }
                *out = S_ISDIR(found->mode) ? found : NULL; /* else it is "replaced" */
                return 0;
        }
}

static int add_heir(struct walk *w, struct zp_merge_member *members, size_t count, const struct barred *barred,
                    struct zp_error *err) {
        struct heir *heir = zp_arena_alloc(&w->arena, sizeof *heir);
        if (!heir)
                return zp_error_errno(err, ENOMEM, "merge");
        int r = find_below(w, members, count, barred, &heir->below, err);
        if (r < 0) {
                zp_error_wrap(err, "directory '/%s'", w->path);
                return zp_error_wrap(err, "layer %u", members[0].layer + 1u);
        }
        heir->parent = members[0].parent;
        heir->dir = members[0].name->inode;
        members[0].heir = heir;
        *w->end_of_heirs[members[0].layer] = heir;
        w->end_of_heirs[members[0].layer] = &heir->next;
        return 0;
}

/* ---- the walk ---- */

static int descend(struct walk *w, struct zp_merge_member *members, size_t count, const struct barred *barred,
                   struct zp_error *err);

/* One path, with what each layer has there. */
static int visit(struct walk *w, struct zp_merge_member *members, size_t count, const struct barred *barred,
                 struct zp_error *err) {
        struct barred below = *barred;
        for (size_t i = 0; i < count; i++) {
                const struct zp_inode *inode = members[i].name->inode;
                int r = 0;
                /* what the lowest layer deletes has left nothing on containerd's disk */
                if (S_ISLNK(inode->mode))
                        add_layer(&below.by_link, members[i].layer);
                else if (!S_ISDIR(inode->mode) && !(members[i].layer == 0 && zp_inode_is_whiteout(inode)))
                        add_layer(&below.by_file, members[i].layer);
                else if (S_ISDIR(inode->mode) && is_heir(inode))
                        r = add_heir(w, members + i, count - i, barred, err);
                if (r < 0)
                        return r;
        }
        return descend(w, members, count, &below, err);
}

static int descend(struct walk *w, struct zp_merge_member *members, size_t count, const struct barred *barred,
                   struct zp_error *err) {
        bool wanted = false;
        for (size_t i = 0; i < count; i++)
                wanted |= is_wanted(members[i].name->inode);
        if (!wanted)
                return 0;
        size_t total, before = w->path_size;
        zp_autofree struct zp_merge_member *children = zp_merge_children(members, count, &total, err);
        if (!children)
                return -ENOMEM;
        for (size_t first = 0, same; first < total; first += same) {
                same = zp_merge_same_name(children + first, total - first);
                wanted = false;
                for (size_t i = first; i < first + same; i++)
                        wanted |= is_wanted(children[i].name->inode);
                if (!wanted)
                        continue;
                int r = enter(w, children[first].name, err);
                if (r == 0)
                        r = visit(w, children + first, same, barred, err);
                if (r < 0)
                        return r;
                leave(w, before);
        }
        for (size_t i = 0; i < count; i++)
                if (S_ISDIR(members[i].name->inode->mode))
                        members[i].name->inode->scratch = 0;
        return 0;
}

/* ---- what they have from there ---- */

/* Something that has taken over a default ACL from its directory if the directory had it by then. */
static bool has_made_children(const struct zp_inode *dir) {
        for (const struct zp_dentry *child = dir->first_child; child; child = child->next)
                if (!S_ISLNK(child->inode->mode) && !zp_inode_is_whiteout(child->inode))
                        return true;
        return false;
}

/* One layer cannot know of ACLs below it, so that what they do to entries is missing in it. */
static int check_acls(const struct zp_inode *dir, const struct zp_inode *below, struct zp_error *err) {
        bool is_default = below->xattrs && zp_inode_find_xattr(below, ACL_DEFAULT);
        bool is_access = below->xattrs && zp_inode_find_xattr(below, ACL_ACCESS);
        if (is_default && has_made_children(dir))
                return zp_error_set(
                        err, EBADMSG,
                        "it has no entry of its own, or not from the start, and what is in it would inherit "
                        "an ACL from a lower layer: ambiguous");
        if (!dir->inherits_xattrs)
                return 0;
        if ((is_default && !zp_inode_find_xattr(dir, ACL_DEFAULT)) ||
            (is_access && !zp_inode_find_xattr(dir, ACL_ACCESS)))
                return zp_error_set(err, EBADMSG,
                                    "its entry comes after what is in it, and changes an ACL of a lower layer: "
                                    "ambiguous");
        return 0;
}

static int no_room(struct zp_error *err) {
        return zp_error_set(err, E2BIG, "too many inherited attributes");
}

/* A directory's attributes to be changed; the layer's own stay as they are. */
static struct zp_inode *own_attributes(struct walk *w, struct zp_inode *dir) {
        struct zp_inode *copy = zp_tree_alloc(w->out, sizeof *copy);
        if (!copy)
                return NULL;
        *copy = *dir;
        dir->scratch = (uintptr_t) copy;
        return copy;
}

/* The lower directory's xattrs below the directory's own. */
static int inherit_xattrs(struct walk *w, struct zp_inode *dir, const struct zp_inode *below, struct zp_error *err) {
        const struct zp_xattr *own = dir->xattrs, *lower = below->xattrs;
        if (!lower)
                return 0;
        struct zp_inode *attributes = own_attributes(w, dir);
        if (!attributes)
                return no_room(err);
        attributes->xattrs = below->xattrs;
        struct zp_xattr **slot = &attributes->xattrs;
        for (int count = 0; own; count++) {
                int order = lower ? strcmp(own->name, lower->name) : -1;
                *slot = zp_tree_alloc(w->out, sizeof **slot);
                if (!*slot)
                        return no_room(err);
                **slot = order > 0 ? *lower : *own;
                own = order <= 0 ? own->next : own;
                lower = order >= 0 ? lower->next : lower;
                slot = &(*slot)->next;
                *slot = (struct zp_xattr *) (uintptr_t) lower; /* the rest can be shared */
        }
        unsigned total = 0;
        for (const struct zp_xattr *x = attributes->xattrs; x; x = x->next)
                total++;
        return total > ZP_LIMIT_XATTRS_PER_FILE ? no_room(err) : 0;
}

/* Linux gives what is made in a setgid directory its group. */
static int inherit_group(struct walk *w, const struct heir *heir, struct zp_error *err) {
        if (!heir->dir->is_implied || !heir->parent || !heir->parent->below)
                return 0;
        const struct zp_inode *parent = zp_merge_attributes(heir->parent->below);
        if (!(parent->mode & S_ISGID) || parent->gid == heir->dir->gid)
                return 0;
        if (!heir->parent->dir->is_implied)
                return zp_error_set(err, EBADMSG,
                                    "it is in a directory that was setgid before its entry came, perhaps when this one "
                                    "was made: ambiguous");
        struct zp_inode *attributes = own_attributes(w, heir->dir);
        if (!attributes)
                return no_room(err);
        attributes->gid = parent->gid;
        return 0;
}

static int settle(struct walk *w, const struct heir *heir, struct zp_error *err) {
        if (!heir->below)
                return inherit_group(w, heir, err);
        const struct zp_inode *below = zp_merge_attributes(heir->below);
        int r = check_acls(heir->dir, below, err);
        if (r < 0 || heir->dir->inherits_xattrs)
                return r < 0 ? r : inherit_xattrs(w, heir->dir, below, err);
        heir->dir->scratch = (uintptr_t) below;
        return 0;
}

/* From the lowest layer up: what a layer inherits, the layers above inherit from it. */
static int settle_all(struct walk *w, size_t count, struct zp_error *err) {
        for (size_t i = 0; i < count; i++) {
                for (const struct heir *heir = w->heirs[i]; heir; heir = heir->next) {
                        int r = settle(w, heir, err);
                        if (r == 0)
                                continue;
                        enter_from_root(w, zp_tree_root(w->layers[i]), heir->dir);
                        zp_error_wrap(err, "directory '/%s'", w->path);
                        return zp_error_wrap(err, "layer %zu", i + 1);
                }
        }
        return 0;
}

int zp_merge_inherit(struct zp_tree *const *layers, size_t count, struct zp_merge_member *roots, struct zp_tree *out,
                     struct zp_error *err) {
        struct barred nothing = { 0 };
        zp_autofree struct walk *w = calloc(1, sizeof *w);
        if (!w)
                return zp_error_errno(err, ENOMEM, "merge");
        w->layers = layers;
        w->out = out;
        w->resolve_budget = ZP_RESOLVE_BUDGET;
        for (size_t i = 0; i < count; i++) {
                mark_wanted(zp_tree_root(layers[i]), true);
                w->end_of_heirs[i] = &w->heirs[i];
        }
        int r = count > 0 ? check_lowest(w, zp_tree_root(layers[0]), err) : 0;
        if (r < 0)
                return zp_error_wrap(err, "layer 1");
        r = descend(w, roots, count, &nothing, err);
        if (r == 0)
                r = settle_all(w, count, err);
        zp_arena_clear(&w->arena);
        return r;
}
