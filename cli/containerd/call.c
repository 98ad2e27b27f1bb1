/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/containerd/call.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "cli/containerd/answer.h"

#define CONNECT_TIMEOUT_MS 5000L
/* containerd takes no larger ones. */
#define REQUEST_MAX (16u << 20)

struct containerd_caller {
        char *address;
        CURL *handle;
        struct curl_slist *headers;
        const struct zp_cancel *cancel;
};

static size_t on_header(char *line, size_t one, size_t size, void *answer) {
        (void) one;
        containerd_answer_take_header(answer, line, size);
        return size;
}

static size_t on_body(char *data, size_t one, size_t size, void *answer) {
        (void) one;
        return containerd_answer_take_body(answer, data, size) ? size : 0;
}

static int on_progress(void *caller, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) {
        (void) a, (void) b, (void) c, (void) d;
        return zp_cancelled(((struct containerd_caller *) caller)->cancel);
}

static int add_header(struct containerd_caller *caller, const char *name, const char *value, struct zp_error *err) {
        zp_autofree char *line = zp_format("%s: %s", name, value);
        struct curl_slist *longer = line ? curl_slist_append(caller->headers, line) : NULL;
        if (!longer)
                return zp_error_errno(err, ENOMEM, "containerd");
        caller->headers = longer;
        curl_easy_setopt(caller->handle, CURLOPT_HTTPHEADER, caller->headers);
        return 0;
}

static int set_up(struct containerd_caller *caller, const char *namespace, struct zp_error *err) {
        CURL *handle = caller->handle;
        curl_easy_setopt(handle, CURLOPT_UNIX_SOCKET_PATH, caller->address);
        curl_easy_setopt(handle, CURLOPT_PROXY, "");
        curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http");
        curl_easy_setopt(handle, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE);
        /* libcurl 7.88 cannot use such a connection twice (CURLE_HTTP2); a new one costs nothing on a local socket */
        curl_easy_setopt(handle, CURLOPT_FORBID_REUSE, 1L);
        curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
        curl_easy_setopt(handle, CURLOPT_HEADERFUNCTION, on_header);
        curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, on_body);
        curl_easy_setopt(handle, CURLOPT_XFERINFOFUNCTION, on_progress);
        curl_easy_setopt(handle, CURLOPT_XFERINFODATA, caller);
        int r = add_header(caller, "content-type", "application/grpc", err);
        if (r == 0)
                r = add_header(caller, "te", "trailers", err);
        return r < 0 ? r : add_header(caller, "containerd-namespace", namespace, err);
}

int containerd_caller_new(const char *address, const char *namespace, const struct zp_cancel *cancel,
                          struct containerd_caller **out, struct zp_error *err) {
        zp_auto(containerd_caller_free) struct containerd_caller *caller = calloc(1, sizeof *caller);
        if (caller) {
                caller->cancel = cancel;
                caller->address = strdup(address);
                caller->handle = curl_easy_init();
        }
        if (!caller || !caller->address || !caller->handle)
                return zp_error_errno(err, ENOMEM, "containerd");
        int r = set_up(caller, namespace, err);
        if (r == 0)
                *out = zp_steal(&caller);
        return r;
}

void containerd_caller_free(struct containerd_caller *caller) {
        if (!caller)
                return;
        curl_easy_cleanup(caller->handle);
        curl_slist_free_all(caller->headers);
        free(caller->address);
        free(caller);
}

int containerd_caller_set_lease(struct containerd_caller *caller, const char *lease, struct zp_error *err) {
        return add_header(caller, "containerd-lease", lease, err);
}

static int pack(const ProtobufCMessage *request, uint8_t **out, size_t *size, struct zp_error *err) {
        size_t message_size = protobuf_c_message_get_packed_size(request);
        if (message_size > REQUEST_MAX - CONTAINERD_FRAME_HEADER)
                return zp_error_set(err, EMSGSIZE, "a message of %zu bytes is too large for containerd", message_size);
        *size = CONTAINERD_FRAME_HEADER + message_size;
        *out = malloc(*size);
        if (!*out)
                return zp_error_errno(err, ENOMEM, "containerd");
        containerd_frame_header(*out, (uint32_t) message_size);
        protobuf_c_message_pack(request, *out + CONTAINERD_FRAME_HEADER);
        return 0;
}

