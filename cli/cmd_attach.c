/* SPDX-License-Identifier: Apache-2.0
 *
 * `zeropull attach`: the path of an image's disk, served by the node's daemon. There is no state: a disk is there
 * whenever the daemon runs and its store has the image.
 */
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/buffer.h"
#include "base/file.h"
#include "cli/child.h"
#include "cli/output.h"
#include "cli/view.h"
#include "mount/table.h"
#include "snapshotter/data/data.h"

#define DEFAULT_ROOT "/var/lib/zeropull-snapshotter"
#define WAIT_MS 10000
#define LOOK_NS 20000000

enum { OPTION_ROOT, OPTION_COMPAT };

static const struct cli_option options[] = {
        [OPTION_ROOT] = { "root", 0, "DIR", "the daemon's root directory (default: " DEFAULT_ROOT ")" },
        [OPTION_COMPAT] = { "compat", 0, NULL, "for kernels from 5.15 on; without it, from 6.4 on" },
        { 0 },
};

/* In a process of its own: a pull gives up its rights. What it prints is not what is asked for here. */
static int pull(void *context, struct zp_error *err) {
        const struct cli_call *call = context;
        struct cli_call pulling = { .command = &cli_pull,
                                    .store = call->store,
                                    .quiet = call->quiet,
                                    .arguments = call->arguments,
                                    .argument_count = 1,
                                    .cancel = call->cancel };
        zp_autoclose int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
        if (nowhere < 0 || dup2(nowhere, STDOUT_FILENO) < 0)
                return zp_error_errno(err, errno, "/dev/null");
        return cli_pull.run(&pulling, err);
}

/* Nothing of the store is open while a child works. */
static int find_image(const struct cli_call *call, struct zp_digest *digest, struct zp_error *err) {
        zp_auto(zp_store_close) struct zp_store *store = NULL;
        struct zp_image_record image = { 0 };
        int r = cli_open_image(call, ZP_STORE_READ, call->arguments[0], &store, &image, err);
        *digest = image.manifest_digest;
        zp_image_record_clear(&image);
        return r;
}

static int ensure_image(const struct cli_call *call, struct zp_digest *digest, struct zp_error *err) {
        int r = find_image(call, digest, err);
        if (r != -ENOENT)
                return r;
        zp_error_clear(err);
        r = cli_in_child(pull, (void *) call, call->cancel, err);
        return r < 0 ? r : find_image(call, digest, err);
}

static int check_daemon(const char *root, struct zp_error *err) {
        zp_auto(zp_mount_table_free) struct zp_mount_table *table = NULL;
        zp_autofree char *real = realpath(root, NULL), *devices = real ? zp_format("%s/devices", real) : NULL;
        if (!real && errno == EACCES)
                return zp_error_errno(err, EACCES, "the daemon's root directory '%s'", root);
        int r = zp_mount_table_read(&table, err);
        if (r < 0 || (devices && zp_mount_table_find(table, devices)))
                return r;
        zp_error_set(err, ENOTCONN, "no data plane serves '%s/devices'", root);
        zp_error_hint(err, "start zeropull-snapshotter; --root names its root directory");
        return -ENOTCONN;
}

/* The daemon says which store it uses; an older one does not, and *out is NULL. malloc'ed. */
static int ask_for_store(const char *root, char **out, struct zp_error *err) {
        zp_autofree char *path = zp_format("%s/devices/" SNAP_DATA_STORE, root), *text = NULL;
        size_t size;
        if (!path)
                return zp_error_errno(err, ENOMEM, "store");
        int r = zp_read_file(AT_FDCWD, path, PATH_MAX, &text, &size, err);
        if (r == -ENOENT) {
                zp_error_clear(err);
                return 0;
        }
        if (r == 0)
                text[strcspn(text, "\n")] = '\0';
        *out = r == 0 ? zp_steal(&text) : NULL;
        return r < 0 ? zp_error_wrap(err, "the daemon's store") : 0;
}

/* One that was named must be the daemon's: what lies in another one is not served. */
static int take_store(struct cli_call *call, const char *theirs, struct zp_error *err) {
        zp_autofree char *real = realpath(call->store, NULL), *their_real = theirs ? realpath(theirs, NULL) : NULL;
        if (theirs && call->is_default_store) {
                call->store = theirs;
                return 0;
        }
        if (!theirs || (real && their_real && strcmp(real, their_real) == 0))
                return 0;
        zp_error_set(err, ENOTSUP, "the daemon uses the store '%s', not '%s'", theirs, call->store);
        zp_error_hint(err, "without --store it is the daemon's");
        return -ENOTSUP;
}

/* The daemon may be just being started again. */
static int await_disk(const struct cli_call *call, const char *path, struct stat *st, struct zp_error *err) {
        uint64_t until = cli_now_ms() + WAIT_MS;
        while (stat(path, st) < 0) {
                int code = errno, r = zp_check_cancel(call->cancel, err);
                if (r < 0)
                        return r;
                if (cli_now_ms() >= until || (code != ENOENT && code != ENOTCONN && code != EIO)) {
                        zp_error_errno(err, code == ENOENT ? EIO : code, "disk '%s'", path);
                        return -err->code;
                }
                nanosleep(&(struct timespec){ .tv_nsec = LOOK_NS }, NULL);
        }
        return 0;
}

static int print(const struct cli_call *call, const struct zp_digest *image, const char *path, const struct stat *st,
                 struct zp_error *err) {
        if (!call->json) {
                puts(path);
                return 0;
        }
        return cli_print_json(json_pack("{s:o, s:o, s:I}", "digest", cli_json_digest(image), "path",
                                        cli_json_text(path, strlen(path)), "size", (json_int_t) st->st_size),
                              err);
}

static int run(struct cli_call *call, struct zp_error *err) {
        const char *root = call->values[OPTION_ROOT] ? call->values[OPTION_ROOT] : DEFAULT_ROOT;
        struct zp_digest digest;
        struct stat st;
        char hex[ZP_SHA256_HEX_SIZE];
        zp_autofree char *store = NULL;
        int r = check_daemon(root, err);
        if (r == 0)
                r = ask_for_store(root, &store, err);
        if (r == -EACCES && geteuid() != 0)
                zp_error_hint(err, "what the daemon serves is root's: run this as root");
        if (r == 0)
                r = take_store(call, store, err);
        if (r == 0)
                r = ensure_image(call, &digest, err);
        if (r < 0)
                return r;
        zp_autofree char *path = zp_format("%s/devices/disk-%s%s", root, cli_flag(call, OPTION_COMPAT) ? "compat-" : "",
                                           zp_digest_hex(&digest, hex));
        if (!path)
                return zp_error_errno(err, ENOMEM, "disk");
        r = await_disk(call, path, &st, err);
        return r < 0 ? r : print(call, &digest, path, &st, err);
}

const struct cli_command cli_attach = {
        .name = "attach",
        .arguments = "IMAGE",
        .summary = "Print the path of an image's disk for a virtual machine, served on demand",
        .example = "qemu-system-x86_64 -drive file=$(zeropull attach registry.example/web:3),format=raw,if=virtio,"
                   "readonly=on ...",
        .options = options,
        .arguments_min = 1,
        .arguments_max = 1,
        .run = run,
};
