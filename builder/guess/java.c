/* SPDX-License-Identifier: Apache-2.0
 *
 * What the JVM's launcher loads by name and not as a library it is linked with: docs/profiles.md.
 */
#include <stdio.h>
#include <string.h>

#include "builder/guess/guess-internal.h"

/* Of a file that is read from everywhere: its head, and the index that lies there. */
#define HEAD (UINT64_C(1) << 20)
#define ARCHIVE_MAX (UINT64_C(64) << 20)

int zp_guess_java(struct zp_guess *g, const struct zp_guess_file *program, struct zp_error *err) {
        static const struct {
                const char *path;
                uint64_t max;
        } files[] = {
                { "lib/jvm.cfg", HEAD },
                { "lib/server/libjvm.so", 0 },
                { "lib/libjimage.so", 0 },
                { "lib/modules", HEAD },
                { "lib/libjava.so", 0 },
                { "lib/server/classes.jsa", ARCHIVE_MAX },
                { "lib/libjsvml.so", 0 },
                { "lib/libzip.so", 0 },
                { "lib/libnio.so", 0 },
                { "lib/libnet.so", 0 },
                { "lib/tzdb.dat", HEAD },
                { "conf/security/java.security", HEAD },
                { "lib/security/default.policy", HEAD },
        };
        const char *bin = strstr(program->path, "/bin/java");
        if (!bin)
                return 0;
        int r = 0;
        for (size_t i = 0; i < sizeof files / sizeof *files && r >= 0; i++) {
                char path[ZP_LIMIT_PATH];
                struct zp_guess_file file;
                int size = snprintf(path, sizeof path, "%.*s/%s", (int) (bin - program->path), program->path,
                                    files[i].path);
                if (size < 0 || (size_t) size >= sizeof path || !zp_guess_find(g, path, &file) ||
                    !zp_guess_is_new(g, &file))
                        continue;
                r = files[i].max ? zp_guess_name(g, &file, 0, files[i].max, err) : zp_guess_elf(g, &file, err);
        }
        return r < 0 ? r : 0;
}
