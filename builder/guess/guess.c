/* SPDX-License-Identifier: Apache-2.0
 *
 * From an image's config to the words that start it.
 */
#include "builder/guess/guess.h"

#include <string.h>

#include "builder/guess/guess-internal.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
/* What a runtime and a C library look into before the program's first line. */
#define SETTING_MAX (UINT64_C(256) << 10)
static const char *const always[] = { "etc/passwd", "etc/group", "etc/ld.so.cache", "etc/nsswitch.conf" };

const char *zp_guess_variable(const struct zp_guess *g, const char *name, const char *otherwise) {
        const char *value = json_string_value(json_object_get(g->variables, name));
        return value ? value : otherwise;
}

static int take_variables(struct zp_guess *g, struct zp_error *err) {
        size_t at;
        json_t *item;
        g->variables = json_object();
        if (!g->variables)
                return zp_guess_no_memory(err);
        json_array_foreach(json_object_get(g->config, "Env"), at, item) {
                const char *text = json_string_value(item), *equals = text ? strchr(text, '=') : NULL;
                if (!equals)
                        continue;
                zp_autofree char *name = strndup(text, (size_t) (equals - text));
                if (!name || json_object_set_new(g->variables, name, json_string(equals + 1)) < 0)
                        return zp_guess_no_memory(err);
        }
        return 0;
}

static int take_command(struct zp_guess *g, struct zp_error *err) {
        static const char *const members[] = { "Entrypoint", "Cmd" };
        g->command = json_array();
        if (!g->command)
                return zp_guess_no_memory(err);
        for (size_t i = 0; i < 2; i++) {
                size_t at;
                json_t *item;
                json_array_foreach(json_object_get(g->config, members[i]), at,
                                   item) if (json_is_string(item) &&
                                             json_array_append(g->command, item) < 0) return zp_guess_no_memory(err);
        }
        return 0;
}

static int take_settings(struct zp_guess *g, struct zp_error *err) {
        const char *directory = json_string_value(json_object_get(g->config, "WorkingDir"));
        if (!zp_guess_find_directory(g, NULL, directory ? directory : "", &g->directory))
                zp_guess_find_directory(g, NULL, "", &g->directory);
        zp_guess_add_directories(g, zp_guess_variable(g, "PATH", DEFAULT_PATH), ":", &g->search_path);
        zp_guess_add_directories(g, zp_guess_variable(g, "LD_LIBRARY_PATH", ""), ":;", &g->library_path);
        g->libraries = zp_arena_alloc(&g->arena, ZP_GUESS_FILES_MAX * sizeof *g->libraries);
        g->deep = zp_arena_alloc(&g->arena, ZP_GUESS_FILES_MAX * sizeof *g->deep);
        g->kept = zp_arena_alloc(&g->arena, ZP_GUESS_FILES_MAX * sizeof *g->kept);
        g->last = zp_arena_alloc(&g->arena, ZP_GUESS_FILES_MAX * sizeof *g->last);
        g->words = zp_arena_alloc(&g->arena, ZP_GUESS_WORDS_MAX * sizeof *g->words);
        g->python.queue = zp_arena_alloc(&g->arena, ZP_GUESS_FILES_MAX * sizeof *g->python.queue);
        return g->libraries && g->deep && g->kept && g->last && g->words && g->python.queue && g->directory.path
                       ? zp_guess_library_directories(g, err)
                       : zp_guess_no_memory(err);
}

static int guess(struct zp_guess *g, struct zp_error *err) {
        size_t at;
        json_t *item;
        int r = take_command(g, err);
        if (r < 0 || json_array_size(g->command) == 0)
                return r;
        r = take_variables(g, err);
        if (r == 0)
                r = take_settings(g, err);
        for (size_t i = 0; i < sizeof always / sizeof *always && r == 0; i++)
                r = zp_guess_name_path(g, always[i], SETTING_MAX, err);
        if (r == 0)
                r = zp_guess_words(g, zp_guess_variable(g, "LD_PRELOAD", ""), err);
        json_array_foreach(g->command, at, item) if (r == 0) r = zp_guess_words(g, json_string_value(item), err);
        if (r == 0)
                r = zp_guess_imports(g, err);
        for (uint32_t i = 0; i < g->last_count && r == 0; i++)
                r = zp_guess_name(g, &g->last[i].file, g->last[i].offset, g->last[i].size, err);
        return r;
}

int zp_guess(const struct zp_guess_image *image, const char *config, size_t config_size, struct zp_profile **out,
             struct zp_error *err) {
        zp_auto(json_decref) json_t *json = NULL;
        zp_auto(zp_profile_free) struct zp_profile *profile = zp_profile_new();
        zp_autofree struct zp_guess *g = calloc(1, sizeof *g);
        if (!profile || !g)
                return zp_guess_no_memory(err);
        int r = zp_json_load(config, config_size, "config", &json, err);
        *g = (struct zp_guess){ .image = image,
                                .profile = profile,
                                .named_left = ZP_GUESS_NAMED_MAX,
                                .read_left = ZP_GUESS_READ_MAX,
                                .files_left = ZP_GUESS_FILES_MAX,
                                .steps_left = ZP_GUESS_STEPS_MAX,
                                .config = json_object_get(json, "config") };
        if (r == 0)
                r = guess(g, err);
        if (zp_cancelled(image->cancel)) /* then less was found than there is */
                r = zp_check_cancel(image->cancel, err);
        json_decref(g->command);
        json_decref(g->variables);
        zp_arena_clear(&g->arena);
        if (r == 0)
                *out = zp_steal(&profile);
        return r;
}
