// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "cli/containerd/labels.h"

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define HEX_C "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
#define CHAIN "sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"

static struct zp_descriptor layers[ZP_LIMIT_LAYERS];
static struct zp_image image;

/* Layers B, C, B, C, … */
static void make_image(uint16_t layer_count) {
        image = (struct zp_image){ .layers = layers, .layer_count = layer_count };
        memset(&image.manifest_digest, 0xaa, sizeof image.manifest_digest);
        memset(&image.config_digest, 0xaa, sizeof image.config_digest);
        for (uint16_t i = 0; i < layer_count; i++)
                memset(&layers[i].digest, i % 2 ? 0xcc : 0xbb, sizeof layers[i].digest);
}

static const char *value_of(const struct containerd_labels *labels, const char *key) {
        for (size_t i = 0; i < labels->count; i++)
                if (strcmp(labels->items[i].key, key) == 0)
                        return labels->items[i].value;
        return NULL;
}

static void expect(const struct containerd_labels *labels, const char *key, const char *value) {
        const char *found = value_of(labels, key);
        assert_non_null(found);
        assert_string_equal(found, value);
}

/* As containerd 1.6 labels what it pulled. */
static void manifest_refers_to_config_and_layers(void **state) {
        (void) state;
        struct containerd_labels labels = { 0 };
        make_image(2);
        assert_true(containerd_labels_of_manifest(&labels, &image));
        assert_int_equal(labels.count, 3);
        expect(&labels, "containerd.io/gc.ref.content.config", "sha256:" HEX_A);
        expect(&labels, "containerd.io/gc.ref.content.l.0", "sha256:" HEX_B);
        expect(&labels, "containerd.io/gc.ref.content.l.1", "sha256:" HEX_C);
        zp_arena_clear(&labels.arena);
}

static void config_refers_to_the_snapshot_of_all(void **state) {
        (void) state;
        struct containerd_labels labels = { 0 };
        assert_true(containerd_labels_of_config(&labels, "zeropull", CHAIN));
        assert_int_equal(labels.count, 1);
        expect(&labels, "containerd.io/gc.ref.snapshot.zeropull", CHAIN);
        zp_arena_clear(&labels.arena);
        struct containerd_labels none = { 0 };
        assert_true(containerd_labels_of_config(&none, "zeropull", ""));
        assert_int_equal(none.count, 0);
        zp_arena_clear(&none.arena);
}

static void snapshotter_is_told_whose_layer_it_is(void **state) {
        (void) state;
        struct containerd_labels labels = { 0 };
        make_image(3);
        assert_true(containerd_labels_of_layer(&labels, &image, "host/web:1", 1, CHAIN));
        assert_int_equal(labels.count, 5);
        expect(&labels, "containerd.io/snapshot.ref", CHAIN);
        expect(&labels, "containerd.io/snapshot/cri.image-ref", "host/web:1");
        expect(&labels, "containerd.io/snapshot/cri.manifest-digest", "sha256:" HEX_A);
        expect(&labels, "containerd.io/snapshot/cri.layer-digest", "sha256:" HEX_C);
        expect(&labels, "containerd.io/snapshot/cri.image-layers", "sha256:" HEX_C ",sha256:" HEX_B);
        zp_arena_clear(&labels.arena);
}

/* (4096 - 39) / (71 + a comma) = 56 digests. */
static void list_of_layers_ends_where_containerd_would_refuse_it(void **state) {
        (void) state;
        static const char key[] = "containerd.io/snapshot/cri.image-layers";
        struct containerd_labels labels = { 0 };
        make_image(ZP_LIMIT_LAYERS);
        assert_true(containerd_labels_of_layer(&labels, &image, "host/web:1", 0, CHAIN));
        assert_int_equal(strlen(value_of(&labels, key)), 56 * 72 - 1);
        assert_true(strlen(key) + strlen(value_of(&labels, key)) <= 4096);
        zp_arena_clear(&labels.arena);
}

static void largest_image_has_room_for_its_labels(void **state) {
        (void) state;
        struct containerd_labels labels = { 0 };
        struct zp_reference reference = { .registry = (char *) "host", .repository = (char *) "web" };
        make_image(ZP_LIMIT_LAYERS);
        assert_true(containerd_labels_of_manifest(&labels, &image));
        assert_true(containerd_labels_add_source(&labels, &reference, NULL));
        assert_int_equal(labels.count, ZP_LIMIT_LAYERS + 2);
        zp_arena_clear(&labels.arena);
}

static void expect_source(const char *registry, const char *known, const char *key, const char *value) {
        struct containerd_labels labels = { 0 };
        struct zp_reference reference = { .registry = (char *) registry, .repository = (char *) "acme/web" };
        assert_true(containerd_labels_add_source(&labels, &reference, known));
        if (value)
                expect(&labels, key, value);
        else
                assert_int_equal(labels.count, 0);
        zp_arena_clear(&labels.arena);
}

static void source_is_the_host_without_its_port(void **state) {
        (void) state;
        expect_source("docker.io", NULL, "containerd.io/distribution.source.docker.io", "acme/web");
        expect_source("host:5000", NULL, "containerd.io/distribution.source.host", "acme/web");
        expect_source("[::1]:5000", NULL, "containerd.io/distribution.source.::1", "acme/web");
}

static void known_sources_stay(void **state) {
        (void) state;
        static const char key[] = "containerd.io/distribution.source.docker.io";
        expect_source("docker.io", "", key, "acme/web");
        expect_source("docker.io", "acme/web", key, "acme/web");
        expect_source("docker.io", "zzz,abc", key, "abc,acme/web,zzz");
        expect_source("docker.io", "acme/web,abc,abc,,", key, "abc,acme/web");
}

static void source_that_does_not_fit_is_left_out(void **state) {
        (void) state;
        char known[6000] = "";
        memset(known, 'x', 4090);
        expect_source("docker.io", known, "", NULL);
        memset(known, ',', 5000);
        expect_source("docker.io", known, "", NULL);
        known[4096] = '\0';
        expect_source("docker.io", known, "containerd.io/distribution.source.docker.io", "acme/web");
        for (size_t i = 0; i < 4096; i += 2)
                known[i] = 'a';
        expect_source("docker.io", known, "containerd.io/distribution.source.docker.io", "a,acme/web");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(manifest_refers_to_config_and_layers),
                cmocka_unit_test(config_refers_to_the_snapshot_of_all),
                cmocka_unit_test(snapshotter_is_told_whose_layer_it_is),
                cmocka_unit_test(list_of_layers_ends_where_containerd_would_refuse_it),
                cmocka_unit_test(largest_image_has_room_for_its_labels),
                cmocka_unit_test(source_is_the_host_without_its_port),
                cmocka_unit_test(known_sources_stay),
                cmocka_unit_test(source_that_does_not_fit_is_left_out),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
