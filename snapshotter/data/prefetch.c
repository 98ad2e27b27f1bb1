/* SPDX-License-Identifier: Apache-2.0
 *
 * An image starts, or soon will: what it needs then is fetched before it is asked for. What it reads is noted.
 */
#include "snapshotter/data/data-internal.h"

#include <stdlib.h>

#include "base/bytes.h"
#include "base/cleanup.h"

/* A range whose device is not open yet. */
struct range {
        struct snap_wait wait; /* first: what is told back */
        uint64_t offset, length;
};

/* Whether there is such a device, its readers will be told. */
static void prefetch(struct snap_wait *wait, struct snap_entry *entry, int result, const struct zp_error *err) {
        struct range *range = (struct range *) wait;
        (void) err;
        if (result == 0) {
                zp_device_prefetch(snap_entry_device(entry), range->offset, range->length);
                snap_table_let_go(entry);
        }
        free(range);
}

static void want_range(void *argument, const struct zp_digest *device, uint64_t offset, uint64_t length) {
        struct snap_data *data = argument;
        struct range *range = malloc(sizeof *range);
        if (!range)
                return;
        *range = (struct range){ .wait.done = prefetch, .offset = offset, .length = length };
        snap_table_want(data->table, snap_device_id(device), device, &range->wait);
}

/* What is read of it from now on is to be noted: of an image that is here whole, nothing would be seen. */
static void announce(struct snap_data *data, const struct zp_digest *image) {
        const struct snap_data_lookups *lookups = &data->options->lookups;
        zp_autofree struct zp_digest *devices = NULL;
        size_t count = 0, whole = 0;
        struct zp_error err = { 0 };
        if (!data->starts || !lookups->list_devices)
                return;
        if (lookups->list_devices(lookups->context, image, &devices, &count, &err) < 0)
                snap_data_notice(data, err.message);
        for (size_t i = 0; i < count; i++)
                whole += snap_device_is_whole(data, &devices[i]);
        if (whole < count)
                snap_starts_announce(data->starts, image, devices, count, whole > 0);
}

struct expectation {
        struct snap_data *data;
        uint64_t skipped, wanted, room; /* bytes yet */
};

static void want_range_if_there_is_room(void *argument, const struct zp_digest *device, uint64_t offset,
                                        uint64_t length) {
        struct expectation *expectation = argument;
        uint64_t skip = zp_min_u64(length, expectation->skipped);
        bool takes_room = !snap_device_is_in_use(expectation->data, device);
        expectation->skipped -= skip;
        offset += skip;
        length = zp_min_u64(length - skip, expectation->wanted);
        if (length == 0 || (takes_room && length >= expectation->room))
                return;
        expectation->wanted -= length;
        expectation->room -= takes_room ? length : 0;
        want_range(expectation->data, device, offset, length);
}

static void want_ranges(struct snap_data *data, const struct zp_digest *image, snap_data_range want, void *argument) {
        const struct snap_data_lookups *lookups = &data->options->lookups;
        struct zp_error err = { 0 };
        int r = lookups->find_ranges ? lookups->find_ranges(lookups->context, image, want, argument, &err) : 0;
        if (r < 0 && r != -ENOENT)
                snap_data_notice(data, err.message);
}

void snap_data_start(struct snap_data *data, const char *hex) {
        struct zp_digest image;
        if (!zp_digest_parse_hex(hex, &image))
                return;
        announce(data, &image);
        want_ranges(data, &image, want_range, data);
}

void snap_data_expect(struct snap_data *data, const char *hex, bool is_rest) {
        struct zp_digest image;
        if (!zp_digest_parse_hex(hex, &image))
                return;
        struct expectation expectation = { data, is_rest ? SNAP_DATA_FIRST_SIZE : 0,
                                           is_rest ? UINT64_MAX : SNAP_DATA_FIRST_SIZE, snap_data_room(data) };
        want_ranges(data, &image, want_range_if_there_is_room, &expectation);
}

void snap_data_notice(const struct snap_data *data, const char *line) {
        const struct zp_device_options *options = &data->options->device;
        if (options->notice)
                options->notice(options->context, line);
}
