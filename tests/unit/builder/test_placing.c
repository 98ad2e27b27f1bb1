/* SPDX-License-Identifier: Apache-2.0
 *
 * What an earlier version's device holds is not stored again, what a profile names lies first, and whatever was done,
 * every file reads as it was.
 */
#include "content-fixture.h"

#define FILES 12

static const struct zp_digest base_digest = { { 7 } };

/* A version of an image: some files. */
struct version {
        uint8_t *data[FILES];
        size_t size[FILES];
};

static void version_clear(struct version *v) {
        for (int i = 0; i < FILES; i++)
                free(v->data[i]);
}

static struct archive archive_of(const struct version *v, size_t piece) {
        struct archive a = { .piece = piece };
        char name[20];
        for (int i = 0; i < FILES; i++) {
                snprintf(name, sizeof name, "file%d", i);
                add_file(&a, name, v->data[i], v->size[i]);
        }
        return a;
}

static void assert_version(const struct stored *s, const struct version *v) {
        char name[20];
        for (int i = 0; i < FILES; i++) {
                snprintf(name, sizeof name, "file%d", i);
                assert_content(s, name, v->data[i], v->size[i]);
        }
}

/* The blocks of one stored version, to refer to. */
struct base {
        uint8_t *map;
        struct zp_block_table *table;
};

static struct base base_of(const struct stored *s) {
        struct base base;
        struct zp_pool *pool;
        struct zp_block_map map;
        size_t size;
        assert_int_equal(zp_pool_new(2, &pool, NULL), 0);
        assert_int_equal(zp_block_map_make(s->pack, &base_digest, pool, NULL, &base.map, &size, NULL), 0);
        zp_pool_free(pool);
        assert_int_equal(zp_block_map_parse(base.map, size, &base_digest, s->info.device_size, "base", &map, NULL), 0);
        assert_int_equal(zp_block_table_new(&map, 1, &base.table, NULL), 0);
        return base;
}

static void base_clear(struct base *base) {
        zp_block_table_free(base->table);
        free(base->map);
}

static unsigned random_state;
static unsigned draw(unsigned below) {
        random_state = random_state * 1664525u + 1013904223u;
        return (unsigned) ((uint64_t) random_state * below >> 32);
}

static struct version first_version(void) {
        struct version v;
        for (int i = 0; i < FILES; i++) {
                v.size[i] = draw(5) == 0 ? 1 + draw(MIB) : 1 + draw(60000);
                v.data[i] = noise(v.size[i], random_state);
                for (unsigned holes = draw(3); holes > 0; holes--) {
                        size_t at = draw((unsigned) v.size[i]);
                        memset(v.data[i] + at, 0, zp_min_u64(v.size[i] - at, draw(MIB)));
                }
        }
        return v;
}

/* Changes one file: bytes in place, something put in or taken out, or all of it. */
static void edit(struct version *v, int i) {
        size_t at = draw((unsigned) v->size[i]), change = 1 + draw(20000);
        uint8_t *fresh = noise(change, random_state), *data = malloc(v->size[i] + change + 1);
        if (draw(2))
                change = zp_round_up(change, ZP_BLOCK_SIZE) - (draw(2) ? 0 : 1);
        change = zp_min_u64(change, 20000);
        fresh = realloc(fresh, change + 1);
        memset(fresh, 9, change);
        memcpy(data, v->data[i], v->size[i]);
        size_t size = v->size[i];
        switch (draw(4)) {
        case 0: /* in place */
                change = zp_min_u64(change, size - at);
                memcpy(data + at, fresh, change);
                break;
        case 1: /* put in */
                data = realloc(data, size + change + 1);
                memmove(data + at + change, data + at, size - at);
                memcpy(data + at, fresh, change);
                size += change;
                break;
        case 2: /* taken out, but for the last byte */
                change = zp_min_u64(change, size - at - 1);
                memmove(data + at, data + at + change, size - at - change);
                size -= change;
                break;
        default: /* another file's content */
                free(data);
                size = v->size[(i + 1) % FILES];
                data = malloc(size + 1);
                memcpy(data, v->data[(i + 1) % FILES], size);
        }
        free(fresh);
        free(v->data[i]);
        v->data[i] = data;
        v->size[i] = size;
}

