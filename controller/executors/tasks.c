/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/executors/tasks.h"

int ctl_tasks_percent(json_t *tasks) {
        double done = 0, total = 0;
        json_t *task;
        size_t i;
        json_array_foreach(tasks, i, task) {
                double of = (double) json_integer_value(json_object_get(task, "total"));
                double is = (double) json_integer_value(json_object_get(task, "done"));
                if (of <= 0)
                        continue;
                total += of;
                done += is < 0 ? 0 : is < of ? is : of;
        }
        return total > 0 ? (int) (100 * done / total) : -1;
}
