/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/executors/job-object.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "controller/pull-secret.h"
#include "oci/reference.h"

#define STORE "/var/lib/zeropull"
#define SECRETS "/run/pull-secrets"
#define CONFIG_FILE "config.json"
#define OLD_FILE ".dockercfg" /* by this name zeropull knows the form */
#define SIGNING "/run/signing"
#define AUTHORITIES "/run/authorities"
/* A build that failed for a passing reason begins again at once, in another pod, so often. */
#define BACKOFF_LIMIT 2
#define USER 65532 /* "nonroot", as many images have it */

/* ---- its name ---- */

static bool add_part(struct zp_buffer *text, const char *part) {
        return zp_buffer_append(text, part ? part : "", part ? strlen(part) + 1 : 1);
}

void ctl_job_name(const struct ctl_order *order, char name[CTL_JOB_NAME_SIZE]) {
        const struct ctl_spec *spec = &order->owner->spec;
        zp_autobuffer struct zp_buffer wish = { 0 };
        struct zp_reference reference = { 0 };
        struct zp_digest digest;
        char hex[ZP_SHA256_HEX_SIZE], attempts[16];
        bool is_image = zp_reference_parse(order->image->image, &reference, NULL) == 0;
        snprintf(attempts, sizeof attempts, "%d", order->image->attempts);
        const char *parts[] = { is_image ? reference.registry : order->image->image,
                                reference.repository,
                                order->image->digest,
                                order->image->platform,
                                spec->target,
                                spec->signing_secret,
                                spec->base_image,
                                spec->has_no_base ? "no base" : "",
                                spec->service_account,
                                attempts,
                                order->owner->retry };
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
                add_part(&wish, parts[i]);
        for (size_t i = 0; i < spec->pull_secret_count; i++)
                add_part(&wish, spec->pull_secrets[i]);
        zp_reference_clear(&reference);
        zp_digest_of(wish.data ? wish.data : "", wish.size, &digest);
        zp_digest_hex(&digest, hex);
        snprintf(name, CTL_JOB_NAME_SIZE, "zeropull-%.32s", hex);
}

/* ---- what it runs ---- */

static bool append(json_t *list, json_t *value) {
        return value && json_array_append_new(list, value) == 0;
}

static bool append_owned(json_t *list, char *text) {
        bool ok = text && append(list, json_string(text));
        free(text);
        return ok;
}

/* "HOST/REPOSITORY[:TAG]@DIGEST": the tag tells which earlier version to refer to. */
static char *source_name(const struct ctl_image *image) {
        struct zp_reference reference;
        if (zp_reference_parse(image->image, &reference, NULL) < 0)
                return NULL;
        char *name = zp_format("docker://%s/%s%s%s@%s", reference.registry, reference.repository,
                               reference.tag ? ":" : "", reference.tag ? reference.tag : "", image->digest);
        zp_reference_clear(&reference);
        return name;
}

bool ctl_job_is_plain_http(const struct ctl_config *config, const char *name) {
        struct zp_reference reference;
        if (zp_reference_parse(name, &reference, NULL) < 0)
                return false;
        const struct ctl_registry_entry *entry = ctl_config_registry(config, reference.registry);
        zp_reference_clear(&reference);
        return entry && entry->plain_http;
}

/* Each Secret's two files, one after the other: of a list those that are not there are passed over. */
static char *auth_files(size_t count) {
        zp_autobuffer struct zp_buffer text = { 0 };
        for (size_t i = 0; i < count; i++) {
                zp_autofree char *file = zp_format("%s" SECRETS "/%zu/" CONFIG_FILE ":" SECRETS "/%zu/" OLD_FILE,
                                                   i ? ":" : "--auth-file=", i, i);
                if (!file || !zp_buffer_text(&text, file))
                        return NULL;
        }
        return zp_steal(&text.data);
}

static json_t *command_of(const struct ctl_config *config, const struct ctl_order *order,
                          const struct ctl_secrets *secrets) {
        const struct ctl_spec *spec = &order->owner->spec;
        json_t *list = json_pack("[s, s, s, s, s, s, s]", "zeropull", "build", "--store=" STORE, "--progress=json",
                                 "--result-file=" CTL_JOB_RESULT_FILE, "--hosts-dir=", "--platform");
        bool ok = list && append(list, json_string(order->image->platform)) &&
                  append_owned(list, spec->target ? zp_format("--push=docker://%s", spec->target) : strdup("--push"));
        if (ctl_job_is_plain_http(config, order->image->image))
                ok = ok && append(list, json_string("--plain-http"));
        if (config->job.ca_config_map)
                ok = ok && append(list, json_string("--ca-file=" AUTHORITIES "/ca.crt"));
        if (secrets->count > 0)
                ok = ok && append_owned(list, auth_files(secrets->count));
        if (spec->signing_secret)
                ok = ok && append(list, json_string("--sign-key=" SIGNING "/key.pem"));
        if (spec->base_image || spec->has_no_base)
                ok = ok && append_owned(list, spec->base_image ? zp_format("--base=docker://%s", spec->base_image)
                                                               : strdup("--base=none"));
        if (ok && append_owned(list, source_name(order->image)))
                return list;
        json_decref(list);
        return NULL;
}

