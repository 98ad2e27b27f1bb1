/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "controller/executor.h"

static const struct ctl_executor *const executors[] = { &ctl_executor_job, &ctl_executor_hook };
#define EXECUTORS (sizeof executors / sizeof *executors)

const struct ctl_executor *ctl_executor_of(const struct ctl_config *config, const struct ctl_spec *spec) {
        enum ctl_executor_kind kind = spec->executor == CTL_EXECUTOR_DEFAULT ? config->executor : spec->executor;
        size_t i = 0;
        while (i + 1 < EXECUTORS && executors[i]->kind != kind)
                i++;
        return executors[i];
}

const struct ctl_executor *ctl_executor_of_build(const char *build_id) {
        return strncmp(build_id, "hook-", 5) == 0 ? &ctl_executor_hook : &ctl_executor_job;
}
