/* SPDX-License-Identifier: Apache-2.0
 *
 * What the data plane leaves of a start.
 */
#include <fcntl.h>
#include <time.h>

#include "../control/support.h"
#include "snapshotter/data/data-internal.h"

#define SHORT_MS 300
#define LONG_MS 600000

static struct zp_digest image_named(const char *text) {
        struct zp_digest digest;
        zp_digest_of(text, strlen(text), &digest);
        return digest;
}

/* The device of a number. */
static struct zp_digest device_of(uint64_t number) {
        struct zp_digest digest = { 0 };
        for (int i = 0; i < 8; i++)
                digest.bytes[i] = (uint8_t) (number >> (56 - 8 * i));
        return digest;
}

/* Of an image of one device. */
static void announce(struct snap_starts *starts, const struct zp_digest *image, uint64_t device) {
        const struct zp_digest digest = device_of(device);
        snap_starts_announce(starts, image, &digest, 1, false);
}

/* The file of an image once it is there; the caller's. */
static char *await_file(const struct zp_digest *image) {
        char hex[ZP_SHA256_HEX_SIZE], path[100], *text = NULL;
        size_t size;
        snprintf(path, sizeof path, "starts/%s", zp_digest_hex(image, hex));
        for (int i = 0; i < 3000 && zp_read_file(AT_FDCWD, path, 8 << 20, &text, &size, NULL) < 0; i++)
                nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
        assert_non_null(text);
        return text;
}

static bool is_there(const struct zp_digest *image) {
        char hex[ZP_SHA256_HEX_SIZE], path[100];
        snprintf(path, sizeof path, "starts/%s", zp_digest_hex(image, hex));
        return access(path, F_OK) == 0;
}

static void what_is_read_after_an_announcement_is_left_in_order_and_joined(void **state) {
        (void) state;
        struct snap_starts *starts = NULL;
        const struct zp_digest image = image_named("image");
        assert_int_equal(snap_starts_new("starts", SHORT_MS, &starts, &err), 0);
        const struct zp_digest devices[] = { device_of(0xdef0000000000000), device_of(0xabc) };
        snap_starts_note(starts, 0xabc, 0, 4096); /* before: nobody wants to know */
        snap_starts_announce(starts, &image, devices, 2, false);
        snap_starts_note(starts, 0xabc, 8192, 4096);
        snap_starts_note(starts, 0xabc, 12288, 8192);
        snap_starts_note(starts, 0xdef0000000000000, 0, 512);
        zp_autofree char *text = await_file(&image);
        assert_string_equal(text, "0000000000000abc 8192 12288\ndef0000000000000 0 512\n");
        snap_starts_free(starts);
}

static void reads_beside_what_is_not_seen_say_so(void **state) {
        (void) state;
        struct snap_starts *starts = NULL;
        const struct zp_digest image = image_named("image"), devices[] = { device_of(1), device_of(2) };
        assert_int_equal(snap_starts_new("starts", SHORT_MS, &starts, &err), 0);
        snap_starts_announce(starts, &image, devices, 2, true);
        snap_starts_note(starts, 2, 4096, 512);
        zp_autofree char *text = await_file(&image);
        assert_string_equal(text, "partial\n0000000000000002 4096 512\n");
        snap_starts_free(starts);
}

static void an_image_is_noted_once(void **state) {
        (void) state;
        struct snap_starts *starts = NULL;
        const struct zp_digest image = image_named("image"), other = image_named("other");
        assert_int_equal(snap_starts_new("starts", SHORT_MS, &starts, &err), 0);
        announce(starts, &image, 1);
        announce(starts, &image, 1);
        snap_starts_note(starts, 1, 0, 4096);
        zp_autofree char *text = await_file(&image);
        char hex[ZP_SHA256_HEX_SIZE];
        assert_int_equal(chdir("starts"), 0);
        assert_int_equal(unlink(zp_digest_hex(&image, hex)), 0);
        assert_int_equal(chdir(".."), 0);
        announce(starts, &image, 1);
        announce(starts, &other, 1);
        snap_starts_note(starts, 1, 4096, 4096);
        zp_autofree char *second = await_file(&other);
        assert_string_equal(second, "0000000000000001 4096 4096\n");
        assert_false(is_there(&image));
        snap_starts_free(starts);
}

