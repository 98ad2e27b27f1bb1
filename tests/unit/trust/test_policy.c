/* SPDX-License-Identifier: Apache-2.0
 *
 * Policies: which rule counts for which repository, what it takes to satisfy it, and that nothing in the file is
 * overlooked.
 */
#include "support.h"

#include <stdio.h>

#include "trust/policy.h"

#define KEYS "version: 1\nkeys:\n  a: a.pub\n  b: b.pub\n  c: c.pub\n"

static struct zp_key *keys[3]; /* a, b, c */
static struct zp_digest artifact, subject;

static int setup_keys(void **state) {
        if (setup(state) < 0)
                return -1;
        zp_digest_of("artifact", 8, &artifact);
        zp_digest_of("subject", 7, &subject);
        for (int i = 0; i < 3; i++) {
                char name[] = "a.pub";
                name[0] = (char) (name[0] + i);
                if (zp_key_generate(&keys[i], &err) < 0 || zp_key_save_public(keys[i], name, &err) < 0)
                        return -1;
        }
        return 0;
}

static int teardown_keys(void **state) {
        for (int i = 0; i < 3; i++)
                zp_key_free(keys[i]);
        return teardown(state);
}

static struct zp_policy *load(const char *text) {
        struct zp_policy *policy = NULL;
        write_text("policy.yaml", text);
        if (zp_policy_load("policy.yaml", &policy, &err) < 0)
                fail_msg("%s", err.message);
        return policy;
}

static void assert_refused(const char *text, const char *message) {
        struct zp_policy *policy = NULL;
        write_text("policy.yaml", text);
        zp_error_clear(&err);
        assert_int_equal(zp_policy_load("policy.yaml", &policy, &err), -EINVAL);
        assert_null(policy);
        assert_message_has(message);
}

/* The verdict on a snapshot signed by the keys named in `signers` ("ab"; "" for none). */
static struct zp_policy_verdict check(const struct zp_policy *policy, const char *image, const char *signers) {
        struct zp_reference reference;
        struct zp_signature signatures[8];
        struct zp_policy_verdict verdict;
        size_t count = 0;
        for (; signers[count]; count++)
                assert_int_equal(
                        zp_signature_make(keys[signers[count] - 'a'], &artifact, &subject, &signatures[count], &err),
                        0);
        assert_int_equal(zp_reference_parse(image, &reference, &err), 0);
        zp_policy_check(policy, &reference, &artifact, &subject, signatures, count, &verdict);
        assert_true(verdict.reason[0] != '\0');
        zp_reference_clear(&reference);
        return verdict;
}

static bool accepts(const struct zp_policy *policy, const char *image, const char *signers) {
        return check(policy, image, signers).is_accepted;
}

static bool wants_signatures(const struct zp_policy *policy, const char *image) {
        struct zp_reference reference;
        assert_int_equal(zp_reference_parse(image, &reference, &err), 0);
        bool wants = zp_policy_wants_signatures(policy, &reference);
        zp_reference_clear(&reference);
        return wants;
}

