/* SPDX-License-Identifier: Apache-2.0
 *
 * `zeropull mount` and `zeropull umount`.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>

#include "base/limits.h"
#include "base/pool.h"
#include "cli/output.h"
#include "cli/view.h"
#include "mount/erofs_mount.h"
#include "mount/table.h"

enum { OPTION_SUID, OPTION_DEV };

static const struct cli_option mount_options[] = {
        [OPTION_SUID] = { "suid", 0, NULL, "let set-user-ID programs of the image take effect" },
        [OPTION_DEV] = { "dev", 0, NULL, "let device nodes of the image take effect" },
        { 0 },
};

struct devices {
        int fds[ZP_LIMIT_DEVICES];
        uint16_t count;
};

static void close_devices(struct devices *devices) {
        for (uint16_t i = 0; i < devices->count; i++)
                close(devices->fds[i]);
}

static int unpack_devices(const struct cli_call *call, struct zp_store *store, const struct zp_loaded *tree,
                          struct devices *out, struct zp_error *err) {
        zp_auto(zp_pool_free) struct zp_pool *pool = NULL;
        if (tree->device_count > ZP_LIMIT_DEVICES)
                return zp_error_set(err, EBADMSG, "snapshot.erofs: %u devices", tree->device_count);
        int r = zp_pool_new(zp_usable_cpus(), &pool, err);
        for (uint16_t i = 0; i < tree->device_count && r == 0; i++) {
                int fd = zp_store_unpack_device(store, &tree->devices[i].digest, pool, call->cancel, err);
                if (fd < 0)
                        return fd;
                out->fds[out->count++] = fd;
        }
        return r;
}

static int mount_devices(const struct cli_call *call, struct zp_store *store, const struct zp_image_record *image,
                         const struct devices *devices, struct zp_error *err) {
        const char *directory = call->arguments[1];
        zp_autofree char *source = zp_store_mount_source(store, &image->manifest_digest);
        if (!source)
                return zp_error_errno(err, ENOMEM, "mount '%s'", directory);
        zp_autoclose int fd = zp_store_open_image_file(store, &image->manifest_digest, "snapshot.erofs", err);
        if (fd < 0)
                return fd;
        unsigned attributes = (cli_flag(call, OPTION_SUID) ? 0 : MOUNT_ATTR_NOSUID) |
                              (cli_flag(call, OPTION_DEV) ? 0 : MOUNT_ATTR_NODEV);
        int r = zp_erofs_mount(fd, devices->fds, devices->count, source, directory, attributes, err);
        if (r < 0)
                return r;
        r = zp_store_confirm_mount(store, &image->manifest_digest, err);
        if (r < 0)
                zp_unmount(directory, true, NULL);
        return r;
}

static void tell_waiting(void *context) {
        const struct cli_call *call = context;
        if (!call->quiet)
                fputs("another process builds this image: waiting for it\n", stderr);
}

/* Under the image's lock: metadata and devices are of one build then, and nobody prunes the devices meanwhile. */
static int mount_image(struct cli_call *call, struct zp_store *store, struct zp_image_record *image,
                       struct zp_error *err) {
        zp_auto(zp_store_unlock) struct zp_store_lock *lock = NULL;
        zp_autoloaded struct zp_loaded tree = { 0 };
        struct zp_digest digest = image->manifest_digest;
        char text[ZP_DIGEST_TEXT_SIZE];
        int r = zp_store_lock(store, &digest, call->cancel, tell_waiting, call, &lock, err);
        if (r < 0)
                return r;
        zp_image_record_clear(image);
        r = zp_store_find_image(store, &digest, image, err);
        if (r <= 0)
                return r < 0 ? r
                             : zp_error_set(err, ENOENT, "image %s was removed meanwhile",
                                            zp_digest_text(&digest, text));
        struct devices devices = { .count = 0 };
        r = zp_snapshot_load(store, image, &tree, err);
        if (r == 0)
                r = unpack_devices(call, store, &tree, &devices, err);
        if (r == 0)
                r = mount_devices(call, store, image, &devices, err);
        close_devices(&devices);
        return r;
}

