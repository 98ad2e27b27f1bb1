/* SPDX-License-Identifier: Apache-2.0
 *
 * Passwords and passphrases: where they come from.
 */
#ifndef ZP_CLI_SECRET_H
#define ZP_CLI_SECRET_H

#include "cli/cli.h"
#include "trust/key.h"

/* The environment variable with the passphrase of a key. */
#define CLI_PASSPHRASE_VARIABLE "ZEROPULL_PASSPHRASE"

/* Reads up to the end of a line (or file). `what` is for messages: "the password". */
int cli_read_secret(int fd, const char *what, char *secret, size_t size, struct zp_error *err);
/* Asks on the terminal, without echo. -ENOTTY: there is none. */
int cli_ask_secret(const char *prompt, const char *what, char *secret, size_t size, struct zp_error *err);

/* Where a key's passphrase comes from: `file` (its first line) when not NULL, else the environment, else the terminal.
 * The result is for zp_key_load; `file` must outlive it. */
struct zp_passphrase cli_passphrase(const char *file);
/* A new passphrase from the same places; on the terminal it is asked for twice. An empty one is -EINVAL. */
int cli_new_passphrase(const char *file, const char *name, char passphrase[ZP_PASSPHRASE_SIZE], struct zp_error *err);

#endif
