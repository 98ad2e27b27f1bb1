/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controller/cache.h"
#include "oci/json.h"

static json_t *object(const char *uid, const char *version, const char *value) {
        return json_pack("{s:{s:s, s:s, s:s, s:s, s:[s], s:{s:s, s:s}}, s:{s:s}, s:s}", "metadata", "name", "n",
                         "namespace", "ns", "uid", uid, "resourceVersion", version, "managedFields", "long",
                         "annotations", "zeropull.dev/retry", "1", "other", "2", "spec", "value", value, "else", "x");
}

static int put(struct ctl_cache *cache, const char *key, const char *uid, const char *version, const char *value) {
        json_t *one = object(uid, version, value);
        int r = ctl_cache_put(cache, key, one, NULL);
        json_decref(one);
        return r;
}

static void expect(struct ctl_cache *cache, const char *key, const char *value) {
        zp_auto(json_decref) json_t *known = ctl_cache_get(cache, key);
        if (!value) {
                assert_null(known);
                return;
        }
        assert_string_equal(json_string_value(json_object_get(json_object_get(known, "spec"), "value")), value);
}

static void the_newer_version_stays_in_whatever_order_they_come(void **state) {
        struct ctl_cache *cache = NULL;
        (void) state;
        assert_int_equal(ctl_cache_new(&cache, NULL), 0);
        assert_int_equal(put(cache, "ns/n", "u", "9", "nine"), 1);
        assert_int_equal(put(cache, "ns/n", "u", "10", "ten"), 1);
        assert_int_equal(put(cache, "ns/n", "u", "9", "nine"), 1); /* late: somebody may not have looked at it */
        assert_int_equal(put(cache, "ns/n", "u", "10", "ten again"), 0);
        expect(cache, "ns/n", "ten");
        assert_int_equal(put(cache, "ns/n", "another", "5", "five"), 1); /* made anew */
        expect(cache, "ns/n", "five");
        ctl_cache_remove(cache, "ns/n", "u");
        expect(cache, "ns/n", "five");
        ctl_cache_remove(cache, "ns/n", "another");
        expect(cache, "ns/n", NULL);
        assert_int_equal(ctl_cache_size(cache), 0);
        ctl_cache_free(cache);
}

static void what_the_controller_does_not_read_is_not_kept(void **state) {
        struct ctl_cache *cache = NULL;
        (void) state;
        assert_int_equal(ctl_cache_new(&cache, NULL), 0);
        put(cache, "ns/n", "u", "1", "v");
        zp_auto(json_decref) json_t *known = ctl_cache_get(cache, "ns/n");
        json_t *metadata = json_object_get(known, "metadata");
        assert_null(json_object_get(known, "else"));
        assert_null(json_object_get(metadata, "managedFields"));
        assert_int_equal(json_object_size(json_object_get(metadata, "annotations")), 1);
        ctl_cache_free(cache);
}

static void others_that_mention_a_text_are_found(void **state) {
        struct ctl_cache *cache = NULL;
        (void) state;
        assert_int_equal(ctl_cache_new(&cache, NULL), 0);
        put(cache, "a", "1", "1", "sha256:x");
        put(cache, "b", "2", "1", "sha256:x");
        put(cache, "c", "3", "1", "sha256:y");
        zp_auto(json_decref) json_t *going = object("4", "1", "sha256:x");
        json_object_set_new(json_object_get(going, "metadata"), "deletionTimestamp", json_string("now"));
        ctl_cache_put(cache, "d", going, NULL);
        char **keys = ctl_cache_mentioning(cache, "\"sha256:x\"", "a");
        assert_string_equal(keys[0], "b");
        assert_null(keys[1]);
        ctl_cache_keys_free(keys);
        keys = ctl_cache_mentioning(cache, "\"sha256:z\"", "");
        assert_null(keys[0]);
        ctl_cache_keys_free(keys);
        ctl_cache_free(cache);
}

static void notes_live_as_long_as_the_object(void **state) {
        struct ctl_cache *cache = NULL;
        (void) state;
        assert_int_equal(ctl_cache_new(&cache, NULL), 0);
        ctl_cache_note(cache, "a", CTL_NOTE_CHECKED, 5);
        assert_int_equal(ctl_cache_noted(cache, "a", CTL_NOTE_CHECKED), 0);
        put(cache, "a", "1", "1", "v");
        ctl_cache_note(cache, "a", CTL_NOTE_CHECKED, 5);
        put(cache, "a", "1", "2", "w");
        assert_int_equal(ctl_cache_noted(cache, "a", CTL_NOTE_CHECKED), 5);
        assert_int_equal(ctl_cache_noted(cache, "a", CTL_NOTE_UNUSED_SINCE), 0);
        ctl_cache_free(cache);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_newer_version_stays_in_whatever_order_they_come),
                cmocka_unit_test(what_the_controller_does_not_read_is_not_kept),
                cmocka_unit_test(others_that_mention_a_text_are_found),
                cmocka_unit_test(notes_live_as_long_as_the_object),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
