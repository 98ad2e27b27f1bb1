/* SPDX-License-Identifier: Apache-2.0
 *
 * A start-up profile and a prefetch list from outside: the first byte chooses. What is accepted must survive being
 * written and read again.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "profile/prefetch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_profile(const char *text, size_t size) {
        struct zp_profile *profile = zp_profile_new(), *again = zp_profile_new();
        zp_autobuffer struct zp_buffer first = { 0 }, second = { 0 };
        if (zp_profile_parse(profile, text, size, "fuzz", NULL) == 0) {
                if (zp_profile_format(profile, &first, NULL) < 0)
                        abort();
                int r = first.data ? zp_profile_parse(again, first.data, first.size, "again", NULL) : 0;
                assert(r == 0 && zp_profile_format(again, &second, NULL) == 0);
                assert(first.size == second.size && (!first.data || memcmp(first.data, second.data, first.size) == 0));
                uint32_t count;
                const struct zp_profile_entry *entries = zp_profile_entries(profile, &count);
                for (uint32_t i = 0; i < count; i++) {
                        uint32_t found;
                        assert(zp_profile_find(again, entries[i].path, &found) && found > 0);
                }
        }
        zp_profile_free(profile);
        zp_profile_free(again);
}

static void check_prefetch(const char *text, size_t size) {
        static const struct zp_prefetch_device device = { { { 1 } }, 1 << 20 };
        struct zp_prefetch list = { 0 }, again = { 0 };
        zp_autobuffer struct zp_buffer written = { 0 };
        if (zp_prefetch_parse(text, size, "fuzz", &device, 1, &list, NULL) < 0)
                return;
        for (uint32_t i = 0; i < list.count; i++)
                assert(list.ranges[i].length > 0 && list.ranges[i].offset + list.ranges[i].length <= device.size);
        int r = zp_prefetch_format(&list, &written, NULL);
        assert(r == 0);
        r = zp_prefetch_parse(written.data, written.size, "again", &device, 1, &again, NULL);
        assert(r == 0 && again.count == list.count);
        zp_prefetch_clear(&list);
        zp_prefetch_clear(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        if (size == 0)
                return 0;
        if (data[0] == 'P')
                check_profile((const char *) data + 1, size - 1);
        else
                check_prefetch((const char *) data + 1, size - 1);
        return 0;
}
