/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/bytes.h"
#include "oci/byteranges.h"
#include "oci/url.h"
#include "remote/range-internal.h"

/* A server that ignores ranges sends the blob from its beginning: so much is read past, no more. */
#define SKIP_MAX (8u << 20)
/* A server may answer a range with its beginning (RFC 9110, 15.3.7), but not byte by byte. */
#define SHORT_ANSWER_MIN 65536u
#define CHALLENGES_MAX 5
/* What a response of several ranges has besides them: for each a boundary and a head, and gaps between them. */
#define RANGE_HEAD_MAX 1024u
#define SEVERAL_GAPS_MAX 65536u
/* A server that gives no response of several ranges gets no such request for so long, and one that was in trouble when
 * it had one. */
#define SEVERAL_REFUSED_MS 3600000u
#define SEVERAL_FAILED_MS 600000u
/* A response that has given all that was wanted may end by itself, for its connection's sake, in this time. */
#define END_MS 1000u
#define PAUSE_MAX_MS 60000u
/* What libcurl is told to end a transfer that has given all that was wanted. */
#define ENOUGH (-ECANCELED)

struct zp_range_request {
        struct zp_range_server *server;
        struct zp_range_blob *blob; /* may be gone when there are no parts any more */
        struct zp_range_reads parts;
        uint64_t start, end;           /* what is asked for */
        char *ranges;                  /* or, when they are several, these: "0-99,200-299" */
        struct zp_byteranges *several; /* how those come */
        struct zp_range_head head;
        char *url; /* where we were sent; NULL: head.url */
        unsigned hops;
        bool is_elsewhere;   /* url is of another origin */
        bool is_remembered;  /* url is from an earlier request */
        bool has_body;       /* the response's head was checked */
        uint64_t body_start; /* of the response's body in the blob */
        uint64_t body_end;
        uint64_t received;
        uint64_t longest;                     /* of several ranges: no body that has them is longer */
        TAILQ_ENTRY(zp_range_request) by_end; /* once all that was wanted has come */
        uint64_t end_ms;                      /* then: when it is aborted; else 0 */
        bool was_left;                        /* by some read, of which something may come nevertheless */
        struct zp_http_exchange *exchange;
};

static int on_piece(void *context, const struct zp_http_response *response, uint64_t offset, const void *data,
                    size_t size, struct zp_error *err);
static void on_done(void *context, int result, const struct zp_http_response *response, const struct zp_error *err);

static struct zp_range_reader *reader_of(const struct zp_range_request *request) {
        return request->server->remote->reader;
}

static void request_free(struct zp_range_request *request) {
        request->server->host->active--;
        request->server->remote->requests--;
        if (request->end_ms)
                TAILQ_REMOVE(&reader_of(request)->ending, request, by_end);
        zp_range_head_clear(&request->head);
        free(request->url);
        free(request->ranges);
        zp_byteranges_free(request->several);
        free(request);
}

/* The next read leaves the request, NULL: there is none. */
static struct zp_range_read *take_last(struct zp_range_request *request) {
        struct zp_range_read *read = TAILQ_LAST(&request->parts, zp_range_reads);
        if (read) {
                TAILQ_REMOVE(&request->parts, read, by_place);
                read->request = NULL;
        }
        return read;
}

static void fail_all(struct zp_range_request *request, int result, const struct zp_error *err, bool may_retry,
                     const struct zp_http_response *response) {
        for (struct zp_range_read *read; (read = take_last(request));)
                zp_range_fail(read, result, err, may_retry, response);
}

static int send_request(struct zp_range_request *request, struct zp_error *err) {
        struct zp_range_reader *reader = reader_of(request);
        const struct zp_remote *remote = request->server->remote->remote;
        bool is_whole = request->start == 0 && request->end == request->blob->descriptor.size;
        const struct zp_http_request http = {
                .url = request->url ? request->url : request->head.url,
                .authorization = request->is_elsewhere ? NULL : request->head.authorization,
                .headers = request->is_elsewhere   ? NULL
                           : request->head.headers ? request->head.headers
                                                   : (const char *const *) request->head.lines,
                .range_start = request->start,
                .range_end = is_whole ? 0 : request->end,
                .ranges = request->ranges,
                .sink = on_piece,
                .context = request,
        };
        const struct zp_http_multi_options options = {
                .is_on_new_connection = TAILQ_FIRST(&request->parts)->wants_new_connection,
                .done = on_done,
                .context = request,
        };
        pthread_mutex_lock(&reader->lock);
        reader->statistics.requests++;
        pthread_mutex_unlock(&reader->lock);
        return zp_http_multi_start(reader->multi, remote->kind->range->http(remote->state, request->server->index),
                                   &http, &options, &request->exchange, err);
}

