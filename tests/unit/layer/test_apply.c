/* SPDX-License-Identifier: Apache-2.0
 *
 * Each case of docs/layer-semantics.md that one layer can show. Expected is what containerd 1.6.20 left
 * in an overlayfs upper directory for the same archive.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/stat.h>

#include "base/bytes.h"
#include "layer/apply.h"
#include "tar-builder.h"

static struct zp_error err;
static struct built b;
static struct zp_tree *tree;
static struct zp_apply_stats stats;

static int tear_down(void **state) {
        (void) state;
        zp_tree_free(tree);
        tree = NULL;
        built_clear(&b);
        zp_error_clear(&err);
        return 0;
}

/* Keeps small contents in the tree. */
static int store(void *context, const char *path, struct zp_tar *tar, struct zp_tree *into, struct zp_inode *inode,
                 struct zp_error *error) {
        (void) path;
        uint8_t *content = zp_tree_alloc(into, inode->size);
        const uint8_t *data;
        uint64_t size, at = 0;
        int r;
        (void) context;
        while ((r = zp_tar_data(tar, &data, &size, error)) > 0) {
                if (data)
                        memcpy(content + at, data, size);
                at += size;
        }
        inode->data = content;
        return r;
}

static int apply(void) {
        struct zp_tar *tar;
        assert_int_equal(zp_tar_new(built_input, &b, &tar, &err), 0);
        int r = zp_layer_apply(tar, store, NULL, &tree, &stats, &err);
        zp_tar_free(tar);
        return r;
}

static void applies(void) {
        if (apply() != 0)
                fail_msg("%s", err.message);
}

static void is_refused(const char *reason) {
        int r = apply();
        assert_int_equal(r, -EBADMSG);
        if (!strstr(err.message, reason))
                fail_msg("%s", err.message);
        assert_null(tree);
        built_clear(&b);
}

static struct zp_inode *find(const char *path) {
        struct zp_inode *inode = zp_tree_root(tree);
        while (inode && *path) {
                size_t size = strcspn(path, "/");
                struct zp_dentry *dentry = zp_tree_lookup(tree, inode, path, size);
                inode = dentry ? dentry->inode : NULL;
                path += size + (path[size] == '/');
        }
        return inode;
}

static struct zp_inode *get(const char *path) {
        struct zp_inode *inode = find(path);
        if (!inode)
                fail_msg("no '%s'", path);
        return inode;
}

static void has_content(const char *path, const char *content) {
        const struct zp_inode *inode = get(path);
        assert_int_equal(inode->size, strlen(content));
        if (inode->size > 0)
                assert_memory_equal(inode->data, content, inode->size);
}

#define FILE_OF(path, content) PUT(&b, .name = (path), .data = (content), .size = strlen(content))
#define DIRECTORY(path) PUT(&b, .name = (path), .type = '5', .mode = 0755)
#define SYMLINK(path, target) PUT(&b, .name = (path), .type = '2', .link = (target))
#define HARD_LINK(path, target) PUT(&b, .name = (path), .type = '1', .link = (target))

static void xattr(const char *name, const void *value, size_t size) {
        char key[400];
        snprintf(key, sizeof key, "SCHILY.xattr.%s", name);
        put_pax_bytes(&b, 'x', key, value, size);
}

static void has_xattr(const char *path, const char *name, const void *value, size_t size) {
        const struct zp_xattr *x = zp_inode_find_xattr(get(path), name);
        assert_non_null(x);
        assert_int_equal(x->value_size, size);
        if (size > 0)
                assert_memory_equal(x->value, value, size);
}

static void has_no_xattr(const char *path, const char *name) {
        assert_null(zp_inode_find_xattr(get(path), name));
}

/* --- entries and attributes --- */

