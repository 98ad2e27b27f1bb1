/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/file.h"
#include "controller/kube/client.h"
#include "controller/node/fetch.h"
#include "oci/json.h"

#define DIGEST "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

/* A program in zeropull's place, which writes down what it was asked for and fails. */
static char directory[] = "/tmp/zeropull-fetch-XXXXXX";
static char *program, *asked;
static struct node_fetched fetched;

static int begin(void **state) {
        (void) state;
        if (!mkdtemp(directory))
                return -1;
        program = zp_format("%s/zeropull", directory);
        asked = zp_format("%s/asked", directory);
        zp_autofree char *script = zp_format("#!/bin/sh\necho \"$@\" > %s\necho no >&2\nexit 1\n", asked);
        return zp_replace_file(AT_FDCWD, program, script, strlen(script), 0700, NULL);
}

static int end(void **state) {
        (void) state;
        unlink(program);
        unlink(asked);
        rmdir(directory);
        free(program);
        free(asked);
        return 0;
}

static void got(void *context, const struct node_task *task, uint64_t done, uint64_t total) {
        (void) context;
        (void) task;
        (void) done;
        (void) total;
}
static const struct node_watcher nobody = { got, NULL };

static void fetch(const char *from) {
        const struct node_options options = { .store = "/s", .zeropull = program };
        zp_autofree char *copy = from ? strdup(from) : NULL;
        zp_autofree char *image = strdup("docker.io/library/nginx:1");
        const struct node_task task = { .image = image, .from = copy, .timeout_s = 60 };
        unlink(asked);
        node_fetch(&options, &task, &nobody, &fetched);
        assert_false(fetched.result.is_done);
}

static void assert_asked(const char *words) {
        zp_autofree char *text = NULL;
        size_t size;
        assert_int_equal(zp_read_file(AT_FDCWD, asked, 4096, &text, &size, NULL), 0);
        if (!strstr(text, words))
                fail_msg("'%s' is not in: %s", words, text);
}

static void a_repository_is_pulled_from_through_its_registry(void **state) {
        (void) state;
        fetch("registry.example/snapshots");
        assert_string_equal(fetched.result.reason, "PullFailed");
        assert_asked("--from docker://registry.example/snapshots docker://docker.io/library/nginx:1");
        fetch("localhost:5000/a/b");
        assert_asked("--from docker://localhost:5000/a/b ");
        fetch(NULL);
        assert_asked("--json --progress json --store /s docker://docker.io/library/nginx:1");
}

static void what_has_a_digest_is_pulled_by_it_whatever_its_name_says_besides(void **state) {
        (void) state;
        static const char *const names[] = { "r.example:5000/a/web", "r.example:5000/a/web:1",
                                             "r.example:5000/a/web@" DIGEST, "r.example:5000/a/web:1@" DIGEST };
        const struct node_options options = { .store = "/s", .zeropull = program };
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
                zp_autofree char *image = strdup(names[i]);
                const struct node_task task = { .image = image, .digest = DIGEST, .timeout_s = 60 };
                node_fetch(&options, &task, &nobody, &fetched);
                assert_asked(" docker://r.example:5000/a/web@" DIGEST "\n");
                unlink(asked);
        }
}

static void what_is_no_registrys_repository_is_refused_before_anything_runs(void **state) {
        (void) state;
        const char *const bad[] = { "dir:/srv/forged",
                                    "dir:srv/forged",
                                    "s3://bucket/x",
                                    "docker://registry.example/x",
                                    "http://127.0.0.1/x",
                                    "oci:/srv",
                                    "/srv/forged",
                                    "./forged",
                                    "../forged",
                                    "snapshots",
                                    "user:word@r.example/x",
                                    "r.example/x y",
                                    "file:/etc",
                                    "--store/x",
                                    "registry.example/../etc",
                                    "" };
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                fetch(bad[i]);
                if (strcmp(fetched.result.reason, "Refused") != 0)
                        fail_msg("%s: %s", bad[i], fetched.result.reason);
                assert_int_equal(access(asked, F_OK), -1);
        }
}

/* An API server that has nothing, asked once. */
static void *serve_once(void *context) {
        static const char none[] = "HTTP/1.1 404 X\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
        char request[4096];
        int connection = accept(*(int *) context, NULL, NULL);
        if (read(connection, request, sizeof request) > 0)
                dprintf(connection, "%s", none);
        close(connection);
        return NULL;
}

