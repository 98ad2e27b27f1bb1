/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/node/amount.h"

#include <string.h>

#include "oci/json.h"

/* More tasks than a pull has. */
#define TASKS_MAX 4096
/* More bytes than any image has, so that no sum overflows. */
#define BYTES_MAX ((json_int_t) 1 << 44)

void node_amount_clear(struct node_amount *amount) {
        json_decref(amount->tasks);
        *amount = (struct node_amount){ 0 };
}

static json_int_t bytes_of(json_t *task, const char *key) {
        json_int_t bytes = json_integer_value(json_object_get(task, key));
        return bytes < 0 || bytes > BYTES_MAX ? 0 : bytes;
}

/* The tasks of the line, by label. */
static json_t *running_of(json_t *document) {
        json_t *running = json_object(), *task;
        size_t i;
        json_array_foreach(json_object_get(document, "tasks"), i, task) {
                const char *label = json_string_value(json_object_get(task, "label"));
                json_int_t total = bytes_of(task, "total"), done = bytes_of(task, "done");
                if (label)
                        json_object_set_new(running, label, json_pack("[I, I]", done < total ? done : total, total));
        }
        return running;
}

static void end_others(json_t *tasks, json_t *running) {
        const char *label;
        json_t *known;
        json_object_foreach(tasks, label, known) {
                if (!json_object_get(running, label))
                        json_array_set(known, 0, json_array_get(known, 1));
        }
}

bool node_amount_add(struct node_amount *amount, const char *line) {
        json_t *document = NULL, *task;
        const char *label;
        uint64_t done = 0, total = 0;
        if (!amount->tasks)
                amount->tasks = json_object();
        if (zp_json_load(line, strlen(line), "progress", &document, NULL) < 0)
                return false;
        json_t *running = running_of(document);
        end_others(amount->tasks, running);
        if (json_object_size(amount->tasks) < TASKS_MAX)
                json_object_update(amount->tasks, running);
        json_decref(running);
        json_decref(document);
        json_object_foreach(amount->tasks, label, task) {
                done += (uint64_t) json_integer_value(json_array_get(task, 0));
                total += (uint64_t) json_integer_value(json_array_get(task, 1));
        }
        bool is_new = done > amount->done || total != amount->total;
        amount->done = done > amount->done ? done : amount->done;
        amount->total = total;
        return is_new;
}

unsigned node_amount_percent(uint64_t done, uint64_t total) {
        return total == 0 ? 0 : done >= total ? 100 : (unsigned) (done * 100 / total);
}
