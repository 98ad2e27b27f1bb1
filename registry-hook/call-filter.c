/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/call-filter.h"

#include <sched.h>
#include <seccomp.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

#define FILTER_MAX 65536

/* Refused with EPERM: what reaches into the kernel, other processes, or around path lookups. Names that this libseccomp
 * does not know (yet) are skipped. */
static const char *const refused[] = {
        "mount",
        "umount2",
        "pivot_root",
        "chroot",
        "move_mount",
        "open_tree",
        "fsopen",
        "fsconfig",
        "fsmount",
        "fspick",
        "mount_setattr",
        "setns",
        "unshare",
        "ptrace",
        "process_vm_readv",
        "process_vm_writev",
        "kcmp",
        "pidfd_getfd",
        "process_madvise",
        "bpf",
        "perf_event_open",
        "userfaultfd",
        "io_uring_setup",
        "io_uring_enter",
        "io_uring_register",
        "kexec_load",
        "kexec_file_load",
        "init_module",
        "finit_module",
        "delete_module",
        "add_key",
        "request_key",
        "keyctl",
        "open_by_handle_at",
        "name_to_handle_at",
        "fanotify_init",
        "lookup_dcookie",
        "quotactl",
        "quotactl_fd",
        "acct",
        "swapon",
        "swapoff",
        "reboot",
        "syslog",
        "sethostname",
        "setdomainname",
        "settimeofday",
        "clock_settime",
        "clock_adjtime",
        "adjtimex",
        "iopl",
        "ioperm",
        "modify_ldt",
        "personality",
        "vhangup",
        "nfsservctl",
        "migrate_pages",
        "move_pages",
        "mbind",
        "set_mempolicy",
        "uselib",
        "ustat",
        "sysfs",
        "vm86",
        "memfd_secret",
        "setuid",
        "setgid",
        "setreuid",
        "setregid",
        "setresuid",
        "setresgid",
        "setfsuid",
        "setfsgid",
        "setgroups",
        /* nobody is to be served */
        "listen",
        "accept",
        "accept4",
};

static int add_rules(scmp_filter_ctx context) {
        int r = 0;
        for (size_t i = 0; i < sizeof refused / sizeof *refused && r == 0; i++) {
                int number = seccomp_syscall_resolve_name(refused[i]);
                if (number >= 0)
                        r = seccomp_rule_add(context, SCMP_ACT_ERRNO(EPERM), number, 0);
        }
        /* libc falls back to clone, whose flags can be looked at */
        if (r == 0)
                r = seccomp_rule_add(context, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
        static const uint64_t namespaces[] = { CLONE_NEWUSER, CLONE_NEWNS,  CLONE_NEWPID,   CLONE_NEWNET,
                                               CLONE_NEWIPC,  CLONE_NEWUTS, CLONE_NEWCGROUP };
        for (size_t i = 0; i < sizeof namespaces / sizeof *namespaces && r == 0; i++)
                r = seccomp_rule_add(context, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                                     SCMP_A0(SCMP_CMP_MASKED_EQ, namespaces[i], namespaces[i]));
        /* devices; SQLite's files are made by mknod, too */
        static const uint64_t devices[] = { S_IFCHR, S_IFBLK };
        for (size_t i = 0; i < sizeof devices / sizeof *devices && r == 0; i++) {
                r = seccomp_rule_add(context, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(mknod), 1,
                                     SCMP_A1(SCMP_CMP_MASKED_EQ, (scmp_datum_t) S_IFMT, devices[i]));
                if (r == 0)
                        r = seccomp_rule_add(context, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(mknodat), 1,
                                             SCMP_A2(SCMP_CMP_MASKED_EQ, (scmp_datum_t) S_IFMT, devices[i]));
        }
        /* sockets of the network and of this machine; no raw, netlink (but for name resolution), packet, vsock… */
        static const int families[] = { AF_PACKET, AF_VSOCK, AF_ALG, AF_BLUETOOTH, AF_XDP, AF_CAN, AF_TIPC, AF_RDS };
        for (size_t i = 0; i < sizeof families / sizeof *families && r == 0; i++)
                r = seccomp_rule_add(context, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1,
                                     SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t) families[i]));
        /* typing into the terminal of whoever started us */
        static const unsigned long requests[] = { TIOCSTI, TIOCLINUX };
        for (size_t i = 0; i < sizeof requests / sizeof *requests && r == 0; i++)
                r = seccomp_rule_add(context, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
                                     SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, requests[i]));
        return r;
}

/* libseccomp writes the program to a file. */
static int export_filter(scmp_filter_ctx context, struct sock_fprog *filter, struct zp_error *err) {
        zp_autoclose int fd = memfd_create("seccomp", MFD_CLOEXEC);
        struct stat st;
        if (fd < 0)
                return zp_error_errno(err, errno, "seccomp: memfd");
        int r = seccomp_export_bpf(context, fd);
        if (r < 0)
                return zp_error_errno(err, -r, "seccomp: compile the filter");
        if (fstat(fd, &st) < 0 || st.st_size > FILTER_MAX)
                return zp_error_set(err, EFBIG, "seccomp: the filter is too large");
        struct sock_filter *program = malloc((size_t) st.st_size);
        if (!program)
                return zp_error_errno(err, ENOMEM, "seccomp");
        r = zp_pread_all(fd, program, (size_t) st.st_size, 0, "seccomp filter", err);
        if (r < 0) {
                free(program);
                return r;
        }
        *filter = (struct sock_fprog){ (unsigned short) ((size_t) st.st_size / sizeof *program), program };
        return 0;
}

int hook_call_filter_compile(struct sock_fprog *filter, struct zp_error *err) {
        scmp_filter_ctx context = seccomp_init(SCMP_ACT_ALLOW);
        if (!context)
                return zp_error_errno(err, ENOMEM, "seccomp");
        int r = add_rules(context);
        if (r < 0)
                r = zp_error_errno(err, -r, "seccomp: add a rule");
        else
                r = export_filter(context, filter, err);
        seccomp_release(context);
        return r;
}
