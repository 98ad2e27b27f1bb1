/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/source-options.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "cli/progress.h"

#define PASSWORD_MAX 4096u

void cli_wipe(char *secret) {
        if (secret)
                explicit_bzero(secret, strlen(secret));
        free(secret);
}

/* Reads up to the end of a line (or file). */
static int read_line(int fd, char *line, size_t size, struct zp_error *err) {
        size_t used = 0;
        for (char c; used < size;) {
                ssize_t got = read(fd, &c, 1);
                if (got < 0)
                        return errno == EINTR ? zp_error_set(err, ECANCELED, "interrupted")
                                              : zp_error_errno(err, errno, "read the password");
                if (got == 0 || c == '\n' || c == '\r' || c == '\0') {
                        line[used] = '\0';
                        return 0;
                }
                line[used++] = c;
        }
        return zp_error_set(err, EFBIG, "the password is longer than %u bytes", PASSWORD_MAX);
}

static int prompt(const char *user, char *password, size_t size, struct zp_error *err) {
        zp_autoclose int fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
        struct termios loud, silent;
        if (fd < 0 || tcgetattr(fd, &loud) < 0) {
                zp_error_set(err, ENOTTY, "no terminal to ask for %s's password on", user);
                zp_error_hint(err, "use --password-stdin or --auth-file");
                return -ENOTTY;
        }
        silent = loud;
        silent.c_lflag &= ~(tcflag_t) ECHO;
        dprintf(fd, "Password of %s: ", user);
        tcsetattr(fd, TCSAFLUSH, &silent);
        int r = read_line(fd, password, size, err);
        tcsetattr(fd, TCSAFLUSH, &loud);
        dprintf(fd, "\n");
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
        return from_stdin ? read_line(STDIN_FILENO, *out + used, PASSWORD_MAX, err)
                          : prompt(user, *out + used, PASSWORD_MAX, err);
}

/* A file that cannot be read is told before anybody is asked for a password, and is not an image that is not there. */
static int check_file(struct cli_call *call, int option, const char *name, struct zp_error *err) {
        const char *path = call->values[option];
        if (!path || access(path, R_OK) == 0)
                return 0;
        call->exit_code = CLI_FAILED;
        return zp_error_errno(err, errno, "--%s '%s'", name, path);
}

int cli_take_source_options(struct cli_call *call, struct zp_source_options *source, struct zp_build_options *build,
                            char **credentials, struct zp_error *err) {
        bool verify = true;
        uint64_t threads = 0;
        *source = (struct zp_source_options){
                .auth_file = call->values[OPTION_AUTH_FILE],
                .ca_file = call->values[OPTION_CA_FILE],
                .plain_http = cli_flag(call, OPTION_PLAIN_HTTP),
                .cancel = call->cancel,
        };
        *build = (struct zp_build_options){ .platform = zp_platform_host(), .cancel = call->cancel };
        int r = cli_value_bool(call, OPTION_TLS_VERIFY, &verify, err);
        source->skip_tls_verify = !verify;
        if (r == 0)
                r = cli_value_number(call, OPTION_THREADS, 1, 1024, &threads, err);
        build->threads = (unsigned) threads;
        if (r == 0)
                r = check_file(call, OPTION_AUTH_FILE, "auth-file", err);
        if (r == 0)
                r = check_file(call, OPTION_CA_FILE, "ca-file", err);
        if (r == 0)
                r = take_credentials(call, credentials, err);
        source->credentials = *credentials;
        return r;
}

void cli_tell_notice(void *progress, const char *text) {
        progress_say(progress, "%s", text);
}

int cli_build_failed(struct cli_call *call, int r) {
        static const int refusals[] = { EBADMSG, ENOTSUP, E2BIG, EFBIG, ENAMETOOLONG, ELOOP, EILSEQ };
        for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
                if (r == -refusals[i])
                        call->exit_code = CLI_REFUSED;
        return r;
}
