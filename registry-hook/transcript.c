/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/transcript.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "base/utf8.h"
#include "registry-hook/queue.h"

#define HEAD_MAX 16384
/* Cut so much at a time, so that not every line moves all. */
#define CUT_MIN 8192
#define CUT_MARK "[…]\n"

/* Takes out lines behind the head until `size` more bytes fit. */
static void cut_middle(struct hook_transcript *t, size_t size) {
        const char *head_end = memchr(t->text.data + HEAD_MAX, '\n', t->text.size - HEAD_MAX);
        size_t from = head_end ? (size_t) (head_end - t->text.data) + 1 : HEAD_MAX;
        size_t mark = t->is_cut ? 0 : strlen(CUT_MARK);
        if (t->is_cut)
                from += strlen(CUT_MARK);
        size_t to = from + size + CUT_MIN;
        if (to > t->text.size)
                to = t->text.size;
        const char *line_end = memchr(t->text.data + to, '\n', t->text.size - to);
        if (line_end)
                to = (size_t) (line_end - t->text.data) + 1;
        memcpy(t->text.data + from, CUT_MARK, mark);
        memmove(t->text.data + from + mark, t->text.data + to, t->text.size - to + 1);
        t->text.size -= to - from - mark;
        t->is_cut = true;
}

static void take_line(struct hook_transcript *t, bool *new_line) {
        const char *end = memrchr(t->text.data, '\n', t->text.size);
        if (!end)
                return;
        size_t before = (size_t) (end - t->text.data);
        const char *previous = memrchr(t->text.data, '\n', before);
        const char *start = previous ? previous + 1 : t->text.data;
        char line[HOOK_LINE_SIZE];
        snprintf(line, sizeof line, "%.*s", (int) (end - start), start);
        *new_line = strcmp(line, t->line) != 0;
        memcpy(t->line, line, sizeof line);
}

bool hook_transcript_add(struct hook_transcript *t, const char *data, size_t size, bool *new_line) {
        *new_line = false;
        if (size > QUEUE_LOG_MAX - HEAD_MAX - 2 * CUT_MIN) {
                data += size - CUT_MIN;
                size = CUT_MIN;
        }
        if (t->text.size + size > QUEUE_LOG_MAX - strlen(CUT_MARK))
                cut_middle(t, size);
        size_t start = t->text.size;
        if (!zp_buffer_append(&t->text, data, size))
                return false;
        zp_replace_controls(t->text.data + start, size, "\n\t");
        take_line(t, new_line);
        return true;
}

void hook_transcript_clear(struct hook_transcript *t) {
        zp_buffer_clear(&t->text);
        *t = (struct hook_transcript){ 0 };
}

void hook_transcript_reason(const struct hook_transcript *t, char *out, size_t size) {
        static const char mark[] = "zeropull: ";
        const char *found = NULL;
        for (const char *p = t->text.data; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL)
                if (strncmp(p, mark, strlen(mark)) == 0 && strcspn(p + strlen(mark), "\n") > 0)
                        found = p + strlen(mark);
        if (found)
                snprintf(out, size, "%.*s", (int) strcspn(found, "\n"), found);
        else
                snprintf(out, size, "%s", t->line[0] ? t->line : "it said nothing");
}

json_t *hook_json_text(const char *text) {
        json_t *value = json_string(text);
        if (value)
                return value;
        zp_autofree char *copy = strdup(text);
        if (!copy)
                return NULL;
        zp_utf8_mend(copy);
        return json_string(copy);
}