static void reads_of_other_images_are_neither_noted_nor_begin_the_seconds(void **state) {
        (void) state;
        struct snap_starts *starts = NULL;
        const struct zp_digest image = image_named("image"), witness = image_named("witness");
        assert_int_equal(snap_starts_new("starts", SHORT_MS, &starts, &err), 0);
        announce(starts, &image, 1);
        announce(starts, &witness, 2);
        for (uint64_t i = 0; i < 1000; i++)
                snap_starts_note(starts, 2, i * 8192, 4096);
        free(await_file(&witness)); /* these seconds are over */
        snap_starts_note(starts, 1, 0, 4096);
        snap_starts_note(starts, 2, 0, 4096);
        snap_starts_note(starts, 1, 8192, 4096);
        zp_autofree char *text = await_file(&image);
        assert_string_equal(text, "0000000000000001 0 4096\n0000000000000001 8192 4096\n");
        snap_starts_free(starts);
}

static void images_that_start_together_are_noted_each_and_more_than_a_few_are_not(void **state) {
        (void) state;
        struct snap_starts *starts = NULL;
        struct zp_digest images[12];
        assert_int_equal(snap_starts_new("starts", SHORT_MS, &starts, &err), 0);
        for (size_t i = 0; i < 12; i++) {
                char name[8];
                snprintf(name, sizeof name, "%zu", i);
                images[i] = image_named(name);
                announce(starts, &images[i], 7);
        }
        snap_starts_note(starts, 7, 0, 4096);
        for (size_t i = 0; i < 8; i++)
                free(await_file(&images[i]));
        for (size_t i = 8; i < 12; i++)
                assert_false(is_there(&images[i]));
        snap_starts_free(starts);
}

static void too_many_reads_end_a_recording_early(void **state) {
        (void) state;
        struct snap_starts *starts = NULL;
        const struct zp_digest image = image_named("image");
        assert_int_equal(snap_starts_new("starts", LONG_MS, &starts, &err), 0);
        announce(starts, &image, 7);
        for (uint64_t i = 0; i < 70000; i++)
                snap_starts_note(starts, 7, i * 8192, 4096);
        zp_autofree char *text = await_file(&image);
        size_t lines = 0;
        for (const char *p = text; *p; p++)
                lines += *p == '\n';
        assert_in_range(lines, 30000, 65536);
        snap_starts_free(starts);
}

static void ending_waits_for_no_recording_and_none_is_needed(void **state) {
        (void) state;
        struct snap_starts *starts = NULL;
        const struct zp_digest image = image_named("image");
        announce(NULL, &image, 1);
        snap_starts_note(NULL, 1, 0, 4096);
        snap_starts_free(NULL);
        assert_int_equal(snap_starts_new("starts", LONG_MS, &starts, &err), 0);
        announce(starts, &image, 1);
        snap_starts_note(starts, 1, 0, 4096);
        snap_starts_free(starts);
        assert_false(is_there(&image));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        const struct CMUnitTest tests[] = {
                TEST(what_is_read_after_an_announcement_is_left_in_order_and_joined),
                TEST(reads_beside_what_is_not_seen_say_so),
                TEST(an_image_is_noted_once),
                TEST(reads_of_other_images_are_neither_noted_nor_begin_the_seconds),
                TEST(images_that_start_together_are_noted_each_and_more_than_a_few_are_not),
                TEST(too_many_reads_end_a_recording_early),
                TEST(ending_waits_for_no_recording_and_none_is_needed),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