/* Where to ask: where we were sent the last time, else the server itself. */
static int make_head(struct zp_range_request *request, struct zp_error *err) {
        struct zp_range_server *server = request->server;
        const struct zp_remote *remote = server->remote->remote;
        const char *known = request->blob->elsewhere[server->index];
        if (!known)
                return remote->kind->range->head(remote->state, server->index, &request->blob->descriptor, false,
                                                 &request->head, err);
        request->url = strdup(known);
        request->is_elsewhere = request->is_remembered = true;
        return request->url ? 0 : zp_error_errno(err, ENOMEM, "request");
}

/* Names the ranges of the parts, unless they are one. */
static int name_ranges(struct zp_range_request *request, struct zp_error *err) {
        zp_autobuffer struct zp_buffer text = { 0 };
        request->longest = SEVERAL_GAPS_MAX;
        const struct zp_range_read *part = TAILQ_FIRST(&request->parts), *next;
        while (part) {
                uint64_t start = zp_range_read_next(part), end = zp_range_read_end(part);
                for (; (next = TAILQ_NEXT(part, by_place)) && zp_range_read_next(next) == end; part = next)
                        end = zp_range_read_end(next);
                zp_autofree char *range =
                        zp_format("%s%ju-%ju", text.size ? "," : "", (uintmax_t) start, (uintmax_t) end - 1);
                if (!range || !zp_buffer_text(&text, range))
                        return zp_error_errno(err, ENOMEM, "request");
                request->longest += end - start + RANGE_HEAD_MAX;
                part = next;
        }
        if (strchr(text.data, ','))
                request->ranges = zp_steal(&text.data);
        return 0;
}

/* What nobody waits for comes in its order, from many places of a blob, in one request. */
static int gather(struct zp_range_request *request, struct zp_range_read *read, struct zp_error *err) {
        const struct zp_range_server *server = request->server;
        const struct zp_range_options *limits = &reader_of(request)->options;
        uint64_t now = zp_clock_ms();
        bool may_be_several = read->priority != ZP_RANGE_DEMAND && !read->goes_alone &&
                              server->host->several_from_ms <= now &&
                              server->remote->remote->kind->range->may_serve_several;
        struct zp_range_read *part;
        if (may_be_several)
                zp_range_gather_several(read, limits, now, &request->parts);
        else
                zp_range_gather(read, limits, now, &request->parts);
        request->start = UINT64_MAX;
        TAILQ_FOREACH(part, &request->parts, by_place) {
                part->request = request;
                request->start = zp_min_u64(request->start, zp_range_read_next(part));
                if (zp_range_read_end(part) > request->end)
                        request->end = zp_range_read_end(part);
        }
        return may_be_several ? name_ranges(request, err) : 0;
}

void zp_range_request_start(struct zp_range_read *read) {
        struct zp_range_server *server = zp_range_read_server(read);
        struct zp_range_request *request = calloc(1, sizeof *request);
        struct zp_error err = { 0 };
        if (!request) {
                zp_range_dequeue(read);
                zp_error_errno(&err, ENOMEM, "request");
                zp_range_complete(read, -ENOMEM, &err);
                return;
        }
        *request = (struct zp_range_request){ .server = server, .blob = read->blob };
        TAILQ_INIT(&request->parts);
        server->host->active++;
        server->remote->requests++;
        int r = make_head(request, &err);
        if (r == -EAGAIN) {
                zp_range_clerk_send(server, &read->blob->descriptor, NULL, NULL);
                request_free(request);
                return;
        }
        int gathered = gather(request, read, &err);
        if (r == 0)
                r = gathered;
        if (r == 0)
                r = send_request(request, &err);
        if (r < 0) {
                fail_all(request, r, &err, false, NULL);
                request_free(request);
        }
}

/* All that was wanted has come. */
static void begin_end(struct zp_range_request *request) {
        request->end_ms = zp_clock_ms() + END_MS;
        TAILQ_INSERT_TAIL(&reader_of(request)->ending, request, by_end);
}

