/* SPDX-License-Identifier: Apache-2.0
 *
 * Sending a blob to a registry (distribution-spec 1.1, "Pushing blobs"): a session is opened, its bytes are sent in
 * chunks, each to the Location that the last answer gave, and the digest closes it. After trouble the registry is
 * asked how far it got; a session that it has lost is opened anew. Registries differ (distribution throws a session
 * away when a chunk was cut in its middle), so any answer that makes no sense for a session means a new one.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/bytes.h"
#include "oci/fetch.h"
#include "oci/response-error.h"
#include "oci/url.h"
#include "remote/registry-internal.h"

/* What a broken connection costs at most; registries on object storage want at least 5 MiB. */
#define CHUNK_SIZE (UINT64_C(16) << 20)
#define OCTETS "application/octet-stream"
/* Stall timeouts until the answer to the last request: some registries copy or hash the whole blob first. */
#define FINISH_PATIENCE 10
#define ANSWER_MAX (1u << 20)

struct upload {
        struct zp_registry_remote *remote;
        struct zp_digest digest;                 /* known when the blob is complete */
        uint64_t size;                           /* what there is of the blob */
        const struct zp_remote_growing *growing; /* NULL: it is complete, and was from the start */
        bool is_complete;
        zp_remote_read read;
        void *context;
        uint64_t *sent; /* over the wire, in all attempts */

        char *location;    /* of the session; NULL: none is open */
        uint64_t received; /* by the registry */
        uint64_t furthest; /* that it ever was */
        uint64_t chunk_size;
        bool is_unsure;     /* ask for `received` before anything else */
        bool is_in_one;     /* no chunks: it refuses them, or the blob is small */
        bool has_restarted; /* what was sent may be known already */
        bool is_clean;      /* nothing has gone wrong in this session */
        bool was_doubted;   /* the registry has said once that the bytes are others */
        bool is_abandoned;  /* the blob will never be complete */
        struct zp_retry retry;
};

enum step { STEP_DONE = 1, STEP_NEXT = 0 }; /* else a negative error */

bool zp_upload_parse_range(const char *text, uint64_t *received) {
        if (!text)
                return false;
        if (strncmp(text, "bytes=", 6) == 0)
                text += 6;
        if (strncmp(text, "0-", 2) != 0 || text[2] < '0' || text[2] > '9')
                return false;
        char *end;
        errno = 0;
        uintmax_t last = strtoumax(text + 2, &end, 10);
        if (*end != '\0' || errno != 0 || last > INT64_MAX)
                return false;
        *received = last == 0 ? 0 : last + 1;
        return true;
}

static void drop_session(struct upload *upload) {
        free(zp_steal(&upload->location));
        upload->received = 0;
        upload->is_unsure = false;
        upload->has_restarted = true;
}

int zp_upload_resolve(const char *base, const char *location, char **out, struct zp_error *err) {
        zp_autofree char *secure = NULL;
        bool is_downgrade = zp_url_is_https(base) && strncasecmp(location, "http://", 7) == 0;
        size_t size = is_downgrade ? strcspn(location + 7, "/?#") : 0;
        if (is_downgrade && size == strcspn(base + 8, "/?#") && strncasecmp(base + 8, location + 7, size) == 0) {
                secure = zp_format("https://%s", location + 7);
                if (!secure)
                        return zp_error_errno(err, ENOMEM, "upload");
                location = secure;
        }
        int r = zp_url_resolve(base, location, out, err);
        if (r < 0)
                zp_error_wrap(err, "upload");
        return r;
}

static int take_location(struct upload *upload, const struct zp_http_response *response, struct zp_error *err) {
        char *location;
        if (!response->location)
                return upload->location ? 0
                                        : zp_error_set(err, EPROTO, "the registry opened an upload without Location");
        int r = zp_upload_resolve(response->url, response->location, &location, err);
        if (r < 0)
                return r;
        free(upload->location);
        upload->location = location;
        return 0;
}

static int refuse(const struct upload *upload, const struct zp_http_response *response, struct zp_error *err) {
        return zp_registry_refused(upload->remote->registry, response, err);
}

/* Waits before the next attempt. `r` is the error if there is none. */
static int wait_again(struct upload *upload, const struct zp_http_response *response, int r, struct zp_error *err) {
        struct zp_registry *registry = upload->remote->registry;
        const struct zp_http *http = zp_registry_http(registry);
        upload->is_clean = false;
        if (zp_retry_wait(&upload->retry, http, NULL, response, zp_registry_name(registry), err))
                return STEP_NEXT;
        return zp_retry_end(&upload->retry, http, NULL, r, err);
}