static void entries_become_inodes(void **state) {
        (void) state;
        PUT(&b, .name = "f", .mode = 0104751, .uid = 1, .gid = 0, .mtime = 77, .data = "hello", .size = 5);
        PUT(&b, .name = "d/", .type = '5', .mode = 02770, .mtime = 78);
        SYMLINK("l", "../any/where");
        PUT(&b, .name = "c", .type = '3', .major = 0xfff, .minor = 0xfffff);
        PUT(&b, .name = "b", .type = '4', .major = 1, .minor = 2);
        PUT(&b, .name = "p", .type = '6');
        FILE_OF("empty", "");
        applies();
        has_content("f", "hello");
        assert_int_equal(get("f")->mode, S_IFREG | 04751);
        assert_int_equal(get("f")->uid, 1);
        assert_int_equal(get("f")->mtime_s, 77);
        assert_int_equal(get("f")->nlink, 1);
        assert_int_equal(get("d")->mode, S_IFDIR | 02770);
        assert_int_equal(get("d")->mtime_s, 78);
        assert_false(get("d")->is_implied);
        assert_int_equal(get("l")->mode, S_IFLNK | 0777);
        has_content("l", "../any/where");
        assert_int_equal(get("c")->mode, S_IFCHR | 0644);
        assert_int_equal(get("c")->rdev_major, 0xfff);
        assert_int_equal(get("c")->rdev_minor, 0xfffff);
        assert_int_equal(get("b")->mode, S_IFBLK | 0644);
        assert_int_equal(get("p")->mode, S_IFIFO | 0644);
        has_content("empty", "");
        assert_int_equal(stats.entries, 7);
        assert_int_equal(stats.file_bytes, 5);
}

static void names_are_cleaned_and_clamped_to_the_root(void **state) {
        (void) state;
        FILE_OF("./a//b/../x", "1");
        FILE_OF("../../y", "2");
        FILE_OF("/abs", "3");
        FILE_OF("raw\xff\xfe", "4");
        FILE_OF("slash/", "5"); /* type '0': a file all the same */
        applies();
        has_content("a/x", "1");
        assert_null(find("a/b"));
        has_content("y", "2");
        has_content("abs", "3");
        has_content("raw\xff\xfe", "4");
        has_content("slash", "5");
}

static void entries_of_the_root_are_ignored(void **state) {
        (void) state;
        PUT(&b, .name = "./", .type = '5', .mode = 0700, .uid = 5);
        PUT(&b, .name = "..", .type = '0', .data = "x", .size = 1);
        PUT(&b, .name = "", .type = '2', .link = "x");
        applies();
        assert_int_equal(zp_tree_root(tree)->mode, S_IFDIR | 0755);
        assert_int_equal(zp_tree_root(tree)->uid, 0);
        assert_int_equal(zp_tree_root(tree)->child_count, 0);
}

static void missing_parents_are_implied_until_their_entry_comes(void **state) {
        (void) state;
        FILE_OF("a/b/f", "x");
        PUT(&b, .name = "a", .type = '5', .mode = 0700, .mtime = 5);
        applies();
        assert_false(get("a")->is_implied);
        assert_int_equal(get("a")->mode, S_IFDIR | 0700);
        assert_int_equal(get("a")->mtime_s, 5);
        assert_true(get("a/b")->is_implied);
        assert_int_equal(get("a/b")->mode, S_IFDIR | 0755);
}

static void hard_link_out_of_a_replaced_implied_directory_is_refused(void **state) {
        (void) state;
        FILE_OF("a/b/f", "x");
        DIRECTORY("a/b");
        HARD_LINK("g", "a/b/f");
        FILE_OF("a", "x");
        is_refused("entry 'a': it replaces a directory without an entry of its own, which has hard links");
        DIRECTORY("a");
        FILE_OF("a/f", "x");
        HARD_LINK("g", "a/f");
        FILE_OF("a", "y");
        FILE_OF("b/f", "x");
        FILE_OF("b", "y");
        applies();
        has_content("g", "x");
        assert_int_equal(get("g")->nlink, 1);
        has_content("b", "y");
}

/* Then containerd has copied the lower directory's xattrs, which the entry does not take away. */
static void directory_implied_before_its_entry_is_marked(void **state) {
        (void) state;
        FILE_OF("first/f", "x");
        DIRECTORY("first");
        DIRECTORY("first");
        DIRECTORY("never");
        FILE_OF("never/f", "x");
        DIRECTORY("never");
        FILE_OF("still/f", "x");
        applies();
        assert_true(get("first")->inherits_xattrs);
        assert_false(get("first")->is_implied);
        assert_false(get("never")->inherits_xattrs);
        assert_false(get("still")->inherits_xattrs);
        assert_true(get("still")->is_implied);
}

