/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/record-cgroups.h"

#include <fcntl.h>
#include <inttypes.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"

#define PREFIX "zeropull-"
/* Of a process; proc(5). */
#define STAT_MAX 4096
#define CGROUPS_MAX 65536

/* When a process was started, in the kernel's ticks: with its number it is like no other. 0: there is none. */
static uint64_t start_of(int pid) {
        char path[32];
        zp_autofree char *text = NULL;
        size_t size;
        uint64_t start = 0;
        snprintf(path, sizeof path, "/proc/%d/stat", pid);
        const char *fields =
                zp_read_file(AT_FDCWD, path, STAT_MAX, &text, &size, NULL) == 0 ? strrchr(text, ')') : NULL;
        /* behind the program's name, which may have anything in it, the first field is number 3, and this is 22 */
        for (int field = 3; fields && field <= 22; field++) {
                fields = strchr(fields + 1, ' ');
                if (fields && field == 22)
                        start = strtoull(fields, NULL, 10);
        }
        return start;
}

char *cli_container_name(const char *unique) {
        return zp_format(PREFIX "%s.%d.%" PRIu64, unique, (int) getpid(), start_of(getpid()));
}

static bool is_left(const char *name) {
        const char *dot = strncmp(name, PREFIX, strlen(PREFIX)) == 0 ? strchr(name, '.') : NULL;
        int pid, end = 0;
        uint64_t start;
        return dot && sscanf(dot, ".%d.%" SCNu64 "%n", &pid, &start, &end) == 2 && !dot[end] && start_of(pid) != start;
}

static void sweep(const char *directory) {
        zp_autoclosedir DIR *listing = zp_open_listing(AT_FDCWD, directory);
        for (struct dirent *entry; listing && (entry = zp_next_entry(listing));)
                if (is_left(entry->d_name))
                        unlinkat(dirfd(listing), entry->d_name, AT_REMOVEDIR); /* not while anybody is in it */
}

/* runc makes them below our own group (version 1), or beside it (version 2). */
static void sweep_hierarchy(const char *mount_point, char *cgroups) {
        char *rest = NULL;
        for (char *line = strtok_r(cgroups, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
                const char *colon = strchr(line, ':'), *path = colon ? strchr(colon + 1, ':') : NULL;
                zp_autofree char *own = path ? zp_format("%s%s", mount_point, path + 1) : NULL;
                if (!own)
                        continue;
                sweep(own);
                char *slash = strrchr(own, '/');
                if (slash && (size_t) (slash - own) >= strlen(mount_point)) {
                        *slash = '\0';
                        sweep(own);
                }
        }
}

void cli_sweep_cgroups(void) {
        zp_autofree char *cgroups = NULL;
        size_t size;
        FILE *mounts = setmntent("/proc/self/mounts", "re");
        if (zp_read_file(AT_FDCWD, "/proc/self/cgroup", CGROUPS_MAX, &cgroups, &size, NULL) == 0)
                for (struct mntent *mount; mounts && (mount = getmntent(mounts));) {
                        zp_autofree char *copy = strdup(cgroups);
                        if (copy && strncmp(mount->mnt_type, "cgroup", strlen("cgroup")) == 0)
                                sweep_hierarchy(mount->mnt_dir, copy);
                }
        if (mounts)
                endmntent(mounts);
}
