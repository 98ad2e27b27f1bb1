/* SPDX-License-Identifier: Apache-2.0
 *
 * A file on a file system that may hang: read, and closed, by threads that nobody waits for. A read that was given up
 * goes on without whoever asked for it, until the file system lets go of its thread.
 */
#ifndef ZP_DEVICE_SLOW_FILE_H
#define ZP_DEVICE_SLOW_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/pool.h"

struct zp_slow_file;

/* Once for each read, from any thread, perhaps before zp_slow_file_read() returns. `result`: 0, `bytes` has all that
 * was wanted, valid during the call; or a negative errno, and `err` may say why. */
typedef void (*zp_slow_file_done)(void *context, int result, const void *bytes, const struct zp_error *err);

/* `fd` becomes the file's, also in case of an error. `readers`, the caller's, outlive all that hangs. `what` (a
 * literal) is what errors call it. When a read has taken `patience_ms`, it and those that are started now end with
 * -ETIMEDOUT, until it comes back; UINT_MAX: they end when they are cancelled. */
int zp_slow_file_new(int fd, struct zp_pool *readers, unsigned patience_ms, const char *what, struct zp_slow_file **out,
                     struct zp_error *err);
/* Nothing is wanted of it any more; returns at once. */
void zp_slow_file_close(struct zp_slow_file *file);

void zp_slow_file_read(struct zp_slow_file *file, uint64_t offset, uint32_t size, zp_slow_file_done done,
                       void *context);
/* Ends the reads whose context is one that is meant, with -ECANCELED: the file's lock is held as that is asked. */
void zp_slow_file_cancel(struct zp_slow_file *file, bool (*is_meant)(const void *context, const void *argument),
                         const void *argument);
/* Ends those that have taken too long; with the time of CLOCK_MONOTONIC. */
void zp_slow_file_look(struct zp_slow_file *file, uint64_t now_ms);

#endif