static void implied_directory_takes_the_group_of_a_setgid_parent(void **state) {
        (void) state;
        PUT(&b, .name = "m", .type = '5', .mode = 02775, .gid = 8);
        FILE_OF("m/i/x", "");
        applies();
        assert_int_equal(get("m/i")->gid, 8);
        assert_int_equal(get("m/i")->mode, S_IFDIR | 0755);
}

static void file_on_the_way_is_refused(void **state) {
        (void) state;
        FILE_OF("p", "x");
        FILE_OF("p/child", "y");
        is_refused("entry 'p/child': a part of its path is not a directory");
}

static void last_of_several_entries_wins(void **state) {
        (void) state;
        FILE_OF("f", "first");
        FILE_OF("f", "second");
        DIRECTORY("d");
        FILE_OF("d/lost", "x");
        FILE_OF("e", "x");
        DIRECTORY("e");
        FILE_OF("e/kept", "x");
        HARD_LINK("g", "f");
        FILE_OF("g", "no longer linked");
        applies();
        has_content("f", "second");
        assert_int_equal(get("f")->nlink, 1);
        assert_true(S_ISDIR(get("e")->mode));
        has_content("e/kept", "x");
}

static void directory_on_directory_keeps_children_and_xattrs(void **state) {
        (void) state;
        xattr("user.first", "1", 1);
        DIRECTORY("d");
        FILE_OF("d/f", "x");
        PUT(&b, .name = "d", .type = '5', .mode = 0700, .uid = 3, .mtime = 9);
        applies();
        has_content("d/f", "x");
        assert_int_equal(get("d")->mode, S_IFDIR | 0700);
        assert_int_equal(get("d")->uid, 3);
        assert_int_equal(get("d")->mtime_s, 9);
        has_xattr("d", "user.first", "1", 1);
}

static void times_out_of_range_become_zero(void **state) {
        (void) state;
        put_pax(&b, "mtime", "-0.5");
        FILE_OF("before", "");
        put_pax(&b, "mtime", "9223372036.854775808");
        FILE_OF("after", "");
        put_pax(&b, "mtime", "9223372036.854775807");
        FILE_OF("last", "");
        put_pax(&b, "mtime", "9223372036854775807");
        FILE_OF("far", "");
        applies();
        assert_int_equal(get("before")->mtime_s, 0);
        assert_int_equal(get("before")->mtime_ns, 0);
        assert_int_equal(get("after")->mtime_s, 0);
        assert_int_equal(get("last")->mtime_s, INT64_C(9223372036));
        assert_int_equal(get("last")->mtime_ns, 854775807);
        assert_int_equal(get("far")->mtime_s, 0);
}

static void unknown_types_are_refused_by_name(void **state) {
        (void) state;
        PUT(&b, .name = "f", .type = '7');
        is_refused("entry 'f': unknown type '7' (55)");
        PUT(&b, .name = "f", .type = 'S', .magic = "ustar  ");
        is_refused("entry 'f': unknown type 'S' (83");
}

static void values_that_do_not_fit_are_refused(void **state) {
        (void) state;
        char text[5000];
        put_pax(&b, "uid", "4294967295");
        FILE_OF("f", "");
        is_refused("owner 4294967295:0");
        put_pax(&b, "gid", "-1");
        FILE_OF("f", "");
        is_refused("owner 0:-1");
        PUT(&b, .name = "c", .type = '3', .major = 0x1000, .minor = 1);
        is_refused("device number 4096:1");
        PUT(&b, .name = "c", .type = '4', .major = 1, .minor = 0x100000);
        is_refused("device number 1:1048576");
        SYMLINK("l", "");
        is_refused("target of 0 bytes");
        memset(text, 'x', sizeof text);
        put_pax_bytes(&b, 'x', "linkpath", text, 4096);
        SYMLINK("l", "x");
        is_refused("target of 4096 bytes");
        put_pax_bytes(&b, 'x', "path", text, 256);
        FILE_OF("f", "");
        is_refused("too long");
        for (size_t i = 0; i < sizeof text; i += 2)
                text[i] = '/';
        put_pax_bytes(&b, 'x', "path", text, 4098);
        FILE_OF("f", "");
        is_refused("4096 bytes or more");
}

