/* SPDX-License-Identifier: Apache-2.0
 *
 * What a build says on stderr, bounded: its beginning and its end are kept.
 */
#ifndef HOOK_TRANSCRIPT_H
#define HOOK_TRANSCRIPT_H

#include <jansson.h>

#include "base/buffer.h"

#define HOOK_LINE_SIZE 512

struct hook_transcript {
        struct zp_buffer text;     /* at most QUEUE_LOG_MAX bytes; ASCII with line ends and tabs, or UTF-8 */
        bool is_cut;               /* something in the middle is missing, as a line says */
        char line[HOOK_LINE_SIZE]; /* the last whole line, cut to fit */
};

/* False: memory is exhausted, and this piece is lost. *new_line: `line` is another now. */
bool hook_transcript_add(struct hook_transcript *transcript, const char *data, size_t size, bool *new_line);
void hook_transcript_clear(struct hook_transcript *transcript);
/* What it says why it failed: the last line that begins as an error of zeropull, or the last of all. */
void hook_transcript_reason(const struct hook_transcript *transcript, char *out, size_t size);

/* A JSON string of whatever text; bytes that make it no UTF-8 become '?'. NULL: out of memory. */
json_t *hook_json_text(const char *text);

#endif
