/* SPDX-License-Identifier: Apache-2.0
 *
 * What a build says, in pieces of the size of the first byte: lines of JSON are taken out, and the rest is kept within
 * its bounds, as text that can be shown.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "registry-hook/queue.h"
#include "registry-hook/tasks.h"
#include "registry-hook/transcript.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct hook_transcript *transcript, const struct hook_tasks *tasks) {
        char reason[100];
        assert(transcript->text.size <= QUEUE_LOG_MAX);
        for (size_t i = 0; i < transcript->text.size; i++) {
                unsigned char byte = (unsigned char) transcript->text.data[i];
                assert(byte >= ' ' || byte == '\n' || byte == '\t');
        }
        hook_transcript_reason(transcript, reason, sizeof reason);
        assert(reason[0]);
        json_t *json = hook_json_text(transcript->line);
        assert(json);
        json_decref(json);
        assert(json_array_size(tasks->tasks) <= HOOK_TASKS_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct hook_transcript transcript = { 0 };
        struct hook_tasks tasks = { 0 };
        if (size == 0)
                return 0;
        size_t piece = (size_t) data[0] + 1;
        for (size_t at = 1; at < size; at += piece) {
                size_t now = size - at < piece ? size - at : piece;
                char *text = malloc(now + HOOK_TASKS_LINE);
                bool news, new_line;
                size_t count = hook_tasks_take(&tasks, (const char *) data + at, now, text, &news);
                assert(count <= now + HOOK_TASKS_LINE);
                hook_transcript_add(&transcript, text, count, &new_line);
                free(text);
        }
        check(&transcript, &tasks);
        hook_transcript_clear(&transcript);
        hook_tasks_clear(&tasks);
        return 0;
}