static void longest_name_and_path_are_fine(void **state) {
        (void) state;
        char name[256] = { 0 }, path[4096] = { 0 };
        memset(name, 'n', 255);
        put_pax(&b, "path", name);
        FILE_OF("f", "x");
        for (size_t i = 0; i < 4094; i++)
                path[i] = i % 2 ? '/' : 'p';
        path[4094] = 'p';
        put_pax(&b, "path", path);
        FILE_OF("f", "y");
        applies();
        has_content(name, "x");
}

static void nul_in_a_sparse_name_is_refused(void **state) {
        (void) state;
        char text[300];
        size_t n = add_record(text, 0, "GNU.sparse.map", "0,1", 3);
        n = add_record(text, n, "GNU.sparse.numblocks", "1", 1);
        n = add_record(text, n, "GNU.sparse.name", "a\0b", 3);
        PUT(&b, .name = "x", .type = 'x', .data = text, .size = n);
        FILE_OF("f", "x");
        is_refused("a NUL in the path");
}

static void errors_of_the_reader_name_the_entry(void **state) {
        (void) state;
        FILE_OF("d/f", "0123456789");
        b.size = 512 + 5;
        is_refused("entry 'd/f': the archive ends within the data of an entry");
        put_pax(&b, "mtime", "soon");
        FILE_OF("d/f", "");
        is_refused("entry 'd/f': PAX record 'mtime' is not a time");
}

static void global_header_replaces_what_has_its_name(void **state) {
        (void) state;
        FILE_OF("f", "x");
        PUT(&b, .name = "f", .type = 'g');
        PUT(&b, .name = "tmp/GlobalHead.1", .type = 'g');
        applies();
        assert_null(find("f"));
        assert_true(get("tmp")->is_implied);
        assert_int_equal(get("tmp")->child_count, 0);
}

static void old_sparse_data_check_holds_for_empty_files(void **state) {
        (void) state;
        char text[300];
        size_t n = add_record(text, 0, "GNU.sparse.major", "0", 1);
        n = add_record(text, n, "GNU.sparse.minor", "1", 1);
        n = add_record(text, n, "GNU.sparse.numblocks", "0", 1);
        n = add_record(text, n, "GNU.sparse.size", "0", 1);
        PUT(&b, .name = "x", .type = 'x', .data = text, .size = n);
        FILE_OF("f", "unreferenced");
        is_refused("entry 'f': sparse file with more data");
}

/* --- whiteouts --- */

static void whiteouts_become_devices(void **state) {
        (void) state;
        DIRECTORY("d");
        FILE_OF("d/.wh.gone", "");
        FILE_OF(".wh..wh.x", "");
        FILE_OF("missing/.wh.ghost", "");
        FILE_OF(".wh....", "");
        applies();
        assert_true(zp_inode_is_whiteout(get("d/gone")));
        assert_null(find("d/.wh.gone"));
        assert_true(zp_inode_is_whiteout(get(".wh.x")));
        assert_true(get("missing")->is_implied);
        assert_true(zp_inode_is_whiteout(get("missing/ghost")));
        assert_true(zp_inode_is_whiteout(get("...")));
}

static void device_zero_is_a_whiteout(void **state) {
        (void) state;
        PUT(&b, .name = "w", .type = '3');
        PUT(&b, .name = "block", .type = '4');
        applies();
        assert_true(zp_inode_is_whiteout(get("w")));
        assert_false(zp_inode_is_whiteout(get("block")));
}

static void whiteout_of_the_layers_own_is_refused(void **state) {
        (void) state;
        FILE_OF("foo", "x");
        FILE_OF(".wh.foo", "");
        is_refused("entry '.wh.foo': a whiteout of what this layer itself has");
        FILE_OF(".wh.foo", "");
        FILE_OF(".wh.foo", "");
        is_refused("a whiteout of what this layer itself has");
}

