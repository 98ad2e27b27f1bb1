/* SPDX-License-Identifier: Apache-2.0
 *
 * The records of snapshots: the rules are those of containerd's own store.
 */
#include "support.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "snapshotter/control/metastore.h"

static struct snap_metastore *store;
static struct zp_arena arena;

static int setup_store(void **state) {
        return setup(state) < 0 ? -1 : snap_metastore_open("metadata.db", &store, &err);
}

static int teardown_store(void **state) {
        snap_metastore_close(store);
        zp_arena_clear(&arena);
        return teardown(state);
}

static int make_nothing(void *context, const struct snap_chain *chain, struct zp_error *error) {
        int *result = context;
        assert_true(chain->info.id > 0);
        return result && *result < 0 ? zp_error_set(error, -*result, "refused by the test") : 0;
}

static int create(enum snap_kind kind, const char *name, const char *parent, struct snap_chain *chain) {
        struct snap_create new = { .kind = kind, .name = name, .parent = parent, .make = make_nothing };
        return snap_metastore_create(store, &arena, &new, chain, &err);
}

static uint64_t prepare(const char *name, const char *parent) {
        struct snap_chain chain;
        assert_ok(create(SNAP_ACTIVE, name, parent, &chain));
        return chain.info.id;
}

static struct snap_info get(const char *name) {
        struct snap_info info;
        assert_ok(snap_metastore_get(store, &arena, name, &info, NULL, &err));
        return info;
}

static int commit_on(const char *name, const char *key, const char *parent) {
        struct snap_info info;
        struct snap_commit commit = { .name = name, .key = key, .parent = parent, .usage = { 4096, 3 } };
        int r = snap_metastore_get(store, &arena, key, &info, NULL, &err);
        commit.id = r == 0 ? info.id : 0;
        return r < 0 ? r : snap_metastore_commit(store, &commit, &err);
}

static int commit(const char *name, const char *key) {
        return commit_on(name, key, "");
}

/* A committed snapshot. */
static void layer(const char *name, const char *parent) {
        prepare("tmp", parent);
        assert_ok(commit(name, "tmp"));
}

static int remove_it(const char *name) {
        uint64_t id, base_id;
        return snap_metastore_remove(store, name, &id, &base_id, &err);
}

static void a_snapshot_is_what_was_asked_for(void **state) {
        (void) state;
        struct timespec before;
        struct snap_label labels[] = { { "b", "2" }, { "a", "1" }, { "empty", "" } };
        struct snap_create new = {
                .kind = SNAP_VIEW, .name = "v", .parent = "", .labels = { labels, 3 }, .make = make_nothing
        };
        struct snap_chain chain;
        clock_gettime(CLOCK_REALTIME, &before);
        assert_ok(snap_metastore_create(store, &arena, &new, &chain, &err));
        struct snap_info info = get("v");
        assert_int_equal(info.id, chain.info.id);
        assert_string_equal(info.name, "v");
        assert_string_equal(info.parent, "");
        assert_int_equal(info.kind, SNAP_VIEW);
        assert_true(info.created_ns >= before.tv_sec * 1000000000 + before.tv_nsec);
        assert_true(info.updated_ns == info.created_ns);
        assert_int_equal(info.labels.count, 2);
        assert_string_equal(snap_label_get(&info.labels, "a"), "1");
        assert_string_equal(snap_label_get(&info.labels, "b"), "2");
}

static void a_chain_has_the_nearest_parent_first(void **state) {
        (void) state;
        struct snap_chain chain;
        layer("one", "");
        layer("two", "one");
        layer("three", "two");
        assert_ok(create(SNAP_ACTIVE, "c", "three", &chain));
        assert_int_equal(chain.parent_count, 3);
        struct snap_chain again;
        assert_ok(snap_metastore_get_chain(store, &arena, "c", &again, &err));
        assert_int_equal(again.parent_count, 3);
        const char *names[] = { "three", "two", "one" };
        for (size_t i = 0; i < 3; i++) {
                assert_int_equal(chain.parents[i], get(names[i]).id);
                assert_int_equal(again.parents[i], chain.parents[i]);
        }
        assert_int_equal(snap_metastore_get_chain(store, &arena, "three", &again, &err), -EBUSY);
        assert_int_equal(snap_metastore_get_chain(store, &arena, "absent", &again, &err), -ENOENT);
}

