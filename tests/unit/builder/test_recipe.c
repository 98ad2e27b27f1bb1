/* SPDX-License-Identifier: Apache-2.0
 *
 * Recipes as text: one text for each, and no other text is one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "builder/recipe.h"

#define ZEROS "00000000000000000000000000000000000000000000000000000000000000"
#define ONE "sha256:01" ZEROS
#define TWO "sha256:02" ZEROS

static void assert_round_trip(const struct zp_recipe *recipe, const char *want) {
        char text[ZP_RECIPE_SIZE], again[ZP_RECIPE_SIZE];
        struct zp_recipe back;
        zp_recipe_format(recipe, text);
        assert_string_equal(text, want);
        assert_int_equal(zp_recipe_parse(text, &back, NULL), 0);
        zp_recipe_format(&back, again);
        assert_string_equal(again, text);
        assert_int_equal(back.base_count, recipe->base_count);
        assert_int_equal(back.hot_count, recipe->hot_count);
        assert_int_equal(back.has_profile, recipe->has_profile);
}

static void each_recipe_has_its_text(void **state) {
        (void) state;
        struct zp_recipe recipe = { 0 };
        assert_round_trip(&recipe, "");
        recipe.has_profile = true;
        recipe.profile.bytes[0] = 1;
        assert_round_trip(&recipe, "{\"profile\":\"" ONE "\"}");
        recipe.base_count = 2;
        recipe.base[0].bytes[0] = 2;
        recipe.base[1].bytes[0] = 1;
        assert_round_trip(&recipe, "{\"base\":[\"" TWO "\",\"" ONE "\"],\"profile\":\"" ONE "\"}");
        recipe.hot_count = 2;
        recipe.hot[0] = (struct zp_hot_range){ 1, 0, 512 };
        recipe.hot[1] = (struct zp_hot_range){ 0, 7, 1 };
        assert_round_trip(&recipe,
                          "{\"base\":[\"" TWO "\",\"" ONE "\"],\"hot\":[[1,0,512],[0,7,1]],\"profile\":\"" ONE "\"}");
        recipe = zp_recipe_without_profile(&recipe);
        assert_round_trip(&recipe, "{\"base\":[\"" TWO "\",\"" ONE "\"]}");
}

static void the_largest_recipe_fits(void **state) {
        (void) state;
        struct zp_recipe recipe = { .base_count = ZP_LIMIT_BASE_DEVICES,
                                    .hot_count = ZP_RECIPE_HOT_MAX,
                                    .has_profile = true };
        for (uint32_t i = 0; i < ZP_RECIPE_HOT_MAX; i++)
                recipe.hot[i] =
                        (struct zp_hot_range){ ZP_LIMIT_BASE_DEVICES - 1, ZP_LIMIT_BASE_BLOCKS, ZP_LIMIT_BASE_BLOCKS };
        char text[ZP_RECIPE_SIZE];
        struct zp_recipe back;
        zp_recipe_format(&recipe, text);
        assert_true(strlen(text) < ZP_RECIPE_SIZE - 1);
        assert_int_equal(zp_recipe_parse(text, &back, NULL), 0);
        assert_memory_equal(back.hot, recipe.hot, sizeof recipe.hot);
}

static void other_texts_are_refused(void **state) {
        (void) state;
        static const char *const wrong[] = {
                "{}",
                "[]",
                "x",
                "{\"profile\":\"" ONE "\"} ",
                "{ \"profile\":\"" ONE "\"}",
                "{\"profile\":\"sha256:01\"}",
                "{\"profile\":1}",
                "{\"profile\":\"" ONE "\",\"more\":1}",
                "{\"profile\":\"" ONE "\",\"base\":[\"" ONE "\"]}",
                "{\"base\":[]}",
                "{\"base\":[1]}",
                "{\"base\":[\"" ONE "\"],\"hot\":[[1,0,1]]}",
                "{\"base\":[\"" ONE "\"],\"hot\":[[0,0,0]]}",
                "{\"base\":[\"" ONE "\"],\"hot\":[[0,-1,1]]}",
                "{\"base\":[\"" ONE "\"],\"hot\":[[0,0]]}",
                "{\"base\":[\"" ONE "\"],\"hot\":[0]}",
                "{\"base\":[\"" ONE "\"],\"hot\":[[0,0,99999999999]]}",
        };
        struct zp_recipe recipe;
        for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
                assert_int_equal(zp_recipe_parse(wrong[i], &recipe, NULL), -EBADMSG);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(each_recipe_has_its_text),
                cmocka_unit_test(the_largest_recipe_fits),
                cmocka_unit_test(other_texts_are_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
