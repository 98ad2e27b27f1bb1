/* SPDX-License-Identifier: Apache-2.0 */
#include "ship/look.h"

#include <pthread.h>
#include <stdlib.h>

#include "ship/artifact.h"

struct zp_look {
        struct zp_remote *remote;
        zp_pull_check check;
        void *context;
        struct zp_looked looked;
        pthread_t thread;
        bool is_running;
};

static void *check_newest(void *context) {
        struct zp_look *look = context;
        struct zp_looked *l = &look->looked;
        l->check_result =
                look->check(look->context, &l->artifacts[l->count - 1].manifest, &l->subject, &l->check_error);
        return NULL;
}

static void look_at_newest(struct zp_look *look) {
        struct zp_looked *l = &look->looked;
        pthread_t checking;
        bool is_parallel = look->check && pthread_create(&checking, NULL, check_newest, look) == 0;
        struct zp_remote_artifact *newest = &l->artifacts[l->count - 1];
        l->manifest = zp_steal(&newest->body);
        if (!l->manifest)
                l->manifest_result =
                        zp_remote_get_manifest(look->remote, &newest->manifest, &l->manifest, &l->manifest_error);
        if (is_parallel)
                pthread_join(checking, NULL);
        else if (look->check)
                check_newest(look);
}

static void *run(void *context) {
        struct zp_look *look = context;
        struct zp_looked *l = &look->looked;
        l->find_result =
                zp_remote_find(look->remote, &l->subject, ZP_ARTIFACT_TYPE, &l->artifacts, &l->count, &l->find_error);
        if (l->find_result == 0 && l->count > 0)
                look_at_newest(look);
        return NULL;
}

struct zp_look *zp_look_begin(struct zp_remote *remote, const struct zp_digest *subject, zp_pull_check check,
                              void *context) {
        struct zp_look *look = calloc(1, sizeof *look);
        if (!look)
                return NULL;
        look->remote = remote;
        look->check = check;
        look->context = context;
        look->looked.subject = *subject;
        look->is_running = pthread_create(&look->thread, NULL, run, look) == 0;
        if (look->is_running)
                return look;
        free(look);
        return NULL;
}

const struct zp_looked *zp_look_end(struct zp_look *look) {
        if (look->is_running)
                pthread_join(look->thread, NULL);
        look->is_running = false;
        return &look->looked;
}

void zp_look_free(struct zp_look *look) {
        if (!look)
                return;
        zp_look_end(look);
        if (look->looked.artifacts)
                zp_remote_artifacts_free(look->looked.artifacts, look->looked.count);
        free(look->looked.manifest);
        free(look);
}