static void the_most_specific_rule_counts(void **state) {
        (void) state;
        /* in an order in which neither the first nor the last match is right */
        struct zp_policy *policy = load(KEYS "rules:\n"
                                             "- {repository: r.example/prod/*, require: [a]}\n"
                                             "- {repository: '*', action: reject}\n"
                                             "- {repository: r.example/prod/team/web, require: [b]}\n"
                                             "- {repository: r.example/*, action: accept}\n"
                                             "- {repository: r.example/prod/team/*, require: [c]}\n");
        assert_false(accepts(policy, "elsewhere.example/x", "abc"));
        assert_true(accepts(policy, "r.example/x", ""));
        assert_true(accepts(policy, "r.example/x/y/z:3", ""));
        assert_true(accepts(policy, "r.example/prod/x", "a"));
        assert_false(accepts(policy, "r.example/prod/x", ""));
        assert_false(accepts(policy, "r.example/prod/x", "bc"));
        assert_true(accepts(policy, "r.example/prod/team/x", "c"));
        assert_false(accepts(policy, "r.example/prod/team/x", "ab"));
        assert_true(accepts(policy, "r.example/prod/team/web", "b"));
        assert_false(accepts(policy, "r.example/prod/team/web", "ac"));
        assert_true(accepts(policy, "r.example/prod/team/web/inner", "c"));
        /* a prefix ends where a name does */
        assert_true(accepts(policy, "r.example/production/x", ""));
        assert_true(accepts(policy, "r.example/prod", ""));
        assert_false(accepts(policy, "r.example.org/x", ""));
        assert_true(wants_signatures(policy, "r.example/prod/x"));
        assert_false(wants_signatures(policy, "r.example/x"));
        assert_false(wants_signatures(policy, "elsewhere.example/x"));
        zp_policy_free(policy);
}

static void other_spellings_of_a_repository_are_the_same(void **state) {
        (void) state;
        struct zp_policy *policy = load(KEYS "rules:\n"
                                             "- {repository: r.example/web, require: [a]}\n"
                                             "- {repository: Upper.Example:443/*, require: [a]}\n"
                                             "- {repository: docker.io/library/nginx, require: [a]}\n");
        static const char *const same[] = { "r.example/web:1", "R.Example/web",        "r.example:443/web",
                                            "nginx",           "docker.io/nginx:1.27", "index.docker.io/library/nginx",
                                            "upper.example/x", "UPPER.EXAMPLE:443/x/y" };
        for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
                assert_false(accepts(policy, same[i], ""));
                assert_true(accepts(policy, same[i], "a"));
        }
        assert_true(accepts(policy, "r.example:5000/web", ""));
        zp_policy_free(policy);
}

static void as_many_keys_as_the_threshold_must_have_signed(void **state) {
        (void) state;
        struct zp_policy *policy = load(KEYS "rules:\n"
                                             "- {repository: r.example/any, require: [a, b]}\n"
                                             "- {repository: r.example/two, require: [a, b, c], threshold: 2}\n"
                                             "- {repository: r.example/all, require: [a, b, c], threshold: 3}\n");
        assert_true(accepts(policy, "r.example/any", "a"));
        assert_true(accepts(policy, "r.example/any", "b"));
        assert_true(accepts(policy, "r.example/any", "cb"));
        assert_false(accepts(policy, "r.example/any", "c"));
        assert_true(accepts(policy, "r.example/two", "ac"));
        assert_true(accepts(policy, "r.example/two", "cba"));
        assert_false(accepts(policy, "r.example/two", "a"));
        assert_false(accepts(policy, "r.example/two", "aaaa")); /* one key, however often */
        assert_true(accepts(policy, "r.example/all", "abc"));
        assert_false(accepts(policy, "r.example/all", "aab"));
        assert_non_null(strstr(check(policy, "r.example/two", "").reason, "policy.yaml:8: the snapshot is not signed"));
        assert_non_null(strstr(check(policy, "r.example/two", "aa").reason, "2 signatures, of which 1 good"));
        zp_policy_free(policy);
}

static void false_signatures_count_for_nothing(void **state) {
        (void) state;
        struct zp_policy *policy = load(KEYS "rules:\n- {repository: '*', require: [a]}\n");
        struct zp_reference image;
        struct zp_policy_verdict verdict;
        struct zp_signature s[4];
        assert_int_equal(zp_reference_parse("r.example/x", &image, &err), 0);
        assert_int_equal(zp_signature_make(keys[0], &artifact, &subject, &s[0], &err), 0);
        s[0].bytes[5] ^= 1;
        assert_int_equal(zp_signature_make(keys[1], &artifact, &subject, &s[1], &err), 0);
        s[1].key = *zp_key_id(keys[0]);
        assert_int_equal(zp_signature_make(keys[0], &subject, &subject, &s[2], &err), 0); /* true, of another */
        assert_int_equal(zp_signature_make(keys[0], &artifact, &artifact, &s[3], &err), 0);
        zp_policy_check(policy, &image, &artifact, &subject, s, 4, &verdict);
        assert_false(verdict.is_accepted);
        assert_int_equal(zp_signature_make(keys[0], &artifact, &subject, &s[3], &err), 0);
        zp_policy_check(policy, &image, &artifact, &subject, s, 4, &verdict);
        assert_true(verdict.is_accepted); /* and nothing against a good one */
        zp_reference_clear(&image);
        zp_policy_free(policy);
}

