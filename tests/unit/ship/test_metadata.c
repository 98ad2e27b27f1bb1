/* SPDX-License-Identifier: Apache-2.0
 *
 * Metadata files as they travel, and what is checked of them on arrival.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <cmocka.h>

#include "base/file.h"
#include "erofs/writer.h"
#include "ship/metadata.h"

#define SIZE 700000u

static int new_file(void) {
        int fd = memfd_create("metadata", MFD_CLOEXEC);
        assert_true(fd >= 0);
        return fd;
}

static uint8_t *content(void) {
        uint8_t *data = malloc(SIZE);
        for (unsigned i = 0; i < SIZE; i++)
                data[i] = (uint8_t) (i * 2654435761u >> 24);
        return data;
}

static struct zp_artifact_metadata describe(const void *data, uint64_t size) {
        struct zp_artifact_metadata m = { .size = size };
        zp_digest_of(data, size, &m.digest);
        return m;
}

static int unpack(const void *blob, size_t size, const struct zp_artifact_metadata *m, int fd) {
        struct zp_error err = { 0 };
        int r = zp_metadata_unpack(blob, size, m, fd, "file", &err);
        assert_int_equal(err.code, -r);
        return r;
}

static void what_is_compressed_is_unpacked_again(void **state) {
        (void) state;
        uint8_t *data = content(), *packed, *again = malloc(SIZE);
        size_t size;
        struct zp_artifact_metadata m = describe(data, SIZE);
        int fd = new_file();
        assert_int_equal(zp_metadata_compress(data, SIZE, &packed, &size, NULL), 0);
        assert_int_equal(unpack(packed, size, &m, fd), 0);
        assert_int_equal(lseek(fd, 0, SEEK_END), SIZE);
        assert_int_equal(zp_pread_all(fd, again, SIZE, 0, "file", NULL), 0);
        assert_memory_equal(again, data, SIZE);
        close(fd);
        free(again);
        free(packed);
        free(data);
}

static void anything_but_that_file_is_refused(void **state) {
        (void) state;
        uint8_t *data = content(), *packed;
        size_t size;
        struct zp_artifact_metadata m = describe(data, SIZE), larger = m, other = m;
        int fd = new_file();
        larger.size++;
        other.digest.bytes[0] ^= 1;
        assert_int_equal(zp_metadata_compress(data, SIZE, &packed, &size, NULL), 0);
        packed = realloc(packed, size + 1);
        packed[size] = 0;
        assert_int_equal(unpack(packed, size + 1, &m, fd), -EBADMSG); /* something after the frame */
        assert_int_equal(unpack(packed, size - 1, &m, fd), -EBADMSG);
        assert_int_equal(unpack(packed, 0, &m, fd), -EBADMSG);
        assert_int_equal(unpack(packed, size, &larger, fd), -EBADMSG);
        assert_int_equal(unpack(packed, size, &other, fd), -EBADMSG);
        assert_int_equal(unpack(data, SIZE, &m, fd), -EBADMSG); /* not compressed */
        close(fd);
        free(packed);
        free(data);
}

/* A frame of `size` zeros without the content's size in its header, or with it. */
static size_t make_bomb(void *out, size_t room, size_t size, int tells_size) {
        ZSTD_CCtx *context = ZSTD_createCCtx();
        ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, tells_size);
        void *zeros = calloc(1, size);
        size_t n = ZSTD_compress2(context, out, room, zeros, size);
        assert_false(ZSTD_isError(n));
        free(zeros);
        ZSTD_freeCCtx(context);
        return n;
}

static void a_bomb_is_not_unpacked(void **state) {
        (void) state;
        static uint8_t bomb[1 << 16];
        struct stat st;
        struct zp_artifact_metadata m = { .size = 4096 };
        int fd = new_file();
        size_t n = make_bomb(bomb, sizeof bomb, 64 << 20, 1);
        assert_int_equal(unpack(bomb, n, &m, fd), -EBADMSG);
        n = make_bomb(bomb, sizeof bomb, 64 << 20, 0);
        assert_int_equal(unpack(bomb, n, &m, fd), -EBADMSG);
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(st.st_size, 0);
        close(fd);
}

/* ---- devices ---- */

static struct zp_digest digest(uint8_t fill) {
        struct zp_digest d;
        memset(d.bytes, fill, sizeof d.bytes);
        return d;
}

/* Metadata of an empty tree with these devices. */
static int write_metadata(const struct zp_erofs_device *devices, uint16_t count, bool is_layer, uint64_t *size) {
        struct zp_tree *tree = zp_tree_new();
        struct zp_erofs_options options = {
                .layout = ZP_EROFS_DEVICE_TABLE, .devices = devices, .device_count = count, .is_layer = is_layer
        };
        struct zp_erofs_result result;
        struct zp_error err = { 0 };
        int fd = new_file();
        if (zp_erofs_write(tree, &options, fd, "file", &result, &err) < 0)
                fail_msg("%s", err.message);
        *size = (uint64_t) lseek(fd, 0, SEEK_END);
        zp_tree_free(tree);
        return fd;
}