static int unreachable(const struct containerd_caller *caller, struct zp_error *err) {
        long why = 0;
        curl_easy_getinfo(caller->handle, CURLINFO_OS_ERRNO, &why);
        bool is_forbidden = why == EACCES || why == EPERM;
        const char *text = why ? strerrordesc_np((int) why) : NULL;
        zp_error_set(err, ECONNREFUSED, "containerd at '%s' cannot be reached%s%s", caller->address, text ? ": " : "",
                     text ? text : "");
        if (is_forbidden && geteuid() != 0)
                zp_error_hint(err, "its socket is root's: run this as root");
        else if (!is_forbidden)
                zp_error_hint(err, "`systemctl start containerd`, or --address SOCKET when it listens elsewhere");
        return -ECONNREFUSED;
}

/* What curl says counts only when there is no outcome: a refusal may come before the request was sent to its end. */
static int outcome(const struct containerd_caller *caller, CURLcode code, const struct containerd_answer *answer,
                   struct zp_error *err) {
        if (answer->has_status || code == CURLE_OK)
                return containerd_answer_result(answer, err);
        if (code == CURLE_ABORTED_BY_CALLBACK)
                return zp_check_cancel(caller->cancel, err);
        if (code == CURLE_OPERATION_TIMEDOUT)
                return zp_error_set(err, ETIMEDOUT, "containerd at '%s' does not answer", caller->address);
        if (code != CURLE_COULDNT_CONNECT)
                return zp_error_set(err, EIO, "containerd at '%s': %s", caller->address, curl_easy_strerror(code));
        return unreachable(caller, err);
}

static int exchange(struct containerd_caller *caller, const struct containerd_method *method, const uint8_t *request,
                    size_t size, struct containerd_answer *answer, struct zp_error *err) {
        zp_autofree char *url = zp_format("http://localhost%s", method->path);
        if (!url)
                return zp_error_errno(err, ENOMEM, "containerd");
        curl_easy_setopt(caller->handle, CURLOPT_URL, url);
        curl_easy_setopt(caller->handle, CURLOPT_NOPROGRESS, method->is_uninterrupted ? 1L : 0L);
        curl_easy_setopt(caller->handle, CURLOPT_TIMEOUT_MS, (long) method->timeout_s * 1000);
        curl_easy_setopt(caller->handle, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) size);
        curl_easy_setopt(caller->handle, CURLOPT_POSTFIELDS, request);
        curl_easy_setopt(caller->handle, CURLOPT_HEADERDATA, answer);
        curl_easy_setopt(caller->handle, CURLOPT_WRITEDATA, answer);
        return outcome(caller, curl_easy_perform(caller->handle), answer, err);
}

static int unpack(const struct containerd_answer *answer, const ProtobufCMessageDescriptor *type,
                  ProtobufCMessage **out, struct zp_error *err) {
        const uint8_t *data;
        size_t size;
        int r = containerd_answer_first(answer, &data, &size, err);
        if (r < 0)
                return r;
        *out = protobuf_c_message_unpack(type, NULL, size, data);
        return *out ? 0 : zp_error_set(err, EPROTO, "the answer is malformed");
}

int containerd_call(struct containerd_caller *caller, const struct containerd_method *method,
                    const ProtobufCMessage *request, const ProtobufCMessageDescriptor *answer_type,
                    ProtobufCMessage **answer, struct zp_error *err) {
        struct containerd_answer received = { 0 };
        zp_autofree uint8_t *packed = NULL;
        size_t size;
        int r = pack(request, &packed, &size, err);
        if (r == 0)
                r = exchange(caller, method, packed, size, &received, err);
        if (r == 0 && answer)
                r = unpack(&received, answer_type, answer, err);
        zp_buffer_clear(&received.body);
        return r;
}
