/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/remove.h"

#include <stdint.h>
#include <stdio.h>

#include "controller/config.h"
#include "controller/kube/client.h"
#include "controller/log.h"
#include "controller/model/names.h"
#include "oci/fetch.h"
#include "oci/http.h"

#define PAUSE_MS 1000
/* Until another controller has taken over, and has looked again at what it could not clean up. */
#define PATIENCE_S 40

/* ClusterImageSnapshots first: they would make others. */
static const char *const plurals[] = { CTL_CLUSTER_PLURAL, CTL_SNAPSHOT_PLURAL };

struct removal {
        struct zp_kube *kube;
        struct zp_kube_place place; /* the collection at hand */
        json_t *due;                /* of it: [namespace, name, uid] of each that nobody has deleted yet */
        size_t left;                /* of all collections, in this round */
        char first[CTL_KEY_SIZE];   /* of those: "namespace/name" */
};

static int take_in(void *context, json_t *object, struct zp_error *err) {
        struct removal *removal = context;
        const char *namespace = zp_kube_namespace(object);
        if (removal->left++ == 0)
                snprintf(removal->first, sizeof removal->first, "%s%s%s", namespace, namespace[0] ? "/" : "",
                         zp_kube_name(object));
        if (zp_kube_is_being_deleted(object))
                return 0;
        json_t *entry = json_pack("[s, s, s]", namespace, zp_kube_name(object), zp_kube_uid(object));
        return json_array_append_new(removal->due, entry) < 0 ? zp_error_errno(err, ENOMEM, "remove") : 0;
}

static int delete_due(struct removal *removal, struct zp_error *err) {
        json_t *entry;
        size_t i;
        json_array_foreach(removal->due, i, entry) {
                const char *namespace = json_string_value(json_array_get(entry, 0));
                struct zp_kube_place place = removal->place;
                place.namespace = namespace[0] ? namespace : NULL;
                place.name = json_string_value(json_array_get(entry, 1));
                int r = zp_kube_delete(removal->kube, &place, json_string_value(json_array_get(entry, 2)), err);
                if (r < 0 && r != -ENOENT && r != -EBUSY) /* gone; another of that name has come: the next round's */
                        return r;
                zp_error_clear(err);
        }
        return json_array_clear(removal->due);
}

/* Counts what is there, and deletes what nobody has deleted. */
static int go_round(struct removal *removal, const char *namespace, struct zp_error *err) {
        removal->left = 0;
        for (size_t i = namespace ? 1 : 0; i < sizeof plurals / sizeof *plurals; i++) {
                removal->place =
                        (struct zp_kube_place){ .resource = { CTL_API_VERSION, plurals[i] }, .namespace = namespace };
                int r = zp_kube_list(removal->kube, &removal->place, NULL, take_in, removal, NULL, err);
                if (r < 0 && r != -ENOENT)
                        return r;
                zp_error_clear(err);
                if ((r = delete_due(removal, err)) < 0)
                        return r;
        }
        return 0;
}

static int give_up(const struct removal *removal, struct zp_error *err) {
        zp_error_set(err, ETIMEDOUT, "%zu objects do not go, the first is %s", removal->left, removal->first);
        zp_error_hint(err, "a running controller takes their finalizer " CTL_FINALIZER " away; see docs/controller.md");
        return -ETIMEDOUT;
}

/* Twice none: a controller may have been about to make one for a ClusterImageSnapshot of which it did not know yet that
 * it is gone. */
static int remove_until_none(struct removal *removal, const char *namespace, uint64_t patience_ms,
                             struct zp_error *err) {
        size_t least = SIZE_MAX;
        uint64_t since = 0;
        for (unsigned none = 0; none < 2;) {
                int r = go_round(removal, namespace, err);
                if (r < 0)
                        return r;
                none = removal->left == 0 ? none + 1 : 0;
                if (removal->left < least) {
                        ctl_log(CTL_LOG_INFO, "%zu objects are there", removal->left);
                        least = removal->left;
                        since = zp_clock_ms();
                }
                if (removal->left > 0 && zp_clock_ms() - since > patience_ms)
                        return give_up(removal, err);
                zp_pause(PAUSE_MS, NULL);
        }
        return 0;
}

int ctl_remove_all(const struct ctl_options *options, struct zp_error *err) {
        zp_auto(ctl_config_free) struct ctl_config *config = NULL;
        zp_auto(zp_kube_config_free) struct zp_kube_config *kube_config = NULL;
        zp_auto(zp_kube_free) struct zp_kube *kube = NULL;
        zp_auto(json_decref) json_t *due = json_array();
        const struct zp_kube_config_choice choice = { .kubeconfig = options->kubeconfig };
        int r = due ? ctl_config_load(options->config, &config, err) : zp_error_errno(err, ENOMEM, "remove");
        if (r == 0)
                r = zp_kube_config_load(&choice, &kube_config, err);
        if (r < 0)
                return r;
        const struct zp_kube_options client = { .config = kube_config,
                                                .user_agent = "zeropull-controller/" ZP_VERSION };
        if ((r = zp_kube_new(&client, &kube, err)) < 0)
                return r;
        struct removal removal = { .kube = kube, .due = due };
        /* a controller that takes over tries for as long as its predecessor did */
        uint64_t patience_s = 2 * (uint64_t) config->cleanup_s + PATIENCE_S;
        return remove_until_none(&removal, options->namespace, patience_s * 1000, err);
}
