/* SPDX-License-Identifier: Apache-2.0
 *
 * What archives mean and which are refused. Where no specification decides, the expectation is what
 * Go's archive/tar gives for the same bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/limits.h"
#include "layer/tar.h"
#include "tar-builder.h"

static struct zp_error err;

static struct zp_tar *open_tar(struct built *built) {
        struct zp_tar *tar = NULL;
        put_bytes(built, "", 0);
        built->at = 0;
        assert_int_equal(zp_tar_new(built_input, built, &tar, &err), 0);
        return tar;
}

/* The first entry must be there; the archive is freed by close_tar. */
static struct zp_tar *first(struct built *built, struct zp_tar_entry *entry) {
        struct zp_tar *tar = open_tar(built);
        int r = zp_tar_next(tar, entry, &err);
        if (r != 1)
                fail_msg("no entry: %s", err.message);
        return tar;
}

static void close_tar(struct zp_tar *tar, struct built *built) {
        zp_tar_free(tar);
        built_clear(built);
        zp_error_clear(&err);
}

/* Gathers the data of the entry; returns the number of bytes, or the error. */
static int64_t read_all(struct zp_tar *tar, char *out) {
        const uint8_t *data;
        uint64_t size;
        int64_t total = 0;
        int r;
        while ((r = zp_tar_data(tar, &data, &size, &err)) > 0) {
                assert_true(size > 0);
                if (data)
                        memcpy(out + total, data, size);
                else
                        memset(out + total, 0, size);
                total += (int64_t) size;
        }
        return r < 0 ? r : total;
}

/* What reading all of it ends with: 0 or an error. */
static int outcome(struct built *built) {
        static char out[1 << 20];
        struct zp_tar_entry entry;
        struct zp_tar *tar = open_tar(built);
        int r;
        while ((r = zp_tar_next(tar, &entry, &err)) > 0) {
                int64_t size = read_all(tar, out);
                if (size < 0) {
                        r = (int) size;
                        break;
                }
        }
        zp_tar_free(tar);
        built_clear(built);
        return r;
}

static void header_fields_are_read_in_any_cut(void **state) {
        (void) state;
        static const size_t pieces[] = { 0, 1, 511, 512, 513 };
        for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
                struct built b = { .piece = pieces[i] };
                struct zp_tar_entry e;
                char out[2000], content[1300];
                memset(content, 'q', sizeof content);
                PUT(&b, .name = "dir/file", .mode = 04755, .uid = 7, .gid = 8, .mtime = 99, .data = content,
                    .size = sizeof content);
                PUT(&b, .name = "dev", .type = '3', .major = 5, .minor = 6);
                put_zeros(&b, 1024);
                put_bytes(&b, "trailing", 8);
                struct zp_tar *tar = first(&b, &e);
                assert_int_equal(e.type, '0');
                assert_string_equal(e.path, "dir/file");
                assert_int_equal(e.path_size, 8);
                assert_int_equal(e.mode, 04755);
                assert_int_equal(e.uid, 7);
                assert_int_equal(e.gid, 8);
                assert_int_equal(e.mtime_s, 99);
                assert_int_equal(e.size, 1300);
                assert_int_equal(e.header_offset, 0);
                assert_int_equal(e.data_offset, 512);
                assert_int_equal(read_all(tar, out), 1300);
                assert_memory_equal(out, content, 1300);
                assert_int_equal(zp_tar_next(tar, &e, &err), 1);
                assert_int_equal(e.type, '3');
                assert_int_equal(e.device_major, 5);
                assert_int_equal(e.device_minor, 6);
                assert_int_equal(e.header_offset, 2048);
                assert_int_equal(zp_tar_next(tar, &e, &err), 0);
                assert_int_equal(b.at, b.size); /* what follows the end marker has been read */
                assert_int_equal(zp_tar_next(tar, &e, &err), 0);
                close_tar(tar, &b);
        }
}

static void data_points_into_the_input(void **state) {
        (void) state;
        struct built b = { 0 };
        struct zp_tar_entry e;
        const uint8_t *data;
        uint64_t size;
        PUT(&b, .name = "f", .data = "hello", .size = 5);
        struct zp_tar *tar = first(&b, &e);
        assert_int_equal(zp_tar_data(tar, &data, &size, &err), 1);
        assert_ptr_equal(data, b.handed_out + 1 + 512);
        assert_int_equal(size, 5);
        close_tar(tar, &b);
}

