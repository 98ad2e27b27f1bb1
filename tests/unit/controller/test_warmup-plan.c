/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "controller/warmup-plan.h"
#include "oci/json.h"

#define A "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define C "sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"

/* A cluster, as a test wants it. */
static struct warmup_world world;
static json_t *changes, *counts;

static int begin(void **state) {
        (void) state;
        world = (struct warmup_world){ json_object(), json_object(), json_object() };
        return 0;
}

static int end(void **state) {
        (void) state;
        json_decref(world.objects);
        json_decref(world.nodes);
        json_decref(world.caches);
        json_decref(changes);
        json_decref(counts);
        changes = counts = NULL;
        return 0;
}

static json_t *parse(const char *text) {
        json_error_t error;
        json_t *json = json_loads(text, 0, &error);
        if (!json)
                fail_msg("%s: %s", error.text, text);
        return json;
}

static void reduce(int (*function)(json_t *, json_t **, struct zp_error *), json_t *map, const char *key,
                   json_t *full) {
        json_t *reduced;
        assert_int_equal(function(full, &reduced, NULL), 0);
        json_decref(full);
        if (reduced)
                json_object_set_new(map, key, reduced);
        else
                json_object_del(map, key);
}

/* The repositories that the cluster's owner has named. */
static const char *const targets[] = { "named.example/snapshots/**" };
static const struct warmup_options options = { .targets = targets, .target_count = 1 };

static int reduce_object(json_t *object, json_t **out, struct zp_error *err) {
        return warmup_reduce_object(&options, object, out, err);
}

static void add_node(const char *name, const char *labels, const char *ready) {
        zp_autofree char *text = zp_format(
                "{\"metadata\": {\"name\": \"%s\", \"uid\": \"u-%s\", \"labels\": {\"kubernetes.io/os\": \"linux\", "
                "\"kubernetes.io/arch\": \"amd64\"%s}}, \"status\": {\"conditions\": [{\"type\": \"Ready\", "
                "\"status\": \"%s\"}]}}",
                name, name, labels, ready);
        reduce(warmup_reduce_node, world.nodes, name, parse(text));
}

static void add_nodes(int count) {
        for (int i = 0; i < count; i++) {
                zp_autofree char *name = zp_format("n%d", i);
                add_node(name, "", "True");
        }
}

/* One image, which is built for amd64 as `digest`; "": not yet. */
static void add_object(const char *name, const char *image, const char *digest, const char *warm_up) {
        zp_autofree char *key = zp_format("ns/%s", name);
        zp_autofree char *text =
                zp_format("{\"kind\": \"ImageSnapshot\", \"metadata\": {\"namespace\": \"ns\", \"name\": \"%s\", "
                          "\"uid\": \"u-%s\", "
                          "\"creationTimestamp\": \"2026-01-01T00:00:00Z\"}, \"spec\": {\"images\": [\"%s\"], "
                          "\"pullSecrets\": [{\"name\": "
                          "\"of-%s\"}], \"warmUp\": %s}, \"status\": {\"images\": [{\"image\": \"%s\", \"platform\": "
                          "\"linux/amd64\", "
                          "\"phase\": \"%s\", \"digest\": \"%s\"}]}}",
                          name, name, image, name, warm_up, image, digest[0] ? "Ready" : "Building", digest);
        reduce(reduce_object, world.objects, key, parse(text));
}

static void decide(void) {
        json_decref(changes);
        json_decref(counts);
        changes = counts = NULL;
        assert_int_equal(warmup_decide(&world, &changes, &counts, NULL), 0);
}

/* What was decided is written; the node says nothing yet of what is new. */
static void write_changes(void) {
        const char *name;
        json_t *images;
        json_object_foreach(changes, name, images) {
                json_t *states = json_object_get(json_object_get(world.caches, name), "states");
                json_t *list = json_array(), *state;
                const char *image;
                json_object_foreach(states, image, state) {
                        json_t *item = json_copy(state);
                        json_object_set_new(item, "image", json_string(image));
                        json_array_append_new(list, item);
                }
                reduce(warmup_reduce_cache, world.caches, name,
                       json_pack("{s:{s:O}, s:{s:o}}", "spec", "images", images, "status", "images", list));
        }
}