static struct zp_profile *random_profile(void) {
        struct zp_profile *profile = zp_profile_new();
        char name[20];
        for (unsigned count = draw(30); count > 0; count--) {
                snprintf(name, sizeof name, "file%u", draw(FILES + 2));
                uint64_t length = draw(4) == 0 ? ZP_PROFILE_WHOLE : 1 + draw(200000);
                uint64_t offset = length == ZP_PROFILE_WHOLE ? 0 : draw(MIB);
                assert_int_equal(zp_profile_add(profile, name, offset, length, NULL), 0);
        }
        return profile;
}

static void every_file_reads_as_it_was_whatever_it_is_compared_with(void **state) {
        (void) state;
        for (unsigned seed = 0; seed < 80; seed++) {
                random_state = seed;
                struct version v = first_version();
                struct archive a = archive_of(&v, 1 + draw(100000));
                struct stored before = store(&a), after;
                struct base base = base_of(&before);
                for (unsigned edits = draw(8); edits > 0; edits--)
                        edit(&v, (int) draw(FILES));
                struct zp_profile *profile = seed % 3 ? random_profile() : NULL;
                zp_autoclose int hot_fd = memfd_create("hot", MFD_CLOEXEC);
                struct zp_hot_range hot = { 0, draw(300), draw(300) };
                struct zp_placing_options options = { .base = seed % 4 ? base.table : NULL,
                                                      .base_hot = &hot,
                                                      .base_hot_count = 1,
                                                      .profile = profile,
                                                      .hot_fd = hot_fd };
                a = archive_of(&v, 1 + draw(100000));
                after = store_with(&a, &options, &before.pack, 1 + draw(3));
                assert_version(&after, &v);
                zp_profile_free(profile);
                base_clear(&base);
                drop(&after);
                drop(&before);
                version_clear(&v);
        }
}

static void what_has_not_changed_is_not_stored_again(void **state) {
        (void) state;
        random_state = 5;
        struct version v = first_version();
        struct archive a = archive_of(&v, 70000);
        struct stored before = store(&a), after;
        struct base base = base_of(&before);
        struct zp_placing_options options = { .base = base.table };
        a = archive_of(&v, 1000);
        after = store_with(&a, &options, &before.pack, 2);
        assert_version(&after, &v);
        assert_int_equal(after.info.device_size, 0);
        assert_int_equal(after.device_count, 1);
        assert_ptr_equal(after.devices[0], before.pack);
        drop(&after);

        v.data[3] = realloc(v.data[3], 20000);
        memset(v.data[3], 'x', v.size[3] = 20000);
        a = archive_of(&v, 1000);
        after = store_with(&a, &options, &before.pack, 2);
        assert_version(&after, &v);
        assert_int_equal(after.info.device_size, 5 * ZP_BLOCK_SIZE);
        assert_int_equal(after.device_count, 2);
        assert_ptr_equal(after.devices[0], after.pack);
        drop(&after);
        base_clear(&base);
        drop(&before);
        version_clear(&v);
}

static void a_change_in_a_large_file_costs_one_window(void **state) {
        (void) state;
        const size_t size = 20 * MIB + 777;
        zp_autofree uint8_t *data = noise(size, 3);
        struct archive a = { .piece = 65536 };
        add_file(&a, "large", data, size);
        struct stored before = store(&a), after;
        struct base base = base_of(&before);
        struct zp_placing_options options = { .base = base.table };
        data[9 * MIB + 12345] ^= 2;
        a = (struct archive){ .piece = 65536 };
        add_file(&a, "large", data, size);
        after = store_with(&a, &options, &before.pack, 2);
        assert_content(&after, "large", data, size);
        assert_int_equal(after.info.device_size, 65536);
        assert_int_equal(find(&after, "large")->extent_count, 3);
        drop(&after);
        base_clear(&base);
        drop(&before);
}

static void blocks_that_have_moved_are_found(void **state) {
        (void) state;
        const size_t size = 4 * MIB;
        zp_autofree uint8_t *data = noise(size + ZP_BLOCK_SIZE, 3);
        struct archive a = { .piece = 65536 };
        add_file(&a, "large", data + ZP_BLOCK_SIZE, size);
        struct stored before = store(&a), after;
        struct base base = base_of(&before);
        struct zp_placing_options options = { .base = base.table };
        a = (struct archive){ .piece = 65536 };
        add_file(&a, "large", data, size + ZP_BLOCK_SIZE);
        after = store_with(&a, &options, &before.pack, 2);
        assert_content(&after, "large", data, size + ZP_BLOCK_SIZE);
        assert_int_equal(after.info.device_size, 65536); /* the first window, with the block that is new */
        drop(&after);
        base_clear(&base);
        drop(&before);
}