static void unread_data_is_skipped(void **state) {
        (void) state;
        struct built b = { .piece = 100 };
        struct zp_tar_entry e;
        PUT(&b, .name = "a", .data = "hello", .size = 5);
        PUT(&b, .name = "b");
        struct zp_tar *tar = first(&b, &e);
        assert_int_equal(zp_tar_next(tar, &e, &err), 1);
        assert_string_equal(e.path, "b");
        close_tar(tar, &b);
}

static void ustar_prefix_joins_the_name(void **state) {
        (void) state;
        struct built b = { 0 };
        struct zp_tar_entry e;
        char name[101];
        memset(name, 'n', 100);
        name[100] = '\0';
        uint8_t *h = put_header(&b, &(struct member){ .name = name });
        memset(h + 345, 'p', 155);
        put_checksum(h);
        struct zp_tar *tar = first(&b, &e);
        assert_int_equal(e.path_size, 256);
        assert_int_equal(e.path[154], 'p');
        assert_int_equal(e.path[155], '/');
        assert_string_equal(e.path + 156, name);
        close_tar(tar, &b);
}

static void base_256_numbers_are_read(void **state) {
        (void) state;
        struct built b = { 0 };
        struct zp_tar_entry e;
        uint8_t *h = put_header(&b, &(struct member){ .name = "f", .magic = "ustar  " });
        memcpy(h + 108, "\x80\0\0\0\x7f\xff\xff\xff", 8);
        memset(h + 136, 0xff, 12);
        put_checksum(h);
        struct zp_tar *tar = first(&b, &e);
        assert_int_equal(e.uid, 0x7fffffff);
        assert_int_equal(e.mtime_s, -1);
        close_tar(tar, &b);

        h = put_header(&b, &(struct member){ .name = "f", .magic = "ustar  " });
        memcpy(h + 136, "\x80\0\0\0\x80\0\0\0\0\0\0\0", 12); /* 2^63 */
        put_checksum(h);
        assert_int_equal(outcome(&b), -EBADMSG);
        assert_non_null(strstr(err.message, "bad number"));
}

static void signed_checksum_is_accepted(void **state) {
        (void) state;
        struct built b = { 0 };
        uint8_t *h = put_header(&b, &(struct member){ .name = "\xff\xfe" });
        int sum = 0;
        memset(h + 148, ' ', 8);
        for (int i = 0; i < 512; i++)
                sum += (int8_t) h[i];
        put_octal(h + 148, 7, (unsigned) sum);
        assert_int_equal(outcome(&b), 0);

        h = put_header(&b, &(struct member){ .name = "f" });
        h[0] = 'g';
        assert_int_equal(outcome(&b), -EBADMSG);
        assert_string_equal(err.message, "tar, at byte 0: not a tar header (checksum differs)");
}

static void slash_makes_an_old_header_a_directory_only(void **state) {
        (void) state;
        struct built b = { 0 };
        struct zp_tar_entry e;
        uint8_t *h = put_header(&b, &(struct member){ .name = "d/" });
        h[156] = '\0';
        put_checksum(h);
        PUT(&b, .name = "f/");
        PUT(&b, .name = "seven", .type = '7');
        struct zp_tar *tar = first(&b, &e);
        assert_int_equal(e.type, '5');
        assert_int_equal(zp_tar_next(tar, &e, &err), 1);
        assert_int_equal(e.type, '0');
        assert_int_equal(zp_tar_next(tar, &e, &err), 1);
        assert_int_equal(e.type, '7');
        close_tar(tar, &b);
}