static void entry_after_its_whiteout_replaces_it(void **state) {
        (void) state;
        FILE_OF(".wh.foo", "");
        FILE_OF("foo", "new");
        FILE_OF(".wh.dir", "");
        DIRECTORY("dir");
        applies();
        has_content("foo", "new");
        assert_true(S_ISDIR(get("dir")->mode));
        assert_false(get("dir")->is_opaque);
}

static void whiteouts_of_no_name_are_refused(void **state) {
        (void) state;
        static const char *const names[] = { ".wh.", "d/.wh..", "d/.wh..." };
        for (size_t i = 0; i < 3; i++) {
                FILE_OF(names[i], "");
                is_refused("a whiteout of no name");
        }
}

static void link_to_a_whiteout_is_refused(void **state) {
        (void) state;
        FILE_OF(".wh.A", "");
        HARD_LINK("B", "A");
        is_refused("entry 'B': hard link to 'A', which is a whiteout");
}

static void opaque_marker_marks_its_directory(void **state) {
        (void) state;
        FILE_OF("a/b/new", "x");
        FILE_OF("a/.wh..wh..opq", "");
        FILE_OF("fresh/.wh..wh..opq", "");
        applies();
        assert_true(get("a")->is_opaque);
        assert_true(get("a")->is_implied);
        assert_false(get("a/b")->is_opaque);
        has_content("a/b/new", "x");
        assert_null(find("a/.wh..wh..opq"));
        assert_true(get("fresh")->is_opaque);
}

static void opaque_marker_goes_through_a_link(void **state) {
        (void) state;
        DIRECTORY("target");
        SYMLINK("link", "target");
        FILE_OF("link/.wh..wh..opq", "");
        applies();
        assert_true(get("target")->is_opaque);
        assert_true(S_ISLNK(get("link")->mode));
}

static void opaque_marker_in_the_root_is_ignored(void **state) {
        (void) state;
        FILE_OF(".wh..wh..opq", "");
        FILE_OF("a/b", "");
        applies();
        assert_false(zp_tree_root(tree)->is_opaque);
        tear_down(NULL);

        FILE_OF("a/b", "");
        FILE_OF(".wh..wh..opq", "");
        is_refused("opaque marker in the root");
}

/* --- links --- */

static void parents_are_resolved_inside_the_layer(void **state) {
        (void) state;
        DIRECTORY("etc");
        SYMLINK("link", "/etc");
        FILE_OF("link/a", "1");
        SYMLINK("up", "../../../etc");
        FILE_OF("up/b", "2");
        SYMLINK("dangling", "not/yet");
        FILE_OF("dangling/c", "3");
        applies();
        has_content("etc/a", "1");
        has_content("etc/b", "2");
        has_content("not/yet/c", "3");
        assert_true(get("not/yet")->is_implied);
}

static void links_in_links_resolve_as_in_containerd(void **state) {
        (void) state;
        /* One pass puts "b" for "a" and looks at "b/foo" before it knows where "b" leads. */
        SYMLINK("a", "b");
        SYMLINK("b", "d/e");
        SYMLINK("d/e/foo", "../y");
        FILE_OF("a/foo/x", "1");
        applies();
        has_content("y/x", "1");
        assert_null(find("d/y"));
        tear_down(NULL);

        SYMLINK("x", "p/q");
        SYMLINK("a", "x/../y"); /* not cleaned before "x" is followed */
        FILE_OF("a/f", "1");
        applies();
        has_content("p/y/f", "1");
}

static void link_that_replaces_itself_leads_nowhere(void **state) {
        (void) state;
        SYMLINK("link", ".");
        FILE_OF("link/link", "x");
        FILE_OF("link/child", "y");
        is_refused("entry 'link/child': a part of its path is not a directory");
}

static void link_loops_are_refused(void **state) {
        (void) state;
        SYMLINK("a", "b");
        SYMLINK("b", "a");
        FILE_OF("a/f", "");
        is_refused("entry 'a/f': too many symbolic links");
}