/* A node has done what it was told; or could not. */
static void report(const char *node, const char *phase) {
        json_t *cache = json_object_get(world.caches, node), *entry;
        json_t *states = json_object_get(cache, "states");
        const char *image;
        json_object_foreach(json_object_get(cache, "wanted"), image, entry) {
                json_object_set_new(states, image,
                                    json_pack("{s:s, s:s, s:O, s:O}", "image", image, "phase", phase, "digest",
                                              json_object_get(entry, "digest"), "complete",
                                              json_object_get(entry, "complete")));
        }
}

static void assert_counts(const char *key, unsigned desired, unsigned ready, unsigned failed) {
        json_t *sums = json_object_get(counts, key);
        assert_int_equal(json_integer_value(json_array_get(sums, 0)), desired);
        assert_int_equal(json_integer_value(json_array_get(sums, 1)), ready);
        assert_int_equal(json_integer_value(json_array_get(sums, 2)), failed);
}

static json_t *entry(const char *node, size_t index) {
        return json_array_get(json_object_get(changes, node), index);
}

static const char *text_of(json_t *object, const char *key) {
        const char *text = json_string_value(json_object_get(object, key));
        return text ? text : "";
}

/* ---- the tests ---- */

static void selected_nodes_get_the_image_and_its_secrets(void **state) {
        (void) state;
        add_node("fast", ", \"disk\": \"ssd\"", "True");
        add_node("slow", ", \"disk\": \"tape\"", "True");
        add_object("web", "r.example/web:1", A, "{\"nodeSelector\": {\"disk\": \"ssd\"}, \"deadline\": \"1m30s\"}");
        decide();
        assert_int_equal(json_object_size(changes), 1);
        assert_string_equal(text_of(entry("fast", 0), "image"), "r.example/web:1");
        assert_string_equal(text_of(entry("fast", 0), "digest"), A);
        assert_true(json_is_false(json_object_get(entry("fast", 0), "complete")));
        assert_int_equal(json_integer_value(json_object_get(entry("fast", 0), "deadlineSeconds")), 90);
        json_t *secret = json_array_get(json_object_get(entry("fast", 0), "pullSecrets"), 0);
        assert_string_equal(text_of(secret, "namespace"), "ns");
        assert_string_equal(text_of(secret, "name"), "of-web");
        assert_counts("ns/web", 1, 0, 0);
}

static void an_object_without_warm_up_or_that_goes_concerns_no_node(void **state) {
        (void) state;
        json_t *reduced, *object = parse("{\"metadata\": {\"name\": \"a\"}, \"spec\": {\"images\": [\"x\"]}}");
        assert_int_equal(reduce_object(object, &reduced, NULL), 0);
        assert_null(reduced);
        json_decref(object);
        object = parse("{\"metadata\": {\"name\": \"a\", \"deletionTimestamp\": \"2026-01-01T00:00:00Z\"}, \"spec\": "
                       "{\"images\": [\"x\"], \"warmUp\": {}}}");
        assert_int_equal(reduce_object(object, &reduced, NULL), 0);
        assert_null(reduced);
        json_decref(object);
}

static void what_is_not_built_yet_is_not_asked_for_but_counted(void **state) {
        (void) state;
        add_nodes(2);
        add_object("web", "r.example/web:1", "", "{}");
        decide();
        assert_int_equal(json_object_size(changes), 0);
        assert_counts("ns/web", 2, 0, 0);
}

static void no_more_nodes_than_the_parallelism_fetch_at_a_time(void **state) {
        (void) state;
        unsigned ready = 0;
        add_nodes(7);
        add_object("web", "r.example/web:1", A, "{\"parallelism\": 3}");
        for (int round = 0; ready < 7; round++) {
                assert_true(round < 3);
                decide();
                assert_int_equal(json_object_size(changes), ready < 6 ? 3 : 1);
                ready += json_object_size(changes);
                write_changes();
                json_t *told = json_incref(changes);
                decide();
                assert_int_equal(json_object_size(changes), 0); /* all places are taken */
                const char *name;
                json_t *images;
                json_object_foreach(told, name, images) {
                        report(name, "Ready");
                }
                json_decref(told);
                decide();
                assert_counts("ns/web", 7, ready, 0);
        }
        assert_int_equal(json_object_size(changes), 0);
}

