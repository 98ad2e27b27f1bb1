/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening a store: new, again, for reading, and when something is wrong with it.
 */
#include <sched.h>
#include <sys/mount.h>

#include "store-fixture.h"

static void new_store_is_private_and_empty(void **state) {
        struct world *w = *state;
        struct stat st;
        assert_int_equal(stat(w->path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0700);
        assert_whole(w);
        assert_string_equal(zp_store_path(w->store), w->path);
}

static void what_was_committed_is_there_after_reopening(void **state) {
        struct world *w = *state;
        must(w, commit_layer(w->store, "a", "1", &w->err));
        must(w, commit_image(w->store, "i", "1", "docker://docker.io/library/i:1", (const char *[]){ "a", NULL },
                             &w->err));
        world_reopen(w, ZP_STORE_WRITE);
        assert_whole(w);
        assert_true(has_layer(w, "a"));
        assert_true(has_image(w, "i"));
}

static void only_who_creates_makes_a_store(void **state) {
        static const enum zp_store_mode modes[] = { ZP_STORE_READ, ZP_STORE_WRITE };
        struct world *w = *state;
        struct zp_store *store = NULL;
        char path[128];
        snprintf(path, sizeof path, "%s/other", w->directory);
        for (size_t i = 0; i < 2; i++) {
                assert_int_equal(zp_store_open(path, modes[i], &store, &w->err), -ENOENT);
                assert_non_null(strstr(w->err.message, "no store at"));
                assert_false(exists(path));
                assert_int_equal(mkdir(path, 0755), 0);
                assert_int_equal(zp_store_open(path, modes[i], &store, &w->err), -ENOENT);
                assert_int_equal(count_entries(path), 0);
                assert_int_equal(rmdir(path), 0);
        }
}

static void directory_with_other_things_is_refused_and_kept(void **state) {
        struct world *w = *state;
        struct zp_store *store = NULL;
        char path[128], tmp[160];
        snprintf(path, sizeof path, "%s/home", w->directory);
        snprintf(tmp, sizeof tmp, "%s/tmp", path);
        assert_int_equal(mkdir(path, 0755), 0);
        assert_int_equal(mkdir(tmp, 0755), 0);
        assert_int_equal(zp_store_open(path, ZP_STORE_CREATE, &store, &w->err), -ENOTEMPTY);
        assert_true(exists(tmp));
        assert_int_equal(count_entries(path), 1);
}

static void interrupted_creation_is_completed(void **state) {
        struct world *w = *state;
        zp_store_close(w->store);
        w->store = NULL;
        must(w, zp_remove_tree(AT_FDCWD, w->path, &w->err));
        assert_int_equal(mkdir(w->path, 0700), 0);
        assert_int_equal(close(open(below(w, "zeropull.db"), O_CREAT | O_WRONLY, 0644)), 0);
        struct zp_store *store = NULL;
        assert_int_equal(zp_store_open(w->path, ZP_STORE_READ, &store, &w->err), -ENOENT);
        must(w, zp_store_open(w->path, ZP_STORE_CREATE, &w->store, &w->err));
        must(w, commit_layer(w->store, "a", "1", &w->err));
        assert_whole(w);
}

/* Each process starts at the byte that is written for it. */
static pid_t start_creating(const char *path, int start) {
        pid_t child = fork();
        if (child != 0)
                return child;
        char go;
        struct zp_store *store = NULL;
        struct zp_error err = { 0 };
        bool is_open = read(start, &go, 1) == 1 && zp_store_open(path, ZP_STORE_CREATE, &store, &err) == 0;
        if (!is_open)
                fprintf(stderr, "%s\n", err.message);
        _exit(!is_open);
}

static void processes_create_one_store_together(void **state) {
        enum { ROUNDS = 60, PROCESSES = 4 };
        struct world *w = *state;
        int failed = 0;
        for (int round = 0; round < ROUNDS; round++) {
                char path[128];
                int start[2], status;
                pid_t children[PROCESSES];
                snprintf(path, sizeof path, "%s/together-%d", w->directory, round);
                assert_int_equal(pipe(start), 0);
                for (int i = 0; i < PROCESSES; i++)
                        assert_true((children[i] = start_creating(path, start[0])) > 0);
                assert_int_equal(write(start[1], "....", PROCESSES), PROCESSES);
                for (int i = 0; i < PROCESSES; i++)
                        failed += waitpid(children[i], &status, 0) != children[i] || status != 0;
                close(start[0]);
                close(start[1]);
        }
        assert_int_equal(failed, 0);
}

static void newer_database_is_refused_with_the_reason(void **state) {
        struct world *w = *state;
        struct zp_store *store = NULL;
        run_sql(w, "PRAGMA user_version = 3");
        assert_int_equal(zp_store_open(w->path, ZP_STORE_WRITE, &store, &w->err), -EBADMSG);
        assert_non_null(strstr(w->err.message, "newer zeropull"));
        assert_int_equal(zp_store_open(w->path, ZP_STORE_READ, &store, &w->err), -EBADMSG);
}

static void foreign_database_is_refused(void **state) {
        struct world *w = *state;
        struct zp_store *store = NULL;
        run_sql(w, "PRAGMA application_id = 1");
        assert_int_equal(zp_store_open(w->path, ZP_STORE_WRITE, &store, &w->err), -EBADMSG);
}

static void overwrite(const char *path, off_t offset, size_t size) {
        int fd = open(path, O_WRONLY);
        assert_true(fd >= 0);
        for (size_t i = 0; i < size; i++)
                assert_int_equal(pwrite(fd, "\xa5", 1, offset + (off_t) i), 1);
        close(fd);
}

static void damaged_database_is_a_clear_error(void **state) {
        struct world *w = *state;
        struct zp_store *store = NULL;
        must(w, commit_layer(w->store, "a", "1", &w->err));
        struct stat st;
        assert_int_equal(stat(below(w, "zeropull.db"), &st), 0);
        overwrite(below(w, "zeropull.db"), 4096, (size_t) st.st_size - 4096);
        assert_int_equal(zp_store_open(w->path, ZP_STORE_WRITE, &store, &w->err), -EBADMSG);
        assert_non_null(strstr(w->err.message, "damaged"));
        assert_true(w->err.hint[0] != '\0');
        overwrite(below(w, "zeropull.db"), 0, 100);
        assert_int_equal(zp_store_open(w->path, ZP_STORE_READ, &store, &w->err), -EBADMSG);
}

static void values_no_zeropull_wrote_are_damage(void **state) {
        struct world *w = *state;
        struct zp_layer_record layer;
        struct zp_device_record device;
        struct zp_digest name = layer_record("a", "1").metadata_digest, of_device = device_record("a", "1").digest;
        must(w, commit_layer(w->store, "a", "1", &w->err));
        run_sql(w, "UPDATE devices SET pack_digest = x'00'");
        assert_int_equal(zp_store_find_device(w->store, &of_device, &device, &w->err), -EBADMSG);
        run_sql(w, "UPDATE conversions SET tar_size = -1");
        assert_int_equal(zp_store_find_layer(w->store, &name, NULL, &layer, &w->err), -EBADMSG);
        run_sql(w, "UPDATE conversions SET tar_size = 1, diff_id = x'00'");
        assert_int_equal(zp_store_find_layer(w->store, &name, NULL, &layer, &w->err), -EBADMSG);
        run_sql(w, "UPDATE conversions SET diff_id = layer; UPDATE layer_devices SET position = 1");
        assert_int_equal(zp_store_find_layer(w->store, &name, NULL, &layer, &w->err), -EBADMSG);
}

static void gaps_in_an_images_layers_are_damage(void **state) {
        struct world *w = *state;
        struct zp_image_record image;
        struct zp_digest digest = digest_of_text("i");
        must(w, commit_layer(w->store, "a", "1", &w->err));
        must(w, commit_image(w->store, "i", "1", NULL, (const char *[]){ "a", "a", NULL }, &w->err));
        run_sql(w, "DELETE FROM image_layers WHERE position = 0");
        assert_int_equal(zp_store_find_image(w->store, &digest, &image, &w->err), -EBADMSG);
}

static void symbolic_links_inside_the_store_are_not_followed(void **state) {
        struct world *w = *state;
        struct zp_store *store = NULL;
        struct zp_digest name = layer_record("a", "1").metadata_digest;
        must(w, commit_layer(w->store, "a", "1", &w->err));
        assert_int_equal(unlink(below(w, "layers/%s/layer.erofs", hex_of(&name))), 0);
        assert_int_equal(symlink("/etc/passwd", below(w, "layers/%s/layer.erofs", hex_of(&name))), 0);
        assert_int_equal(zp_store_open_layer_file(w->store, &name, "layer.erofs", &w->err), -ELOOP);
        assert_int_equal(rmdir(below(w, "unpacked")), 0);
        assert_int_equal(symlink("/tmp", below(w, "unpacked")), 0);
        assert_true(zp_store_open(w->path, ZP_STORE_WRITE, &store, &w->err) < 0);
}

static void fifo_in_place_of_a_file_does_not_hang(void **state) {
        struct world *w = *state;
        struct zp_digest name = layer_record("a", "1").metadata_digest;
        must(w, commit_layer(w->store, "a", "1", &w->err));
        assert_int_equal(unlink(below(w, "layers/%s/layer.erofs", hex_of(&name))), 0);
        assert_int_equal(mkfifo(below(w, "layers/%s/layer.erofs", hex_of(&name)), 0644), 0);
        assert_int_equal(zp_store_open_layer_file(w->store, &name, "layer.erofs", &w->err), -EBADMSG);
}

static void names_with_slashes_open_nothing(void **state) {
        struct world *w = *state;
        struct zp_digest name = layer_record("a", "1").metadata_digest;
        must(w, commit_layer(w->store, "a", "1", &w->err));
        assert_int_equal(zp_store_open_layer_file(w->store, &name, "../../lock", &w->err), -EINVAL);
        assert_int_equal(zp_store_open_layer_file(w->store, &name, "..", &w->err), -EINVAL);
}

static void store_opened_for_reading_refuses_to_write(void **state) {
        struct world *w = *state;
        struct zp_digest digest = digest_of_text("a");
        struct zp_staging *staging = NULL;
        struct zp_store_lock *lock = NULL;
        struct zp_prune_result result;
        world_reopen(w, ZP_STORE_READ);
        assert_int_equal(zp_staging_new(w->store, &staging, &w->err), -EROFS);
        assert_int_equal(zp_store_lock(w->store, &digest, NULL, NULL, NULL, &lock, &w->err), -EROFS);
        assert_int_equal(zp_store_add_name(w->store, "n", &digest, &w->err), -EROFS);
        assert_int_equal(zp_store_remove_image(w->store, &digest, &w->err), -EROFS);
        assert_int_equal(zp_store_prune(w->store, false, &result, &w->err), -EROFS);
        assert_int_equal(zp_store_prune(w->store, true, &result, &w->err), 0);
}

/* Runs in a mount namespace of its own. */
static void use_read_only_file_system(struct world *w) {
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                _exit(77);
        if (mount(w->directory, w->directory, NULL, MS_BIND, NULL) < 0 ||
            mount(NULL, w->directory, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) < 0)
                _exit(77);
        struct zp_store *store = NULL;
        struct zp_layer_record layer;
        struct zp_digest name = layer_record("a", "1").metadata_digest;
        int r = zp_store_open(w->path, ZP_STORE_READ, &store, &w->err);
        if (r < 0 || zp_store_find_layer(store, &name, NULL, &layer, &w->err) != 1)
                _exit(1);
        zp_store_close(store);
        _exit(zp_store_open(w->path, ZP_STORE_WRITE, &store, &w->err) == -EROFS ? 0 : 2);
}

static void assert_child_succeeds(pid_t pid) {
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) == 77)
                skip();
        assert_int_equal(WEXITSTATUS(status), 0);
}

