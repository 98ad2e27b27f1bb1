/* SPDX-License-Identifier: Apache-2.0
 *
 * What the kernel can do, tried out by a child in a mount namespace of its own: whatever it mounts goes with it.
 */
#include "snapshotter/check.h"

#include <fcntl.h>
#include <libgen.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "blockfs/blockfs.h"
#include "mount/erofs_mount.h"
#include "mount/table.h"

#define IMAGE_SIZE 4096

/* What the child finds out; codes are positive errnos, 0: it works. */
struct probes {
        int namespace, erofs, fuse, overlay;
        bool is_erofs_from_file, can_resend;
        char said[256]; /* by the kernel, of erofs */
};

/* An empty EROFS: https://docs.kernel.org/filesystems/erofs.html. Block 0 has the superblock and the root directory,
 * whose two entries lie behind its inode. */
static void make_image(uint8_t image[IMAGE_SIZE]) {
        enum { SUPER = 1024, ROOT_NID = 40, INODE = ROOT_NID * 32, ENTRIES = INODE + 32 };
        memset(image, 0, IMAGE_SIZE);
        zp_put_le32(image + SUPER, 0xE0F5E1E2);
        image[SUPER + 12] = 12; /* log2 of the block size */
        zp_put_le16(image + SUPER + 14, ROOT_NID);
        zp_put_le64(image + SUPER + 16, 1);      /* inodes */
        zp_put_le32(image + SUPER + 36, 1);      /* blocks */
        zp_put_le16(image + INODE, 2 << 1);      /* compact; data behind the inode */
        zp_put_le16(image + INODE + 4, 0040755); /* mode */
        zp_put_le16(image + INODE + 6, 2);       /* links */
        zp_put_le32(image + INODE + 8, 27);      /* size */
        zp_put_le32(image + INODE + 20, 1);      /* number */
        for (int i = 0; i < 2; i++) {
                zp_put_le64(image + ENTRIES + 12 * i, ROOT_NID);
                zp_put_le16(image + ENTRIES + 12 * i + 8, (uint16_t) (24 + i));
                image[ENTRIES + 12 * i + 10] = 2; /* a directory */
        }
        memcpy(image + ENTRIES + 24, "...", 3);
}

static bool is_from_file(const char *point) {
        zp_auto(zp_mount_table_free) struct zp_mount_table *table = NULL;
        const struct zp_mount *mount =
                zp_mount_table_read(&table, NULL) == 0 ? zp_mount_table_find(table, point) : NULL;
        return mount && strncmp(mount->source, "/dev/loop", 9) != 0;
}

static void probe_erofs(const char *directory, struct probes *probes) {
        uint8_t image[IMAGE_SIZE];
        struct zp_error err = { 0 };
        zp_autofree char *path = zp_format("%s/image", directory), *point = zp_format("%s/erofs", directory);
        zp_autoclose int fd = path && point ? open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;
        make_image(image);
        int r = fd < 0 ? -EIO : zp_pwrite_all(fd, image, sizeof image, 0, path, &err);
        if (r == 0)
                r = zp_erofs_mount(fd, NULL, 0, path, point, 0, &err);
        probes->erofs = -r;
        probes->is_erofs_from_file = r == 0 && is_from_file(point);
        snprintf(probes->said, sizeof probes->said, "%.255s", err.message);
}

static void probe_fuse(const char *directory, struct probes *probes) {
        zp_autofree char *point = zp_format("%s/fuse", directory);
        int fd = point ? zp_blockfs_mount(point, &probes->can_resend, NULL) : -ENOMEM;
        probes->fuse = fd < 0 ? -fd : 0;
        if (fd >= 0) {
                close(fd);
                umount2(point, MNT_DETACH);
        }
}

/* Over the EROFS, when there is one: as a container's. */
static void probe_overlay(const char *directory, struct probes *probes) {
        zp_autofree char *options = zp_format("index=off,lowerdir=%s/%s,upperdir=%s/upper,workdir=%s/work", directory,
                                              probes->erofs ? "lower" : "erofs", directory, directory);
        zp_autofree char *point = zp_format("%s/merged", directory);
        bool is_done = options && point && mount("overlay", point, "overlay", 0, options) == 0;
        probes->overlay = is_done ? 0 : errno;
        if (is_done)
                umount2(point, MNT_DETACH);
}

static _Noreturn void probe(const char *directory, struct probes *probes) {
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
                probes->namespace = errno;
                _exit(0);
        }
        probes->namespace = 0;
        probe_erofs(directory, probes);
        probe_fuse(directory, probes);
        probe_overlay(directory, probes);
        _exit(0);
}

