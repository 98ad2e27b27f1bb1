/* SPDX-License-Identifier: Apache-2.0
 *
 * Size and digest of a file, with the examples of FIPS 180.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "base/fingerprint.h"

static void expect(const void *data, size_t size, const char *hex) {
        zp_autoclose int fd = memfd_create("file", MFD_CLOEXEC);
        char actual[ZP_SHA256_HEX_SIZE];
        struct zp_digest digest;
        uint64_t actual_size;
        assert_int_equal(zp_write_all(fd, data, size, "file", NULL), 0);
        /* the descriptor's own position does not count */
        assert_int_equal(zp_fingerprint(fd, "file", &actual_size, &digest, NULL), 0);
        assert_int_equal(actual_size, size);
        assert_string_equal(zp_digest_hex(&digest, actual), hex);
}

static void file_of_any_size_has_its_sha256(void **state) {
        (void) state;
        zp_autofree char *million = malloc(1000000);
        assert_non_null(million);
        memset(million, 'a', 1000000);
        expect("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        expect("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        expect(million, 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void what_cannot_be_read_is_named(void **state) {
        (void) state;
        int ends[2];
        struct zp_error err = { 0 };
        struct zp_digest digest;
        uint64_t size;
        assert_int_equal(pipe(ends), 0);
        assert_int_equal(zp_fingerprint(ends[0], "layer.erofs", &size, &digest, &err), -ESPIPE);
        assert_non_null(strstr(err.message, "layer.erofs"));
        close(ends[0]);
        close(ends[1]);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(file_of_any_size_has_its_sha256),
                cmocka_unit_test(what_cannot_be_read_is_named),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