static void no_policy_requires_nothing_but_an_unreadable_one_is_an_error(void **state) {
        (void) state;
        struct zp_policy *policy = NULL;
        assert_int_equal(zp_policy_load_if_present("absent/policy.yaml", &policy, &err), 0);
        assert_true(accepts(policy, "r.example/x", ""));
        assert_false(wants_signatures(policy, "r.example/x"));
        zp_policy_free(policy);
        policy = NULL;
        assert_int_equal(zp_policy_load("absent", &policy, &err), -ENOENT);
        assert_int_equal(symlink("absent", "dangling"), 0);
        assert_int_equal(zp_policy_load_if_present("dangling", &policy, &err), -ENOENT);
        assert_int_equal(symlink("loop", "loop"), 0);
        assert_int_equal(zp_policy_load_if_present("loop", &policy, &err), -ELOOP);
        assert_int_equal(zp_policy_load_if_present(".", &policy, &err), -EISDIR);
        assert_int_equal(zp_policy_load_if_present("a.pub/x", &policy, &err), -ENOTDIR);
        write_text("empty", "");
        assert_int_equal(zp_policy_load_if_present("empty", &policy, &err), -EINVAL);
        assert_null(policy);
}

static void a_policy_without_a_matching_rule_accepts(void **state) {
        (void) state;
        struct zp_policy *policy = load(KEYS "rules:\n- {repository: r.example/x, require: [a]}\n");
        assert_true(accepts(policy, "r.example/y", ""));
        zp_policy_free(policy);
}

static void files_of_keys_count_from_the_policys_directory(void **state) {
        (void) state;
        struct zp_policy *policy = NULL;
        zp_autofree char *text = NULL;
        assert_int_equal(zp_make_directories("etc/keys", 0755, &err), 0);
        assert_int_equal(zp_key_save_public(keys[0], "etc/keys/k.pub", &err), 0);
        assert_true(asprintf(&text,
                             "version: 1\nkeys: {one: keys/k.pub, two: %s/b.pub}\n"
                             "rules: [{repository: '*', require: [one, two], threshold: 2}]\n",
                             directory) > 0);
        write_text("etc/policy.yaml", text);
        assert_int_equal(zp_policy_load("etc/policy.yaml", &policy, &err), 0);
        assert_true(accepts(policy, "x", "ab"));
        assert_false(accepts(policy, "x", "a"));
        zp_policy_free(policy);
}

