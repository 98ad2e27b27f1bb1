/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/kube/config.h"
#include "controller/kube/client.h"
#include "controller/kube/reflector.h"
#include "controller/kube/apply.h"
#include "controller/kube/events.h"
#include "controller/kube/lease.h"
#pragma GCC diagnostic ignored "-Wunused-parameter"
int zp_kube_config_load(const struct zp_kube_config_choice *choice, struct zp_kube_config **out, struct zp_error *err) {
        return zp_error_set(err, ENOSYS, "not there yet");
}
void zp_kube_config_free(struct zp_kube_config *config) {
}
const char *zp_kube_config_server(const struct zp_kube_config *config) {
        return "";
}
const char *zp_kube_config_namespace(const struct zp_kube_config *config) {
        return "";
}
int zp_kube_new(const struct zp_kube_options *options, struct zp_kube **out, struct zp_error *err) {
        return zp_error_set(err, ENOSYS, "not there yet");
}
void zp_kube_free(struct zp_kube *kube) {
}
int zp_kube_call(struct zp_kube *kube, const struct zp_kube_request *request, json_t **out, struct zp_error *err) {
        return zp_error_set(err, ENOSYS, "not there yet");
}
int zp_kube_get(struct zp_kube *kube, const struct zp_kube_place *place, json_t **out, struct zp_error *err) {
        return zp_error_set(err, ENOSYS, "not there yet");
}
int zp_kube_create(struct zp_kube *kube, const struct zp_kube_place *place, json_t *object, json_t **out,
                   struct zp_error *err) {
        return zp_error_set(err, ENOSYS, "not there yet");
}
int zp_kube_replace(struct zp_kube *kube, const struct zp_kube_place *place, json_t *object, json_t **out,
                    struct zp_error *err) {
        return zp_error_set(err, ENOSYS, "not there yet");
}
int zp_kube_delete(struct zp_kube *kube, const struct zp_kube_place *place, const char *uid, struct zp_error *err) {
        return zp_error_set(err, ENOSYS, "not there yet");
}
int zp_kube_list(struct zp_kube *kube, const struct zp_kube_place *place, const char *query, zp_kube_each each,
                 void *context, char **resource_version, struct zp_error *err) {
        return zp_error_set(err, ENOSYS, "not there yet");
}
char *zp_kube_escape(const char *text) {
        return NULL;
}
const char *zp_kube_name(json_t *object) {
        return "";
}
const char *zp_kube_namespace(json_t *object) {
        return "";
}
const char *zp_kube_uid(json_t *object) {
        return "";
}
const char *zp_kube_resource_version(json_t *object) {
        return "";
}
int64_t zp_kube_generation(json_t *object) {
        return 0;
}
bool zp_kube_is_being_deleted(json_t *object) {
        return false;
}
char *zp_kube_time_now(char text[ZP_KUBE_TIME_SIZE]) {
        return NULL;
}
struct zp_kube_statistics zp_kube_statistics(struct zp_kube *kube) {
        return (struct zp_kube_statistics){ 0 };
}
int zp_kube_reflector_start(const struct zp_kube_reflector_options *options, struct zp_kube_reflector **out,
                            struct zp_error *err) {
        return zp_error_set(err, ENOSYS, "not there yet");
}
void zp_kube_reflector_stop(struct zp_kube_reflector *reflector) {
}
struct zp_kube_reflector_statistics zp_kube_reflector_statistics(struct zp_kube_reflector *reflector) {
        return (struct zp_kube_reflector_statistics){ 0 };
}
int zp_kube_apply(struct zp_kube *kube, const struct zp_kube_apply *apply, json_t *object, json_t **out,
                  struct zp_error *err) {
        return zp_error_set(err, ENOSYS, "not there yet");
}
int zp_kube_add_finalizer(struct zp_kube *kube, const struct zp_kube_place *place, const char *finalizer,
                          json_t *object, struct zp_error *err) {
        return zp_error_set(err, ENOSYS, "not there yet");
}
int zp_kube_remove_finalizer(struct zp_kube *kube, const struct zp_kube_place *place, const char *finalizer,
                             json_t *object, struct zp_error *err) {
        return zp_error_set(err, ENOSYS, "not there yet");
}
bool zp_kube_has_finalizer(json_t *object, const char *finalizer) {
        return false;
}
int zp_kube_events_start(const struct zp_kube_events_options *options, struct zp_kube_events **out,
                         struct zp_error *err) {
        return zp_error_set(err, ENOSYS, "not there yet");
}
void zp_kube_events_stop(struct zp_kube_events *events) {
}
void zp_kube_events_post(struct zp_kube_events *events, const struct zp_kube_event *event) {
}
struct zp_kube_events_statistics zp_kube_events_statistics(struct zp_kube_events *events) {
        return (struct zp_kube_events_statistics){ 0 };
}
int zp_kube_lease_start(const struct zp_kube_lease_options *options, struct zp_kube_lease **out, struct zp_error *err) {
        return zp_error_set(err, ENOSYS, "not there yet");
}
void zp_kube_lease_stop(struct zp_kube_lease *lease) {
}
bool zp_kube_lease_is_held(struct zp_kube_lease *lease) {
        return false;
}
