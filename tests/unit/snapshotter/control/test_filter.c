/* SPDX-License-Identifier: Apache-2.0
 *
 * Filters select what containerd's would: the cases are those of its documented grammar.
 */
#include "support.h"

#include "snapshotter/control/filter.h"

static struct snap_label labels[] = { { "containerd.io/gc.root", "now" }, { "tier", "front" }, { "a.b", "dotted" } };
static const struct snap_info web = {
        .name = "default/7/web", .parent = "default/3/sha256:abc", .kind = SNAP_ACTIVE, .labels = { labels, 3 }
};
static const struct snap_info bare = { .name = "p", .parent = "", .kind = SNAP_COMMITTED };

static bool matches_all(const char *const *texts, size_t count, const struct snap_info *info) {
        struct snap_filter *filter = NULL;
        assert_ok(snap_filter_parse(texts, count, &filter, &err));
        bool result = snap_filter_matches(filter, info);
        assert_true(result == snap_filter_matches(filter, info));
        snap_filter_free(filter);
        return result;
}

static bool matches(const char *text, const struct snap_info *info) {
        return matches_all(&text, 1, info);
}

static void fields_are_compared(void **state) {
        (void) state;
        assert_true(matches("name==default/7/web", &web));
        assert_false(matches("name==default/7/we", &web));
        assert_true(matches("kind==active", &web));
        assert_false(matches("kind==committed", &web));
        assert_true(matches("kind==committed", &bare));
        assert_true(matches("parent==default/3/sha256:abc", &web));
        assert_true(matches("parent==\"default/3/sha256:abc\"", &web));
        assert_true(matches("parent==\"\"", &bare));
        assert_true(matches("parent!=\"\"", &web));
        assert_false(matches("parent!=\"\"", &bare));
}

static void labels_are_compared_and_looked_for(void **state) {
        (void) state;
        assert_true(matches("labels.tier", &web));
        assert_false(matches("labels.tier", &bare));
        assert_true(matches("labels.tier==front", &web));
        assert_false(matches("labels.tier==back", &web));
        assert_true(matches("labels.\"containerd.io/gc.root\"==now", &web));
        assert_true(matches("labels.a.b==dotted", &web));
        /* what is not there is not equal to anything, and different from everything */
        assert_false(matches("labels.missing==\"\"", &web));
        assert_true(matches("labels.missing!=x", &web));
        assert_false(matches("unknown", &web));
}

static void selectors_must_all_match_and_one_filter_must(void **state) {
        (void) state;
        assert_true(matches("kind==active,labels.tier==front", &web));
        assert_false(matches("kind==active,labels.tier==back", &web));
        const char *either[] = { "name==p", "labels.tier" };
        assert_true(matches_all(either, 2, &web));
        assert_true(matches_all(either, 2, &bare));
        const char *neither[] = { "name==x", "name==y" };
        assert_false(matches_all(neither, 2, &web));
        assert_true(matches("", &web));
        assert_true(matches_all(NULL, 0, &web));
}

static void regular_expressions_match_anywhere(void **state) {
        (void) state;
        assert_true(matches("name~=web$", &web));
        assert_true(matches("name~=|^default/[0-9]|", &web));
        assert_true(matches("labels.tier~=^fr", &web));
        assert_false(matches("name~=^web", &web));
        assert_true(matches("name~=/^default\\/[0-9]+\\/web$/", &web));
}

static void a_broken_regular_expression_matches_nothing(void **state) {
        (void) state;
        assert_false(matches("name~=[", &web));
        /* ((a*)*)*b against many a: without a limit it would take for ever */
        char name[200];
        memset(name, 'a', sizeof name - 1);
        name[sizeof name - 1] = '\0';
        const struct snap_info many = { .name = name, .parent = "", .kind = SNAP_VIEW };
        assert_false(matches("name~=((a*)*)*$b", &many));
}

static void quoted_texts_may_have_anything(void **state) {
        (void) state;
        const struct snap_info odd = { .name = "a b,\"c\"\n\xc3\xa9", .parent = "", .kind = SNAP_VIEW };
        assert_true(matches("name==\"a b,\\\"c\\\"\\n\\u00e9\"", &odd));
        assert_true(matches("name==\"\\x61\\040b,\\\"c\\\"\\n\\303\\251\"", &odd));
        assert_true(matches("name == \"a b,\\\"c\\\"\\n\xc3\xa9\"", &odd));
}

static void assert_refused(const char *text, const char *message) {
        struct snap_filter *filter = NULL;
        assert_int_equal(snap_filter_parse(&text, 1, &filter, &err), -EINVAL);
        assert_null(filter);
        assert_message_has(message);
}

static void what_is_not_of_the_grammar_is_refused(void **state) {
        (void) state;
        assert_refused("name==", "a value is wanted");
        assert_refused("name=x", "one of == != ~= is wanted");
        assert_refused("name===x", "one of == != ~= is wanted");
        assert_refused("==x", "a field is wanted");
        assert_refused("name==a,", "a field is wanted");
        assert_refused("name==a b", "at character 8: unexpected");
        assert_refused("name.==a", "a field is wanted");
        assert_refused("name==\"a", "the quote does not end");
        assert_refused("name==\"\\q\"", "unknown escape sequence");
        assert_refused("name~=/a\\.b/", "unknown escape sequence");
        assert_refused("name==\"\\xz\"", "not a digit");
        assert_refused("name==\"\\U00110000\"", "no such character");
        assert_refused("name==|a|", "a value is wanted");
        assert_refused("labels.'x'==a", "a field is wanted");
}

static void a_request_cannot_ask_for_endless_work(void **state) {
        (void) state;
        const char *texts[SNAP_FILTERS_MAX + 1];
        struct snap_filter *filter = NULL;
        for (size_t i = 0; i < SNAP_FILTERS_MAX + 1; i++)
                texts[i] = "name==a";
        assert_int_equal(snap_filter_parse(texts, SNAP_FILTERS_MAX + 1, &filter, &err), -EINVAL);
        char text[8 * (SNAP_FILTER_SELECTORS_MAX + 1) + 1] = "";
        for (size_t i = 0; i < SNAP_FILTER_SELECTORS_MAX + 1; i++)
                strcat(text, i ? ",labels" : "labels");
        assert_refused(text, "too many selectors");
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(fields_are_compared),
                cmocka_unit_test(labels_are_compared_and_looked_for),
                cmocka_unit_test(selectors_must_all_match_and_one_filter_must),
                cmocka_unit_test(regular_expressions_match_anywhere),
                cmocka_unit_test(a_broken_regular_expression_matches_nothing),
                cmocka_unit_test(quoted_texts_may_have_anything),
                cmocka_unit_test(what_is_not_of_the_grammar_is_refused),
                cmocka_unit_test(a_request_cannot_ask_for_endless_work),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
