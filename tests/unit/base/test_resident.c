/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/digest.h"
#include "base/resident.h"

/* KiB of what is mapped from files. */
static long resident_of_files(void) {
        char line[256];
        long kib = -1;
        FILE *file = fopen("/proc/self/status", "r");
        assert_non_null(file);
        while (kib < 0 && fgets(line, sizeof line, file))
                sscanf(line, "RssFile: %ld kB", &kib);
        fclose(file);
        return kib;
}

static void what_is_used_comes_back(void **state) {
        (void) state;
        struct zp_digest before, after;
        zp_digest_of("abc", 3, &before);
        long resident = resident_of_files();
        zp_resident_rest();
        long rested = resident_of_files();
        if (rested >= resident)
                fail_msg("%ld KiB, %ld before", rested, resident);
        zp_digest_of("abc", 3, &after);
        assert_memory_equal(&before, &after, sizeof before);
}

int main(void) {
        const struct CMUnitTest tests[] = { cmocka_unit_test(what_is_used_comes_back) };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