static void names_are_taken_once(void **state) {
        (void) state;
        struct snap_chain chain;
        layer("p", "");
        prepare("a", "p");
        assert_int_equal(create(SNAP_ACTIVE, "a", "p", &chain), -EEXIST);
        assert_int_equal(create(SNAP_VIEW, "p", "", &chain), -EEXIST);
        assert_int_equal(commit("p", "a"), -EEXIST);
        assert_int_equal(commit("a", "a"), -EEXIST);
}

static void parents_must_be_there_and_committed(void **state) {
        (void) state;
        struct snap_chain chain;
        prepare("active", "");
        assert_int_equal(create(SNAP_ACTIVE, "a", "absent", &chain), -ENOENT);
        assert_int_equal(create(SNAP_ACTIVE, "a", "active", &chain), -EINVAL);
        assert_int_equal(snap_metastore_get(store, &arena, "a", &chain.info, NULL, &err), -ENOENT);
}

static void records_are_for_their_owner_alone(void **state) {
        (void) state;
        static const char *const files[] = { "metadata.db", "metadata.db-wal", "metadata.db-shm" };
        struct stat st;
        for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
                assert_int_equal(stat(files[i], &st), 0);
                assert_int_equal(st.st_mode & 07777, 0600);
        }
}

static void what_cannot_be_made_is_not_recorded(void **state) {
        (void) state;
        int refusal = -EIO;
        struct snap_create new = {
                .kind = SNAP_ACTIVE, .name = "a", .parent = "", .make = make_nothing, .context = &refusal
        };
        struct snap_chain chain;
        assert_int_equal(snap_metastore_create(store, &arena, &new, &chain, &err), -EIO);
        assert_int_equal(snap_metastore_get(store, &arena, "a", &chain.info, NULL, &err), -ENOENT);
        assert_int_equal(snap_metastore_has_id(store, chain.info.id, &err), 0);
}

struct made {
        bool is_full; /* the disk, as soon as it is made */
        int result;
        uint64_t id;
        unsigned taken_back;
        struct rlimit before;
};

static int make_something(void *context, const struct snap_chain *chain, struct zp_error *error) {
        struct made *made = context;
        struct rlimit none = made->before;
        made->id = chain->info.id;
        none.rlim_cur = 0;
        if (made->is_full)
                assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
        return made->result < 0 ? zp_error_set(error, -made->result, "refused by the test") : 0;
}

static void count_back(void *context) {
        ((struct made *) context)->taken_back++;
}

static int create_made(struct made *made) {
        struct snap_chain chain;
        struct snap_create new = { .kind = SNAP_ACTIVE,
                                   .name = "a",
                                   .parent = "",
                                   .make = make_something,
                                   .take_back = count_back,
                                   .context = made };
        return snap_metastore_create(store, &arena, &new, &chain, &err);
}

static void what_was_made_is_taken_back_when_nothing_is_recorded(void **state) {
        (void) state;
        struct made refused = { .result = -EIO }, full = { .is_full = true }, good = { 0 };
        assert_int_equal(create_made(&refused), -EIO);
        assert_int_equal(refused.taken_back, 1);

        signal(SIGXFSZ, SIG_IGN);
        assert_int_equal(getrlimit(RLIMIT_FSIZE, &full.before), 0);
        int r = create_made(&full); /* fails as it is committed */
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &full.before), 0);
        assert_true(r < 0);
        assert_int_equal(full.taken_back, 1);

        assert_ok(create_made(&good));
        assert_int_equal(good.taken_back, 0);
        assert_int_equal(get("a").id, good.id);
}