static void a_node_that_failed_gives_its_place_to_the_next(void **state) {
        (void) state;
        add_nodes(2);
        add_object("web", "r.example/web:1", A, "{\"parallelism\": 1}");
        decide();
        write_changes();
        const char *first = json_object_iter_key(json_object_iter(changes));
        zp_autofree char *name = strdup(first);
        report(name, "Failed");
        decide();
        assert_counts("ns/web", 2, 0, 1);
        assert_int_equal(json_object_size(changes), 1);
        assert_null(json_object_get(changes, name));
}

static void a_node_that_is_down_takes_no_place_and_gets_its_turn_later(void **state) {
        (void) state;
        add_node("down", "", "Unknown");
        add_node("up", "", "True");
        add_object("web", "r.example/web:1", A, "{\"parallelism\": 1}");
        decide();
        assert_int_equal(json_object_size(changes), 1);
        assert_non_null(json_object_get(changes, "up"));
        write_changes();
        report("up", "Ready");
        add_node("down", "", "True");
        decide();
        assert_non_null(json_object_get(changes, "down"));
}

static void a_new_node_is_warmed_as_it_joins(void **state) {
        (void) state;
        add_nodes(1);
        add_object("web", "r.example/web:1", A, "{}");
        decide();
        write_changes();
        report("n0", "Ready");
        add_node("new", "", "True");
        decide();
        assert_int_equal(json_object_size(changes), 1);
        assert_string_equal(text_of(entry("new", 0), "digest"), A);
}

static void a_deleted_object_takes_its_images_from_the_nodes(void **state) {
        (void) state;
        add_nodes(2);
        add_object("web", "r.example/web:1", A, "{}");
        add_object("db", "r.example/db:1", B, "{}");
        decide();
        write_changes();
        json_object_del(world.objects, "ns/web");
        decide();
        assert_int_equal(json_object_size(changes), 2);
        assert_int_equal(json_array_size(json_object_get(changes, "n0")), 1);
        assert_string_equal(text_of(entry("n0", 0), "image"), "r.example/db:1");
        write_changes();
        json_object_del(world.objects, "ns/db");
        decide();
        assert_int_equal(json_array_size(json_object_get(changes, "n1")), 0);
        write_changes();
        decide();
        assert_int_equal(json_object_size(changes), 0);
}

static void an_image_stays_while_another_object_wants_it(void **state) {
        (void) state;
        add_nodes(1);
        add_object("one", "r.example/web:1", A, "{\"complete\": true}");
        add_object("two", "r.example/web:1", A, "{\"deadline\": \"2h\"}");
        decide();
        assert_int_equal(json_array_size(json_object_get(changes, "n0")), 1);
        assert_true(json_is_true(json_object_get(entry("n0", 0), "complete")));
        assert_int_equal(json_integer_value(json_object_get(entry("n0", 0), "deadlineSeconds")), 7200);
        assert_int_equal(json_array_size(json_object_get(entry("n0", 0), "pullSecrets")), 2);
        write_changes();
        json_object_del(world.objects, "ns/one");
        decide();
        assert_true(json_is_false(json_object_get(entry("n0", 0), "complete")));
        assert_int_equal(json_array_size(json_object_get(entry("n0", 0), "pullSecrets")), 1);
}

static void a_moved_tags_old_snapshot_stays_until_the_new_one_is_built(void **state) {
        (void) state;
        add_nodes(1);
        add_object("web", "r.example/web:1", A, "{}");
        decide();
        write_changes();
        report("n0", "Ready");
        add_object("web", "r.example/web:1", "", "{}");
        decide();
        assert_int_equal(json_object_size(changes), 0);
        add_object("web", "r.example/web:1", B, "{}");
        decide();
        assert_string_equal(text_of(entry("n0", 0), "digest"), B);
        write_changes();
        decide();
        assert_counts("ns/web", 1, 0, 0); /* what the node reports is still the old one */
        report("n0", "Ready");
        decide();
        assert_counts("ns/web", 1, 1, 0);
}