/* The device from its start on, `name[i]` at `offset[i]` for `length[i]` bytes. */
static void hot_content_lies_first_in_the_order_of_its_use(void **state) {
        (void) state;
        zp_autofree uint8_t *a_data = noise(600000, 1), *b_data = noise(5 * MIB, 2), *c_data = noise(9000, 3);
        static const char text[] = "/b\t4194304\t1\n/c\n/a\t8192\t8192\n/b\t0\t8193\n/a\t0\t4096\n";
        struct zp_profile *profile = zp_profile_new();
        assert_int_equal(zp_profile_parse(profile, text, strlen(text), "test", NULL), 0);
        for (size_t piece = 3000; piece < 10 * MIB; piece *= 10) {
                zp_autoclose int hot_fd = memfd_create("hot", MFD_CLOEXEC);
                struct zp_placing_options options = { .profile = profile, .hot_fd = hot_fd };
                struct archive a = { .piece = piece };
                add_file(&a, "a", a_data, 600000);
                add_file(&a, "b", b_data, 5 * MIB);
                add_file(&a, "c", c_data, 9000);
                struct stored s = store_with(&a, &options, NULL, 2);
                assert_content(&s, "a", a_data, 600000);
                assert_content(&s, "b", b_data, 5 * MIB);
                assert_content(&s, "c", c_data, 9000);
                uint8_t have[11 * 4096];
                assert_int_equal(zp_pack_read(s.pack, 0, have, sizeof have, NULL), 0);
                assert_memory_equal(have, b_data + 4194304, 4096);
                assert_memory_equal(have + 4096, c_data, 9000);
                assert_memory_equal(have + 4 * 4096, a_data + 8192, 8192);
                assert_memory_equal(have + 6 * 4096, b_data, 3 * 4096);
                assert_memory_equal(have + 9 * 4096, a_data, 4096);
                assert_true(zp_is_zero(have + 10 * 4096, 4096));
                /* the hot area is filled up to a frame; nothing is there twice */
                assert_int_equal(s.info.device_size, FRAME + zp_round_up(600000, 4096) - 3 * 4096 + 5 * MIB - 4 * 4096);
                drop(&s);
        }
        zp_profile_free(profile);
}

static void a_profile_that_names_nothing_here_changes_no_byte(void **state) {
        (void) state;
        random_state = 9;
        struct version v = first_version();
        struct archive a = archive_of(&v, 5000);
        struct stored plain = store(&a);
        struct zp_profile *profile = zp_profile_new();
        assert_int_equal(zp_profile_add(profile, "elsewhere/file1", 0, 100, NULL), 0);
        zp_autoclose int hot_fd = memfd_create("hot", MFD_CLOEXEC);
        struct zp_placing_options options = { .profile = profile, .hot_fd = hot_fd };
        a = archive_of(&v, 5000);
        struct stored s = store_with(&a, &options, NULL, 2);
        assert_true(zp_digest_equal(&s.info.index_digest, &plain.info.index_digest));
        zp_profile_free(profile);
        drop(&s);
        drop(&plain);
        version_clear(&v);
}

static bool same_extents(const struct zp_extent *a, const struct zp_extent *b, uint32_t count) {
        for (uint32_t i = 0; i < count; i++)
                if (a[i].block != b[i].block || a[i].blocks != b[i].blocks || a[i].device != b[i].device)
                        return false;
        return true;
}

