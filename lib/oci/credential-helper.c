/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/credential-helper.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "oci/helper-program.h"
#include "oci/json.h"

static bool valid_name(const char *name) {
        size_t size = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.");
        return size > 0 && size <= 64 && name[size] == '\0';
}

static int parse_output(const char *program, const struct zp_buffer *output, struct zp_credentials *out,
                        struct zp_error *err) {
        zp_auto(json_decref) json_t *json = NULL;
        const char *username, *secret;
        int r = zp_json_load(output->data ? output->data : "", output->size, program, &json, err);
        if (r == 0)
                r = zp_json_text(json, "Username", ZP_JSON_REQUIRED, program, &username, err);
        if (r == 0)
                r = zp_json_text(json, "Secret", ZP_JSON_REQUIRED, program, &secret, err);
        if (r < 0)
                return r;
        if (username[0] == '\0') /* some helpers' way to say that they know nothing */
                return 0;
        if (strcmp(username, "<token>") == 0) {
                out->identity_token = strdup(secret);
        } else {
                out->username = strdup(username);
                out->password = strdup(secret);
        }
        if (out->identity_token || (out->username && out->password))
                return 0;
        zp_credentials_clear(out);
        return zp_error_errno(err, ENOMEM, "'%s'", program);
}

static int judge(const char *program, int status, const struct zp_buffer *output, struct zp_credentials *out,
                 struct zp_error *err) {
        const char *text = output->data ? output->data : "";
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
                return parse_output(program, output, out, err);
        if (strstr(text, "credentials not found"))
                return 0;
        if (!WIFEXITED(status))
                return zp_error_set(err, EACCES, "'%s' was killed", program);
        return zp_error_set(err, EACCES, "'%s' failed with status %d: %.*s", program, WEXITSTATUS(status),
                            (int) strcspn(text, "\n"), text);
}

int zp_credential_helper_get(const char *name, const char *server, const struct zp_cancel *cancel,
                             struct zp_credentials *out, struct zp_error *err) {
        *out = (struct zp_credentials){ 0 };
        if (!valid_name(name))
                return zp_error_set(err, EINVAL, "credential helper '%.64s': not a program's name", name);
        zp_autofree char *path = zp_format("docker-credential-%s", name);
        if (!path)
                return zp_error_errno(err, ENOMEM, "credential helper");
        char get[] = "get", *const arguments[] = { path, get, NULL };
        const struct zp_helper_program program = {
                .arguments = arguments,
                .input = server,
                .missing_hint = "the configuration file names this credential helper; install it, or give the "
                                "credentials directly",
        };
        zp_autobuffer struct zp_buffer text = { 0 };
        int status;
        int r = zp_helper_program_run(&program, cancel, &text, &status, err);
        return r < 0 ? r : judge(path, status, &text, out, err);
}