static void nodes_of_another_architecture_get_their_own_or_nothing(void **state) {
        (void) state;
        add_node("here", "", "True");
        add_node("there", ", \"kubernetes.io/arch\": \"arm64\"", "True");
        reduce(reduce_object, world.objects, "ns/web",
               parse("{\"metadata\": {\"namespace\": \"ns\", \"name\": \"web\"}, \"spec\": {\"images\": [\"w\"], "
                     "\"warmUp\": {}}, "
                     "\"status\": {\"images\": [{\"image\": \"w\", \"platform\": \"linux/arm64/v8\", \"phase\": "
                     "\"Ready\", "
                     "\"digest\": \"" B "\"}, {\"image\": \"w\", \"platform\": \"linux/s390x\", \"phase\": \"Ready\", "
                     "\"digest\": \"" A "\"}]}}"));
        decide();
        assert_int_equal(json_object_size(changes), 1);
        assert_string_equal(text_of(entry("there", 0), "digest"), B);
        assert_counts("ns/web", 1, 0, 0);
}

static void more_images_than_a_cache_may_list_are_left_out(void **state) {
        (void) state;
        add_nodes(1);
        for (int i = 0; i < WARMUP_IMAGES_MAX + 20; i++) {
                zp_autofree char *name = zp_format("o%d", i), *image = zp_format("r.example/i%d:1", i);
                add_object(name, image, A, "{}");
        }
        decide();
        assert_int_equal(json_array_size(json_object_get(changes, "n0")), WARMUP_IMAGES_MAX);
        write_changes();
        decide();
        assert_int_equal(json_object_size(changes), 0);
}

/* As an object in the cluster is, of the given age, with more in its spec ("": nothing). */
static json_t *object_of(const char *name, const char *image, const char *digest, const char *created,
                         const char *more) {
        zp_autofree char *text =
                zp_format("{\"kind\": \"ImageSnapshot\", \"metadata\": {\"namespace\": \"ns\", \"name\": \"%s\", "
                          "\"uid\": \"u-%s\", "
                          "\"creationTimestamp\": \"%s\"}, \"spec\": {\"images\": [\"%s\"], \"pullSecrets\": "
                          "[{\"name\": \"p\"}], "
                          "\"warmUp\": {}%s}, \"status\": {\"images\": [{\"image\": \"%s\", \"platform\": "
                          "\"linux/amd64\", \"phase\": "
                          "\"%s\", \"digest\": \"%s\"}]}}",
                          name, name, created, image, more, image, digest[0] ? "Ready" : "Building", digest);
        return parse(text);
}

#define OLD "2026-01-01T00:00:00Z"
#define YOUNG "2026-02-01T00:00:00Z"

static void a_snapshot_in_a_repository_that_the_object_chose_gets_to_no_node(void **state) {
        (void) state;
        add_nodes(1);
        reduce(reduce_object, world.objects, "ns/evil",
               object_of("evil", "docker.io/library/nginx:1", B, OLD, ", \"target\": \"evil.example/x\""));
        decide();
        assert_int_equal(json_object_size(changes), 0);
        assert_non_null(json_object_get(counts, "ns/evil"));
        assert_counts("ns/evil", 0, 0, 0);
        json_t *reduced = json_object_get(world.objects, "ns/evil");
        assert_int_equal(json_array_size(json_object_get(reduced, "secrets")), 0);
        /* nor to those who want the same image from where it is */
        reduce(reduce_object, world.objects, "ns/good", object_of("good", "docker.io/library/nginx:1", A, YOUNG, ""));
        decide();
        assert_int_equal(json_array_size(json_object_get(changes, "n0")), 1);
        assert_string_equal(text_of(entry("n0", 0), "digest"), A);
        assert_null(json_object_get(entry("n0", 0), "from"));
}

static void a_snapshot_in_a_repository_that_is_named_is_fetched_from_there(void **state) {
        (void) state;
        add_nodes(1);
        reduce(reduce_object, world.objects, "ns/web",
               object_of("web", "r.example/web:1", A, OLD, ", \"target\": \"named.example/snapshots/web\""));
        decide();
        assert_string_equal(text_of(entry("n0", 0), "from"), "named.example/snapshots/web");
        write_changes();
        decide();
        assert_int_equal(json_object_size(changes), 0);
        /* and one that is not any more, from beside the image */
        reduce(reduce_object, world.objects, "ns/web", object_of("web", "r.example/web:1", A, OLD, ""));
        decide();
        assert_null(json_object_get(entry("n0", 0), "from"));
}