/* What to do after a request of an open session that did not go well; `r` is its result, 0 when an answer came. */
static int recover(struct upload *upload, const struct zp_http_response *response, int r, struct zp_error *err) {
        bool is_passing = zp_fetch_may_retry(response);
        int status = r < 0 ? 0 : response->status;
        if (r == 0)
                r = refuse(upload, response, err);
        if (is_passing) {
                upload->is_unsure = true;
                return wait_again(upload, response, r, err);
        }
        if (status == 416 && !upload->is_unsure) {
                upload->is_unsure = true;
                return wait_again(upload, response, r, err);
        }
        if (status == 400 || status == 404 || status == 410 || status == 416) {
                drop_session(upload);
                return wait_again(upload, response, r, err);
        }
        return r;
}

static void note_progress(struct upload *upload, uint64_t received) {
        upload->received = received;
        if (received > upload->furthest) {
                upload->furthest = received;
                upload->retry.failures = 0;
        }
}

static void read_chunk_min_length(struct upload *upload, const struct zp_http_response *response) {
        const char *text = response->oci_chunk_min_length;
        upload->chunk_size = CHUNK_SIZE;
        uintmax_t least = text && text[0] >= '0' && text[0] <= '9' ? strtoumax(text, NULL, 10) : 0;
        if (least > CHUNK_SIZE)
                upload->chunk_size = least;
}

/* POST blobs/uploads/. A digest answered with 201 has been mounted. */
static int post(struct upload *upload, const char *mount_from, struct zp_http_response *response,
                struct zp_error *err) {
        char digest[ZP_DIGEST_TEXT_SIZE];
        zp_autofree char *path = strdup("blobs/uploads/");
        if (path && mount_from) {
                zp_autofree char *mount = zp_url_with_query(path, "mount", zp_digest_text(&upload->digest, digest));
                free(path);
                path = mount ? zp_url_with_query(mount, "from", mount_from) : NULL;
        }
        if (!path)
                return zp_error_errno(err, ENOMEM, "upload");
        return zp_registry_request(upload->remote->registry, path,
                                   &(struct zp_http_request){ .method = "POST", .body_limit = ANSWER_MAX }, response,
                                   err);
}

static int on_opened(struct upload *upload, const struct zp_http_response *response, struct zp_error *err) {
        read_chunk_min_length(upload, response);
        upload->received = 0;
        upload->is_clean = true;
        return take_location(upload, response, err);
}

static int open_session(struct upload *upload, struct zp_error *err) {
        struct zp_http_response response = { 0 };
        int r = 0;
        /* The answer to the last request may have been lost, not the request. And of a blob that grew nobody has asked.
         */
        if (upload->is_complete && (upload->has_restarted || upload->growing))
                r = zp_registry_has_blob(upload->remote->registry, &upload->digest, upload->size, err);
        if (r != 0)
                return r;
        r = post(upload, NULL, &response, err);
        if (r == 0 && response.status == 202) {
                r = on_opened(upload, &response, err);
        } else {
                bool is_passing = zp_fetch_may_retry(&response);
                if (r == 0)
                        r = refuse(upload, &response, err);
                if (is_passing)
                        r = wait_again(upload, &response, r, err);
        }
        zp_http_response_clear(&response);
        return r;
}

static bool may_mount(struct upload *upload, const char *from) {
        struct zp_registry_remote *remote = upload->remote;
        pthread_mutex_lock(&remote->lock);
        bool may = !remote->not_mountable || strcmp(remote->not_mountable, from) != 0;
        pthread_mutex_unlock(&remote->lock);
        return may;
}

static void forget_mounting(struct upload *upload, const char *from) {
        struct zp_registry_remote *remote = upload->remote;
        char *copy = strdup(from);
        pthread_mutex_lock(&remote->lock);
        free(remote->not_mountable);
        remote->not_mountable = copy;
        pthread_mutex_unlock(&remote->lock);
}

