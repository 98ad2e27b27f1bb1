/* SPDX-License-Identifier: Apache-2.0
 *
 * What the JVM loads by name and not as a library it is linked with.
 */
#include <string.h>

#include "builder/guess/guess-internal.h"

/* Of a file that is read from everywhere: its head, and the index that lies there. */
#define HEAD (UINT64_C(1) << 20)
#define ARCHIVE_MAX (UINT64_C(64) << 20)
/* A jar's directory is at its end. */
#define JAR_MAX (UINT64_C(32) << 20)

static const struct {
        const char *path; /* below the JVM's home */
        uint64_t max;     /* 0: it is a library */
} files[] = {
        { "lib/jvm.cfg", HEAD },
        { "lib/server/libjvm.so", 0 },
        { "lib/amd64/server/libjvm.so", 0 }, /* of Java 8 */
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

int zp_guess_java(struct zp_guess *g, const struct zp_guess_file *program, struct zp_error *err) {
        struct zp_guess_file bin, file;
        int r = 0;
        if (!zp_guess_parent(g, program, &bin) || strcmp(zp_guess_base_name(bin.path), "bin") != 0)
                return 0;
        for (size_t i = 0; i < sizeof files / sizeof *files && r == 0; i++) {
                char path[100] = "../";
                strcat(path, files[i].path);
                if (!zp_guess_find_file(g, &bin, path, &file) || strcmp(zp_guess_base_name(file.path), "java") == 0)
                        continue; /* another JVM would go on to the next */
                if (!files[i].max)
                        r = zp_guess_start(g, &file, err);
                else if (zp_guess_is_new(g, &file))
                        r = zp_guess_name(g, &file, 0, files[i].max, err);
        }
        return r;
}

int zp_guess_jar(struct zp_guess *g, const struct zp_guess_file *jar, struct zp_error *err) {
        uint64_t size = jar->inode->size;
        int r = size > JAR_MAX ? zp_guess_name(g, jar, size - HEAD, HEAD, err) : 0;
        return r == 0 ? zp_guess_name(g, jar, 0, size > JAR_MAX ? JAR_MAX - HEAD : JAR_MAX, err) : r;
}