static void a_committed_snapshot_replaces_the_active_one(void **state) {
        (void) state;
        struct snap_info info;
        struct snap_usage usage;
        layer("base", "");
        uint64_t id = prepare("a", "base");
        int64_t created = get("a").created_ns;
        assert_ok(commit("done", "a"));
        assert_int_equal(snap_metastore_get(store, &arena, "a", &info, NULL, &err), -ENOENT);
        assert_ok(snap_metastore_get(store, &arena, "done", &info, &usage, &err));
        assert_int_equal(info.id, id);
        assert_int_equal(info.kind, SNAP_COMMITTED);
        assert_string_equal(info.parent, "base");
        assert_true(info.created_ns > created && info.updated_ns == info.created_ns);
        assert_int_equal(usage.size, 4096);
        assert_int_equal(usage.inodes, 3);
}

static void only_an_active_snapshot_is_committed(void **state) {
        (void) state;
        struct snap_chain chain;
        layer("base", "");
        assert_ok(create(SNAP_VIEW, "v", "base", &chain));
        assert_int_equal(commit("x", "v"), -EBUSY);
        assert_int_equal(commit("x", "base"), -EBUSY);
        assert_int_equal(commit("x", "absent"), -ENOENT);
        /* measured, removed, and made again under the same key meanwhile */
        struct snap_commit late = { .name = "x", .key = "a", .parent = "", .id = prepare("a", "base") };
        assert_ok(remove_it("a"));
        prepare("a", "base");
        assert_int_equal(snap_metastore_commit(store, &late, &err), -ENOENT);
}

static void a_snapshot_without_a_parent_can_get_one_by_its_commit(void **state) {
        (void) state;
        layer("base", "");
        layer("other", "");
        prepare("a", "");
        prepare("active", "");
        assert_int_equal(commit_on("x", "a", "absent"), -ENOENT);
        assert_int_equal(commit_on("x", "a", "active"), -EBUSY);
        assert_ok(commit_on("x", "a", "base"));
        assert_string_equal(get("x").parent, "base");
        assert_int_equal(remove_it("base"), -EBUSY);
        prepare("b", "base");
        assert_int_equal(commit_on("y", "b", "other"), -EINVAL);
        assert_ok(commit_on("y", "b", "base"));
}

static void a_parent_is_removed_after_its_children(void **state) {
        (void) state;
        layer("base", "");
        prepare("a", "base");
        assert_int_equal(remove_it("base"), -EBUSY);
        assert_message_has("cannot remove");
        assert_ok(remove_it("a"));
        assert_ok(remove_it("base"));
        assert_int_equal(remove_it("base"), -ENOENT);
}

static void an_id_is_never_given_twice(void **state) {
        (void) state;
        uint64_t first = prepare("a", "");
        assert_ok(remove_it("a"));
        snap_metastore_close(store);
        assert_ok(snap_metastore_open("metadata.db", &store, &err));
        assert_true(prepare("a", "") > first);
}

static void labels_are_replaced_or_set_one_by_one(void **state) {
        (void) state;
        struct snap_info info;
        struct snap_label first[] = { { "a", "1" }, { "b", "2" } }, second[] = { { "b", "3" }, { "c", "4" } };
        prepare("x", "");
        int64_t before = get("x").updated_ns;
        struct snap_update update = { .name = "x", .labels = { first, 2 } };
        assert_ok(snap_metastore_update(store, &arena, &update, &info, &err));
        assert_int_equal(info.labels.count, 2);
        assert_true(info.updated_ns > before && info.created_ns <= before);
        const char *keys[] = { "b", "a" }; /* sets b, takes a away, leaves c alone */
        update = (struct snap_update){ .name = "x", .labels = { second, 2 }, .keys = keys, .key_count = 2 };
        assert_ok(snap_metastore_update(store, &arena, &update, &info, &err));
        info = get("x");
        assert_int_equal(info.labels.count, 1);
        assert_string_equal(snap_label_get(&info.labels, "b"), "3");
        update.name = "absent";
        assert_int_equal(snap_metastore_update(store, &arena, &update, &info, &err), -ENOENT);
        update = (struct snap_update){ .name = "x" };
        assert_ok(snap_metastore_update(store, &arena, &update, &info, &err));
        assert_int_equal(get("x").labels.count, 0);
}