/* Tries to get the blob from another repository; whatever does not work is what sending it is for. */
static int try_mount(struct upload *upload, const char *from, struct zp_error *err) {
        struct zp_http_response response = { 0 };
        struct zp_error reason = { 0 };
        if (!may_mount(upload, from))
                return STEP_NEXT;
        int r = post(upload, from, &response, &reason), step = STEP_NEXT;
        if (r == 0 && response.status == 201)
                step = STEP_DONE;
        else if (r == 0 && response.status == 202)
                step = on_opened(upload, &response, err);
        else if (r == -ECANCELED)
                step = zp_check_cancel(zp_http_cancel(zp_registry_http(upload->remote->registry)), err);
        else if (!zp_fetch_may_retry(&response))
                forget_mounting(upload, from);
        zp_http_response_clear(&response);
        return step;
}

static int ask_progress(struct upload *upload, struct zp_error *err) {
        struct zp_http_response response = { 0 };
        struct zp_http_request request = { .is_for_push = true, .body_limit = ANSWER_MAX };
        uint64_t received;
        int r = zp_registry_request_url(upload->remote->registry, upload->location, &request, &response, err);
        if (r < 0 || response.status < 200 || response.status > 299) {
                r = recover(upload, &response, r, err);
        } else if (!zp_upload_parse_range(response.range, &received) || received > upload->size) {
                drop_session(upload);
        } else {
                r = take_location(upload, &response, err);
                upload->is_unsure = false;
                note_progress(upload, received);
        }
        zp_http_response_clear(&response);
        return r;
}

/* The part of the blob that one request carries. */
struct part {
        struct upload *upload;
        uint64_t start;
};

static int read_part(void *context, uint64_t offset, void *buffer, size_t size, struct zp_error *err) {
        struct part *part = context;
        *part->upload->sent += size;
        return part->upload->read(part->upload->context, part->start + offset, buffer, size, err);
}

/* After an accepted chunk: what the registry says it has, which may be less than was sent. */
static int on_chunk(struct upload *upload, const struct zp_http_response *response, uint64_t end,
                    struct zp_error *err) {
        uint64_t received = end;
        if (response->range && (!zp_upload_parse_range(response->range, &received) || received > end))
                return zp_error_set(err, EPROTO, "the registry says it has bytes '%.100s', of %ju sent",
                                    response->range, (uintmax_t) end);
        int r = take_location(upload, response, err);
        note_progress(upload, received);
        if (r < 0 || received == end)
                return r;
        return wait_again(upload, response, zp_error_set(err, EPROTO, "the registry does not take what is sent"), err);
}

static int send_chunk(struct upload *upload, struct zp_error *err) {
        char range[60];
        uint64_t start = upload->received, size = zp_min_u64(upload->chunk_size, upload->size - start);
        struct part part = { .upload = upload, .start = start };
        struct zp_http_body body = {
                .size = size, .content_type = OCTETS, .content_range = range, .read = read_part, .context = &part
        };
        struct zp_http_request request = { .method = "PATCH", .body = &body, .body_limit = ANSWER_MAX };
        struct zp_http_response response = { 0 };
        snprintf(range, sizeof range, "%ju-%ju", (uintmax_t) start, (uintmax_t) (start + size - 1));
        int r = zp_registry_request_url(upload->remote->registry, upload->location, &request, &response, err);
        int status = r < 0 ? 0 : response.status;
        if (status >= 200 && status < 300) {
                r = on_chunk(upload, &response, start + size, err);
        } else if (start == 0 && !upload->has_restarted &&
                   (status == 400 || status == 405 || status == 413 || status == 415 || status == 501)) {
                upload->is_in_one = true; /* it knows no chunks */
                drop_session(upload);
        } else {
                r = recover(upload, &response, r, err);
        }
        zp_http_response_clear(&response);
        return r;
}

static int check_digest(const struct upload *upload, const struct zp_http_response *response, struct zp_error *err) {
        struct zp_digest digest;
        if (!response->content_digest || zp_digest_parse(response->content_digest, &digest, NULL) < 0 ||
            zp_digest_equal(&digest, &upload->digest))
                return STEP_DONE;
        return zp_error_set(err, EBADMSG, "the registry has stored it as %.100s", response->content_digest);
}

/* The registry has other bytes than we say. Some (distribution 3) say so to one of two writers that end the same blob
 * at the same moment: once more, then, unless the other's is there now. */
static int doubt(struct upload *upload, const struct zp_http_response *response, struct zp_error *err) {
        int r = refuse(upload, response, err);
        if (upload->was_doubted)
                return r;
        upload->was_doubted = true;
        drop_session(upload);
        return wait_again(upload, response, r, err);
}

