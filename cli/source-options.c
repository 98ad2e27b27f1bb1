/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/source-options.h"

#include <stdlib.h>
#include <string.h>
#include "cli/progress.h"

#define PASSWORD_MAX 4096u

static int prompt(const char *user, char *password, size_t size, struct zp_error *err) {
        char text[300], what[300];
        snprintf(text, sizeof text, "Password of %.200s", user);
        snprintf(what, sizeof what, "%.200s's password", user);
        int r = cli_ask_secret(text, what, password, size, err);
        if (r == -ENOTTY)
                zp_error_hint(err, "use --password-stdin or --auth-file");
        return r;
}

static int take_credentials(struct cli_call *call, char **out, struct zp_error *err) {
        const char *user = call->values[OPTION_CREDS];
        bool from_stdin = cli_flag(call, OPTION_PASSWORD_STDIN);
        if (!user)
                return from_stdin ? cli_usage_error(call, err, "--password-stdin wants --creds USER beside it") : 0;
        bool has_password = strchr(user, ':') != NULL;
        if (user[0] == ':' || user[0] == '\0')
                return cli_usage_error(call, err, "--creds: the user's name is missing");
        if (has_password && from_stdin)
                return cli_usage_error(call, err, "--creds has a password already: --password-stdin is too much");
        size_t size = strlen(user) + PASSWORD_MAX + 2;
        *out = calloc(1, size);
        if (!*out)
                return zp_error_errno(err, ENOMEM, "credentials");
        int used = snprintf(*out, size, has_password ? "%s" : "%s:", user);
        if (has_password)
                return 0;
        return from_stdin ? cli_read_secret(STDIN_FILENO, "the password", *out + used, PASSWORD_MAX, err)
                          : prompt(user, *out + used, PASSWORD_MAX, err);
}

/* A file that cannot be read is told before anybody is asked for a password, and is not an image that is not there. */
static int check_file(struct cli_call *call, int option, const char *name, struct zp_error *err) {
        const char *path = call->values[option];
        if (!path || access(path, R_OK) == 0)
                return 0;
        return cli_file_failed(call, zp_error_errno(err, errno, "--%s '%s'", name, path));
}

/* Each of a list with colons; of several, some may not be there. */
static int check_auth_files(struct cli_call *call, struct zp_error *err) {
        const char *all = call->values[OPTION_AUTH_FILE];
        bool is_list = all && strchr(all, ':');
        for (const char *rest = all; rest;) {
                size_t size = strcspn(rest, ":");
                zp_autofree char *path = strndup(rest, size);
                if (!path || (access(path, R_OK) < 0 && !(is_list && (errno == ENOENT || errno == ENOTDIR))))
                        return cli_file_failed(call, zp_error_errno(err, path ? errno : ENOMEM, "--auth-file '%.*s'",
                                                                    (int) size, rest));
                rest = rest[size] ? rest + size + 1 : NULL;
        }
        return 0;
}

int cli_take_registry_options(struct cli_call *call, struct zp_source_options *source, char **credentials,
                              struct zp_error *err) {
        bool verify = true;
        *source = (struct zp_source_options){
                .auth_file = call->values[OPTION_AUTH_FILE],
                .ca_file = call->values[OPTION_CA_FILE],
                .hosts_dir = call->values[OPTION_HOSTS_DIR],
                .plain_http = cli_flag(call, OPTION_PLAIN_HTTP),
                .cancel = call->cancel,
        };
        int r = cli_value_bool(call, OPTION_TLS_VERIFY, &verify, err);
        source->skip_tls_verify = !verify;
        if (r == 0)
                r = check_auth_files(call, err);
        if (r == 0)
                r = check_file(call, OPTION_CA_FILE, "ca-file", err);
        if (r == 0)
                r = take_credentials(call, credentials, err);
        source->credentials = *credentials;
        return r;
}

int cli_take_source_options(struct cli_call *call, struct zp_source_options *source, struct zp_build_options *build,
                            char **credentials, struct zp_error *err) {
        uint64_t threads = 0;
        int r = cli_value_number(call, OPTION_THREADS, 1, 1024, &threads, err);
        *build = (struct zp_build_options){ .platform = zp_platform_host(),
                                            .threads = (unsigned) threads,
                                            .cancel = call->cancel };
        return r < 0 ? r : cli_take_registry_options(call, source, credentials, err);
}

void cli_tell_notice(void *progress, const char *text) {
        progress_say(progress, "%s", text);
}

int cli_take_platform(struct cli_call *call, int option, struct zp_platform *out, struct zp_error *err) {
        const char *text = call->values[option];
        *out = zp_platform_host();
        if (text && zp_platform_parse(text, out, err) < 0)
                return cli_usage_error(call, err, "--platform: %s", err->message);
        out->is_required = text != NULL;
        return 0;
}

int cli_build_failed(struct cli_call *call, int r) {
        static const int refusals[] = { EBADMSG, ENOTSUP, E2BIG, EFBIG, ENAMETOOLONG, ELOOP, EILSEQ };
        for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
                if (r == -refusals[i])
                        call->exit_code = CLI_REFUSED;
        return r;
}
