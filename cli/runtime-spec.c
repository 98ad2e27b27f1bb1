/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/runtime-spec.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

#include "cli/view.h"
#include "oci/json.h"
#include "store/whole-file.h"

/* What docker gives a container, but for what has to do with the network's raw side, which it has none of. */
static const char *const capabilities[] = { "CAP_CHOWN",  "CAP_DAC_OVERRIDE",     "CAP_FOWNER",
                                            "CAP_FSETID", "CAP_SETGID",           "CAP_SETUID",
                                            "CAP_KILL",   "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT" };

static json_t *list_of(const char *const *texts, size_t count) {
        json_t *list = json_array();
        for (size_t i = 0; i < count; i++)
                json_array_append_new(list, json_string(texts[i]));
        return list;
}

static json_t *capability_list(void) {
        return list_of(capabilities, sizeof capabilities / sizeof *capabilities);
}

/* A member of the image's "config" that is a list of strings; else an empty list. */
static json_t *strings_of(json_t *config, const char *name) {
        json_t *list = json_object_get(config, name), *out = json_array(), *item;
        size_t i;
        json_array_foreach(list, i, item) if (json_is_string(item)) json_array_append(out, item);
        return out;
}

static json_t *arguments(json_t *config, char *const *command) {
        json_t *list = *command ? json_array() : strings_of(config, "Entrypoint");
        json_t *own = *command ? json_array() : strings_of(config, "Cmd");
        json_array_extend(list, own);
        json_decref(own);
        for (; *command; command++)
                json_array_append_new(list, json_stringn_nocheck(*command, strlen(*command)));
        return list;
}

/* "uid", "uid:gid"; names would take the image's own /etc/passwd, and are taken for root. */
static json_t *user_of(json_t *config) {
        const char *text = json_string_value(json_object_get(config, "User"));
        unsigned uid = 0, gid = 0;
        if (text && sscanf(text, "%u:%u", &uid, &gid) < 1)
                uid = gid = 0;
        return json_pack("{s:i, s:i}", "uid", (int) uid, "gid", (int) gid);
}

static json_t *process_of(json_t *config, char *const *command) {
        const char *directory = json_string_value(json_object_get(config, "WorkingDir"));
        return json_pack("{s:b, s:o, s:o, s:o, s:s, s:{s:o, s:o, s:o}, s:b}", "terminal", 0, "user", user_of(config),
                         "args", arguments(config, command), "env", strings_of(config, "Env"), "cwd",
                         directory && *directory ? directory : "/", "capabilities", "bounding", capability_list(),
                         "effective", capability_list(), "permitted", capability_list(), "noNewPrivileges", 1);
}

/* What the kernel shows there is the machine's, and root's to change (a core_pattern, a sysrq): the program is root,
 * though without most of what makes root. */
static const char *const read_only[] = { "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger" };
static const char *const hidden[] = { "/proc/acpi",
                                      "/proc/asound",
                                      "/proc/kcore",
                                      "/proc/keys",
                                      "/proc/latency_stats",
                                      "/proc/sched_debug",
                                      "/proc/scsi",
                                      "/proc/timer_list",
                                      "/proc/timer_stats",
                                      "/sys/firmware",
                                      "/sys/devices/virtual/powercap" };

/* What a program needs no more than an image's start does, and what breaks out of containers has used: the machine's
 * own affairs, mounts, namespaces with rights of their own, and corners of the kernel that are wide and seldom used. */
static const char *const refused[] = { "acct",
                                       "add_key",
                                       "adjtimex",
                                       "bpf",
                                       "clock_adjtime",
                                       "clock_settime",
                                       "delete_module",
                                       "finit_module",
                                       "fsconfig",
                                       "fsmount",
                                       "fsopen",
                                       "fspick",
                                       "get_kernel_syms",
                                       "init_module",
                                       "io_uring_enter",
                                       "io_uring_register",
                                       "io_uring_setup",
                                       "ioperm",
                                       "iopl",
                                       "kcmp",
                                       "kexec_file_load",
                                       "kexec_load",
                                       "keyctl",
                                       "lookup_dcookie",
                                       "mount",
                                       "mount_setattr",
                                       "move_mount",
                                       "nfsservctl",
                                       "open_by_handle_at",
                                       "open_tree",
                                       "perf_event_open",
                                       "pivot_root",
                                       "process_vm_readv",
                                       "process_vm_writev",
                                       "ptrace",
                                       "quotactl",
                                       "quotactl_fd",
                                       "reboot",
                                       "request_key",
                                       "setns",
                                       "settimeofday",
                                       "stime",
                                       "swapoff",
                                       "swapon",
                                       "syslog",
                                       "umount",
                                       "umount2",
                                       "unshare",
                                       "userfaultfd",
                                       "vm86",
                                       "vm86old" };