void zp_range_requests_end(struct zp_range_reader *reader, uint64_t now_ms) {
        for (struct zp_range_request *request; (request = TAILQ_FIRST(&reader->ending)) && request->end_ms <= now_ms;) {
                zp_http_multi_abort(reader->multi, request->exchange);
                request_free(request);
        }
}

void zp_range_request_leave(struct zp_range_read *read) {
        struct zp_range_request *request = read->request;
        request->was_left = true;
        TAILQ_REMOVE(&request->parts, read, by_place);
        read->request = NULL;
        if (!TAILQ_EMPTY(&request->parts))
                return;
        zp_http_multi_abort(reader_of(request)->multi, request->exchange);
        request_free(request);
}

static int check_part(struct zp_range_request *request, const struct zp_http_response *response, struct zp_error *err) {
        struct zp_content_range range;
        uint64_t size = request->blob->descriptor.size;
        if (!zp_content_range_parse(response->content_range, &range) || range.start != request->start ||
            range.end > request->end)
                return zp_error_set(err, EPROTO, "the server sent another range than was asked for");
        if (range.total && range.total != size)
                return zp_error_set(err, EBADMSG, "has %ju bytes there, not %ju", (uintmax_t) range.total,
                                    (uintmax_t) size);
        request->body_start = range.start;
        request->body_end = range.end;
        return 0;
}

static int check_whole(struct zp_range_request *request, const struct zp_http_response *response,
                       struct zp_error *err) {
        uint64_t size = request->blob->descriptor.size;
        if (response->content_length && strtoull(response->content_length, NULL, 10) != size)
                return zp_error_set(err, EBADMSG, "has %.30s bytes there, not %ju", response->content_length,
                                    (uintmax_t) size);
        if (request->start > SKIP_MAX)
                return zp_error_set(err, ENOTSUP, "the server serves no parts of blobs: it ignores Range");
        request->body_start = 0;
        request->body_end = size;
        return 0;
}

/* The server does what it should: what was held against it is forgotten, and the way to it remembered. */
static void note_success(struct zp_range_request *request) {
        struct zp_range_server *server = request->server;
        char **elsewhere = &request->blob->elsewhere[server->index];
        server->is_failing = false;
        server->avoid_until_ms = 0;
        if (request->is_elsewhere && !request->is_remembered) {
                free(*elsewhere);
                *elsewhere = strdup(request->url);
        }
}

/* Gives a piece at `position` of the blob to those who wait for it. Those of one range stand in the order of what they
 * miss. */
static void hand_out(struct zp_range_request *request, uint64_t position, const char *data, size_t size) {
        for (struct zp_range_read *part = TAILQ_FIRST(&request->parts), *next; part; part = next) {
                uint64_t from = zp_range_read_next(part);
                next = TAILQ_NEXT(part, by_place);
                if (from >= position + size && !request->ranges)
                        return;
                if (from < position || from >= position + size) /* it is of another range */
                        continue;
                size_t n = (size_t) (zp_min_u64(zp_range_read_end(part), position + size) - from);
                memcpy(part->buffer + part->filled, data + (from - position), n);
                part->filled += n;
                part->retry.failures = part->challenges = 0;
                part->wants_new_connection = false;
                if (part->filled < part->size)
                        continue;
                TAILQ_REMOVE(&request->parts, part, by_place);
                part->request = NULL;
                zp_range_complete(part, 0, NULL);
        }
}

static void note_bytes(struct zp_range_request *request, size_t size) {
        struct zp_range_reader *reader = reader_of(request);
        request->received += size;
        pthread_mutex_lock(&reader->lock);
        reader->statistics.received_bytes += size;
        pthread_mutex_unlock(&reader->lock);
}

/* Does some read want what begins there? */
static bool is_wanted(const struct zp_range_request *request, uint64_t position) {
        const struct zp_range_read *part;
        TAILQ_FOREACH(part, &request->parts, by_place)
        if (zp_range_read_next(part) == position)
                return true;
        return request->was_left;
}

