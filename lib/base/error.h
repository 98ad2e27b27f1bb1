/* SPDX-License-Identifier: Apache-2.0
 *
 * Errors as values. A function that can fail returns a negative errno and fills a `struct zp_error`
 * that names the object and the cause; each caller may add its own context in front.
 */
#ifndef ZP_BASE_ERROR_H
#define ZP_BASE_ERROR_H

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>

#define ZP_ERROR_MESSAGE_MAX 1024
#define ZP_ERROR_HINT_MAX 512

struct zp_error {
        int code;                           /* positive errno; 0 while nothing failed */
        char message[ZP_ERROR_MESSAGE_MAX]; /* "object: cause", without program name or newline */
        char hint[ZP_ERROR_HINT_MAX];       /* what to do next; empty when there is nothing to say */
};

/* Records a failure and returns -code, so that callers can `return zp_error_set(…)`. `code` is a
 * positive errno. Control characters and bytes that are not UTF-8 (also of a character that was cut), which arrive
 * through `format` arguments (names out of an image, a server's reply), are replaced by '?', so that a message is
 * always one harmless line. An `err` of NULL is allowed: only the code is returned. */
int zp_error_set(struct zp_error *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* As zp_error_set, with ": " and the system's text for `code` appended. */
int zp_error_errno(struct zp_error *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Puts "context: " in front of the message and returns the code it already carried, negative. */
int zp_error_wrap(struct zp_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Sets the hint unless an inner function has set one: the innermost knows best. */
void zp_error_hint(struct zp_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Forgets what was recorded. */
void zp_error_clear(struct zp_error *err);

#endif
