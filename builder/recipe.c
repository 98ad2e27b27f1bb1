/* SPDX-License-Identifier: Apache-2.0 */
#include "builder/recipe.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "oci/json.h"

/* The largest: braces and names, each device with its quotes and comma, each part of three numbers. */
static_assert(100 + ZP_LIMIT_BASE_DEVICES * (ZP_DIGEST_TEXT_SIZE + 2) + ZP_RECIPE_HOT_MAX * 25 +
                              (ZP_DIGEST_TEXT_SIZE + 2) <
                      ZP_RECIPE_SIZE,
              "a recipe fits");

struct text {
        char *out;
        size_t size;
};

static void __attribute__((format(printf, 2, 3))) add(struct text *text, const char *format, ...) {
        va_list arguments;
        va_start(arguments, format);
        text->size += (size_t) vsnprintf(text->out + text->size, ZP_RECIPE_SIZE - text->size, format, arguments);
        va_end(arguments);
}

void zp_recipe_format(const struct zp_recipe *recipe, char out[ZP_RECIPE_SIZE]) {
        struct text text = { out, 0 };
        char digest[ZP_DIGEST_TEXT_SIZE];
        out[0] = '\0';
        if (recipe->base_count == 0 && !recipe->has_profile)
                return;
        for (uint16_t i = 0; i < recipe->base_count; i++)
                add(&text, "%s\"%s\"", i ? "," : "{\"base\":[", zp_digest_text(&recipe->base[i], digest));
        if (recipe->base_count > 0)
                add(&text, "]");
        for (uint32_t i = 0; i < recipe->hot_count; i++)
                add(&text, "%s[%u,%" PRIu64 ",%" PRIu64 "]", i ? "," : ",\"hot\":[", recipe->hot[i].device,
                    recipe->hot[i].block, recipe->hot[i].blocks);
        if (recipe->hot_count > 0)
                add(&text, "]");
        if (recipe->has_profile)
                add(&text, "%s\"profile\":\"%s\"", text.size ? "," : "{", zp_digest_text(&recipe->profile, digest));
        add(&text, "}");
}

static int bad(struct zp_error *err) {
        return zp_error_set(err, EBADMSG, "a layer's recipe is malformed");
}

static int read_base(json_t *list, struct zp_recipe *out, struct zp_error *err) {
        size_t count = json_array_size(list);
        if (count > ZP_LIMIT_BASE_DEVICES)
                return bad(err);
        for (size_t i = 0; i < count; i++) {
                const char *text = json_string_value(json_array_get(list, i));
                if (!text || zp_digest_parse(text, &out->base[i], NULL) < 0)
                        return bad(err);
        }
        out->base_count = (uint16_t) count;
        return 0;
}

static int read_hot(json_t *list, struct zp_recipe *out, struct zp_error *err) {
        size_t count = json_array_size(list);
        if (count > ZP_RECIPE_HOT_MAX)
                return bad(err);
        for (size_t i = 0; i < count; i++) {
                json_t *range = json_array_get(list, i);
                json_int_t numbers[3] = { -1, -1, -1 };
                for (size_t j = 0; j < 3 && json_array_size(range) == 3; j++)
                        if (json_is_integer(json_array_get(range, j)))
                                numbers[j] = json_integer_value(json_array_get(range, j));
                if (numbers[0] < 0 || numbers[0] >= out->base_count || numbers[1] < 0 || numbers[2] <= 0 ||
                    numbers[1] > ZP_LIMIT_BASE_BLOCKS || numbers[2] > ZP_LIMIT_BASE_BLOCKS)
                        return bad(err);
                out->hot[i] =
                        (struct zp_hot_range){ (uint16_t) numbers[0], (uint64_t) numbers[1], (uint64_t) numbers[2] };
        }
        out->hot_count = (uint32_t) count;
        return 0;
}

static int read_members(json_t *json, struct zp_recipe *out, struct zp_error *err) {
        json_t *base = NULL, *hot = NULL;
        const char *profile = NULL;
        int r = zp_json_get(json, "base", JSON_ARRAY, ZP_JSON_OPTIONAL, "recipe", &base, err);
        if (r == 0)
                r = zp_json_get(json, "hot", JSON_ARRAY, ZP_JSON_OPTIONAL, "recipe", &hot, err);
        if (r == 0)
                r = zp_json_text(json, "profile", ZP_JSON_OPTIONAL, "recipe", &profile, err);
        if (r == 0 && base)
                r = read_base(base, out, err);
        if (r == 0 && hot)
                r = read_hot(hot, out, err);
        out->has_profile = profile != NULL;
        if (r == 0 && profile && zp_digest_parse(profile, &out->profile, NULL) < 0)
                r = bad(err);
        return r;
}

int zp_recipe_parse(const char *text, struct zp_recipe *out, struct zp_error *err) {
        zp_auto(json_decref) json_t *json = NULL;
        char again[ZP_RECIPE_SIZE];
        *out = (struct zp_recipe){ 0 };
        if (!*text)
                return 0;
        int r = zp_json_load(text, strlen(text), "recipe", &json, err);
        if (r == 0)
                r = read_members(json, out, err);
        if (r < 0)
                return r == -ENOMEM ? r : bad(err);
        zp_recipe_format(out, again);
        return strcmp(again, text) == 0 ? 0 : bad(err);
}

struct zp_recipe zp_recipe_without_profile(const struct zp_recipe *recipe) {
        struct zp_recipe plain = *recipe;
        plain.hot_count = 0;
        plain.has_profile = false;
        return plain;
}
