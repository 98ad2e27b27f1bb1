/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tests of the control plane share: an error to look at, and a directory that goes away.
 */
#ifndef TEST_SNAPSHOTTER_SUPPORT_H
#define TEST_SNAPSHOTTER_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cancel.h"
#include "base/error.h"
#include "base/file.h"

static struct zp_error err;
static char directory[64];

static inline int setup(void **state) {
        (void) state;
        zp_error_clear(&err);
        strcpy(directory, "/tmp/zp-control-XXXXXX");
        return mkdtemp(directory) && chdir(directory) == 0 ? 0 : -1;
}

static inline int teardown(void **state) {
        (void) state;
        return chdir("/") == 0 ? zp_remove_tree(-1, directory, &err) : -1;
}

static inline void assert_message_has(const char *text) {
        if (!strstr(err.message, text))
                fail_msg("'%s' is not in: %s", text, err.message);
}

static inline void assert_ok(int result) {
        if (result < 0)
                fail_msg("%s", err.message);
}

static inline void write_text(const char *path, const char *text) {
        assert_ok(zp_replace_file(-100 /* AT_FDCWD */, path, text, strlen(text), 0644, &err));
}

#endif