static int on_range(void *context, const struct zp_content_range *range, uint64_t position, const void *data,
                    size_t size, struct zp_error *err) {
        struct zp_range_request *request = context;
        if (TAILQ_EMPTY(&request->parts)) /* nor may there be a blob any more */
                return 0;
        if (range->total && range->total != request->blob->descriptor.size)
                return zp_error_set(err, EBADMSG, "has %ju bytes there, not %ju", (uintmax_t) range->total,
                                    (uintmax_t) request->blob->descriptor.size);
        if (position == range->start && !is_wanted(request, position))
                return zp_error_set(err, EPROTO, "the server sent a range that was not asked for");
        hand_out(request, position, data, size);
        return 0;
}

static int on_several(struct zp_range_request *request, const struct zp_http_response *response, const void *data,
                      size_t size, struct zp_error *err) {
        int r = request->several          ? 0
                : response->status != 206 ? zp_error_set(err, EPROTO, "the server answered %d", response->status)
                                          : zp_byteranges_new(response->content_type, &request->several, err);
        if (r < 0)
                return r;
        if (!request->has_body)
                note_success(request);
        request->has_body = true;
        note_bytes(request, size);
        if (request->received > request->longest)
                return zp_error_set(err, EPROTO, "the server sent more than was asked for");
        return zp_byteranges_feed(request->several, data, size, on_range, request, err);
}

static int on_piece(void *context, const struct zp_http_response *response, uint64_t offset, const void *data,
                    size_t size, struct zp_error *err) {
        struct zp_range_request *request = context;
        if (request->end_ms) {
                request->received += size;
                return request->ranges && request->received <= request->longest ? 0 : ENOUGH;
        }
        if (request->ranges) {
                int r = on_several(request, response, data, size, err);
                if (r == 0 && TAILQ_EMPTY(&request->parts))
                        begin_end(request);
                return r;
        }
        if (!request->has_body) {
                int r = response->status == 206 ? check_part(request, response, err)
                        : response->status == 200
                                ? check_whole(request, response, err)
                                : zp_error_set(err, EPROTO, "the server answered %d", response->status);
                if (r < 0)
                        return r;
                request->has_body = true;
                note_success(request);
        }
        note_bytes(request, size);
        if (size > request->body_end - request->body_start - offset)
                return zp_error_set(err, EBADMSG, "the server sent more than it said");
        hand_out(request, request->body_start + offset, data, size);
        bool is_over = request->body_start + offset + size == request->body_end;
        if (!TAILQ_EMPTY(&request->parts))
                return 0;
        if (is_over)
                begin_end(request);
        return is_over ? 0 : ENOUGH;
}

/* 1: the request goes on elsewhere. */
static int follow(struct zp_range_request *request, const struct zp_http_response *response, struct zp_error *err) {
        const struct zp_http_request asked = { .url = request->head.url };
        const char *url = request->url ? request->url : request->head.url;
        char *target;
        if (request->head.url && !request->head.is_redirectable)
                return 0;
        int r = zp_fetch_redirect(&asked, url, response, request->hops++, &target, err);
        if (r <= 0)
                return r;
        request->is_elsewhere = !request->head.url || !zp_url_same_origin(request->head.url, target);
        free(request->url);
        request->url = target;
        r = send_request(request, err);
        return r < 0 ? r : 1;
}

/* Answers a 401 of the server itself. False: that is not to be. */
static bool challenge(struct zp_range_request *request, const struct zp_http_response *response) {
        const struct zp_remote *remote = request->server->remote->remote;
        const char *challenges = response->challenges.data;
        if (response->status != 401 || request->is_elsewhere || !challenges || !remote->kind->range->answer ||
            TAILQ_FIRST(&request->parts)->challenges >= CHALLENGES_MAX)
                return false;
        zp_range_clerk_send(request->server, &request->blob->descriptor, &request->head, challenges);
        for (struct zp_range_read *read; (read = take_last(request));) {
                read->challenges++;
                zp_range_enqueue(read, true);
        }
        return true;
}

/* The place that was remembered is good no more: the server is asked again, at once. */
static bool ask_again(struct zp_range_request *request) {
        if (!request->is_remembered || request->received > 0)
                return false;
        free(zp_steal(&request->blob->elsewhere[request->server->index]));
        for (struct zp_range_read *read; (read = take_last(request));)
                zp_range_enqueue(read, true);
        return true;
}

static void count_retry(struct zp_range_request *request) {
        struct zp_range_reader *reader = reader_of(request);
        pthread_mutex_lock(&reader->lock);
        reader->statistics.retries++;
        pthread_mutex_unlock(&reader->lock);
}