static void gnu_long_names_win_over_pax(void **state) {
        (void) state;
        struct built b = { 0 };
        struct zp_tar_entry e;
        PUT(&b, .name = "././@LongLink", .type = 'L', .data = "long-name\0junk", .size = 14);
        PUT(&b, .name = "././@LongLink", .type = 'K', .data = "long-target", .size = 12);
        put_pax(&b, "path", "pax-name");
        PUT(&b, .name = "n", .type = '2', .link = "t");
        PUT(&b, .name = "n", .type = '2', .link = "t");
        struct zp_tar *tar = first(&b, &e);
        assert_string_equal(e.path, "long-name");
        assert_string_equal(e.link_target, "long-target");
        assert_int_equal(e.link_target_size, 11);
        assert_int_equal(zp_tar_next(tar, &e, &err), 1); /* and hold for one entry only */
        assert_string_equal(e.path, "n");
        assert_string_equal(e.link_target, "t");
        close_tar(tar, &b);
}

static void pax_records_override_the_header(void **state) {
        (void) state;
        struct built b = { 0 };
        struct zp_tar_entry e;
        char text[512], out[16];
        size_t n = 0;
        n = add_record(text, n, "path", "wrong", 5);
        n = add_record(text, n, "path", "p=\n", 3);
        n = add_record(text, n, "uid", "", 0); /* as in the header */
        n = add_record(text, n, "gid", "4294967294", 10);
        n = add_record(text, n, "size", "3", 1);
        n = add_record(text, n, "mtime", "-1.25", 5);
        n = add_record(text, n, "SCHILY.xattr.user.a", "old", 3);
        n = add_record(text, n, "SCHILY.xattr.security.capability", "\0\1", 2);
        n = add_record(text, n, "SCHILY.xattr.user.a", "", 0);
        n = add_record(text, n, "LIBARCHIVE.xattr.user.b", "eA==", 4);
        PUT(&b, .name = "x", .type = 'x', .data = text, .size = n);
        PUT(&b, .name = "f", .uid = 9, .data = "abc", .size = 3);
        struct zp_tar *tar = first(&b, &e);
        assert_string_equal(e.path, "p=\n");
        assert_int_equal(e.uid, 9);
        assert_int_equal(e.gid, INT64_C(4294967294));
        assert_int_equal(e.mtime_s, -2);
        assert_int_equal(e.mtime_ns, 750000000);
        assert_int_equal(e.xattr_count, 2);
        assert_string_equal(e.xattrs[0].name, "user.a");
        assert_int_equal(e.xattrs[0].value_size, 0);
        assert_string_equal(e.xattrs[1].name, "security.capability");
        assert_int_equal(e.xattrs[1].value_size, 2);
        assert_memory_equal(e.xattrs[1].value, "\0\1", 2);
        assert_int_equal(read_all(tar, out), 3);
        close_tar(tar, &b);
}

static void global_headers_count_for_nothing(void **state) {
        (void) state;
        struct built b = { 0 };
        struct zp_tar_entry e;
        put_pax(&b, "uid", "5"); /* lost: a global header comes between */
        put_pax_bytes(&b, 'g', "gid", "6", 1);
        PUT(&b, .name = "f");
        struct zp_tar *tar = first(&b, &e);
        assert_int_equal(e.type, 'g');
        assert_string_equal(e.path, "pax");
        assert_int_equal(zp_tar_next(tar, &e, &err), 1);
        assert_int_equal(e.uid, 0);
        assert_int_equal(e.gid, 0);
        close_tar(tar, &b);
}

static void malformed_pax_headers_are_refused(void **state) {
        (void) state;
        static const struct {
                const char *text;
                size_t size;
                const char *reason;
        } bad[] = {
                { "9 path=a\n", 8, "length" },
                { "8 path=a\n", 9, "newline" },
                { "x path=a\n", 9, "length" },
                { "9 path:a\n", 9, "'='" },
                { "4 a\n", 4, "length" },
                { "5 =a\n", 5, "no key" },
                { "11 path=\0a\n", 11, "NUL" },
                { "11 a\0b=123\n", 11, "NUL" },
                { "8 uid=x\n", 8, "not a number" },
                { "30 uid=9223372036854775808000\n", 30, "not a number" },
                { "13 mtime=1.x\n", 13, "not a time" },
                { "13 mtime=1e3\n", 13, "not a time" },
                { "11 size=-1\n", 11, "negative size" },
                { "25 GNU.sparse.numbytes=1\n", 25, "order" },
        };
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                struct built b = { 0 };
                PUT(&b, .name = "x", .type = 'x', .data = bad[i].text, .size = bad[i].size);
                PUT(&b, .name = "f");
                int r = outcome(&b);
                if (r != -EBADMSG || !strstr(err.message, bad[i].reason))
                        fail_msg("%s gave %d, %s", bad[i].text, r, err.message);
        }
}

