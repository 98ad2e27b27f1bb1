/* SPDX-License-Identifier: Apache-2.0
 *
 * What the controller reads of the cluster and of a hook: the first byte says as what the rest, a JSON object or a
 * pod's log, is taken. Whatever an ImageSnapshot holds, its status can be judged and written, and is then read as it
 * was written.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "controller/executors/hook-answers.h"
#include "controller/executors/job-object.h"
#include "controller/model/cluster-snapshot.h"
#include "controller/usage.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_status(struct ctl_snapshot *s) {
        static const char *const platforms[] = { "linux/amd64" };
        const char *const *wanted = s->spec.platform_count ? s->spec.platforms : platforms;
        struct ctl_status again;
        assert(ctl_status_align(&s->status, s->spec.images, s->spec.image_count, wanted,
                                s->spec.platform_count ? s->spec.platform_count : 1));
        ctl_status_judge(&s->status, s->generation, NULL, NULL, 1000000);
        json_t *written = ctl_status_json(&s->status);
        assert(ctl_status_parse(written, &again, NULL) == 0);
        json_t *second = ctl_status_json(&again);
        assert(json_equal(written, second));
        json_decref(second);
        json_decref(written);
        ctl_status_clear(&again);
}

static void check_job(const struct ctl_snapshot *s, struct ctl_config *config) {
        struct ctl_image image = { .image = (char *) s->spec.images[0], .platform = "linux/amd64" };
        struct ctl_secrets none = { 0 };
        char name[CTL_JOB_NAME_SIZE];
        config->job.image = "builder";
        const struct ctl_order order = { s, &image };
        ctl_job_name(&order, name);
        json_decref(ctl_job_object(config, &order, &none));
}

static void take_snapshot(json_t *json) {
        struct ctl_snapshot s;
        struct ctl_config *config = NULL;
        struct zp_error err = { 0 };
        int r = ctl_snapshot_parse(json, &s, &err);
        assert((r < 0) == (err.message[0] != '\0'));
        if (r == 0) {
                assert(s.spec.image_count > 0);
                check_status(&s);
                assert(ctl_config_parse(NULL, 0, NULL, &config, NULL) == 0);
                check_job(&s, config);
                ctl_config_free(config);
        }
        ctl_snapshot_clear(&s);
}

static void take_cluster(json_t *json) {
        struct ctl_cluster cluster;
        if (ctl_cluster_parse(json, &cluster, NULL) == 0)
                ctl_cluster_wants(&cluster, "team-a", "registry.example/acme/web:v1");
        ctl_cluster_clear(&cluster);
}

static void take_pod(json_t *json) {
        struct ctl_usage *usage = NULL;
        struct ctl_build build = { 0 };
        assert(ctl_usage_new(&usage, NULL) == 0);
        ctl_usage_put(usage, "ns/pod", json, NULL);
        ctl_usage_free(usage);
        ctl_job_read(json, json, &build);
        assert(memchr(build.message, '\0', sizeof build.message) &&
               memchr(build.snapshot, '\0', sizeof build.snapshot));
}

static void take_answer(json_t *json) {
        static const char digest[] = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
        struct ctl_build build = { 0 };
        ctl_hook_read_build(json, digest, &build);
        ctl_hook_read_snapshots(json, digest, &build);
}

static void take_secret(json_t *json) {
        char *config = NULL;
        if (ctl_secret_config(json, &config, NULL) < 0)
                return;
        struct ctl_secrets secrets = { .names = { strdup("s") }, .configs = { config }, .count = 1 };
        struct zp_keychain keychain = ctl_secrets_keychain(&secrets);
        struct zp_credentials found = { 0 };
        json_t *merged = NULL;
        assert(keychain.find(keychain.context, "registry.example", "acme/web", &found, NULL) == 1);
        zp_credentials_clear(&found);
        assert(ctl_secrets_merge(&secrets, &merged, NULL) == 0);
        json_decref(merged);
        ctl_secrets_clear(&secrets);
}

static void take_log(const char *log, size_t size) {
        struct ctl_build build = { .state = CTL_BUILD_RUNNING, .progress = -1 };
        ctl_job_read_log(log, size, &build);
        assert(build.state == CTL_BUILD_RUNNING && build.progress >= -1 && build.progress <= 100);
        assert(memchr(build.message, '\0', sizeof build.message) && !strpbrk(build.message, "\r\n\033"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static void (*const takers[])(json_t *) = { take_snapshot, take_cluster, take_pod, take_answer, take_secret };
        enum { TAKERS = sizeof takers / sizeof *takers };
        json_t *json = NULL;
        if (size > 0 && data[0] % (TAKERS + 1) == TAKERS)
                take_log((const char *) data + 1, size - 1);
        else if (size > 0 && zp_json_load((const char *) data + 1, size - 1, "input", &json, NULL) == 0)
                takers[data[0] % (TAKERS + 1)](json);
        json_decref(json);
        return 0;
}
