/* SPDX-License-Identifier: Apache-2.0
 *
 * `zeropull ls`.
 */
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/limits.h"
#include "cli/output.h"
#include "cli/path.h"
#include "cli/view.h"

enum { OPTION_RECURSIVE, OPTION_DIRECTORY };

static const struct cli_option options[] = {
        [OPTION_RECURSIVE] = { "recursive", 'R', NULL, "go into directories" },
        [OPTION_DIRECTORY] = { "directory", 'd', NULL, "show a directory or link itself, not what it leads to" },
        { 0 },
};

static const struct {
        uint32_t type;
        char letter;
        const char *name;
} types[] = {
        { S_IFREG, '-', "file" },    { S_IFDIR, 'd', "directory" },        { S_IFLNK, 'l', "symlink" },
        { S_IFIFO, 'p', "fifo" },    { S_IFCHR, 'c', "character-device" }, { S_IFBLK, 'b', "block-device" },
        { S_IFSOCK, 's', "socket" },
};

static size_t type_of(uint32_t mode) {
        for (size_t i = 0; i < sizeof types / sizeof *types; i++)
                if ((mode & S_IFMT) == types[i].type)
                        return i;
        return 0;
}

static bool is_device(const struct zp_inode *inode) {
        return S_ISCHR(inode->mode) || S_ISBLK(inode->mode);
}

/* As ls(1) has it, "-rwsr-xr-t". */
static char *mode_text(uint32_t mode, char text[11]) {
        static const char bits[] = "rwxrwxrwx";
        text[0] = types[type_of(mode)].letter;
        for (int i = 0; i < 9; i++)
                text[1 + i] = mode & (0400u >> i) ? bits[i] : '-';
        if (mode & S_ISUID)
                text[3] = mode & S_IXUSR ? 's' : 'S';
        if (mode & S_ISGID)
                text[6] = mode & S_IXGRP ? 's' : 'S';
        if (mode & S_ISVTX)
                text[9] = mode & S_IXOTH ? 't' : 'T';
        text[10] = '\0';
        return text;
}

static void print_long(const struct zp_inode *inode, const char *name, size_t name_size) {
        char mode[11], size[32], time[CLI_TIME_TEXT];
        if (is_device(inode))
                snprintf(size, sizeof size, "%u, %u", inode->rdev_major, inode->rdev_minor);
        else
                snprintf(size, sizeof size, "%" PRIu64, inode->size);
        printf("%s %3u %5u %5u %10s %s ", mode_text(inode->mode, mode), inode->nlink, inode->uid, inode->gid, size,
               cli_time_text(inode->mtime_s, time));
        cli_print_escaped(stdout, name, name_size);
        if (S_ISLNK(inode->mode)) {
                fputs(" -> ", stdout);
                cli_print_escaped(stdout, (const char *) inode->data, inode->size);
        }
        putchar('\n');
}

/* Bytes that are no text are given in hex besides. */
static bool set_bytes(json_t *object, const char *key, const char *hex_key, const char *bytes, size_t size) {
        json_t *text = json_stringn(bytes, size);
        if (text)
                return cli_json_set(object, key, text);
        zp_autofree char *hex = malloc(2 * size + 1);
        if (!hex)
                return false;
        for (size_t i = 0; i < size; i++)
                snprintf(hex + 2 * i, 3, "%02x", (unsigned char) bytes[i]);
        return cli_json_set(object, key, cli_json_text(bytes, size)) &&
               cli_json_set(object, hex_key, json_stringn(hex, 2 * size));
}

static json_t *xattrs_json(const struct zp_inode *inode) {
        json_t *out = json_object();
        for (const struct zp_xattr *x = inode->xattrs; x && out; x = x->next) {
                zp_autofree char *hex = malloc(2 * (size_t) x->value_size + 1);
                if (!hex)
                        break;
                for (uint32_t i = 0; i < x->value_size; i++)
                        snprintf(hex + 2 * i, 3, "%02x", x->value[i]);
                json_t *name = cli_json_text(x->name, strlen(x->name));
                cli_json_set(out, name ? json_string_value(name) : "", json_stringn(hex, 2 * (size_t) x->value_size));
                json_decref(name);
        }
        return out;
}

static json_t *inode_json(const struct zp_inode *inode, const char *path) {
        char time[CLI_TIME_TEXT], mode[8];
        snprintf(mode, sizeof mode, "%04o", inode->mode & 07777);
        json_t *out = json_object();
        bool done = set_bytes(out, "path", "pathHex", path, strlen(path)) &&
                    cli_json_set(out, "type", json_string(types[type_of(inode->mode)].name)) &&
                    cli_json_set(out, "mode", json_string(mode)) &&
                    cli_json_set(out, "uid", json_integer(inode->uid)) &&
                    cli_json_set(out, "gid", json_integer(inode->gid)) &&
                    cli_json_set(out, "links", json_integer(inode->nlink)) &&
                    cli_json_set(out, "size", json_integer((json_int_t) inode->size)) &&
                    cli_json_set(out, "modified", json_string(cli_time_text(inode->mtime_s, time))) &&
                    cli_json_set(out, "modifiedSeconds", json_integer(inode->mtime_s)) &&
                    cli_json_set(out, "modifiedNanoseconds", json_integer(inode->mtime_ns));
        if (done && S_ISLNK(inode->mode))
                done = set_bytes(out, "target", "targetHex", (const char *) inode->data, inode->size);
        if (done && is_device(inode))
                done = cli_json_set(out, "device", json_pack("[i, i]", inode->rdev_major, inode->rdev_minor));
        if (done && inode->xattrs)
                done = cli_json_set(out, "xattrsHex", xattrs_json(inode));
        if (done)
                return out;
        json_decref(out);
        return NULL;
}

