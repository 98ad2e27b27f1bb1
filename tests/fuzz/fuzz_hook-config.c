/* SPDX-License-Identifier: Apache-2.0
 *
 * The hook's settings. What is accepted keeps what the service relies on: endpoints have a provider, rules a name and a
 * repository, and nothing may be done by nobody.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "registry-hook/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct hook_config *config = NULL;
        struct zp_error err = { 0 };
        char *text = malloc(size + 1);
        memcpy(text, data, size);
        text[size] = '\0';
        int r = hook_config_parse(text, size, "/nonexistent/hook.yaml", &config, &err);
        free(text);
        assert((r < 0) == (err.message[0] != '\0') && (r < 0) == (config == NULL));
        if (r < 0)
                return 0;
        assert(config->concurrency > 0 && config->connections > 0 && config->body_size > 0);
        assert(config->rule_count > 0 && config->registry_count > 0);
        for (size_t i = 0; i < config->rule_count; i++) {
                assert(config->rules[i].name[0] && config->rules[i].repository_count > 0);
                assert(hook_config_rule(config, config->rules[i].name) == &config->rules[i]);
        }
        for (size_t i = 0; i < config->endpoint_count; i++)
                assert(config->endpoints[i].provider && config->endpoints[i].name[0]);
        assert(hook_config_role(config, "guessed", NULL) == HOOK_NOBODY);
        hook_config_drop(config);
        return 0;
}
