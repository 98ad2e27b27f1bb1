/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/secret.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>

int cli_read_secret(int fd, const char *what, char *secret, size_t size, struct zp_error *err) {
        size_t used = 0;
        for (char c; used < size;) {
                ssize_t got = read(fd, &c, 1);
                if (got < 0)
                        return errno == EINTR ? zp_error_set(err, ECANCELED, "interrupted")
                                              : zp_error_errno(err, errno, "read %s", what);
                if (got == 0 || c == '\n' || c == '\r' || c == '\0') {
                        secret[used] = '\0';
                        return 0;
                }
                secret[used++] = c;
        }
        return zp_error_set(err, EFBIG, "%s is longer than %zu bytes", what, size - 1);
}

int cli_ask_secret(const char *prompt, const char *what, char *secret, size_t size, struct zp_error *err) {
        zp_autoclose int fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
        struct termios loud, silent;
        if (fd < 0 || tcgetattr(fd, &loud) < 0)
                return zp_error_set(err, ENOTTY, "no terminal to ask for %s on", what);
        silent = loud;
        silent.c_lflag &= ~(tcflag_t) ECHO;
        tcsetattr(fd, TCSAFLUSH, &silent); /* throws away what was typed before: ask afterwards */
        dprintf(fd, "%s: ", prompt);
        int r = cli_read_secret(fd, what, secret, size, err);
        tcsetattr(fd, TCSAFLUSH, &loud);
        dprintf(fd, "\n");
        return r;
}

/* ---- passphrases of keys ---- */

#define WHAT "the passphrase"

/* 1: neither a file nor the environment has it. */
static int given_passphrase(const char *file, char passphrase[ZP_PASSPHRASE_SIZE], struct zp_error *err) {
        const char *variable = getenv(CLI_PASSPHRASE_VARIABLE);
        if (file) {
                zp_autoclose int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
                return fd < 0 ? zp_error_errno(err, errno, "open '%s'", file)
                              : cli_read_secret(fd, WHAT, passphrase, ZP_PASSPHRASE_SIZE, err);
        }
        if (!variable)
                return 1;
        if (strlen(variable) >= ZP_PASSPHRASE_SIZE)
                return zp_error_set(err, EFBIG, WHAT " in $" CLI_PASSPHRASE_VARIABLE " is longer than %d bytes",
                                    ZP_PASSPHRASE_SIZE - 1);
        strcpy(passphrase, variable);
        return 0;
}

static int ask_passphrase(const char *prompt, const char *name, char passphrase[ZP_PASSPHRASE_SIZE],
                          struct zp_error *err) {
        char text[300];
        snprintf(text, sizeof text, "%s %.200s", prompt, name);
        int r = cli_ask_secret(text, WHAT, passphrase, ZP_PASSPHRASE_SIZE, err);
        if (r == -ENOTTY)
                zp_error_hint(err, "use --passphrase-file, or the variable " CLI_PASSPHRASE_VARIABLE);
        return r;
}

static int existing_passphrase(void *argument, const char *name, char passphrase[ZP_PASSPHRASE_SIZE],
                               struct zp_error *err) {
        int r = given_passphrase(argument, passphrase, err);
        return r == 1 ? ask_passphrase("Passphrase of", name, passphrase, err) : r;
}

struct zp_passphrase cli_passphrase(const char *file) {
        return (struct zp_passphrase){ existing_passphrase, (void *) file };
}

static int ask_twice(const char *name, char passphrase[ZP_PASSPHRASE_SIZE], struct zp_error *err) {
        char again[ZP_PASSPHRASE_SIZE] = "";
        int r = ask_passphrase("New passphrase for", name, passphrase, err);
        if (r == 0)
                r = ask_passphrase("The same again for", name, again, err);
        if (r == 0 && strcmp(passphrase, again) != 0)
                r = zp_error_set(err, EINVAL, "the two passphrases differ");
        explicit_bzero(again, sizeof again);
        return r;
}

int cli_new_passphrase(const char *file, const char *name, char passphrase[ZP_PASSPHRASE_SIZE], struct zp_error *err) {
        int r = given_passphrase(file, passphrase, err);
        if (r == 1)
                r = ask_twice(name, passphrase, err);
        if (r == 0 && passphrase[0] == '\0')
                r = zp_error_set(err, EINVAL, WHAT " is empty");
        return r;
}
