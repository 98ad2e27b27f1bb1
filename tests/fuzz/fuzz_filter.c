/* SPDX-License-Identifier: Apache-2.0
 *
 * Filters of List, one a line. What is accepted is tried on a snapshot, and gives the same answer twice.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "snapshotter/control/filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct snap_label labels[] = { { "a", "1" }, { "containerd.io/snapshot.ref", "sha256:00" } };
        struct snap_info info = {
                .id = 1, .name = "default/1/web", .parent = "sha256:11", .kind = SNAP_ACTIVE, .labels = { labels, 2 }
        };
        const char *texts[SNAP_FILTERS_MAX + 1];
        size_t count = 0;
        struct snap_filter *filter = NULL;
        struct zp_error err = { 0 };
        char *text = strndup((const char *) data, size), *rest = NULL;
        for (char *line = strtok_r(text, "\n", &rest); line && count <= SNAP_FILTERS_MAX;
             line = strtok_r(NULL, "\n", &rest))
                texts[count++] = line;
        int r = snap_filter_parse(texts, count, &filter, &err);
        assert((r < 0) == (err.message[0] != '\0') && (r == 0) == (filter != NULL));
        if (r == 0)
                assert(snap_filter_matches(filter, &info) == snap_filter_matches(filter, &info));
        snap_filter_free(filter);
        free(text);
        return 0;
}