static void bytes_do_not_depend_on_threads_or_pieces(void **state) {
        (void) state;
        random_state = 77;
        struct version v = first_version();
        struct archive a = archive_of(&v, 5000);
        struct stored before = store(&a);
        struct base base = base_of(&before);
        for (int i = 0; i < FILES; i += 2)
                edit(&v, i);
        struct zp_profile *profile = random_profile();
        struct zp_digest digest;
        struct zp_extent extents[50];
        for (unsigned i = 0; i < 4; i++) {
                zp_autoclose int hot_fd = memfd_create("hot", MFD_CLOEXEC);
                struct zp_placing_options options = { .base = base.table, .profile = profile, .hot_fd = hot_fd };
                a = archive_of(&v, 999 + i * 70000);
                struct stored s = store_with(&a, &options, &before.pack, 1 + i);
                const struct zp_inode *inode = find(&s, "file0");
                assert_true(inode->extent_count > 0 && inode->extent_count <= 50);
                assert_true(i == 0 || zp_digest_equal(&digest, &s.info.index_digest));
                assert_true(i == 0 || same_extents(extents, inode->extents, inode->extent_count));
                digest = s.info.index_digest;
                memcpy(extents, inode->extents, inode->extent_count * sizeof extents[0]);
                drop(&s);
        }
        zp_profile_free(profile);
        base_clear(&base);
        drop(&before);
        version_clear(&v);
}

static void hot_content_refers_to_the_hot_parts_of_the_base_only(void **state) {
        (void) state;
        zp_autofree uint8_t *data = noise(10 * 4096, 4);
        struct archive a = { .piece = 65536 };
        add_file(&a, "f", data, 10 * 4096);
        struct stored before = store(&a);
        struct base base = base_of(&before);
        struct zp_profile *profile = zp_profile_new();
        assert_int_equal(zp_profile_add(profile, "f", 0, 4 * 4096, NULL), 0);
        static const struct zp_hot_range hot[] = { { 0, 0, 1 }, { 0, 2, 5 } };
        zp_autoclose int hot_fd = memfd_create("hot", MFD_CLOEXEC);
        struct zp_placing_options options = { base.table, hot, 2, profile, hot_fd };
        a = (struct archive){ .piece = 65536 };
        add_file(&a, "f", data, 10 * 4096);
        struct stored s = store_with(&a, &options, &before.pack, 1);
        assert_content(&s, "f", data, 10 * 4096);
        assert_int_equal(s.info.device_size, 4096); /* the second block alone */
        uint8_t block[4096];
        assert_int_equal(zp_pack_read(s.pack, 0, block, 4096, NULL), 0);
        assert_memory_equal(block, data + 4096, 4096);
        zp_profile_free(profile);
        base_clear(&base);
        drop(&s);
        drop(&before);
}

static void equal_contents_are_stored_once_hot_or_not(void **state) {
        (void) state;
        zp_autofree uint8_t *data = noise(3 * MIB, 6);
        struct zp_profile *profile = zp_profile_new();
        assert_int_equal(zp_profile_add(profile, "two", 0, MIB, NULL), 0);
        assert_int_equal(zp_profile_add(profile, "one", 0, MIB, NULL), 0);
        zp_autoclose int hot_fd = memfd_create("hot", MFD_CLOEXEC);
        struct zp_placing_options options = { .profile = profile, .hot_fd = hot_fd };
        struct archive a = { .piece = 65536 };
        add_file(&a, "one", data, 3 * MIB);
        add_file(&a, "two", data, 3 * MIB);
        data[5] ^= 2;
        add_file(&a, "three", data, 3 * MIB);
        struct stored s = store_with(&a, &options, NULL, 1);
        assert_content(&s, "three", data, 3 * MIB);
        data[5] ^= 2;
        assert_content(&s, "one", data, 3 * MIB);
        assert_content(&s, "two", data, 3 * MIB);
        assert_int_equal(s.info.device_size, 2 * 3 * MIB);
        zp_profile_free(profile);
        drop(&s);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_file_reads_as_it_was_whatever_it_is_compared_with),
                cmocka_unit_test(what_has_not_changed_is_not_stored_again),
                cmocka_unit_test(a_change_in_a_large_file_costs_one_window),
                cmocka_unit_test(blocks_that_have_moved_are_found),
                cmocka_unit_test(hot_content_lies_first_in_the_order_of_its_use),
                cmocka_unit_test(a_profile_that_names_nothing_here_changes_no_byte),
                cmocka_unit_test(bytes_do_not_depend_on_threads_or_pieces),
                cmocka_unit_test(hot_content_refers_to_the_hot_parts_of_the_base_only),
                cmocka_unit_test(equal_contents_are_stored_once_hot_or_not),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
