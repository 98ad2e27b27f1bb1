/* SPDX-License-Identifier: Apache-2.0
 *
 * From an image's config to the words that start it.
 */
#include "builder/guess/guess.h"

#include <string.h>

#include "builder/guess/guess-internal.h"
#include "oci/json.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
/* What a runtime and a C library look into before the program's first line. */
#define SETTING_MAX (UINT64_C(256) << 10)
static const char *const always[] = { "etc/passwd", "etc/group", "etc/ld.so.cache", "etc/nsswitch.conf" };

/* The members of the config's "Entrypoint" and "Cmd". */
static int list_words(struct zp_guess *g, json_t *config, struct zp_texts *out, struct zp_error *err) {
        static const char *const members[] = { "Entrypoint", "Cmd" };
        for (size_t i = 0; i < 2; i++) {
                size_t at;
                json_t *item;
                json_array_foreach(json_object_get(config, members[i]), at, item) {
                        const char *text = json_string_value(item);
                        int r = text ? zp_texts_add(g, out, zp_arena_copy(&g->arena, text, strlen(text)), err) : 0;
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

/* The value of a variable in the image's environment. */
static const char *variable(json_t *config, const char *name, const char *otherwise) {
        size_t at, size = strlen(name);
        json_t *item;
        json_array_foreach(json_object_get(config, "Env"), at, item) {
                const char *text = json_string_value(item);
                if (text && strncmp(text, name, size) == 0 && text[size] == '=')
                        return text + size + 1;
        }
        return otherwise;
}

static int look_for_imports(struct zp_guess *g, const struct zp_texts *words, struct zp_error *err) {
        int r = 0;
        if (!g->python.version)
                return 0;
        for (uint32_t i = 0; i < g->script_count && r == 0; i++)
                r = zp_guess_script(g, &g->scripts[i], err);
        for (uint32_t i = 1; i < words->count && r == 0; i++) {
                const char *word = words->list[i], *colon = strchr(word, ':');
                if (strcmp(words->list[i - 1], "-m") == 0)
                        r = zp_guess_import(g, word, strlen(word), err);
                else if (colon) /* "module:object", as servers are given it */
                        r = zp_guess_import(g, word, (size_t) (colon - word), err);
                if (r == 0)
                        r = zp_guess_imports(g, word, err);
        }
        return r;
}

static int guess(struct zp_guess *g, json_t *config, struct zp_error *err) {
        struct zp_texts words = { 0 };
        const char *directory = json_string_value(json_object_get(config, "WorkingDir"));
        g->search_path = variable(config, "PATH", DEFAULT_PATH);
        g->library_path = variable(config, "LD_LIBRARY_PATH", "");
        g->python_path = variable(config, "PYTHONPATH", "");
        g->directory = directory ? directory : "";
        g->libraries = zp_arena_alloc(&g->arena, ZP_GUESS_FILES_MAX * sizeof *g->libraries);
        int r = g->libraries ? list_words(g, config, &words, err) : zp_guess_no_memory(err);
        if (r < 0 || words.count == 0)
                return r;
        r = zp_guess_library_directories(g, err);
        for (size_t i = 0; i < sizeof always / sizeof *always && r == 0; i++)
                r = zp_guess_name_path(g, always[i], SETTING_MAX, err);
        for (uint32_t i = 0; i < words.count && r == 0; i++)
                r = zp_guess_words(g, words.list[i], err);
        return r == 0 ? look_for_imports(g, &words, err) : r;
}

int zp_guess(const struct zp_guess_image *image, const char *config, size_t config_size, struct zp_profile **out,
             struct zp_error *err) {
        zp_auto(json_decref) json_t *json = NULL;
        zp_auto(zp_profile_free) struct zp_profile *profile = zp_profile_new();
        struct zp_guess g = { .image = image,
                              .profile = profile,
                              .named_left = ZP_GUESS_NAMED_MAX,
                              .read_left = ZP_GUESS_READ_MAX,
                              .files_left = ZP_GUESS_FILES_MAX,
                              .steps_left = ZP_GUESS_STEPS_MAX };
        if (!profile)
                return zp_guess_no_memory(err);
        int r = zp_json_load(config, config_size, "config", &json, err);
        if (r == 0)
                r = guess(&g, json_object_get(json, "config"), err);
        zp_arena_clear(&g.arena);
        if (r == 0)
                *out = zp_steal(&profile);
        return r;
}
