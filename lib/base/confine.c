/* SPDX-License-Identifier: Apache-2.0 */
#include "base/confine.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

/* Rights newer than the headers of the oldest supported distribution (Documentation/userspace-api/landlock.rst). */
#define RIGHT_REFER (UINT64_C(1) << 13)    /* ABI 2 */
#define RIGHT_TRUNCATE (UINT64_C(1) << 14) /* ABI 3 */

#define RIGHTS_READ_FILE LANDLOCK_ACCESS_FS_READ_FILE
#define RIGHTS_READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define RIGHTS_WRITE                                                                   \
        (RIGHTS_READ | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | \
         LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG)

/* What libc and OpenSSL read to resolve names and check certificates; absent ones are skipped. */
static const char *const system_paths[] = {
        "/etc/resolv.conf",
        "/etc/hosts",
        "/etc/host.conf",
        "/etc/nsswitch.conf",
        "/etc/gai.conf",
        "/etc/services",
        "/etc/ssl",
        "/usr/lib/ssl",
        "/usr/share/ca-certificates",
        "/usr/local/share/ca-certificates",
        "/etc/pki",
        "/run/systemd/resolve",
        "/etc/localtime",
        "/usr/share/zoneinfo",
        "/lib",
        "/usr/lib",
        "/usr/local/lib",
        "/lib64",
        "/etc/ld.so.cache",
        "/dev/urandom",
        "/dev/null",
        "/proc/self",
};

static int allow(int ruleset, const char *path, uint64_t rights, struct zp_error *err) {
        zp_autoclose int fd = open(path, O_PATH | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT || errno == EACCES ? 0 : zp_error_errno(err, errno, "confine: open '%s'", path);
        struct stat st;
        if (fstat(fd, &st) < 0)
                return zp_error_errno(err, errno, "confine: '%s'", path);
        struct landlock_path_beneath_attr rule = { .allowed_access =
                                                           S_ISDIR(st.st_mode) ? rights : rights & RIGHTS_READ_FILE,
                                                   .parent_fd = fd };
        if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
                return zp_error_errno(err, errno, "confine: Landlock rule for '%s'", path);
        return 0;
}

static int allow_all(int ruleset, const char *const paths[ZP_CONFINE_PATHS], uint64_t rights, struct zp_error *err) {
        for (size_t i = 0; i < ZP_CONFINE_PATHS; i++) {
                int r = paths[i] ? allow(ruleset, paths[i], rights, err) : 0;
                if (r < 0)
                        return r;
        }
        return 0;
}

static int restrict_files(const struct zp_confinement *within, int abi, struct zp_error *err) {
        uint64_t newer_rights = RIGHT_REFER | (abi >= 3 ? RIGHT_TRUNCATE : 0);
        /* handled: every right of the first ABI, so that what no rule allows is refused */
        struct landlock_ruleset_attr attributes = { .handled_access_fs = ((UINT64_C(1) << 13) - 1) | newer_rights };
        zp_autoclose int ruleset =
                (int) syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes.handled_access_fs, 0);
        if (ruleset < 0)
                return zp_error_errno(err, errno, "confine: Landlock");
        int r = allow_all(ruleset, within->writable, RIGHTS_WRITE | newer_rights, err);
        if (r == 0)
                r = allow_all(ruleset, within->readable, RIGHTS_READ, err);
        for (size_t i = 0; r == 0 && i < sizeof system_paths / sizeof system_paths[0]; i++)
                r = allow(ruleset, system_paths[i], RIGHTS_READ, err);
        if (r == 0 && syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
                r = zp_error_errno(err, errno, "confine: Landlock");
        return r;
}

/* Root keeps its right to read and write what belongs to somebody else (CAP_DAC_OVERRIDE, within the
 * paths above), and nothing else. */
static int drop_capabilities(struct zp_error *err) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct sets[2] = { { 0 } };
        if (syscall(SYS_capget, &header, sets) < 0)
                return zp_error_errno(err, errno, "confine: read capabilities");
        uint32_t kept = sets[0].permitted & (UINT32_C(1) << CAP_DAC_OVERRIDE);
        struct __user_cap_data_struct wanted[2] = { { .effective = kept, .permitted = kept } };
        if (syscall(SYS_capset, &header, wanted) < 0)
                return zp_error_errno(err, errno, "confine: drop capabilities");
        return 0;
}

int zp_confine_landlock_abi(struct zp_error *err) {
        long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
        if (abi < 0 && errno != ENOSYS && errno != EOPNOTSUPP) {
                int r = zp_error_errno(err, errno, "confine: Landlock");
                zp_error_hint(err,
                              "a system call filter (systemd's, a container's) must allow landlock_create_ruleset, "
                              "landlock_add_rule and landlock_restrict_self");
                return r;
        }
        /* the first ABI lets nobody move anything to another directory, as the store has to */
        return abi < 2 ? 0 : (int) abi;
}

int zp_confine(const struct zp_confinement *within, int *landlock_abi, struct zp_error *err) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return zp_error_errno(err, errno, "confine: no_new_privs");
        int abi = zp_confine_landlock_abi(err);
        if (landlock_abi)
                *landlock_abi = abi < 0 ? 0 : abi;
        int r = abi > 0 ? restrict_files(within, abi, err) : abi;
        return r < 0 ? r : drop_capabilities(err);
}
