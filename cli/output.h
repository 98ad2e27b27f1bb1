/* SPDX-License-Identifier: Apache-2.0
 *
 * What goes to stdout: text that no image can turn into terminal commands, sizes and times for people, JSON.
 */
#ifndef ZP_CLI_OUTPUT_H
#define ZP_CLI_OUTPUT_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include "base/digest.h"
#include "base/error.h"

/* Writes bytes with control characters, invalid UTF-8, marks that turn the writing direction, and backslashes
 * as C escapes. */
void cli_print_escaped(FILE *out, const char *text, size_t size);

/* "0 B", "999 B", "1.2 kB", "27.3 MB": decimal, at most 8 characters. Returns `text`. */
#define CLI_SIZE_TEXT 24
char *cli_size_text(uint64_t bytes, char text[CLI_SIZE_TEXT]);
/* The unit in which a size is written. */
struct cli_unit {
        double divisor;
        int decimals;
        const char *name;
};
struct cli_unit cli_size_unit(uint64_t bytes);
/* "just now", "5 minutes ago", "3 days ago". */
#define CLI_AGE_TEXT 32
char *cli_age_text(int64_t then_s, int64_t now_s, char text[CLI_AGE_TEXT]);
/* "2024-03-01T12:00:05Z". */
#define CLI_TIME_TEXT 40
char *cli_time_text(int64_t time_s, char text[CLI_TIME_TEXT]);
/* The first 12 hex digits. */
#define CLI_SHORT_DIGEST 13
char *cli_short_digest(const struct zp_digest *digest, char text[CLI_SHORT_DIGEST]);

/* A JSON string of bytes that may not be UTF-8: what is not becomes U+FFFD. NULL: out of memory. */
json_t *cli_json_text(const char *text, size_t size);
json_t *cli_json_digest(const struct zp_digest *digest);
/* Sets object[key] = value, taking the value over; false: out of memory (value NULL counts). */
bool cli_json_set(json_t *object, const char *key, json_t *value);
/* Prints a document and gives it back; NULL is the failure of whoever made it: out of memory. */
int cli_print_json(json_t *document, struct zp_error *err);

/* Flushes stdout; a write that failed is an error (EPIPE too). */
int cli_finish_output(struct zp_error *err);

#endif