static void link_without_a_directory_entry_stays_below(void **state) {
        (void) state;
        FILE_OF("link/evil", "x"); /* the link is in a lower layer: here a directory takes its place */
        applies();
        assert_true(S_ISDIR(get("link")->mode));
        assert_true(get("link")->is_implied);
}

static void hard_links_share_the_inode_and_its_attributes(void **state) {
        (void) state;
        PUT(&b, .name = "d/A", .mode = 0644, .uid = 1, .data = "x", .size = 1);
        PUT(&b, .name = "B", .type = '1', .link = "./d//A", .mode = 04755, .uid = 2, .mtime = 3);
        SYMLINK("s", "d");
        HARD_LINK("C", "s/A");
        HARD_LINK("D", "/s/x/../A/");
        applies();
        assert_ptr_equal(get("d/A"), get("B"));
        assert_ptr_equal(get("d/A"), get("C"));
        assert_int_equal(get("B")->nlink, 4);
}

static void hard_link_to_a_link_links_the_link(void **state) {
        (void) state;
        SYMLINK("s", "nowhere");
        PUT(&b, .name = "t", .type = '1', .link = "s", .uid = 4);
        applies();
        assert_ptr_equal(get("s"), get("t"));
        assert_int_equal(get("s")->mode, S_IFLNK | 0777);
        assert_int_equal(get("s")->uid, 4);
}

static void impossible_hard_links_are_refused(void **state) {
        (void) state;
        HARD_LINK("B", "A");
        FILE_OF("A", "x");
        is_refused("entry 'B': hard link to 'A': no such entry");
        DIRECTORY("d");
        HARD_LINK("B", "d");
        is_refused("hard link to 'd', which is a directory");
        HARD_LINK("B", "");
        is_refused("which is a directory");
        FILE_OF("A", "x");
        HARD_LINK("A", "A");
        is_refused("no such entry");
        SYMLINK("d", "./c");
        HARD_LINK("c", "/d/./.");
        is_refused("no such entry");
}

static void directory_times_follow_the_path_at_the_end(void **state) {
        (void) state;
        PUT(&b, .name = "a", .type = '5', .mtime = 5);
        DIRECTORY("real");
        SYMLINK("a", "real");
        applies();
        assert_int_equal(get("real")->mtime_s, 0); /* its own entry came last */
        tear_down(NULL);

        DIRECTORY("real");
        PUT(&b, .name = "a", .type = '5', .mtime = 5);
        SYMLINK("a", "real");
        applies();
        assert_int_equal(get("real")->mtime_s, 5);
        tear_down(NULL);

        PUT(&b, .name = "a/b", .type = '5', .mtime = 5);
        FILE_OF("a", "x");
        is_refused("entry 'a/b': its directory at the end");
}

/* --- extended attributes --- */

static const uint8_t CAPABILITY_2[20] = { 1, 0, 0, 2, 0, 0x20 };

static void extended_attributes_are_kept_or_ignored_as_by_linux(void **state) {
        (void) state;
        xattr("user.a", "", 0);
        FILE_OF("f1", "");
        xattr("security.capability", CAPABILITY_2, 20);
        FILE_OF("f2", "");
        xattr("trusted.overlay.opaque", "y", 1);
        DIRECTORY("d");
        xattr("unknown.name", "1", 1);
        FILE_OF("f3", "");
        xattr("user.a", "1", 1);
        SYMLINK("l", "x");
        xattr("user.a", "1", 1);
        PUT(&b, .name = "p", .type = '6');
        xattr("security.any", "1", 1);
        SYMLINK("l2", "x");
        put_pax(&b, "LIBARCHIVE.xattr.user.a", "eA==");
        FILE_OF("f4", "");
        applies();
        has_xattr("f1", "user.a", "", 0);
        has_xattr("f2", "security.capability", CAPABILITY_2, 20);
        has_no_xattr("d", "trusted.overlay.opaque");
        assert_false(get("d")->is_opaque);
        has_no_xattr("f3", "unknown.name");
        has_no_xattr("l", "user.a");
        has_no_xattr("p", "user.a");
        has_xattr("l2", "security.any", "1", 1);
        assert_null(get("f4")->xattrs);
}