static void extended_headers_are_limited(void **state) {
        (void) state;
        struct built b = { 0 };
        char *value = calloc(1, ZP_LIMIT_PAX_HEADER + 1);
        memset(value, 'v', ZP_LIMIT_PAX_HEADER);
        put_pax_bytes(&b, 'x', "comment", value, ZP_LIMIT_PAX_HEADER - strlen("1048576 comment=\n"));
        PUT(&b, .name = "f");
        assert_int_equal(outcome(&b), 0);
        put_pax_bytes(&b, 'x', "comment", value, ZP_LIMIT_PAX_HEADER - strlen("1048576 comment=\n") + 1);
        PUT(&b, .name = "f");
        assert_int_equal(outcome(&b), -E2BIG);
        free(value);
}

static void ends_of_archives_are_as_in_go(void **state) {
        (void) state;
        struct built b = { 0 };
        assert_int_equal(outcome(&b), 0); /* nothing at all */
        PUT(&b, .name = "f", .data = "abc", .size = 3);
        assert_int_equal(outcome(&b), 0); /* no end marker */
        PUT(&b, .name = "f", .data = "abc", .size = 3);
        b.size -= 509; /* no padding either */
        assert_int_equal(outcome(&b), 0);
        PUT(&b, .name = "f", .data = "abc", .size = 3);
        b.size -= 510; /* a byte of data missing */
        assert_int_equal(outcome(&b), -EBADMSG);
        PUT(&b, .name = "f");
        put_zeros(&b, 512);
        assert_int_equal(outcome(&b), 0);
        put_zeros(&b, 512);
        PUT(&b, .name = "f");
        assert_int_equal(outcome(&b), -EBADMSG);
        put_zeros(&b, 1024);
        put_bytes(&b, "junk", 4);
        assert_int_equal(outcome(&b), 0);
        PUT(&b, .name = "f");
        put_bytes(&b, "part of a header", 16);
        assert_int_equal(outcome(&b), -EBADMSG);
}

static void nothing_works_after_a_failure(void **state) {
        (void) state;
        struct built b = { 0 };
        struct zp_tar_entry e;
        const uint8_t *data;
        uint64_t size;
        put_zeros(&b, 511);
        put_bytes(&b, "x", 1);
        PUT(&b, .name = "f");
        struct zp_tar *tar = open_tar(&b);
        assert_int_equal(zp_tar_next(tar, &e, &err), -EBADMSG);
        assert_int_equal(zp_tar_next(tar, &e, &err), -EBADMSG);
        assert_int_equal(zp_tar_data(tar, &data, &size, &err), -EBADMSG);
        close_tar(tar, &b);
}

/* --- sparse files --- */

static const char SPARSE_CONTENT[] = "\0\0abcde\0\0\0fgh\0\0";

static void check_sparse(struct built *b) {
        put_pax_bytes(b, 'g', "comment", "x", 1);
        struct zp_tar_entry e;
        char out[64];
        struct zp_tar *tar = first(b, &e);
        assert_int_equal(e.size, 15);
        assert_string_equal(e.path, "f");
        assert_int_equal(read_all(tar, out), 15);
        assert_memory_equal(out, SPARSE_CONTENT, 15);
        assert_int_equal(zp_tar_next(tar, &e, &err), 1); /* and nothing of it holds for what follows */
        assert_int_equal(e.type, 'g');
        assert_int_equal(read_all(tar, out), 0);
        assert_int_equal(zp_tar_next(tar, &e, &err), 0);
        close_tar(tar, b);
}