static void what_only_looks_like_a_named_repository_is_none(void **state) {
        (void) state;
        static const char *const others[] = { "named.example/snapshots", "named.example/snapshotsx/a",
                                              "evil.example/named.example/snapshots/a",
                                              "named.example/snapshots/../a" };
        add_nodes(1);
        for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
                zp_autofree char *more = zp_format(", \"target\": \"%s\"", others[i]);
                reduce(reduce_object, world.objects, "ns/web", object_of("web", "r.example/web:1", A, OLD, more));
                decide();
                assert_int_equal(json_object_size(changes), 0);
        }
}

static void the_younger_of_two_says_what_and_from_where(void **state) {
        (void) state;
        add_nodes(1);
        reduce(reduce_object, world.objects, "ns/a",
               object_of("a", "r.example/web:1", A, OLD, ", \"target\": \"named.example/snapshots/web\""));
        reduce(reduce_object, world.objects, "ns/b", object_of("b", "r.example/web:1", B, YOUNG, ""));
        decide();
        assert_string_equal(text_of(entry("n0", 0), "digest"), B);
        assert_null(json_object_get(entry("n0", 0), "from"));
}

static void a_target_added_later_takes_the_image_from_the_nodes(void **state) {
        (void) state;
        add_nodes(1);
        reduce(reduce_object, world.objects, "ns/web", object_of("web", "r.example/web:1", A, OLD, ""));
        decide();
        write_changes();
        reduce(reduce_object, world.objects, "ns/web",
               object_of("web", "r.example/web:1", B, OLD, ", \"target\": \"evil.example/x\""));
        decide();
        assert_non_null(json_object_get(changes, "n0"));
        assert_int_equal(json_array_size(json_object_get(changes, "n0")), 0);
}

static void another_place_that_a_cache_names_does_not_stay(void **state) {
        (void) state;
        add_nodes(1);
        reduce(reduce_object, world.objects, "ns/web", object_of("web", "r.example/web:1", "", OLD, ""));
        reduce(warmup_reduce_cache, world.caches, "n0",
               parse("{\"spec\": {\"images\": [{\"image\": \"r.example/web:1\", \"digest\": \"" A
                     "\", \"from\": \"evil.example/x\"}]}}"));
        decide();
        assert_string_equal(text_of(entry("n0", 0), "digest"), A);
        assert_null(json_object_get(entry("n0", 0), "from"));
}

static void a_node_that_tells_of_its_progress_gives_nothing_to_plan(void **state) {
        static const char *const told[] = { "\"bytes\": 1, \"percent\": 1, \"message\": \"a\"",
                                            "\"bytes\": 2, \"percent\": 2", "\"complete\": true" };
        zp_auto(json_decref) json_t *reduced = json_object();
        (void) state;
        for (size_t i = 0; i < 3; i++) {
                zp_autofree char *text =
                        zp_format("{\"status\": {\"images\": [{\"image\": \"r.example/web:1\", \"digest\": \"" A
                                  "\", \"phase\": \"Fetching\", %s}]}}",
                                  told[i]);
                const char *const names[] = { "first", "second", "whole" };
                reduce(warmup_reduce_cache, reduced, names[i], parse(text));
        }
        assert_true(json_equal(json_object_get(reduced, "first"), json_object_get(reduced, "second")));
        assert_false(json_equal(json_object_get(reduced, "first"), json_object_get(reduced, "whole")));
}

static void newer_objects_push_no_older_ones_images_off_a_node(void **state) {
        (void) state;
        add_nodes(1);
        reduce(reduce_object, world.objects, "ns/zz", object_of("zz", "r.example/old:1", A, OLD, ""));
        for (int i = 0; i < WARMUP_IMAGES_MAX; i++) {
                zp_autofree char *name = zp_format("o%d", i), *image = zp_format("r.example/i%d:1", i);
                zp_autofree char *key = zp_format("ns/%s", name);
                reduce(reduce_object, world.objects, key, object_of(name, image, A, YOUNG, ""));
        }
        decide();
        bool is_there = false;
        json_t *item;
        size_t i;
        json_array_foreach(json_object_get(changes, "n0"), i, item) {
                is_there |= strcmp(text_of(item, "image"), "r.example/old:1") == 0;
        }
        assert_int_equal(i, WARMUP_IMAGES_MAX);
        assert_true(is_there);
}

