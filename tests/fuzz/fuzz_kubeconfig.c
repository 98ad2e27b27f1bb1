/* SPDX-License-Identifier: Apache-2.0
 *
 * A kubeconfig, in two files when a line "---8<---" divides it, and what an exec plugin prints (after "---exec---").
 * What is accepted names a server that credentials may be sent to.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "controller/kube/kube-internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FILES "---8<---\n"
#define EXEC "---exec---\n"

/* Nothing of a file is read: what it names is left out. */
static void use(struct zp_kube_config *config) {
        const struct zp_kube_options options = { .config = config, .user_agent = "fuzz" };
        struct zp_kube_material material = { 0 };
        struct zp_kube_session *session = NULL;
        struct zp_error err = { 0 };
        assert(strncmp(config->cluster.server, "https://", 8) == 0 ||
               strncmp(config->cluster.server, "http://", 7) == 0);
        assert(zp_kube_config_namespace(config)[0] && zp_kube_config_server(config)[0]);
        config->cluster.authority.file = config->user.certificate.file = config->user.key.file = NULL;
        config->user.token_file = config->user.exec.command = NULL;
        int r = zp_kube_material_read(config, NULL, NULL, &material, &err);
        assert((r < 0) == (err.message[0] != '\0'));
        if (r < 0)
                return;
        assert(!material.authorization || !strpbrk(material.authorization, "\r\n"));
        assert(zp_kube_session_new(&options, &material, &session, &err) == 0);
        assert(session->base[strlen(session->base) - 1] != '/');
        zp_kube_session_free(session);
}

static void parse_exec(const uint8_t *data, size_t size) {
        const struct zp_kube_exec exec = { .api_version = "client.authentication.k8s.io/v1", .command = "login" };
        struct zp_kube_material material = { 0 };
        struct zp_error err = { 0 };
        int r = zp_kube_exec_parse(&exec, (const char *) data, size, &material, &err);
        assert((r < 0) == (err.message[0] != '\0'));
        assert(r < 0 || material.authorization || (material.certificate && material.key));
        zp_kube_material_clear(&material);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const uint8_t *exec = memmem(data, size, EXEC, strlen(EXEC));
        if (exec) {
                size_t rest = size - (size_t) (exec - data) - strlen(EXEC);
                parse_exec(exec + strlen(EXEC), rest);
                size = (size_t) (exec - data);
        }
        struct zp_kube_config *config = calloc(1, sizeof *config);
        struct zp_kube_files *files = zp_kube_files_new(&config->arena);
        struct zp_error err = { 0 };
        const uint8_t *cut = memmem(data, size, FILES, strlen(FILES));
        size_t first = cut ? (size_t) (cut - data) : size;
        int r = zp_kube_files_parse(files, (const char *) data, first, "/a/config", &err);
        if (r == 0 && cut)
                r = zp_kube_files_parse(files, (const char *) cut + strlen(FILES), size - first - strlen(FILES),
                                        "config", &err);
        if (r == 0)
                r = zp_kube_files_choose(files, NULL, config, &err);
        if (r == 0)
                r = zp_kube_config_check(config, &err);
        assert((r < 0) == (err.message[0] != '\0'));
        if (r == 0)
                use(config);
        zp_kube_config_free(config);
        return 0;
}