/* PUT Location?digest=…, with all bytes when they go in one, with none after chunks. */
static int finish(struct upload *upload, struct zp_error *err) {
        char digest[ZP_DIGEST_TEXT_SIZE];
        zp_autofree char *url = zp_url_with_query(upload->location, "digest", zp_digest_text(&upload->digest, digest));
        if (!url)
                return zp_error_errno(err, ENOMEM, "upload");
        struct part part = { .upload = upload };
        struct zp_http_body body = {
                .size = upload->is_in_one ? upload->size : 0,
                .content_type = OCTETS,
                .read = read_part,
                .context = &part,
        };
        struct zp_http_request request = {
                .method = "PUT", .body = &body, .patience = FINISH_PATIENCE, .body_limit = ANSWER_MAX
        };
        struct zp_http_response response = { 0 };
        int r = zp_registry_request_url(upload->remote->registry, url, &request, &response, err);
        bool is_broken = r < 0 || response.status < 200 || response.status > 299;
        if (!is_broken && response.status == 202)
                r = zp_error_set(err, EPROTO, "the registry does not finish the upload (status 202)");
        else if (!is_broken)
                r = check_digest(upload, &response, err);
        else if (r == 0 && response.status == 400 && upload->is_clean)
                r = doubt(upload, &response, err);
        else
                r = recover(upload, &response, r, err);
        if (upload->is_in_one && upload->is_unsure)
                drop_session(upload);
        zp_http_response_clear(&response);
        return r;
}

/* Waits until there is a whole chunk to send, or the end. */
static int wait_for_more(struct upload *upload, struct zp_error *err) {
        uint64_t known = upload->size;
        int r = zp_http_check_cancel(zp_registry_http(upload->remote->registry), NULL, err);
        if (r == 0)
                r = upload->growing->wait(upload->growing->context, known, &upload->size, &upload->digest, err);
        if (r >= 0 && upload->size < known)
                return zp_error_set(err, EINVAL, "the blob has become shorter");
        upload->is_complete = r > 0;
        upload->is_abandoned = r < 0;
        if (r > 0 && !upload->location && upload->size <= CHUNK_SIZE)
                upload->is_in_one = true;
        return r < 0 ? r : STEP_NEXT;
}

static bool needs_more(const struct upload *upload) {
        return !upload->is_complete && (upload->is_in_one || upload->size - upload->received < upload->chunk_size);
}

static int next_step(struct upload *upload, struct zp_error *err) {
        if (upload->is_unsure)
                return ask_progress(upload, err);
        if (needs_more(upload))
                return wait_for_more(upload, err);
        if (!upload->location)
                return open_session(upload, err);
        if (!upload->is_in_one && upload->received < upload->size)
                return send_chunk(upload, err);
        return finish(upload, err);
}

/* The registry need not keep what nobody will go on with. Whatever it answers: it throws the session away in time. */
static void delete_session(struct upload *upload) {
        struct zp_http_request request = { .method = "DELETE", .is_farewell = true };
        struct zp_http_response response = { 0 };
        struct zp_error ignored;
        (void) zp_registry_request_url(upload->remote->registry, upload->location, &request, &response, &ignored);
        zp_http_response_clear(&response);
}

static int run(struct upload *upload, int r, struct zp_error *err) {
        while (r == STEP_NEXT)
                r = next_step(upload, err);
        if (upload->location && (r == -ECANCELED || upload->is_abandoned))
                delete_session(upload);
        free(upload->location);
        if (r > 0 && err) /* what an attempt that was repeated has left */
                zp_error_clear(err);
        return r > 0 ? 0 : r;
}

int zp_upload_blob(struct zp_registry_remote *remote, const struct zp_digest *digest, uint64_t size,
                   const char *mount_from, zp_remote_read read, void *context, uint64_t *uploaded_bytes,
                   struct zp_error *err) {
        struct upload upload = {
                .remote = remote,
                .digest = *digest,
                .size = size,
                .is_complete = true,
                .read = read,
                .context = context,
                .sent = uploaded_bytes,
                .is_in_one = size <= CHUNK_SIZE,
        };
        return run(&upload, mount_from ? try_mount(&upload, mount_from, err) : STEP_NEXT, err);
}

int zp_upload_stream(struct zp_registry_remote *remote, const struct zp_remote_growing *blob, uint64_t *uploaded_bytes,
                     struct zp_error *err) {
        struct upload upload = {
                .remote = remote,
                .growing = blob,
                .read = blob->read,
                .context = blob->context,
                .sent = uploaded_bytes,
                .chunk_size = CHUNK_SIZE,
        };
        return run(&upload, STEP_NEXT, err);
}