static void of_two_digests_the_younger_objects_counts_once_it_is_built(void **state) {
        (void) state;
        add_nodes(1);
        reduce(reduce_object, world.objects, "ns/a", object_of("a", "r.example/web:1", A, OLD, ""));
        reduce(reduce_object, world.objects, "ns/b", object_of("b", "r.example/web:1", "", YOUNG, ""));
        decide();
        assert_string_equal(text_of(entry("n0", 0), "digest"), A);
        write_changes();
        /* one that is never built holds up nobody's new snapshot */
        reduce(reduce_object, world.objects, "ns/a", object_of("a", "r.example/web:1", B, OLD, ""));
        decide();
        assert_string_equal(text_of(entry("n0", 0), "digest"), B);
        write_changes();
        reduce(reduce_object, world.objects, "ns/b", object_of("b", "r.example/web:1", A, YOUNG, ""));
        decide();
        assert_string_equal(text_of(entry("n0", 0), "digest"), A);
}

#define PINNED_A "r.example/web:1@" A

/* As the cluster would be when nothing changes any more; each node does what it is told. */
static void settle(void) {
        for (int round = 0;; round++) {
                const char *name;
                json_t *images;
                assert_true(round < 10);
                decide();
                if (json_object_size(changes) == 0)
                        return;
                write_changes();
                json_object_foreach(changes, name, images) {
                        report(name, "Ready");
                }
        }
}

static void assert_listed(const char *node, const char *image, const char *digest) {
        json_t *wanted = json_object_get(json_object_get(world.caches, node), "wanted");
        if (strcmp(text_of(json_object_get(wanted, image), "digest"), digest) != 0)
                fail_msg("%s has %s as '%s'", node, image, text_of(json_object_get(wanted, image), "digest"));
}

static void objects_that_want_two_images_under_one_name_both_become_warm(void **state) {
        (void) state;
        add_nodes(3);
        reduce(reduce_object, world.objects, "ns/once", object_of("once", "r.example/web:1", A, OLD, ""));
        settle();
        reduce(reduce_object, world.objects, "ns/track", object_of("track", "r.example/web:1", B, YOUNG, ""));
        settle();
        assert_counts("ns/once", 3, 3, 0);
        assert_counts("ns/track", 3, 3, 0);
        assert_listed("n0", PINNED_A, A);
        assert_listed("n0", "r.example/web:1", B);
        /* a third one wants what the first one has */
        reduce(reduce_object, world.objects, "ns/too",
               object_of("too", "r.example/web:1", A, "2026-03-01T00:00:00Z", ""));
        settle();
        assert_counts("ns/too", 3, 3, 0);
        assert_int_equal(json_object_size(json_object_get(json_object_get(world.caches, "n0"), "wanted")), 2);
        /* the name is the others' again when its owner goes */
        json_object_del(world.objects, "ns/track");
        settle();
        assert_counts("ns/once", 3, 3, 0);
        assert_counts("ns/too", 3, 3, 0);
        assert_listed("n2", "r.example/web:1", A);
        assert_int_equal(json_object_size(json_object_get(json_object_get(world.caches, "n2"), "wanted")), 1);
}

