/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/node/nri-calls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "controller/log.h"
#include "nri.pb-c.h"

#define RUNTIME_SERVICE "nri.pkg.api.v1alpha1.Runtime"
#define PLUGIN_INDEX "50"
/* NRI's number of the event; a mask has bit n - 1 for the n-th. */
#define EVENT_CREATE_CONTAINER 4
/* gRPC's numbers. */
#define CODE_FAILED_PRECONDITION 9
#define CODE_UNIMPLEMENTED 12

static int malformed(struct zp_error *err) {
        return zp_error_set(err, EBADMSG, "NRI: a malformed message");
}

static int pack(const ProtobufCMessage *message, struct zp_buffer *out, struct zp_error *err) {
        size_t size = protobuf_c_message_get_packed_size(message);
        zp_autofree uint8_t *data = malloc(size ? size : 1);
        if (!data)
                return zp_error_errno(err, ENOMEM, "NRI");
        protobuf_c_message_pack(message, data);
        return zp_buffer_append(out, (const char *) data, size) ? 0 : zp_error_errno(err, ENOMEM, "NRI");
}

static ProtobufCBinaryData as_bytes(struct zp_buffer *buffer) {
        return (ProtobufCBinaryData){ .len = buffer->size, .data = (uint8_t *) buffer->data };
}

/* ---- registering ---- */

int node_nri_register(struct zp_buffer *out, struct zp_error *err) {
        zp_autobuffer struct zp_buffer payload = { 0 };
        Nri__RegisterPluginRequest plugin = NRI__REGISTER_PLUGIN_REQUEST__INIT;
        Nri__Request request = NRI__REQUEST__INIT;
        plugin.plugin_name = (char *) NODE_NRI_PLUGIN;
        plugin.plugin_idx = (char *) PLUGIN_INDEX;
        int r = pack(&plugin.base, &payload, err);
        request.service = (char *) RUNTIME_SERVICE;
        request.method = (char *) "RegisterPlugin";
        request.payload = as_bytes(&payload);
        return r < 0 ? r : pack(&request.base, out, err);
}

int node_nri_registered(const void *data, size_t size, struct zp_error *err) {
        Nri__Response *response = nri__response__unpack(NULL, size, data);
        if (!response)
                return malformed(err);
        bool is_refused = response->status && response->status->code != 0;
        int r = is_refused ? zp_error_set(err, EPERM, "NRI: containerd does not take the plugin: %s",
                                          response->status->message)
                           : 0;
        nri__response__free_unpacked(response, NULL);
        return r;
}

/* ---- being called ---- */

static int configure(struct zp_buffer *payload, struct zp_error *err) {
        Nri__ConfigureResponse response = NRI__CONFIGURE_RESPONSE__INIT;
        response.events = 1 << (EVENT_CREATE_CONTAINER - 1);
        ctl_log(CTL_LOG_INFO, "NRI: containerd asks before it makes containers");
        return pack(&response.base, payload, err);
}

/* What there is already is none of our concern; a long list comes in several parts, and each is to be echoed so. */
static int synchronize(const ProtobufCBinaryData *in, struct zp_buffer *payload, struct zp_error *err) {
        Nri__SynchronizeRequest *request = nri__synchronize_request__unpack(NULL, in->len, in->data);
        Nri__SynchronizeResponse response = NRI__SYNCHRONIZE_RESPONSE__INIT;
        if (!request)
                return malformed(err);
        response.more = request->more;
        nri__synchronize_request__free_unpacked(request, NULL);
        return pack(&response.base, payload, err);
}

static const char *annotation_of(const Nri__PodSandbox *pod, const char *key) {
        for (size_t i = 0; i < pod->n_annotations; i++)
                if (strcmp(pod->annotations[i]->key, key) == 0)
                        return pod->annotations[i]->value;
        return NULL;
}

/* *refusal.code: it is not to be made. */
static int create_container(const struct node_nri_options *options, const ProtobufCBinaryData *in,
                            struct zp_error *refusal, struct zp_error *err) {
        Nri__CreateContainerRequest *request = nri__create_container_request__unpack(NULL, in->len, in->data);
        if (!request || !request->pod || !request->container) {
                if (request)
                        nri__create_container_request__free_unpacked(request, NULL);
                return malformed(err);
        }
        const struct node_nri_container container = { .id = request->container->id,
                                                      .name = request->container->name,
                                                      .pod = request->pod->name,
                                                      .namespace = request->pod->namespace_,
                                                      .annotation = annotation_of(request->pod, options->annotation) };
        if (options->check(options->context, &container, refusal) == 0)
                zp_error_clear(refusal);
        nri__create_container_request__free_unpacked(request, NULL);
        return 0;
}

static int call(const struct node_nri_options *options, const Nri__Request *request, struct zp_buffer *payload,
                Nri__Status *status, struct zp_error *refusal, struct zp_error *err) {
        if (strcmp(request->method, "Configure") == 0)
                return configure(payload, err);
        if (strcmp(request->method, "Synchronize") == 0)
                return synchronize(&request->payload, payload, err);
        if (strcmp(request->method, "CreateContainer") == 0) {
                int r = create_container(options, &request->payload, refusal, err);
                status->code = refusal->code ? CODE_FAILED_PRECONDITION : 0;
                return r;
        }
        /* "Shutdown", and "StateChange", to which nothing is to be said */
        if (strcmp(request->method, "Shutdown") != 0 && strcmp(request->method, "StateChange") != 0)
                status->code = CODE_UNIMPLEMENTED;
        return 0;
}

int node_nri_answer(const struct node_nri_options *options, const void *data, size_t size, struct zp_buffer *out,
                    struct zp_error *err) {
        zp_autobuffer struct zp_buffer payload = { 0 };
        struct zp_error refusal = { 0 };
        Nri__Response response = NRI__RESPONSE__INIT;
        Nri__Status status = NRI__STATUS__INIT;
        Nri__Request *request = nri__request__unpack(NULL, size, data);
        if (!request)
                return malformed(err);
        int r = call(options, request, &payload, &status, &refusal, err);
        nri__request__free_unpacked(request, NULL);
        status.message = refusal.message;
        response.payload = as_bytes(&payload);
        if (status.code)
                response.status = &status;
        return r < 0 ? r : pack(&response.base, out, err);
}