static void each_mistake_is_told_with_its_line(void **state) {
        (void) state;
        static const struct {
                const char *text, *message;
        } cases[] = {
                { "", "policy.yaml:1: the policy is empty" },
                { "# nothing\n", "policy.yaml:1: the policy is empty" },
                { "version: 1\n", "policy.yaml:1: policy: 'rules' is missing" },
                { "rules: []\n", "policy.yaml:1: policy: 'version' is missing" },
                { "- version: 1\n", "policy.yaml:1: policy: not a mapping" },
                { "version: 2\nrules: []\n", "policy.yaml:1: version: only 1 is known" },
                { "version: 01\nrules: []\n", "policy.yaml:1: version: '01'" },
                { "version: [1]\nrules: []\n", "policy.yaml:1: version: not a single value" },
                { "version: 1\n\nrule: []\n", "policy.yaml:3: policy: 'rule' is not known" },
                { "version: 1\nrules:\n", "policy.yaml:2: rules: not a list" },
                { "version: 1\nrules: []\n", "policy.yaml:2: rules: empty" },
                { "version: 1\nversion: 1\nrules: []\n", "policy.yaml:2: policy: 'version' a second time" },
                { "version: 1\nrules:\n- {repository: '*', action: accept}\n---\nversion: 1\n",
                  "policy.yaml:5: a second document" },
                { "version: 1\nrules: [\n", "policy.yaml:3: " },
                { "version: 1\n\trules: []\n", "policy.yaml:2: " },
                { "version: 1\n# \xff\nrules: []\n", "policy.yaml:2: " },
                { "version: 1\nrules:\n- {repository: *, action: accept}\n", "policy.yaml:3: while scanning an alias" },
                { "version: 1\nrules: *nowhere\n", "policy.yaml:2: " },
                { KEYS "  a: b.pub\nrules: []\n", "policy.yaml:6: keys: 'a' a second time" },
                { KEYS "  d: d.pub\nrules: []\n", "policy.yaml:6: open 'd.pub'" },
                { KEYS "  d: \nrules: []\n", "policy.yaml:6: keys: file: empty" },
                { KEYS "  d: [a.pub]\nrules: []\n", "policy.yaml:6: keys: file: not a single value" },
                { KEYS "  d: policy.yaml\nrules: []\n", "policy.yaml:6: key 'policy.yaml': no PEM block" },
                { KEYS "  d: \"a.pub\\0\"\nrules: []\n", "policy.yaml:6: keys: file: empty, or with a NUL" },
                { KEYS "rules:\n- repository: r.example/x\n", "policy.yaml:7: rule: wants either" },
                { KEYS "rules:\n- action: accept\n", "policy.yaml:7: rule: 'repository' is missing" },
                { KEYS "rules:\n- {repository: '*', action: accept, require: [a]}\n", "policy.yaml:7: rule: wants" },
                { KEYS "rules:\n- {repository: '*', action: deny}\n", "policy.yaml:7: action: 'deny'" },
                { KEYS "rules:\n- {repository: '*', action: }\n", "policy.yaml:7: action: empty" },
                { KEYS "rules:\n- {repository: '*', require: a}\n", "policy.yaml:7: require: not a list" },
                { KEYS "rules:\n- {repository: '*', require: []}\n", "policy.yaml:7: require: empty" },
                { KEYS "rules:\n- repository: '*'\n  require:\n  - a\n  - d\n", "policy.yaml:10: require: no key 'd'" },
                { KEYS "rules:\n- repository: '*'\n  require: [a, a]\n", "policy.yaml:8: require: 'a' is a key" },
                { KEYS "rules:\n- repository: '*'\n  require: [a]\n  threshold: 2\n",
                  "policy.yaml:9: threshold: 2 of 1" },
                { KEYS "rules:\n- repository: '*'\n  require: [a]\n  threshold: 0\n", "policy.yaml:9: threshold: '0'" },
                { KEYS "rules:\n- repository: '*'\n  require: [a]\n  threshold: -1\n",
                  "policy.yaml:9: threshold: '-1" },
                { KEYS "rules:\n- repository: '*'\n  require: [a]\n  threshold: 4294967297\n",
                  "policy.yaml:9: threshold: '4294967297'" },
                { KEYS "rules:\n- repository: '*'\n  action: reject\n  threshold: 1\n",
                  "policy.yaml:9: threshold: only beside" },
                { KEYS "rules:\n- repository: '*'\n  reqire: [a]\n", "policy.yaml:8: rule: 'reqire' is not known" },
                { KEYS "rules:\n- {repository: '*', action: accept}\n- {repository: '*', action: reject}\n",
                  "policy.yaml:8: repository '*': has a rule on line 7" },
                { KEYS "rules:\n- {repository: a.b/c, action: accept}\n- {repository: A.B/c, action: reject}\n",
                  "policy.yaml:8: repository 'A.B/c': has a rule on line 7" },
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
                assert_refused(cases[i].text, cases[i].message);
}

/* A pattern that normalisation changes would match nothing, and so require nothing. */
static void a_pattern_that_could_never_match_is_refused(void **state) {
        (void) state;
        static const char *const cases[][2] = {
                { "nginx", "write it as 'docker.io/library/nginx'" },
                { "prod/*", "write it as 'docker.io/prod/*'" },
                { "prod/team/*", "write it as 'docker.io/prod/team/*'" },
                { "docker.io/nginx", "write it as 'docker.io/library/nginx'" },
                { "index.docker.io/*", "write it as 'docker.io/*'" },
                { "r.example/web:1", "write it as 'r.example/web'" },
                { "r.example/web@sha256:0", "" },
                { "r.example/Web", "must be lower case" },
                { "r.example/web*", "" },
                { "r.example/*/web", "" },
                { "r.example/**", "" },
                { "*/web", "" },
                { "r.example", "write it as 'docker.io/library/r.example'" },
                { "r.example/", "" },
                { "/*", "" },
                { "r.example//*", "" },
                { "docker://r.example/x", "" },
                { "http://r.example/x", "" },
                { " r.example/x", "" },
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                zp_autofree char *text = NULL;
                assert_true(asprintf(&text, "version: 1\nrules:\n- {repository: '%s', action: reject}\n", cases[i][0]) >
                            0);
                assert_refused(text, "policy.yaml:3: repository '");
                assert_message_has(cases[i][1]);
        }
}

static void a_private_key_in_a_policy_is_refused(void **state) {
        (void) state;
        assert_int_equal(zp_key_save_private(keys[0], "private", NULL, &err), 0);
        assert_refused(KEYS "  d: private\nrules: []\n", "policy.yaml:6: key 'private': a private key");
}

static void too_much_is_refused(void **state) {
        (void) state;
        zp_autofree char *text = calloc(1, 1 << 20);
        char *end = stpcpy(text, "version: 1\nrules: [");
        for (int i = 0; i < 1025; i++)
                end += sprintf(end, "{repository: r.example/r%d, action: accept}, ", i);
        strcpy(end, "]\n");
        assert_refused(text, "policy.yaml:2: rules: more than 1024");
        end = stpcpy(text, KEYS "rules: [{repository: '*', require: [");
        for (int i = 0; i < 33; i++)
                end = stpcpy(end, "a, ");
        strcpy(end, "]}]\n");
        assert_refused(text, "policy.yaml:6: require: more than 32");
        memset(text, ' ', 262145);
        struct zp_policy *policy = NULL;
        write_file("policy.yaml", text, 262145);
        assert_int_equal(zp_policy_load("policy.yaml", &policy, &err), -EFBIG);
}

int main(void) {
#define WITH_KEYS(test) cmocka_unit_test_setup_teardown(test, setup_keys, teardown_keys)
        const struct CMUnitTest tests[] = {
                WITH_KEYS(the_most_specific_rule_counts),
                WITH_KEYS(other_spellings_of_a_repository_are_the_same),
                WITH_KEYS(as_many_keys_as_the_threshold_must_have_signed),
                WITH_KEYS(false_signatures_count_for_nothing),
                WITH_KEYS(no_policy_requires_nothing_but_an_unreadable_one_is_an_error),
                WITH_KEYS(a_policy_without_a_matching_rule_accepts),
                WITH_KEYS(files_of_keys_count_from_the_policys_directory),
                WITH_KEYS(each_mistake_is_told_with_its_line),
                WITH_KEYS(a_pattern_that_could_never_match_is_refused),
                WITH_KEYS(a_private_key_in_a_policy_is_refused),
                WITH_KEYS(too_much_is_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