static void what_is_there_under_a_name_stays_beside_what_an_older_object_wants(void **state) {
        (void) state;
        add_nodes(3);
        reduce(reduce_object, world.objects, "ns/once", object_of("once", "r.example/web:1", A, OLD, ""));
        json_t *track = object_of("track", "r.example/web:1", B, YOUNG, "");
        json_object_set_new(json_object_get(json_object_get(track, "spec"), "warmUp"), "complete", json_true());
        reduce(reduce_object, world.objects, "ns/track", track);
        settle();
        assert_listed("n0", PINNED_A, A);
        assert_listed("n0", "r.example/web:1", B);
        /* its tag has moved */
        reduce(reduce_object, world.objects, "ns/track", object_of("track", "r.example/web:1", "", YOUNG, ""));
        decide();
        assert_int_equal(json_object_size(changes), 0);
        assert_counts("ns/once", 3, 3, 0);
        /* it is built: each node's stays until its turn has come */
        json_t *moved = object_of("track", "r.example/web:1", C, YOUNG, "");
        json_object_set_new(json_object_get(json_object_get(moved, "spec"), "warmUp"), "parallelism", json_integer(1));
        reduce(reduce_object, world.objects, "ns/track", moved);
        decide();
        assert_int_equal(json_object_size(changes), 1);
        settle();
        assert_counts("ns/once", 3, 3, 0);
        assert_counts("ns/track", 3, 3, 0);
        assert_listed("n2", PINNED_A, A);
        assert_listed("n2", "r.example/web:1", C);
        assert_int_equal(json_object_size(json_object_get(json_object_get(world.caches, "n2"), "wanted")), 2);
}

static void what_is_listed_beside_a_name_goes_when_its_object_moves_on(void **state) {
        (void) state;
        add_nodes(3);
        reduce(reduce_object, world.objects, "ns/once", object_of("once", "r.example/web:1", A, OLD, ""));
        reduce(reduce_object, world.objects, "ns/track", object_of("track", "r.example/web:1", B, YOUNG, ""));
        settle();
        /* it moves on, and takes what it had with it */
        reduce(reduce_object, world.objects, "ns/once", object_of("once", "r.example/web:1", "", OLD, ""));
        settle();
        assert_listed("n0", PINNED_A, "");
        assert_listed("n0", "r.example/web:1", B);
        reduce(reduce_object, world.objects, "ns/once", object_of("once", "r.example/web:1", B, OLD, ""));
        settle();
        assert_counts("ns/once", 3, 3, 0);
        assert_int_equal(json_object_size(json_object_get(json_object_get(world.caches, "n0"), "wanted")), 1);
}

static void a_node_whose_list_is_full_takes_no_other_nodes_turn(void **state) {
        (void) state;
        add_node("full", ", \"disk\": \"small\"", "True");
        add_node("free", "", "True");
        for (int i = 0; i < WARMUP_IMAGES_MAX; i++) {
                zp_autofree char *name = zp_format("o%d", i), *image = zp_format("r.example/i%d:1", i);
                add_object(name, image, A, "{\"nodeSelector\": {\"disk\": \"small\"}}");
        }
        add_object("young", "r.example/web:1", A, "{\"parallelism\": 1}");
        settle();
        assert_counts("ns/young", 2, 1, 0);
        assert_listed("free", "r.example/web:1", A);
}

/* One with as many long names of secrets as there may be. */
static void add_hog(int number) {
        zp_autofree char *key = zp_format("ns/hog%d", number);
        json_t *object = object_of(key + 3, "r.example/x:1", A, OLD, "");
        json_t *images = json_array(), *secrets = json_array();
        for (int i = 0; i < 64; i++) {
                zp_autofree char *image = zp_format("r.example/%d/%d:1", number, i);
                json_array_append_new(images, json_pack("{s:s, s:s, s:s, s:s}", "image", image, "platform",
                                                        "linux/amd64", "phase", "Ready", "digest", A));
        }
        for (int i = 0; i < 16; i++) {
                zp_autofree char *name = zp_format("%0253d", i);
                json_array_append_new(secrets, json_pack("{s:s}", "name", name));
        }
        json_object_set_new(json_object_get(object, "status"), "images", images);
        json_object_set_new(json_object_get(object, "spec"), "pullSecrets", secrets);
        reduce(reduce_object, world.objects, key, object);
}

static void no_list_becomes_larger_than_an_api_server_takes(void **state) {
        (void) state;
        add_nodes(1);
        reduce(reduce_object, world.objects, "ns/first",
               object_of("first", "r.example/web:1", A, "2025-01-01T00:00:00Z", ""));
        for (int i = 0; i < 10; i++)
                add_hog(i);
        settle();
        json_t *wanted = json_object_get(json_object_get(world.caches, "n0"), "wanted");
        assert_in_range(json_dumpb(wanted, NULL, 0, JSON_COMPACT), 200 << 10, 300 << 10);
        assert_counts("ns/first", 1, 1, 0);
}