/* Before anything is unpacked: a wrong directory and a user who may not mount. */
static int check_directory(const char *directory, struct zp_error *err) {
        zp_autoclose int fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? zp_error_errno(err, errno, "mount on '%s'", directory) : 0;
}

static int print_mounted(const struct cli_call *call, const struct zp_image_record *image, struct zp_error *err) {
        if (!call->json)
                return 0;
        const char *directory = call->arguments[1];
        return cli_print_json(json_pack("{s:o, s:o}", "digest", cli_json_digest(&image->manifest_digest), "directory",
                                        cli_json_text(directory, strlen(directory))),
                              err);
}

static int run_mount(struct cli_call *call, struct zp_error *err) {
        zp_auto(zp_store_close) struct zp_store *store = NULL;
        struct zp_image_record image = { 0 };
        int r = cli_file_failed(call, check_directory(call->arguments[1], err));
        if (r == 0 && geteuid() != 0) {
                r = zp_error_set(err, EPERM, "mounting takes root");
                zp_error_hint(err, "'zeropull ls' and 'zeropull cat' look into an image without");
        }
        if (r == 0)
                r = cli_open_image(call, ZP_STORE_WRITE, call->arguments[0], &store, &image, err);
        if (r == 0)
                r = cli_hint_complete(mount_image(call, store, &image, err), call->arguments[0], err);
        if (r == 0)
                r = print_mounted(call, &image, err);
        zp_image_record_clear(&image);
        return r;
}

const struct cli_command cli_mount = {
        .name = "mount",
        .arguments = "IMAGE DIR",
        .summary = "Mount an image read-only on a directory (as root)",
        .example = "zeropull mount registry.example/web:3 /mnt",
        .options = mount_options,
        .arguments_min = 2,
        .arguments_max = 2,
        .run = run_mount,
};

enum { OPTION_LAZY };

static const struct cli_option umount_options[] = {
        [OPTION_LAZY] = { "lazy", 'l', NULL, "take it out of sight now, end it when nobody uses it" },
        { 0 },
};

/* Only what `mount` mounted. `path` is as the kernel has it. */
static int check_ours(const struct zp_store *store, const char *path, struct zp_error *err) {
        zp_auto(zp_mount_table_free) struct zp_mount_table *table = NULL;
        int r = zp_mount_table_read(&table, err);
        if (r < 0)
                return r;
        const struct zp_mount *mount = zp_mount_table_find(table, path);
        if (!mount)
                return zp_error_set(err, EINVAL, "'%s' is not a mount point", path);
        if (zp_store_is_daemons_point(path)) {
                zp_error_set(err, EBUSY, "'%s' is a mount of the node's daemon, and containers may read from it", path);
                zp_error_hint(err, "it goes when they and the image are removed (ctr images rm, crictl rmi)");
                return -EBUSY;
        }
        if (zp_store_has_mount(store, mount))
                return 0;
        zp_error_set(err, EINVAL, "'%s' is not a mount of the store '%s' (%s of type %s)", path, zp_store_path(store),
                     mount->source, mount->type);
        zp_error_hint(err, "--store names the store it was mounted from; umount(8) unmounts anything");
        return -EINVAL;
}

static int run_umount(struct cli_call *call, struct zp_error *err) {
        zp_auto(zp_store_close) struct zp_store *store = NULL;
        int r = zp_store_open(call->store, ZP_STORE_READ, &store, err);
        if (r < 0)
                return r;
        zp_autofree char *path = realpath(call->arguments[0], NULL);
        if (!path)
                return cli_file_failed(call, zp_error_errno(err, errno, "'%s'", call->arguments[0]));
        r = check_ours(store, path, err);
        return r < 0 ? r : zp_unmount(path, cli_flag(call, OPTION_LAZY), err);
}

const struct cli_command cli_umount = {
        .name = "umount",
        .arguments = "DIR",
        .summary = "Unmount an image",
        .example = "zeropull umount /mnt",
        .options = umount_options,
        .arguments_min = 1,
        .arguments_max = 1,
        .run = run_umount,
};