/* What a response of other than 2xx means, and whether it is worth asking again. */
static int judge(const struct zp_range_request *request, const struct zp_http_response *response, bool *may_retry,
                 struct zp_error *err) {
        const struct zp_remote *remote = request->server->remote->remote;
        struct zp_http_response seen = *response;
        seen.is_elsewhere = request->is_elsewhere;
        if (response->status == 416)
                return zp_error_set(err, EBADMSG, "is shorter there than %ju bytes",
                                    (uintmax_t) request->blob->descriptor.size);
        *may_retry = remote->kind->range->may_retry(&seen);
        return remote->kind->range->refused(remote->state, request->server->index, &seen, err);
}

/* A body that ended well, but too early. */
static int judge_end(const struct zp_range_request *request, const struct zp_http_response *response, bool *may_retry,
                     struct zp_error *err) {
        uint64_t missing = request->end - request->body_start - request->received;
        *may_retry = request->has_body && response->status == 206;
        return zp_error_set(err, EBADMSG, "ends %ju bytes before it should", (uintmax_t) missing);
}

/* How long a server is left alone that asks for it: no read shall have all its time pass without one attempt. */
static uint64_t pause_ms(struct zp_range_server *server, const struct zp_http_response *response) {
        unsigned max = server->remote->reader->options.read_timeout_ms / 2;
        return zp_min_u64(zp_retry_delay_ms(&server->retry, response), max < PAUSE_MAX_MS ? max : PAUSE_MAX_MS);
}

/* Is it the form of the request that such an answer is about? */
static bool is_about_form(int status) {
        return (status >= 200 && status < 300) || status == 400 || status == 416 || status == 501;
}

/* Whatever was wrong with a request of several ranges, its reads are asked for one at a time: what is wrong with that,
 * if anything, shows then. True: at once. */
static bool give_up_several(struct zp_range_request *request, int status, bool may_retry) {
        struct zp_range_server *server = request->server;
        struct zp_range_read *part;
        TAILQ_FOREACH(part, &request->parts, by_place)
        part->goes_alone = true;
        if (may_retry)
                server->host->several_from_ms = zp_clock_ms() + SEVERAL_FAILED_MS;
        else if (is_about_form(status))
                server->host->several_from_ms = zp_clock_ms() + SEVERAL_REFUSED_MS;
        if (may_retry || status == 0)
                return false;
        while ((part = take_last(request)))
                zp_range_enqueue(part, true);
        return true;
}

static void end_badly(struct zp_range_request *request, int result, const struct zp_http_response *response,
                      const struct zp_error *why) {
        struct zp_error err = *why;
        bool is_answer = result == 0, is_success = response->status >= 200 && response->status < 300;
        bool may_retry = !is_answer && response->is_transient;
        if (is_answer && challenge(request, response))
                return;
        if (!(is_answer && is_success) && ask_again(request))
                return;
        if (is_answer && is_success && !request->ranges && request->received >= SHORT_ANSWER_MIN &&
            response->status == 206) {
                for (struct zp_range_read *read; (read = take_last(request));)
                        zp_range_enqueue(read, true);
                return;
        }
        if (is_answer)
                result = is_success ? judge_end(request, response, &may_retry, &err)
                                    : judge(request, response, &may_retry, &err);
        if (request->ranges && give_up_several(request, response->status, may_retry && !(is_answer && is_success)))
                return;
        if (may_retry)
                count_retry(request);
        if (may_retry && zp_http_retry_after_s(response))
                request->server->not_before_ms = zp_clock_ms() + pause_ms(request->server, response);
        struct zp_range_read *part;
        TAILQ_FOREACH(part, &request->parts, by_place)
        part->wants_new_connection = !is_answer;
        fail_all(request, result, &err, may_retry, response);
}

static void on_done(void *context, int result, const struct zp_http_response *response, const struct zp_error *why) {
        struct zp_range_request *request = context;
        struct zp_error err = *why;
        if (!TAILQ_EMPTY(&request->parts)) {
                int r = result == 0 ? follow(request, response, &err) : 0;
                if (r > 0)
                        return;
                if (r < 0 && !ask_again(request))
                        fail_all(request, r, &err, false, NULL);
                else if (r == 0)
                        end_badly(request, result, response, &err);
        }
        request_free(request);
}