static const char *const architectures[] = {
#if defined(__x86_64__)
        "SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"
#elif defined(__aarch64__)
        "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"
#endif
};

/* A new user namespace is refused to clone; clone3's flags are in memory, where a filter cannot look: as an old kernel
 * it has none, and libraries use clone. */
static json_t *seccomp(void) {
        json_t *names = list_of(refused, sizeof refused / sizeof *refused);
        json_t *list = list_of(architectures, sizeof architectures / sizeof *architectures);
        return json_pack(
                "{s:s, s:o, s:[{s:o, s:s, s:i}, {s:[s], s:s, s:i}, {s:[s], s:s, s:i, s:[{s:i, s:I, s:I, s:s}]}]}",
                "defaultAction", "SCMP_ACT_ALLOW", "architectures", list, "syscalls", "names", names, "action",
                "SCMP_ACT_ERRNO", "errnoRet", EPERM, "names", "clone3", "action", "SCMP_ACT_ERRNO", "errnoRet", ENOSYS,
                "names", "clone", "action", "SCMP_ACT_ERRNO", "errnoRet", EPERM, "args", "index", 0, "value",
                (json_int_t) CLONE_NEWUSER, "valueTwo", (json_int_t) CLONE_NEWUSER, "op", "SCMP_CMP_MASKED_EQ");
}

static json_t *mount_of(const char *where, const char *type, const char *options) {
        json_t *list = json_array();
        json_array_append_new(list, json_string("nosuid"));
        if (*options)
                json_array_append_new(list, json_string(options));
        return json_pack("{s:s, s:s, s:s, s:o}", "destination", where, "type", type, "source", type, "options", list);
}

static json_t *spec_of(json_t *config, char *const *command) {
        json_t *namespaces = json_array();
        static const char *const kinds[] = { "pid", "ipc", "uts", "mount", "network" };
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
                json_array_append_new(namespaces, json_pack("{s:s}", "type", kinds[i]));
        return json_pack("{s:s, s:o, s:{s:s, s:b}, s:[o, o, o, o], s:{s:o, s:o, s:o, s:o}}", "ociVersion", "1.0.2",
                         "process", process_of(config, command), "root", "path", "rootfs", "readonly", 0, "mounts",
                         mount_of("/proc", "proc", ""), mount_of("/dev", "tmpfs", "mode=755"),
                         mount_of("/dev/shm", "tmpfs", "mode=1777"), mount_of("/sys", "sysfs", "ro"), "linux",
                         "namespaces", namespaces, "readonlyPaths",
                         list_of(read_only, sizeof read_only / sizeof *read_only), "maskedPaths",
                         list_of(hidden, sizeof hidden / sizeof *hidden), "seccomp", seccomp());
}

int cli_runtime_spec(struct zp_store *store, const struct zp_image_record *image, char *const *command, char **out,
                     struct zp_error *err) {
        zp_auto(json_decref) json_t *json = NULL;
        zp_auto(json_decref) json_t *spec = NULL;
        zp_autofree char *text = NULL;
        size_t size = 0;
        json_t *config = NULL;
        int r = zp_store_read_image_file(store, &image->manifest_digest, "config.json", ZP_LIMIT_JSON_SIZE,
                                         &image->config_digest, &text, &size, err);
        if (r == 0)
                r = zp_json_load(text, size, "config.json", &json, err);
        if (r == 0)
                r = zp_json_get(json, "config", JSON_OBJECT, ZP_JSON_OPTIONAL, "config.json", &config, err);
        if (r < 0)
                return r;
        spec = spec_of(config, command);
        if (spec && json_array_size(json_object_get(json_object_get(spec, "process"), "args")) == 0)
                return zp_error_set(err, EINVAL, "the image has no command of its own: name one behind --");
        *out = spec ? json_dumps(spec, JSON_COMPACT) : NULL;
        return *out ? 0 : zp_error_errno(err, ENOMEM, "record");
}