static void bad_extended_attributes_are_refused(void **state) {
        (void) state;
        char name[300] = "user.";
        memset(name + 5, 'n', 251);
        static const struct {
                const char *name;
                size_t size;
        } bad[] = {
                { "", 1 },
                { "user.", 1 },
                { "security.", 1 },
                { "security.capability", 12 },
                { "security.capability", 0 },
                { "system.posix_acl_access", 3 },
        };
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                xattr(bad[i].name, "\0\0\0\0\0\0\0\0\0\0\0\0", bad[i].size);
                FILE_OF("f", "");
                is_refused("entry 'f': ");
        }
        xattr(name, "1", 1);
        FILE_OF("f", "");
        is_refused("name of 256 bytes");
        char *big = calloc(1, 65536);
        xattr("user.a", big, 65536);
        FILE_OF("f", "");
        assert_int_equal(apply(), -E2BIG);
        free(big);
}

static void chown_through_a_hard_link_drops_capabilities(void **state) {
        (void) state;
        xattr("security.capability", CAPABILITY_2, 20);
        FILE_OF("A", "x");
        HARD_LINK("B", "A");
        xattr("security.capability", CAPABILITY_2, 20);
        DIRECTORY("d");
        DIRECTORY("d");
        applies();
        has_no_xattr("A", "security.capability");
        has_xattr("d", "security.capability", CAPABILITY_2, 20); /* not from a directory */
}

struct acl_entry {
        uint16_t tag, perm;
        uint32_t id;
};

static size_t make_acl(uint8_t *out, const struct acl_entry *entries, size_t count) {
        zp_put_le32(out, 2);
        for (size_t i = 0; i < count; i++) {
                zp_put_le16(out + 4 + 8 * i, entries[i].tag);
                zp_put_le16(out + 6 + 8 * i, entries[i].perm);
                zp_put_le32(out + 8 + 8 * i, entries[i].id);
        }
        return 4 + 8 * count;
}

#define NO_ID UINT32_MAX

static void acls_follow_the_mode(void **state) {
        (void) state;
        uint8_t acl[64], expected[64];
        size_t size = make_acl(
                acl, (struct acl_entry[]){ { 1, 6, 0 }, { 2, 7, 5 }, { 4, 4, 0 }, { 16, 5, 0 }, { 32, 4, 0 } }, 5);
        xattr("system.posix_acl_access", acl, size);
        PUT(&b, .name = "f", .mode = 0751);
        make_acl(expected,
                 (struct acl_entry[]){
                         { 1, 7, NO_ID }, { 2, 7, 5 }, { 4, 4, NO_ID }, { 16, 5, NO_ID }, { 32, 1, NO_ID } },
                 5);

        uint8_t minimal[64];
        size_t minimal_size = make_acl(minimal, (struct acl_entry[]){ { 1, 7, 0 }, { 4, 5, 0 }, { 32, 1, 0 } }, 3);
        xattr("system.posix_acl_access", minimal, minimal_size);
        FILE_OF("minimal", "");
        applies();
        has_xattr("f", "system.posix_acl_access", expected, size);
        has_no_xattr("minimal", "system.posix_acl_access");
        assert_int_equal(get("minimal")->mode, S_IFREG | 0644);
}

static void default_acls_are_inherited(void **state) {
        (void) state;
        uint8_t acl[64], expected[64];
        const struct acl_entry entries[] = {
                { 1, 6, NO_ID }, { 2, 7, 5 }, { 4, 4, NO_ID }, { 16, 5, NO_ID }, { 32, 4, NO_ID }
        };
        size_t size = make_acl(acl, entries, 5);
        xattr("system.posix_acl_default", acl, size);
        DIRECTORY("d");
        FILE_OF("d/f", "");
        DIRECTORY("d/e");
        SYMLINK("d/l", "x");
        applies();
        make_acl(expected, entries, 5);
        zp_put_le16(expected + 6 + 24, 4); /* mask of 0644 */
        has_xattr("d/f", "system.posix_acl_access", expected, size);
        has_xattr("d/e", "system.posix_acl_default", acl, size);
        assert_null(get("d/l")->xattrs);
        tear_down(NULL);

        xattr("system.posix_acl_default", acl, size);
        DIRECTORY("d");
        FILE_OF("d/implied/f", "");
        is_refused("would inherit an ACL");
        xattr("system.posix_acl_default", acl, size);
        FILE_OF("f", "");
        is_refused("on something that is not a directory");
}