/* ---- its pod ---- */

static bool add_volume(json_t *volumes, json_t *mounts, const char *name, const char *path, json_t *source) {
        json_t *volume = json_pack("{s:s}", "name", name);
        bool ok = volume && source && json_object_update(volume, source) == 0;
        json_decref(source);
        if (!ok) {
                json_decref(volume);
                return false;
        }
        return append(volumes, volume) && append(mounts, json_pack("{s:s, s:s}", "name", name, "mountPath", path));
}

/* Of either type, each with a file of its own. Optional: a pod starts without the Secret, and without a key of it. */
static json_t *pull_secret(const char *name) {
        return json_pack("{s:{s:s, s:[{s:s, s:s}, {s:s, s:s}], s:b}}", "secret", "secretName", name, "items", "key",
                         CTL_DOCKER_CONFIG_JSON, "path", CONFIG_FILE, "key", CTL_DOCKER_CFG, "path", OLD_FILE,
                         "optional", 1);
}

static json_t *signing_key(const char *name) {
        return json_pack("{s:{s:s, s:[{s:s, s:s}]}}", "secret", "secretName", name, "items", "key", "key.pem", "path",
                         "key.pem");
}

static bool add_volumes(const struct ctl_config *config, const struct ctl_order *order,
                        const struct ctl_secrets *secrets, json_t *volumes, json_t *mounts) {
        const struct ctl_spec *spec = &order->owner->spec;
        json_t *room = config->job.store_size ? json_pack("{s:{s:s}}", "emptyDir", "sizeLimit", config->job.store_size)
                                              : json_pack("{s:{}}", "emptyDir");
        bool ok = add_volume(volumes, mounts, "store", STORE, room) &&
                  add_volume(volumes, mounts, "tmp", "/tmp", json_pack("{s:{}}", "emptyDir"));
        for (size_t i = 0; i < secrets->count && ok; i++) {
                char name[40], path[64];
                snprintf(name, sizeof name, "pull-secret-%zu", i);
                snprintf(path, sizeof path, SECRETS "/%zu", i);
                ok = add_volume(volumes, mounts, name, path, pull_secret(secrets->names[i]));
        }
        if (spec->signing_secret)
                ok = ok && add_volume(volumes, mounts, "signing", SIGNING, signing_key(spec->signing_secret));
        if (config->job.ca_config_map)
                ok = ok && add_volume(volumes, mounts, "authorities", AUTHORITIES,
                                      json_pack("{s:{s:s}}", "configMap", "name", config->job.ca_config_map));
        return ok;
}

/* The key's passphrase is in the same Secret, where it has one. */
static bool add_environment(const struct ctl_spec *spec, json_t *list) {
        bool ok = append(list, json_pack("{s:s, s:s}", "name", "HOME", "value", "/tmp"));
        if (spec->signing_secret)
                ok = ok && append(list, json_pack("{s:s, s:{s:{s:s, s:s, s:b}}}", "name", "ZEROPULL_PASSPHRASE",
                                                  "valueFrom", "secretKeyRef", "name", spec->signing_secret, "key",
                                                  "passphrase", "optional", 1));
        return ok;
}

static bool add_resources(const struct ctl_config *config, json_t *container) {
        json_t *limits = json_object();
        bool ok = limits != NULL;
        if (config->job.cpu)
                ok = ok && json_object_set_new(limits, "cpu", json_string(config->job.cpu)) == 0;
        if (config->job.memory)
                ok = ok && json_object_set_new(limits, "memory", json_string(config->job.memory)) == 0;
        if (ok && json_object_size(limits) > 0)
                ok = json_object_set_new(container, "resources", json_pack("{s:O}", "limits", limits)) == 0;
        json_decref(limits);
        return ok;
}

static json_t *container_of(const struct ctl_config *config, const struct ctl_order *order,
                            const struct ctl_secrets *secrets, json_t *mounts) {
        json_t *command = command_of(config, order, secrets), *environment = json_array();
        if (!command || !environment || !add_environment(&order->owner->spec, environment)) {
                json_decref(command);
                json_decref(environment);
                return NULL;
        }
        json_t *container =
                json_pack("{s:s, s:s, s:o, s:o, s:O, s:s, s:s, s:{s:b, s:b, s:{s:[s]}}}", "name", CTL_JOB_CONTAINER,
                          "image", config->job.image, "command", command, "env", environment, "volumeMounts", mounts,
                          "terminationMessagePath", CTL_JOB_RESULT_FILE, "terminationMessagePolicy",
                          "FallbackToLogsOnError", "securityContext", "allowPrivilegeEscalation", 0,
                          "readOnlyRootFilesystem", 1, "capabilities", "drop", "ALL");
        if (container && add_resources(config, container))
                return container;
        json_decref(container);
        return NULL;
}

