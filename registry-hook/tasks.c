/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/tasks.h"

#include <string.h>

#include "oci/json.h"

#define PREFIX_SIZE (sizeof HOOK_TASKS_PREFIX - 1)
#define LABEL_MAX 63

/* NULL: it is none, and is left out. */
static json_t *task_of(json_t *entry) {
        const char *label = json_string_value(json_object_get(entry, "label"));
        json_t *done = json_object_get(entry, "done"), *total = json_object_get(entry, "total");
        if (!label || strlen(label) > LABEL_MAX || !json_is_integer(done) || !json_is_integer(total) ||
            json_integer_value(done) < 0 || json_integer_value(total) < 0)
                return NULL;
        return json_pack("{s:s, s:O, s:O}", "label", label, "done", done, "total", total);
}

static bool understand(struct hook_tasks *t) {
        zp_auto(json_decref) json_t *root = NULL;
        json_t *entry, *list, *tasks = json_array();
        size_t i;
        bool is_one = tasks && zp_json_load(t->line, t->size, "progress", &root, NULL) == 0 &&
                      json_is_array(list = json_object_get(root, "tasks"));
        if (!is_one) {
                json_decref(tasks);
                return false;
        }
        json_array_foreach(list, i, entry) {
                json_t *task = json_array_size(tasks) < HOOK_TASKS_MAX ? task_of(entry) : NULL;
                if (task)
                        json_array_append_new(tasks, task);
        }
        json_decref(t->tasks);
        t->tasks = tasks;
        return true;
}

static void end_line(struct hook_tasks *t, bool *news) {
        if (t->state == HOOK_TASKS_INSIDE && !t->is_too_long)
                *news |= understand(t);
        t->state = HOOK_TASKS_START;
        t->size = 0;
        t->is_too_long = false;
}

/* One byte of a line that may be one, or is. Returns how much turned out to be text. */
static size_t add(struct hook_tasks *t, char byte, char *text) {
        if (t->size < sizeof t->line)
                t->line[t->size++] = byte;
        else
                t->is_too_long = true;
        if (t->state == HOOK_TASKS_INSIDE)
                return 0;
        if (memcmp(t->line, HOOK_TASKS_PREFIX, t->size) == 0) {
                if (t->size == PREFIX_SIZE)
                        t->state = HOOK_TASKS_INSIDE;
                return 0;
        }
        memcpy(text, t->line, t->size);
        t->state = HOOK_TASKS_TEXT;
        return t->size;
}

size_t hook_tasks_take(struct hook_tasks *t, const char *data, size_t size, char *text, bool *news) {
        size_t count = 0;
        *news = false;
        for (size_t i = 0; i < size; i++) {
                if (t->state == HOOK_TASKS_TEXT)
                        text[count++] = data[i];
                else if (data[i] != '\n' || t->state == HOOK_TASKS_START)
                        count += add(t, data[i], text + count);
                if (data[i] == '\n')
                        end_line(t, news);
        }
        return count;
}

void hook_tasks_clear(struct hook_tasks *t) {
        json_decref(t->tasks);
        *t = (struct hook_tasks){ 0 };
}