/* The nearest directory above the root directory that is there: its file system is the one that will be used. */
static char *existing_parent(const char *root) {
        char *path = strdup(root);
        while (path && access(path, F_OK) < 0 && strcmp(path, "/") != 0)
                dirname(path);
        return path;
}

static int make_directories(char *directory) {
        static const char *const names[] = { "lower", "upper", "work", "merged", "erofs", "fuse" };
        if (!mkdtemp(directory))
                return -errno;
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
                zp_autofree char *path = zp_format("%s/%s", directory, names[i]);
                if (!path || mkdir(path, 0700) < 0)
                        return -errno;
        }
        return 0;
}

static int run_probes(const char *directory, struct probes *out) {
        struct probes *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        int status;
        if (shared == MAP_FAILED)
                return -errno;
        shared->namespace = EIO;
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0)
                probe(directory, shared);
        int r = pid < 0 || waitpid(pid, &status, 0) < 0 ? -errno : WIFEXITED(status) ? 0 : -EIO;
        *out = *shared;
        munmap(shared, sizeof *shared);
        return r;
}

/* ---- findings ---- */

static void add_erofs(struct snap_check *check, const struct probes *p) {
        if (p->erofs)
                snap_check_add(check, "erofs", SNAP_CHECK_MISSING,
                               "modprobe erofs; a kernel with CONFIG_EROFS_FS, 5.15 or later", "cannot be mounted: %s",
                               p->said);
        else if (p->is_erofs_from_file)
                snap_check_add(check, "erofs", SNAP_CHECK_OK, NULL, "mounted straight from a file");
        else
                snap_check_add(check, "erofs", SNAP_CHECK_NOTE, "Linux 6.12 or later mounts files themselves",
                               "mounted through loop devices: each of an image's devices takes one");
}

static void add_fuse(struct snap_check *check, const struct probes *p, bool is_needed) {
        if (p->fuse)
                snap_check_add(check, "fuse", is_needed ? SNAP_CHECK_MISSING : SNAP_CHECK_NOTE,
                               "modprobe fuse; in a container, give it the device /dev/fuse", "cannot be mounted: %s",
                               strerrordesc_np(p->fuse));
        else if (p->can_resend)
                snap_check_add(check, "fuse", SNAP_CHECK_OK, NULL, "mounted; requests can be sent again");
        else
                snap_check_add(check, "fuse", SNAP_CHECK_NOTE, "Linux 6.9 or later sends requests again",
                               "mounted; a journal on disk keeps requests while the data plane is replaced");
}

static void add_overlay(struct snap_check *check, const struct probes *p, const char *where) {
        if (p->overlay)
                snap_check_add(check, "overlayfs", SNAP_CHECK_MISSING,
                               "modprobe overlay; put the root directory on ext4, xfs (ftype=1) or btrfs",
                               "cannot be mounted over '%.200s': %s", where, strerrordesc_np(p->overlay));
        else
                snap_check_add(check, "overlayfs", SNAP_CHECK_OK, NULL, "mounted over '%.200s'", where);
}

void snap_check_node(struct snap_check *check, const struct snap_config *config) {
        struct utsname name;
        struct probes probes;
        uname(&name);
        snap_check_add(check, "kernel", SNAP_CHECK_OK, NULL, "%s %s", name.sysname, name.release);
        zp_autofree char *where = existing_parent(config->root);
        zp_autofree char *directory = where ? zp_format("%s/.check-XXXXXX", where) : NULL;
        int r = directory ? make_directories(directory) : -ENOMEM;
        if (r == 0)
                r = run_probes(directory, &probes);
        if (directory)
                zp_remove_tree(AT_FDCWD, directory, NULL);
        if (r < 0) {
                snap_check_add(check, "root directory", SNAP_CHECK_MISSING, "run this as root, on a disk with room",
                               "cannot be written in '%.200s': %s", where ? where : config->root, strerrordesc_np(-r));
                return;
        }
        if (probes.namespace) {
                snap_check_add(check, "rights", SNAP_CHECK_MISSING, "run as root, with CAP_SYS_ADMIN",
                               "mounting is not allowed: %s", strerrordesc_np(probes.namespace));
                return;
        }
        snap_check_add(check, "rights", SNAP_CHECK_OK, NULL, "mounting is allowed");
        add_erofs(check, &probes);
        add_fuse(check, &probes, config->accelerate);
        add_overlay(check, &probes, where);
}