static void what_an_api_server_would_refuse_is_written_for_no_node(void **state) {
        (void) state;
        static const struct {
                const char *image, *digest;
        } bad[] = { { "", A }, { "r.example/a:1", "sha256:zz" }, { "r.example/b:1", "x" } };
        add_nodes(1);
        add_object("long", "r.example/web:1", A, "{\"deadline\": \"99999h\"}");
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                zp_autofree char *key = zp_format("ns/bad%zu", i);
                reduce(reduce_object, world.objects, key, object_of(key + 3, bad[i].image, bad[i].digest, YOUNG, ""));
        }
        decide();
        assert_int_equal(json_array_size(json_object_get(changes, "n0")), 1);
        assert_int_equal(json_integer_value(json_object_get(entry("n0", 0), "deadlineSeconds")), 604800);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(selected_nodes_get_the_image_and_its_secrets, begin, end),
                cmocka_unit_test_setup_teardown(an_object_without_warm_up_or_that_goes_concerns_no_node, begin, end),
                cmocka_unit_test_setup_teardown(what_is_not_built_yet_is_not_asked_for_but_counted, begin, end),
                cmocka_unit_test_setup_teardown(no_more_nodes_than_the_parallelism_fetch_at_a_time, begin, end),
                cmocka_unit_test_setup_teardown(a_node_that_failed_gives_its_place_to_the_next, begin, end),
                cmocka_unit_test_setup_teardown(a_node_that_is_down_takes_no_place_and_gets_its_turn_later, begin, end),
                cmocka_unit_test_setup_teardown(a_new_node_is_warmed_as_it_joins, begin, end),
                cmocka_unit_test_setup_teardown(a_deleted_object_takes_its_images_from_the_nodes, begin, end),
                cmocka_unit_test_setup_teardown(an_image_stays_while_another_object_wants_it, begin, end),
                cmocka_unit_test_setup_teardown(a_moved_tags_old_snapshot_stays_until_the_new_one_is_built, begin, end),
                cmocka_unit_test_setup_teardown(nodes_of_another_architecture_get_their_own_or_nothing, begin, end),
                cmocka_unit_test_setup_teardown(more_images_than_a_cache_may_list_are_left_out, begin, end),
                cmocka_unit_test_setup_teardown(a_snapshot_in_a_repository_that_the_object_chose_gets_to_no_node, begin,
                                                end),
                cmocka_unit_test_setup_teardown(a_snapshot_in_a_repository_that_is_named_is_fetched_from_there, begin,
                                                end),
                cmocka_unit_test_setup_teardown(what_only_looks_like_a_named_repository_is_none, begin, end),
                cmocka_unit_test_setup_teardown(the_younger_of_two_says_what_and_from_where, begin, end),
                cmocka_unit_test_setup_teardown(a_target_added_later_takes_the_image_from_the_nodes, begin, end),
                cmocka_unit_test_setup_teardown(another_place_that_a_cache_names_does_not_stay, begin, end),
                cmocka_unit_test_setup_teardown(a_node_that_tells_of_its_progress_gives_nothing_to_plan, begin, end),
                cmocka_unit_test_setup_teardown(newer_objects_push_no_older_ones_images_off_a_node, begin, end),
                cmocka_unit_test_setup_teardown(of_two_digests_the_younger_objects_counts_once_it_is_built, begin, end),
                cmocka_unit_test_setup_teardown(objects_that_want_two_images_under_one_name_both_become_warm, begin,
                                                end),
                cmocka_unit_test_setup_teardown(what_is_there_under_a_name_stays_beside_what_an_older_object_wants,
                                                begin, end),
                cmocka_unit_test_setup_teardown(what_is_listed_beside_a_name_goes_when_its_object_moves_on, begin, end),
                cmocka_unit_test_setup_teardown(a_node_whose_list_is_full_takes_no_other_nodes_turn, begin, end),
                cmocka_unit_test_setup_teardown(no_list_becomes_larger_than_an_api_server_takes, begin, end),
                cmocka_unit_test_setup_teardown(what_an_api_server_would_refuse_is_written_for_no_node, begin, end),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