static void sparse_files_are_expanded(void **state) {
        (void) state;
        struct built b = { 0 };
        char text[512];
        size_t n = add_record(text, 0, "GNU.sparse.size", "15", 2);
        n = add_record(text, n, "GNU.sparse.numblocks", "2", 1);
        n = add_record(text, n, "GNU.sparse.offset", "2", 1);
        n = add_record(text, n, "GNU.sparse.numbytes", "5", 1);
        n = add_record(text, n, "GNU.sparse.offset", "10", 2);
        n = add_record(text, n, "GNU.sparse.numbytes", "3", 1);
        PUT(&b, .name = "x", .type = 'x', .data = text, .size = n);
        PUT(&b, .name = "f", .data = "abcdefgh", .size = 8);
        check_sparse(&b);

        n = add_record(text, 0, "GNU.sparse.size", "15", 2);
        n = add_record(text, n, "GNU.sparse.numblocks", "2", 1);
        n = add_record(text, n, "GNU.sparse.map", "2,5,10,3", 8);
        n = add_record(text, n, "GNU.sparse.name", "f", 1);
        PUT(&b, .name = "x", .type = 'x', .data = text, .size = n);
        PUT(&b, .name = "GNUSparseFile.0/f", .data = "abcdefgh", .size = 8);
        check_sparse(&b);

        char stored[520] = "2\n2\n5\n10\n3\n";
        memcpy(stored + 512, "abcdefgh", 8);
        n = add_record(text, 0, "GNU.sparse.major", "1", 1);
        n = add_record(text, n, "GNU.sparse.minor", "0", 1);
        n = add_record(text, n, "GNU.sparse.realsize", "15", 2);
        n = add_record(text, n, "GNU.sparse.name", "f", 1);
        b.piece = 300;
        PUT(&b, .name = "x", .type = 'x', .data = text, .size = n);
        PUT(&b, .name = "GNUSparseFile.0/f", .data = stored, .size = sizeof stored);
        check_sparse(&b);
}

static int sparse_outcome(const char *map, const char *count, size_t stored) {
        struct built b = { 0 };
        char text[512], content[64] = { 0 };
        size_t n = add_record(text, 0, "GNU.sparse.size", "15", 2);
        n = add_record(text, n, "GNU.sparse.numblocks", count, strlen(count));
        n = add_record(text, n, "GNU.sparse.map", map, strlen(map));
        PUT(&b, .name = "x", .type = 'x', .data = text, .size = n);
        PUT(&b, .name = "f", .data = content, .size = stored);
        return outcome(&b);
}

static void bad_sparse_maps_are_refused(void **state) {
        (void) state;
        assert_int_equal(sparse_outcome("2,5,10,3", "2", 8), 0);
        assert_int_equal(sparse_outcome("2,5,10,3", "3", 8), -EBADMSG);
        assert_int_equal(sparse_outcome("2,5,6,3", "2", 8), -EBADMSG);   /* overlap */
        assert_int_equal(sparse_outcome("2,5,13,3", "2", 8), -EBADMSG);  /* past the end */
        assert_int_equal(sparse_outcome("2,-5,10,3", "2", 8), -EBADMSG); /* negative */
        assert_int_equal(sparse_outcome("2,9223372036854775807", "1", 8), -EBADMSG);
        assert_int_equal(sparse_outcome("2,5,10,x", "2", 8), -EBADMSG);
        assert_int_equal(sparse_outcome("2,5,10,3", "2", 7), -EBADMSG); /* less data than the map says */
        assert_int_equal(sparse_outcome("2,5,10,3", "2", 9), -EBADMSG); /* more */
        assert_int_equal(sparse_outcome("2,5,10,3", "9223372036854775807", 8), -EBADMSG);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(header_fields_are_read_in_any_cut),
                cmocka_unit_test(data_points_into_the_input),
                cmocka_unit_test(unread_data_is_skipped),
                cmocka_unit_test(ustar_prefix_joins_the_name),
                cmocka_unit_test(base_256_numbers_are_read),
                cmocka_unit_test(signed_checksum_is_accepted),
                cmocka_unit_test(slash_makes_an_old_header_a_directory_only),
                cmocka_unit_test(gnu_long_names_win_over_pax),
                cmocka_unit_test(pax_records_override_the_header),
                cmocka_unit_test(global_headers_count_for_nothing),
                cmocka_unit_test(malformed_pax_headers_are_refused),
                cmocka_unit_test(extended_headers_are_limited),
                cmocka_unit_test(ends_of_archives_are_as_in_go),
                cmocka_unit_test(nothing_works_after_a_failure),
                cmocka_unit_test(sparse_files_are_expanded),
                cmocka_unit_test(bad_sparse_maps_are_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