static void a_failed_pull_names_the_secret_that_could_not_be_read(void **state) {
        (void) state;
        zp_autofree char *path = zp_format("%s/kubeconfig", directory), *image = strdup("r.example/web:1");
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t size = sizeof address;
        pthread_t server;
        int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(listener, (struct sockaddr *) &address, size), 0);
        assert_int_equal(listen(listener, 1), 0);
        assert_int_equal(getsockname(listener, (struct sockaddr *) &address, &size), 0);
        assert_int_equal(pthread_create(&server, NULL, serve_once, &listener), 0);
        zp_autofree char *text = zp_format(
                "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
                "clusters: [{name: k, cluster: {server: \"http://127.0.0.1:%d\"}}]\n"
                "users: [{name: u, user: {token: t}}]\ncontexts: [{name: c, context: {cluster: k, user: u}}]\n",
                ntohs(address.sin_port));
        assert_int_equal(zp_replace_file(AT_FDCWD, path, text, strlen(text), 0600, NULL), 0);
        zp_auto(zp_kube_config_free) struct zp_kube_config *config = NULL;
        zp_auto(zp_kube_free) struct zp_kube *kube = NULL;
        const struct zp_kube_config_choice choice = { .kubeconfig = path };
        assert_int_equal(zp_kube_config_load(&choice, &config, NULL), 0);
        unlink(path);
        const struct zp_kube_options of_kube = { .config = config, .user_agent = "test" };
        assert_int_equal(zp_kube_new(&of_kube, &kube, NULL), 0);
        zp_auto(json_decref) json_t *secrets = json_pack("[{s:s, s:s}]", "namespace", "ns", "name", "missing");
        const struct node_options options = { .store = "/s", .zeropull = program, .kube = kube };
        const struct node_task task = { .image = image, .secrets = secrets, .timeout_s = 60 };
        node_fetch(&options, &task, &nobody, &fetched);
        pthread_join(server, NULL);
        close(listener);
        assert_false(fetched.result.is_done);
        assert_asked("docker://r.example/web:1"); /* it was tried */
        assert_string_equal(fetched.result.reason, "SecretNotReadable");
        assert_non_null(strstr(fetched.result.message, "no (pull secret ns/missing: "));
}

static void a_pull_that_takes_longer_than_it_may_is_ended(void **state) {
        static const char waits[] = "#!/bin/sh\necho $$ > \"$0.pid\"\nexec sleep 600\n";
        (void) state;
        zp_autofree char *slow = zp_format("%s/slow", directory), *image = strdup("r.example/web:1");
        zp_autofree char *pid_file = zp_format("%s/slow.pid", directory), *pid = NULL;
        size_t size;
        assert_int_equal(zp_replace_file(AT_FDCWD, slow, waits, strlen(waits), 0700, NULL), 0);
        const struct node_options options = { .store = "/s", .zeropull = slow };
        struct node_task task = { .image = image, .timeout_s = 1 };
        for (; access(pid_file, F_OK) < 0; task.timeout_s *= 3) { /* it may end before it has begun */
                assert_true(task.timeout_s < 100);
                node_fetch(&options, &task, &nobody, &fetched);
                assert_false(fetched.result.is_done);
                assert_string_equal(fetched.result.reason, "DeadlineExceeded");
        }
        assert_int_equal(zp_read_file(AT_FDCWD, pid_file, 32, &pid, &size, NULL), 0);
        assert_int_equal(kill((pid_t) strtol(pid, NULL, 10), 0), -1);
        assert_int_equal(errno, ESRCH);
        unlink(pid_file);
        unlink(slow);
}

/* Runs `script` in zeropull's place. */
static void fetch_by(const char *script, const struct node_task *task) {
        zp_autofree char *played = zp_format("%s/played", directory);
        assert_int_equal(zp_replace_file(AT_FDCWD, played, script, strlen(script), 0700, NULL), 0);
        const struct node_options options = { .store = "/s", .zeropull = played };
        node_fetch(&options, task, &nobody, &fetched);
        unlink(played);
}

static void a_pull_that_ends_well_after_it_was_told_to_end_has_its_image(void **state) {
        (void) state;
        zp_autofree char *image = strdup("r.example/web:1");
        zp_autofree char *begun = zp_format("%s/played.begun", directory);
        struct node_task task = { .image = image, .timeout_s = 1 };
        for (; access(begun, F_OK) < 0; task.timeout_s *= 3) { /* it may end before it has begun */
                assert_true(task.timeout_s < 100);
                fetch_by("#!/bin/sh\ntrap \"echo '{\\\"digest\\\": \\\"" DIGEST
                         "\\\", \\\"bytesReceived\\\": 7, \\\"wasPresent\\\": false}'; exit 0\" TERM\n"
                         ": > \"$0.begun\"\nwhile :; do sleep 600 & wait; done\n",
                         &task);
        }
        unlink(begun);
        assert_true(fetched.result.is_done);
        assert_string_equal(fetched.result.digest, DIGEST);
        assert_false(fetched.result.was_present);
}

static void a_removal_whose_data_could_not_be_freed_is_not_done(void **state) {
        (void) state;
        zp_autofree char *image = strdup("r.example/web:1");
        const struct node_task task = { .is_removal = true, .image = image, .digest = DIGEST };
        fetch_by("#!/bin/sh\n[ $1 = remove ] && exit 0\necho zeropull: a pull is under way >&2\nexit 1\n", &task);
        assert_false(fetched.result.is_done);
        assert_string_equal(fetched.result.reason, "PruneFailed");
        assert_string_equal(fetched.result.message, "a pull is under way");
        fetch_by("#!/bin/sh\n[ $1 = remove ] && exit 3\nexit 0\n", &task);
        assert_true(fetched.result.is_done);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_repository_is_pulled_from_through_its_registry),
                cmocka_unit_test(what_has_a_digest_is_pulled_by_it_whatever_its_name_says_besides),
                cmocka_unit_test(what_is_no_registrys_repository_is_refused_before_anything_runs),
                cmocka_unit_test(a_failed_pull_names_the_secret_that_could_not_be_read),
                cmocka_unit_test(a_pull_that_takes_longer_than_it_may_is_ended),
                cmocka_unit_test(a_pull_that_ends_well_after_it_was_told_to_end_has_its_image),
                cmocka_unit_test(a_removal_whose_data_could_not_be_freed_is_not_done),
        };
        return cmocka_run_group_tests(tests, begin, end);
}
