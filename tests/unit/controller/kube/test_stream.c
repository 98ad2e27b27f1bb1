/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "controller/kube/kube-internal.h"
#include "controller/kube/stream.h"

/* What a stream gave: each object's text, joined by '|'; '!' for one that was left out. */
struct given {
        struct zp_buffer text;
        int verdict; /* of `each` */
};

static int on_object(void *context, json_t *object, struct zp_error *err) {
        struct given *given = context;
        char *text = json_dumps(object, JSON_COMPACT);
        zp_buffer_text(&given->text, strlen(text) < 1000 ? text : "long");
        zp_buffer_text(&given->text, "|");
        free(text);
        return given->verdict ? zp_error_set(err, -given->verdict, "enough") : 0;
}

static void on_left_out(void *context, const struct zp_error *reason) {
        struct given *given = context;
        assert_int_not_equal(reason->message[0], '\0');
        zp_buffer_text(&given->text, "!");
}

static struct zp_kube_stream stream_of(enum zp_kube_stream_form form, struct given *given) {
        return (struct zp_kube_stream){ .form = form, .each = on_object, .left_out = on_left_out, .context = given };
}

/* Feeds `body` in pieces of `piece` bytes. */
static int feed(enum zp_kube_stream_form form, const char *body, size_t piece, struct given *given, char **envelope) {
        struct zp_kube_stream stream = stream_of(form, given);
        struct zp_error err = { 0 };
        json_t *json = NULL;
        int r = 0;
        for (size_t at = 0, size = strlen(body); at < size && r == 0; at += piece)
                r = zp_kube_stream_feed(&stream, body + at, size - at < piece ? size - at : piece, &err);
        if (r == 0)
                r = zp_kube_stream_end(&stream, &json, &err);
        assert_int_equal(r < 0, err.message[0] != '\0');
        if (json && envelope)
                *envelope = json_dumps(json, JSON_COMPACT);
        json_decref(json);
        zp_kube_stream_clear(&stream);
        return r;
}

static void expect(enum zp_kube_stream_form form, const char *body, const char *objects, const char *envelope) {
        for (size_t piece = 1; piece <= strlen(body); piece++) {
                struct given given = { 0 };
                char *rest = NULL;
                assert_int_equal(feed(form, body, piece, &given, &rest), 0);
                assert_string_equal(given.text.data ? given.text.data : "", objects);
                if (envelope)
                        assert_string_equal(rest, envelope);
                free(rest);
                zp_buffer_clear(&given.text);
        }
}

static void expect_failure(enum zp_kube_stream_form form, const char *body, int code) {
        for (size_t piece = 1; piece <= strlen(body); piece++) {
                struct given given = { 0 };
                assert_int_equal(feed(form, body, piece, &given, NULL), code);
                zp_buffer_clear(&given.text);
        }
}

static void events_are_the_same_however_they_are_cut(void **state) {
        (void) state;
        expect(ZP_KUBE_EVENTS, "", "", NULL);
        expect(ZP_KUBE_EVENTS, "\n \r\n", "", NULL);
        expect(ZP_KUBE_EVENTS, "{\"a\":1}\n{\"b\":{\"c\":[{},2]}}{}", "{\"a\":1}|{\"b\":{\"c\":[{},2]}}|{}|", NULL);
        expect(ZP_KUBE_EVENTS, "{\"}\\\"{\\\\\":\"]}[\"} {\"\\u007b\":\"\\\\\"}\n",
               "{\"}\\\"{\\\\\":\"]}[\"}|{\"{\":\"\\\\\"}|", NULL);
}

static void what_is_no_stream_of_objects_is_refused(void **state) {
        (void) state;
        const char *const bad[] = {
                "[]", "null", "{} x", "{},{}", "{}]", "}", "{", "{\"a", "{\"a\":[}", "\"{}\"", "1"
        };
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
                expect_failure(ZP_KUBE_EVENTS, bad[i], -EBADMSG);
}

static void an_object_that_is_no_json_is_left_out(void **state) {
        (void) state;
        expect(ZP_KUBE_EVENTS, "{\"a\":1}{a}{\"b\":\"\\u0000\"}{\"c\":1,\"c\":2}{\"e\":1}",
               "{\"a\":1}|!!!{\"e\":1}|", NULL);
        expect(ZP_KUBE_ITEMS, "{\"items\":[{\"a\":1},{a},{\"b\":1}]}", "{\"a\":1}|!{\"b\":1}|", "{\"items\":[0,0,0]}");
}

static void items_are_taken_out_of_their_list(void **state) {
        (void) state;
        expect(ZP_KUBE_ITEMS,
               "{\"kind\":\"items\",\"metadata\":{\"items\":[1],\"continue\":\"x\"},\"items\":[{\"a\":{}}, "
               "{\"b\":[]}]}",
               "{\"a\":{}}|{\"b\":[]}|",
               "{\"kind\":\"items\",\"metadata\":{\"items\":[1],\"continue\":\"x\"},\"items\":[0,0]}");
        expect(ZP_KUBE_ITEMS, " {\"items\":[ ] , \"z\":1}\n", "", "{\"items\":[],\"z\":1}");
        expect(ZP_KUBE_ITEMS, "{\"items\":null,\"a\":[\"items\"]}", "", "{\"items\":null,\"a\":[\"items\"]}");
        expect(ZP_KUBE_ITEMS, "{\"a\":{\"b\":[[{}]]}}", "", "{\"a\":{\"b\":[[{}]]}}");
        expect(ZP_KUBE_ITEMS, "{\"itemsX\":[{}],\"item\":[{}]}", "", "{\"itemsX\":[{}],\"item\":[{}]}");
}

