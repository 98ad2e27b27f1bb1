/* SPDX-License-Identifier: Apache-2.0
 *
 * The merge of layers that are in a store.
 */
#include "../store/store-fixture.h"

#include "base/limits.h"
#include "builder/snapshot.h"
#include "layer/tree.h"

/* An empty layer that is said to have so many entries. */
static struct zp_digest put_layer(struct world *w, const char *name, uint64_t entries) {
        zp_auto(zp_staging_free) struct zp_staging *staging = NULL;
        zp_auto(zp_tree_free) struct zp_tree *tree = zp_tree_new();
        struct zp_erofs_options options = { .is_layer = true };
        struct zp_erofs_result result;
        struct zp_layer_record record = { .diff_id = digest_of_text(name), .entries = entries };
        must(w, zp_staging_new(w->store, &staging, &w->err));
        must(w, put_file(staging, "device.zst", "", &w->err));
        must(w, put_file(staging, "device.idx", "", &w->err));
        zp_autoclose int fd = zp_staging_create(staging, "layer.erofs", &w->err);
        must(w, zp_erofs_write(tree, &options, fd, "layer.erofs", &result, &w->err));
        zp_autofree char *data = NULL;
        size_t size = (size_t) lseek(fd, 0, SEEK_END);
        data = malloc(size);
        must(w, zp_pread_all(fd, data, size, 0, "layer.erofs", &w->err));
        zp_digest_of(data, size, &record.metadata_digest);
        record.metadata_size = size;
        must(w, zp_staging_commit_layer(staging, &record, &w->err));
        return record.diff_id;
}

static int merge(struct world *w, uint64_t lower_entries, uint64_t upper_entries, const struct zp_cancel *cancel) {
        struct zp_digest diff_ids[] = { put_layer(w, "lower", lower_entries), put_layer(w, "upper", upper_entries) };
        struct zp_snapshot_layers layers = { w->store, diff_ids, 2, cancel };
        struct zp_erofs_result result;
        char path[128];
        snprintf(path, sizeof path, "%s/snapshot", w->directory);
        zp_autoclose int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        return zp_snapshot_write(&layers, ZP_EROFS_DEVICE_TABLE, fd, "snapshot", NULL, NULL, &result, &w->err);
}

static void layers_with_too_many_entries_together_are_refused(void **state) {
        struct world *w = *state;
        must(w, merge(w, ZP_LIMIT_IMAGE_ENTRIES / 2, ZP_LIMIT_IMAGE_ENTRIES / 2, NULL));
        assert_int_equal(merge(w, ZP_LIMIT_IMAGE_ENTRIES / 2, ZP_LIMIT_IMAGE_ENTRIES / 2 + 1, NULL), -E2BIG);
        assert_non_null(strstr(w->err.message, "layer 2"));
}

static void cancelled_merge_stops(void **state) {
        struct world *w = *state;
        struct zp_cancel cancel = { .requested = true };
        assert_int_equal(merge(w, 1, 1, &cancel), -ECANCELED);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                world_test(layers_with_too_many_entries_together_are_refused),
                world_test(cancelled_merge_stops),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
