/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages are written by hand from the CRI API's field numbers and the encoding of protocol buffers; which credentials
 * count is what containerd does with them.
 */
#include "../control/support.h"

#include "snapshotter/keychain/pull-request.h"

/* A field of bytes: its key, its length (< 128), itself. */
#define IMAGE "\x0a\x0f\x0a\x0dr.example/a:1"
#define READ(message, request) snap_pull_request_read(message, sizeof(message) - 1, request, &err)

static struct snap_pull_request request;

static void expect(int result, const char *credentials) {
        char text[300];
        assert_ok(result);
        assert_string_equal(request.reference, "r.example/a:1");
        const struct zp_credentials *c = &request.credentials;
        snprintf(text, sizeof text, "%s|%s|%s|%s", c->username ? c->username : "", c->password ? c->password : "",
                 c->identity_token ? c->identity_token : "", c->registry_token ? c->registry_token : "");
        assert_string_equal(text, credentials);
        snap_pull_request_clear(&request);
}

static void credentials_are_chosen_as_containerd_does(void **state) {
        (void) state;
        expect(READ(IMAGE, &request), "|||");
        expect(READ(IMAGE "\x12\x00", &request), "|||");
        expect(READ(IMAGE "\x12\x06\x0a\x01u\x12\x01p", &request), "u|p||");
        expect(READ(IMAGE "\x12\x03\x0a\x01u", &request), "u|||");
        expect(READ(IMAGE "\x12\x05\x2a\x03tok", &request), "||tok|");
        expect(READ(IMAGE "\x12\x05\x32\x03reg", &request), "|||reg");
        expect(READ(IMAGE "\x12\x08\x2a\x03tok\x0a\x01u", &request), "u|||");
        expect(READ(IMAGE "\x12\x0e\x1a\x0cYWxpY2U6YQ==", &request), "alice|a||");
        expect(READ(IMAGE "\x12\x13\x1a\x0cYWxpY2U6YQ==\x2a\x03tok", &request), "||tok|");
}

static void an_address_of_another_registry_takes_them_away(void **state) {
        (void) state;
        expect(READ(IMAGE "\x12\x11\x0a\x01u\x12\x01p\x22\x09r.example", &request), "u|p||");
        expect(READ(IMAGE "\x12\x1d\x0a\x01u\x12\x01p\x22\x15https://r.example/v1/", &request), "u|p||");
        expect(READ(IMAGE "\x12\x11\x0a\x01u\x12\x01p\x22\x09s.example", &request), "|||");
        expect(READ(IMAGE "\x12\x16\x0a\x01u\x12\x01p\x22\x0er.example:5000", &request), "|||");
}

static void docker_hub_has_many_names(void **state) {
        (void) state;
        assert_ok(READ("\x0a\x09\x0a\x07"
                       "busybox"
                       "\x12\x23\x0a\x01u\x12\x01p\x22\x1bhttps://index.docker.io/v1/",
                       &request));
        assert_string_equal(request.reference, "busybox");
        assert_string_equal(request.credentials.username, "u");
        snap_pull_request_clear(&request);
}

static void what_makes_no_sense_counts_as_no_credentials(void **state) {
        (void) state;
        expect(READ(IMAGE "\x12\x0a\x1a\x08"
                          "!!!!!!!!",
                    &request),
               "|||");
        expect(READ(IMAGE "\x12\x0a\x1a\x08"
                          "bm9jb2xv",
                    &request),
               "|||");
        expect(READ(IMAGE "\x12\x08\x0a\x03u\0v\x12\x01p", &request), "|||");
        expect(READ(IMAGE "\x10\x05", &request), "|||"); /* a number in place of the message */
}

static void other_fields_are_skipped_and_the_last_one_counts(void **state) {
        (void) state;
        /* unknown ones of all wire types; the sandbox's configuration */
        expect(READ("\x78\xff\x01\x79"
                    "12345678"
                    "\x7d"
                    "1234"
                    "\x1a\x03xyz" IMAGE "\x12\x03\x0a\x01u",
                    &request),
               "u|||");
        expect(READ(IMAGE "\x12\x03\x0a\x01u\x12\x06\x0a\x01v\x12\x01p", &request), "v|p||");
        expect(READ("\x0a\x03\x0a\x01x" IMAGE, &request), "|||");
}

static void messages_that_are_none_are_refused(void **state) {
        static const struct {
                const char *data;
                size_t size;
        } cases[] = {
                { "", 0 },
                { "\x0a", 1 },
                { "\x0a\x02\x0a\x00", 4 },                                  /* no name */
                { "\x12\x03\x0a\x01u", 5 },                                 /* no image */
                { "\x0b\x0c", 2 },                                          /* groups, which nobody uses */
                { "\x02\x00", 2 },                                          /* field 0 */
                { "\x0a\xff\xff\xff\xff\x0f", 6 },                          /* longer than it is */
                { "\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 12 }, /* a number of 11 bytes */
                { "\x0a\x05\x0a\x03r\0x", 7 },                              /* a NUL in the name */
        };
        (void) state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
                assert_int_equal(snap_pull_request_read(cases[i].data, cases[i].size, &request, &err), -EBADMSG);
}

static void a_cut_message_is_refused_or_has_less(void **state) {
        static const char whole[] = IMAGE "\x12\x0a\x0a\x03usr\x12\x03S3C";
        (void) state;
        for (size_t size = 0; size < sizeof whole - 1; size++) {
                char *cut = malloc(size + 1); /* of its own, so that the sanitizer sees a read behind it */
                memcpy(cut, whole, size);
                char *exact = realloc(cut, size ? size : 1);
                int r = snap_pull_request_read(exact, size, &request, &err);
                assert_true(r == 0 || r == -EBADMSG);
                assert_null(strstr(err.message, "S3C"));
                if (r == 0)
                        snap_pull_request_clear(&request);
                free(exact);
        }
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(credentials_are_chosen_as_containerd_does, setup, teardown),
                cmocka_unit_test_setup_teardown(an_address_of_another_registry_takes_them_away, setup, teardown),
                cmocka_unit_test_setup_teardown(docker_hub_has_many_names, setup, teardown),
                cmocka_unit_test_setup_teardown(what_makes_no_sense_counts_as_no_credentials, setup, teardown),
                cmocka_unit_test_setup_teardown(other_fields_are_skipped_and_the_last_one_counts, setup, teardown),
                cmocka_unit_test_setup_teardown(messages_that_are_none_are_refused, setup, teardown),
                cmocka_unit_test_setup_teardown(a_cut_message_is_refused_or_has_less, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