static void malformed_acls_are_refused(void **state) {
        (void) state;
        static const struct acl_entry bad[][4] = {
                { { 1, 7, NO_ID } },                                                     /* incomplete */
                { { 1, 9, NO_ID }, { 4, 5, NO_ID }, { 32, 1, NO_ID } },                  /* a permission that is none */
                { { 4, 5, NO_ID }, { 1, 7, NO_ID }, { 32, 1, NO_ID } },                  /* order */
                { { 1, 7, NO_ID }, { 2, 7, 5 }, { 4, 5, NO_ID }, { 32, 1, NO_ID } },     /* no mask */
                { { 1, 7, NO_ID }, { 2, 7, NO_ID }, { 4, 5, NO_ID }, { 16, 1, NO_ID } }, /* a user without id */
                { { 3, 7, NO_ID }, { 4, 5, NO_ID }, { 32, 1, NO_ID } },                  /* an unknown tag */
        };
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                uint8_t acl[64];
                size_t count = 0;
                while (count < 4 && bad[i][count].tag)
                        count++;
                xattr("system.posix_acl_access", acl, make_acl(acl, bad[i], count));
                FILE_OF("f", "");
                is_refused("system.posix_acl_access is malformed");
        }
}

#define TEST(name) cmocka_unit_test_teardown(name, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(entries_become_inodes),
                TEST(names_are_cleaned_and_clamped_to_the_root),
                TEST(entries_of_the_root_are_ignored),
                TEST(missing_parents_are_implied_until_their_entry_comes),
                TEST(hard_link_out_of_a_replaced_implied_directory_is_refused),
                TEST(directory_implied_before_its_entry_is_marked),
                TEST(implied_directory_takes_the_group_of_a_setgid_parent),
                TEST(file_on_the_way_is_refused),
                TEST(last_of_several_entries_wins),
                TEST(directory_on_directory_keeps_children_and_xattrs),
                TEST(times_out_of_range_become_zero),
                TEST(unknown_types_are_refused_by_name),
                TEST(values_that_do_not_fit_are_refused),
                TEST(longest_name_and_path_are_fine),
                TEST(nul_in_a_sparse_name_is_refused),
                TEST(errors_of_the_reader_name_the_entry),
                TEST(global_header_replaces_what_has_its_name),
                TEST(old_sparse_data_check_holds_for_empty_files),
                TEST(whiteouts_become_devices),
                TEST(device_zero_is_a_whiteout),
                TEST(whiteout_of_the_layers_own_is_refused),
                TEST(entry_after_its_whiteout_replaces_it),
                TEST(whiteouts_of_no_name_are_refused),
                TEST(link_to_a_whiteout_is_refused),
                TEST(opaque_marker_marks_its_directory),
                TEST(opaque_marker_goes_through_a_link),
                TEST(opaque_marker_in_the_root_is_ignored),
                TEST(parents_are_resolved_inside_the_layer),
                TEST(links_in_links_resolve_as_in_containerd),
                TEST(link_that_replaces_itself_leads_nowhere),
                TEST(link_loops_are_refused),
                TEST(link_without_a_directory_entry_stays_below),
                TEST(hard_links_share_the_inode_and_its_attributes),
                TEST(hard_link_to_a_link_links_the_link),
                TEST(impossible_hard_links_are_refused),
                TEST(directory_times_follow_the_path_at_the_end),
                TEST(extended_attributes_are_kept_or_ignored_as_by_linux),
                TEST(bad_extended_attributes_are_refused),
                TEST(chown_through_a_hard_link_drops_capabilities),
                TEST(acls_follow_the_mode),
                TEST(default_acls_are_inherited),
                TEST(malformed_acls_are_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