struct described {
        struct zp_artifact_device devices[3];
        struct zp_artifact_layer layer;
        struct zp_artifact artifact;
};

static void describe_devices(struct described *d) {
        *d = (struct described){ .devices = { { .digest = digest(1), .device_size = 10 * 4096 },
                                              { .digest = digest(2), .device_size = 5 * 4096 },
                                              { .digest = digest(3), .device_size = 7 * 4096 } } };
        d->artifact = (struct zp_artifact){ .devices = d->devices, .device_count = 3 };
}

static int check_layer(const struct described *d, int fd, struct zp_layer_record *record) {
        *record = (struct zp_layer_record){ 0 };
        return zp_metadata_check_layer(fd, &d->artifact, &d->layer, record, NULL);
}

static void a_layer_has_devices_of_the_artifact_only(void **state) {
        (void) state;
        struct zp_erofs_device devices[] = { { digest(2), 5 }, { digest(1), 10 } };
        struct described d;
        struct zp_layer_record record;
        describe_devices(&d);
        int fd = write_metadata(devices, 2, true, &d.layer.metadata.size);
        assert_int_equal(check_layer(&d, fd, &record), 0);
        assert_int_equal(record.device_count, 2);
        assert_true(zp_digest_equal(&record.devices[0], &devices[0].digest));
        assert_true(zp_digest_equal(&record.devices[1], &devices[1].digest));
        d.devices[0].device_size = 9 * 4096;
        assert_int_equal(check_layer(&d, fd, &record), -EBADMSG);
        d.devices[0] = (struct zp_artifact_device){ .digest = digest(4), .device_size = 10 * 4096 };
        assert_int_equal(check_layer(&d, fd, &record), -EBADMSG);
        close(fd);
        fd = write_metadata(NULL, 0, true, &d.layer.metadata.size);
        assert_int_equal(check_layer(&d, fd, &record), 0);
        assert_int_equal(record.device_count, 0);
        close(fd);
}

static void a_layer_has_a_bounded_number_of_devices(void **state) {
        (void) state;
        struct zp_erofs_device devices[ZP_LIMIT_LAYER_DEVICES + 1];
        struct zp_artifact_device known[ZP_LIMIT_LAYER_DEVICES + 1];
        struct described d = { .artifact = { .devices = known, .device_count = ZP_LIMIT_LAYER_DEVICES + 1 } };
        struct zp_layer_record record;
        for (uint8_t i = 0; i <= ZP_LIMIT_LAYER_DEVICES; i++) {
                devices[i] = (struct zp_erofs_device){ digest(i), 1 };
                known[i] = (struct zp_artifact_device){ .digest = digest(i), .device_size = 4096 };
        }
        int fd = write_metadata(devices, ZP_LIMIT_LAYER_DEVICES, true, &d.layer.metadata.size);
        assert_int_equal(check_layer(&d, fd, &record), 0);
        assert_int_equal(record.device_count, ZP_LIMIT_LAYER_DEVICES);
        close(fd);
        fd = write_metadata(devices, ZP_LIMIT_LAYER_DEVICES + 1, true, &d.layer.metadata.size);
        assert_int_equal(check_layer(&d, fd, &record), -EBADMSG);
        close(fd);
}

static void a_snapshot_has_devices_of_the_artifact_only(void **state) {
        (void) state;
        struct zp_erofs_device devices[] = { { digest(1), 10 }, { digest(2), 5 } };
        struct described d;
        describe_devices(&d);
        int fd = write_metadata(devices, 2, false, &d.artifact.snapshot.size);
        /* one whose data is hidden has none */
        assert_int_equal(zp_metadata_check_snapshot(fd, &d.artifact, NULL), 0);
        d.devices[1].device_size += 4096;
        assert_int_equal(zp_metadata_check_snapshot(fd, &d.artifact, NULL), -EBADMSG);
        d.devices[1].device_size -= 4096;
        d.artifact.device_count = 1;
        assert_int_equal(zp_metadata_check_snapshot(fd, &d.artifact, NULL), -EBADMSG);
        close(fd);
}

static void garbage_is_no_metadata(void **state) {
        (void) state;
        struct described d = { .layer = { .metadata.size = SIZE } };
        struct zp_layer_record record = { 0 };
        uint8_t *data = content();
        struct zp_error err = { 0 };
        int fd = new_file();
        assert_int_equal(zp_write_all(fd, data, SIZE, "file", NULL), 0);
        assert_true(zp_metadata_check_layer(fd, &d.artifact, &d.layer, &record, &err) < 0);
        assert_non_null(strstr(err.message, "layer.erofs"));
        close(fd);
        free(data);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_is_compressed_is_unpacked_again),
                cmocka_unit_test(anything_but_that_file_is_refused),
                cmocka_unit_test(a_bomb_is_not_unpacked),
                cmocka_unit_test(a_layer_has_devices_of_the_artifact_only),
                cmocka_unit_test(a_layer_has_a_bounded_number_of_devices),
                cmocka_unit_test(a_snapshot_has_devices_of_the_artifact_only),
                cmocka_unit_test(garbage_is_no_metadata),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