static void reading_works_on_a_read_only_file_system(void **state) {
        struct world *w = *state;
        must(w, commit_layer(w->store, "a", "1", &w->err));
        zp_store_close(w->store);
        w->store = NULL;
        pid_t pid = fork();
        if (pid == 0)
                use_read_only_file_system(w);
        assert_child_succeeds(pid);
}

/* Reads, as another user, all a writer goes on to do. */
static void use_as_other_user(struct world *w) {
        if (setgid(65534) < 0 || setuid(65534) < 0)
                _exit(77);
        struct zp_store *store = NULL;
        struct zp_layer_record layer;
        struct zp_digest name = layer_record("a", "1").metadata_digest;
        int r = zp_store_open(w->path, ZP_STORE_READ, &store, &w->err);
        if (r < 0 || zp_store_find_layer(store, &name, NULL, &layer, &w->err) != 1)
                _exit(1);
        zp_store_close(store);
        r = zp_store_open(w->path, ZP_STORE_WRITE, &store, &w->err);
        _exit(r == -EROFS || r == -EACCES ? 0 : 2);
}

static void user_without_write_permission_can_read(void **state) {
        struct world *w = *state;
        if (geteuid() != 0)
                skip();
        must(w, commit_layer(w->store, "a", "1", &w->err));
        assert_int_equal(chmod(w->directory, 0755), 0);
        assert_int_equal(chmod(w->path, 0755), 0);
        pid_t pid = fork();
        if (pid == 0)
                use_as_other_user(w);
        assert_child_succeeds(pid);
        assert_int_equal(chmod(w->path, 0700), 0);
        pid = fork();
        if (pid == 0) {
                struct zp_store *store = NULL;
                if (setgid(65534) < 0 || setuid(65534) < 0)
                        _exit(77);
                _exit(zp_store_open(w->path, ZP_STORE_READ, &store, &w->err) == -EACCES ? 0 : 3);
        }
        assert_child_succeeds(pid);
}