struct listing {
        const struct cli_call *call;
        json_t *list; /* NULL: text */
        bool is_recursive, is_later;
        char path[ZP_LIMIT_PATH + ZP_LIMIT_NAME + 2];
};

static int show(struct listing *l, const struct zp_inode *inode, const char *path, const char *name, size_t name_size,
                struct zp_error *err) {
        if (!l->list) {
                print_long(inode, name, name_size);
                return 0;
        }
        return json_array_append_new(l->list, inode_json(inode, path)) < 0 ? zp_error_errno(err, ENOMEM, "ls") : 0;
}

static void print_heading(struct listing *l) {
        if (l->list || !l->is_recursive)
                return;
        if (l->is_later)
                putchar('\n');
        cli_print_escaped(stdout, l->path[0] ? l->path : "/", l->path[0] ? strlen(l->path) : 1);
        fputs(":\n", stdout);
        l->is_later = true;
}

/* Lists the directory whose path (without the slash at the end) is in l->path. */
static int list_directory(struct listing *l, const struct zp_inode *dir, struct zp_error *err) {
        zp_autofree struct zp_dentry **children = NULL;
        size_t used = strlen(l->path);
        int r = zp_check_cancel(l->call->cancel, err);
        if (r == 0)
                r = zp_tree_sorted_children(dir, &children, err);
        print_heading(l);
        for (int pass = 0; pass < (l->is_recursive ? 2 : 1); pass++)
                for (uint32_t i = 0; i < dir->child_count && r == 0; i++) {
                        const struct zp_dentry *child = children[i];
                        if (used + child->name_size + 2 > sizeof l->path)
                                return zp_error_set(err, ENAMETOOLONG, "'%s': its path is too long", l->path);
                        snprintf(l->path + used, sizeof l->path - used, "/%s", child->name);
                        if (pass == 0)
                                r = show(l, child->inode, l->path, child->name, child->name_size, err);
                        else if (S_ISDIR(child->inode->mode))
                                r = list_directory(l, child->inode, err);
                        l->path[used] = '\0';
                }
        return r;
}

static int list(const struct cli_call *call, const struct zp_tree *tree, struct zp_error *err) {
        const char *path = call->argument_count > 1 ? call->arguments[1] : "/";
        bool is_itself = cli_flag(call, OPTION_DIRECTORY);
        zp_autofree char *resolved = NULL;
        struct zp_inode *inode = NULL;
        int r = cli_find_path(tree, path, is_itself, &inode, &resolved, err);
        if (r == -ENOENT && !is_itself)
                /* a link that leads nowhere is still there */
                r = cli_find_path(tree, path, true, &inode, &resolved, err);
        if (r < 0)
                return r;
        struct listing l = { .call = call, .is_recursive = cli_flag(call, OPTION_RECURSIVE) };
        l.list = call->json ? json_array() : NULL;
        if (strlen(resolved) >= sizeof l.path)
                r = zp_error_set(err, ENAMETOOLONG, "'%s': its path is too long", path);
        else if (is_itself || !S_ISDIR(inode->mode))
                r = show(&l, inode, resolved, path, strlen(path), err);
        else {
                snprintf(l.path, sizeof l.path, "%s", strcmp(resolved, "/") == 0 ? "" : resolved);
                r = list_directory(&l, inode, err);
        }
        if (r < 0 || !call->json) {
                json_decref(l.list);
                return r;
        }
        return cli_print_json(l.list, err);
}

static int run(struct cli_call *call, struct zp_error *err) {
        zp_auto(zp_store_close) struct zp_store *store = NULL;
        struct zp_image_record image = { 0 };
        zp_autoloaded struct zp_loaded tree = { 0 };
        if (call->argument_count > 1 && !*call->arguments[1])
                return cli_usage_error(call, err, "ls: PATH is empty");
        int r = cli_open_image(call, ZP_STORE_READ, call->arguments[0], &store, &image, err);
        if (r == 0)
                r = zp_snapshot_load(store, &image, &tree, err);
        if (r == 0)
                r = list(call, tree.tree, err);
        zp_image_record_clear(&image);
        return r;
}

const struct cli_command cli_ls = {
        .name = "ls",
        .arguments = "IMAGE [PATH]",
        .summary = "List files of an image, as ls -l does",
        .example = "zeropull ls registry.example/web:3 /etc",
        .options = options,
        .arguments_min = 1,
        .arguments_max = 2,
        .run = run,
};