static void what_is_no_list_is_refused(void **state) {
        (void) state;
        const char *const bad[] = {
                "[]",
                "{\"items\":[1]}",
                "{\"items\":[null]}",
                "{\"items\":[\"a\"]}",
                "{\"items\":[[]]}",
                "{\"items\":[{}}",
                "{\"items\":[{},]}",
                "{\"items\":[{}{}]}",
                "{\"items\":[{}]",
                "{} {}",
                "{\"items\":{}}",
                "{\"items\":\"x\"}",
                "{\"items\":[{}],\"items\":[{}]}",
                "{\"\\u0069tems\":[{}]}",
                "{\"i\\u0074ems\":[{\"a\":1}],\"items\":[]}",
                "{]",
        };
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
                expect_failure(ZP_KUBE_ITEMS, bad[i], -EBADMSG);
}

/* An object with a string of `size` bytes, then a small one. */
static char *large_then_small(const char *before, size_t size, const char *after) {
        char *filler = malloc(size + 1);
        memset(filler, 'x', size);
        filler[size] = '\0';
        char *body = zp_format("%s{\"a\":\"%s\"}%s", before, filler, after);
        free(filler);
        return body;
}

static void an_object_that_is_too_large_is_left_out_and_not_kept(void **state) {
        (void) state;
        for (int form = ZP_KUBE_EVENTS; form <= ZP_KUBE_ITEMS; form++) {
                bool is_list = form == ZP_KUBE_ITEMS;
                char *body = large_then_small(is_list ? "{\"items\":[" : "", 12u << 20,
                                              is_list ? ",{\"b\":1}]}" : "{\"b\":1}");
                struct given given = { 0 };
                struct zp_kube_stream stream = stream_of((enum zp_kube_stream_form) form, &given);
                for (size_t at = 0, size = strlen(body); at < size; at += 65536)
                        assert_int_equal(
                                zp_kube_stream_feed(&stream, body + at, size - at < 65536 ? size - at : 65536, NULL),
                                0);
                assert_string_equal(given.text.data, "!{\"b\":1}|");
                assert_true(stream.object.capacity <= 8u << 20);
                json_t *envelope = NULL;
                assert_int_equal(zp_kube_stream_end(&stream, &envelope, NULL), 0);
                json_decref(envelope);
                zp_kube_stream_clear(&stream);
                zp_buffer_clear(&given.text);
                free(body);
        }
}

static void an_object_of_the_largest_size_is_given(void **state) {
        (void) state;
        char *body = large_then_small("", (3u << 20) - 100, "");
        struct given given = { 0 };
        assert_int_equal(feed(ZP_KUBE_EVENTS, body, 100000, &given, NULL), 0);
        assert_string_equal(given.text.data, "long|");
        zp_buffer_clear(&given.text);
        free(body);
}

static void a_list_without_an_end_is_given_up(void **state) {
        (void) state;
        char *item = large_then_small("", 4u << 20, ","); /* left out, but it counts */
        struct given given = { 0 };
        struct zp_kube_stream stream = stream_of(ZP_KUBE_ITEMS, &given);
        int r = zp_kube_stream_feed(&stream, "{\"items\":[", 10, NULL), items = 0;
        for (; r == 0 && items < 100; items++)
                r = zp_kube_stream_feed(&stream, item, strlen(item), NULL);
        assert_int_equal(r, -EFBIG);
        assert_int_equal(items, 16);
        zp_kube_stream_clear(&stream);
        zp_buffer_clear(&given.text);
        free(item);

        char *envelope = large_then_small("{\"metadata\":", 2u << 20, "}");
        assert_int_equal(feed(ZP_KUBE_ITEMS, envelope, 4096, &given, NULL), -EFBIG);
        free(envelope);
}

static void the_callers_refusal_ends_the_stream(void **state) {
        (void) state;
        struct given given = { .verdict = -ESTALE };
        assert_int_equal(feed(ZP_KUBE_EVENTS, "{\"a\":1}{\"b\":2}", 100, &given, NULL), -ESTALE);
        assert_string_equal(given.text.data, "{\"a\":1}|");
        zp_buffer_clear(&given.text);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(events_are_the_same_however_they_are_cut),
                cmocka_unit_test(what_is_no_stream_of_objects_is_refused),
                cmocka_unit_test(an_object_that_is_no_json_is_left_out),
                cmocka_unit_test(items_are_taken_out_of_their_list),
                cmocka_unit_test(what_is_no_list_is_refused),
                cmocka_unit_test(an_object_that_is_too_large_is_left_out_and_not_kept),
                cmocka_unit_test(an_object_of_the_largest_size_is_given),
                cmocka_unit_test(a_list_without_an_end_is_given_up),
                cmocka_unit_test(the_callers_refusal_ends_the_stream),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