static void snapshot_of(const char *path, char *out, size_t size) {
        /* Names, sizes and times of everything: enough to see any change. */
        zp_autoclosedir DIR *dir = opendir(path);
        assert_non_null(dir);
        size_t used = strlen(out);
        for (struct dirent *entry; (entry = readdir(dir));) {
                struct stat st;
                if (strcmp(entry->d_name, "..") == 0 ||
                    fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        continue;
                used += (size_t) snprintf(out + used, size - used, "%s %ld %ld.%09ld\n", entry->d_name,
                                          (long) st.st_size, (long) st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
        }
}

static void reading_changes_nothing(void **state) {
        struct world *w = *state;
        must(w, commit_layer(w->store, "a", "1", &w->err));
        assert_int_equal(mkdir(below(w, "tmp/left"), 0755), 0);
        assert_int_equal(mkdir(below(w, "layers/orphan"), 0755), 0);
        zp_store_close(w->store);
        w->store = NULL;
        char before[4096] = "", after[4096] = "";
        static const char *const directories[] = { "", "tmp", "devices", "layers", "images", "unpacked" };
        for (size_t i = 0; i < 6; i++)
                snapshot_of(below(w, "%s", directories[i]), before, sizeof before);
        world_reopen(w, ZP_STORE_READ);
        assert_true(has_layer(w, "a"));
        zp_store_close(w->store);
        w->store = NULL;
        for (size_t i = 0; i < 6; i++)
                snapshot_of(below(w, "%s", directories[i]), after, sizeof after);
        assert_string_equal(before, after);
}

static void default_path_follows_the_users_data_directory(void **state) {
        (void) state;
        zp_autofree char *path = zp_store_default_path();
        assert_non_null(path);
        if (geteuid() == 0)
                assert_string_equal(path, "/var/lib/zeropull");
        else
                assert_non_null(strstr(path, "/zeropull"));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                world_test(new_store_is_private_and_empty),
                world_test(what_was_committed_is_there_after_reopening),
                world_test(only_who_creates_makes_a_store),
                world_test(directory_with_other_things_is_refused_and_kept),
                world_test(interrupted_creation_is_completed),
                world_test(processes_create_one_store_together),
                world_test(newer_database_is_refused_with_the_reason),
                world_test(foreign_database_is_refused),
                world_test(damaged_database_is_a_clear_error),
                world_test(values_no_zeropull_wrote_are_damage),
                world_test(gaps_in_an_images_layers_are_damage),
                world_test(symbolic_links_inside_the_store_are_not_followed),
                world_test(fifo_in_place_of_a_file_does_not_hang),
                world_test(names_with_slashes_open_nothing),
                world_test(store_opened_for_reading_refuses_to_write),
                world_test(reading_works_on_a_read_only_file_system),
                world_test(user_without_write_permission_can_read),
                world_test(reading_changes_nothing),
                cmocka_unit_test(default_path_follows_the_users_data_directory),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