static void labels_are_not_inherited_by_a_commit(void **state) {
        (void) state;
        struct snap_label labels[] = { { "a", "1" } }, others[] = { { "b", "2" } };
        struct snap_create new = {
                .kind = SNAP_ACTIVE, .name = "k", .parent = "", .labels = { labels, 1 }, .make = make_nothing
        };
        struct snap_chain chain;
        assert_ok(snap_metastore_create(store, &arena, &new, &chain, &err));
        struct snap_commit with = {
                .name = "n", .key = "k", .parent = "", .id = chain.info.id, .labels = { others, 1 }
        };
        assert_ok(snap_metastore_commit(store, &with, &err));
        struct snap_info info = get("n");
        assert_int_equal(info.labels.count, 1);
        assert_string_equal(snap_label_get(&info.labels, "b"), "2");
}

static void pages_show_each_snapshot_once(void **state) {
        (void) state;
        struct snap_info page[3];
        char name[16], seen[10] = "";
        for (int i = 0; i < 8; i++) {
                snprintf(name, sizeof name, "%d", i);
                prepare(name, "");
        }
        uint64_t after = 0;
        int count;
        while ((count = snap_metastore_list(store, &arena, after, 3, page, &err)) > 0) {
                for (int i = 0; i < count; i++)
                        strcat(seen, page[i].name);
                after = page[count - 1].id;
                remove_it("0");
                remove_it("7");
        }
        assert_int_equal(count, 0);
        assert_string_equal(seen, "0123456");
}

static void long_chains_are_no_trouble(void **state) {
        (void) state;
        struct snap_chain chain;
        char name[16], parent[16] = "";
        for (int i = 0; i < 200; i++) {
                snprintf(name, sizeof name, "%d", i);
                layer(name, parent);
                strcpy(parent, name);
        }
        assert_ok(create(SNAP_VIEW, "top", parent, &chain));
        assert_int_equal(chain.parent_count, 200);
        assert_int_equal(chain.parents[199], get("0").id);
}

/* ---- accelerated snapshots ---- */

static struct snap_base base_of(const char *chain, uint16_t layers) {
        struct snap_base base = { .reference = "registry.example/web:1", .layers = layers, .of = 3 };
        zp_digest_of(chain, strlen(chain), &base.chain_id);
        zp_digest_of("manifest", 8, &base.manifest_digest);
        return base;
}

static int accelerate(const char *name, const char *parent, const char *chain, uint16_t layers) {
        struct snap_accelerated accelerated = { .name = name, .parent = parent, .base = base_of(chain, layers) };
        return snap_metastore_add_accelerated(store, &accelerated, &err);
}

static uint64_t base_id(const char *name) {
        struct snap_base base;
        assert_ok(snap_metastore_get_base(store, &arena, name, &base, &err));
        return base.id;
}

static void a_chain_ends_at_the_nearest_base(void **state) {
        (void) state;
        struct snap_chain chain;
        assert_ok(accelerate("one", "", "1", 1));
        assert_ok(accelerate("two", "one", "1 2", 2));
        layer("three", "two");
        assert_ok(create(SNAP_ACTIVE, "c", "three", &chain));
        assert_int_equal(chain.parent_count, 1);
        assert_int_equal(chain.parents[0], get("three").id);
        assert_int_equal(chain.base.id, base_id("two"));
        assert_int_equal(chain.base.layers, 2);
        assert_string_equal(chain.base.reference, "registry.example/web:1");
        assert_int_equal(base_id("three"), chain.base.id);
        assert_int_equal(base_id("absent"), 0);
        assert_true(base_id("one") != base_id("two"));
        struct snap_info info = get("two");
        assert_int_equal(info.kind, SNAP_COMMITTED);
        assert_string_equal(info.parent, "one");
}