static bool finish_pod(const struct ctl_config *config, const struct ctl_order *order, json_t *pod) {
        const struct ctl_spec *spec = &order->owner->spec;
        bool ok = true;
        if (spec->service_account)
                ok = json_object_set_new(pod, "serviceAccountName", json_string(spec->service_account)) == 0;
        if (config->job.node_selector_count == 0)
                return ok;
        json_t *selector = json_object();
        for (size_t i = 0; i < config->job.node_selector_count && ok; i++)
                ok = json_object_set_new(selector, config->job.node_selector[i].name,
                                         json_string(config->job.node_selector[i].value)) == 0;
        return json_object_set_new(pod, "nodeSelector", selector) == 0 && ok;
}

static json_t *pod_of(const struct ctl_config *config, const struct ctl_order *order,
                      const struct ctl_secrets *secrets) {
        zp_auto(json_decref) json_t *volumes = json_array(), *mounts = json_array();
        json_t *container = volumes && mounts && add_volumes(config, order, secrets, volumes, mounts)
                                    ? container_of(config, order, secrets, mounts)
                                    : NULL;
        if (!container)
                return NULL;
        json_t *pod =
                json_pack("{s:s, s:b, s:b, s:{s:b, s:i, s:i, s:i, s:{s:s}}, s:[o], s:O}", "restartPolicy", "Never",
                          "automountServiceAccountToken", 0, "enableServiceLinks", 0, "securityContext", "runAsNonRoot",
                          1, "runAsUser", USER, "runAsGroup", USER, "fsGroup", USER, "seccompProfile", "type",
                          "RuntimeDefault", "containers", container, "volumes", volumes);
        if (pod && finish_pod(config, order, pod))
                return pod;
        json_decref(pod);
        return NULL;
}

/* ---- the whole ---- */

static json_t *labels_of(const struct ctl_order *order) {
        return json_pack("{s:s, s:s, s:s, s:s}", "app.kubernetes.io/name", "zeropull", "app.kubernetes.io/component",
                         "build", "app.kubernetes.io/managed-by", "zeropull-controller", CTL_OWNER_LABEL,
                         order->owner->uid);
}

/* What zeropull says of an image that it refuses, another pod would say again (zeropull(1), EXIT STATUS); a pod that a
 * node lost is no failure of the build. */
static json_t *failure_policy(void) {
        return json_pack("{s:[{s:s, s:{s:s, s:s, s:[i, i, i]}}, {s:s, s:[{s:s}]}]}", "rules", "action", "FailJob",
                         "onExitCodes", "containerName", CTL_JOB_CONTAINER, "operator", "In", "values", 2, 3, 4,
                         "action", "Ignore", "onPodConditions", "type", "DisruptionTarget");
}

/* Of several owners only one may be the controller. */
static json_t *owner_of(const struct ctl_snapshot *owner, bool is_controller) {
        return json_pack("{s:s, s:s, s:s, s:s, s:b, s:b}", "apiVersion", CTL_API_VERSION, "kind", CTL_SNAPSHOT_KIND,
                         "name", owner->name, "uid", owner->uid, "controller", is_controller, "blockOwnerDeletion", 0);
}

json_t *ctl_job_share_object(const struct ctl_order *order, const char *uid) {
        char name[CTL_JOB_NAME_SIZE];
        ctl_job_name(order, name);
        return json_pack("{s:s, s:s, s:{s:s, s:s, s:s, s:[o]}}", "apiVersion", "batch/v1", "kind", "Job", "metadata",
                         "name", name, "namespace", order->owner->namespace, "uid", uid, "ownerReferences",
                         owner_of(order->owner, false));
}

bool ctl_job_is_owned_by(json_t *job, const struct ctl_snapshot *owner) {
        json_t *owners = json_object_get(json_object_get(job, "metadata"), "ownerReferences"), *entry;
        size_t i;
        json_array_foreach(owners, i, entry) {
                const char *uid = json_string_value(json_object_get(entry, "uid"));
                if (uid && strcmp(uid, owner->uid) == 0)
                        return true;
        }
        return false;
}

json_t *ctl_job_object(const struct ctl_config *config, const struct ctl_order *order,
                       const struct ctl_secrets *secrets) {
        const struct ctl_snapshot *owner = order->owner;
        char name[CTL_JOB_NAME_SIZE];
        json_t *pod = pod_of(config, order, secrets);
        if (!pod)
                return NULL;
        ctl_job_name(order, name);
        return json_pack("{s:s, s:s, s:{s:s, s:s, s:o, s:{s:s, s:s, s:s}, s:[o]}, s:{s:i, s:I, s:I, s:o, s:{s:{s:o}, "
                         "s:o}}}",
                         "apiVersion", "batch/v1", "kind", "Job", "metadata", "name", name, "namespace",
                         owner->namespace, "labels", labels_of(order), "annotations", "zeropull.dev/image",
                         order->image->image, "zeropull.dev/digest", order->image->digest, "zeropull.dev/platform",
                         order->image->platform, "ownerReferences", owner_of(owner, true), "spec", "backoffLimit",
                         BACKOFF_LIMIT, "activeDeadlineSeconds", (json_int_t) config->job.deadline_s,
                         "ttlSecondsAfterFinished", (json_int_t) config->job.keep_s, "podFailurePolicy",
                         failure_policy(), "template", "metadata", "labels", labels_of(order), "spec", pod);
}