static void a_target_is_recorded_once(void **state) {
        (void) state;
        struct snap_info page[4];
        assert_ok(accelerate("a", "", "1", 1));
        assert_ok(accelerate("b", "", "1", 1)); /* another namespace */
        assert_int_equal(snap_metastore_list(store, &arena, 0, 4, page, &err), 1);
        assert_ok(accelerate("c", "a", "1", 1)); /* on another parent it is another one, of the same base */
        assert_int_equal(base_id("c"), base_id("a"));
        assert_int_equal(accelerate("a", "c", "2", 2), -EEXIST);
        assert_int_equal(accelerate("d", "absent", "2", 2), -ENOENT);
}

static void a_base_goes_with_its_last_snapshot(void **state) {
        (void) state;
        uint64_t id, base, expected;
        assert_ok(accelerate("a", "", "1", 1));
        assert_ok(accelerate("b", "a", "1", 1));
        expected = base_id("a");
        assert_ok(snap_metastore_remove(store, "b", &id, &base, &err));
        assert_int_equal(base, 0);
        assert_int_equal(snap_metastore_has_base(store, expected, &err), 1);
        assert_ok(snap_metastore_remove(store, "a", &id, &base, &err));
        assert_int_equal(base, expected);
        assert_int_equal(snap_metastore_has_base(store, expected, &err), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_store, teardown_store)

static void outcomes_are_told_the_newest_first_and_once(void **state) {
        (void) state;
        struct snap_outcome outcomes[8];
        struct snap_outcome one = { .manifest_digest = { { 1 } }, .reference = "a", .reason = "no" };
        struct snap_outcome other = { .manifest_digest = { { 2 } }, .reference = "b" };
        assert_ok(snap_metastore_note(store, &one, &err));
        assert_ok(snap_metastore_note(store, &other, &err));
        one.reason = NULL;
        assert_ok(snap_metastore_note(store, &one, &err));
        assert_int_equal(snap_metastore_list_outcomes(store, &arena, 8, outcomes, &err), 2);
        assert_string_equal(outcomes[0].reference, "a");
        assert_null(outcomes[0].reason);
        assert_true(zp_digest_equal(&outcomes[1].manifest_digest, &other.manifest_digest));
        assert_true(outcomes[0].updated_ns >= outcomes[1].updated_ns && outcomes[1].updated_ns > 0);
        assert_int_equal(snap_metastore_list_outcomes(store, &arena, 1, outcomes, &err), 1);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                TEST(a_snapshot_is_what_was_asked_for),
                TEST(a_chain_has_the_nearest_parent_first),
                TEST(names_are_taken_once),
                TEST(parents_must_be_there_and_committed),
                TEST(records_are_for_their_owner_alone),
                TEST(what_cannot_be_made_is_not_recorded),
                TEST(what_was_made_is_taken_back_when_nothing_is_recorded),
                TEST(a_committed_snapshot_replaces_the_active_one),
                TEST(only_an_active_snapshot_is_committed),
                TEST(a_snapshot_without_a_parent_can_get_one_by_its_commit),
                TEST(a_parent_is_removed_after_its_children),
                TEST(an_id_is_never_given_twice),
                TEST(labels_are_replaced_or_set_one_by_one),
                TEST(labels_are_not_inherited_by_a_commit),
                TEST(pages_show_each_snapshot_once),
                TEST(long_chains_are_no_trouble),
                TEST(a_chain_ends_at_the_nearest_base),
                TEST(outcomes_are_told_the_newest_first_and_once),
                TEST(a_target_is_recorded_once),
                TEST(a_base_goes_with_its_last_snapshot),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
