/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/control/reports.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/buffer.h"
#include "base/file.h"
#include "oci/fetch.h"
#include "oci/url.h"
#include "profile/trace.h"
#include "snapshot/load.h"
#include "snapshotter/control/log.h"
#include "snapshotter/data/data.h"

#define PAUSE_MS 1000
/* After a report that is to be tried again, and twice as long after each further one. */
#define AWAY_PAUSE_MAX_MS 300000
/* The hook is away, or the image is not marked there: after that it is old. */
#define KEEP_S 3600
/* Of the data plane's file: its most reads, a line each. */
#define FILE_MAX (UINT32_C(8) << 20)
/* Of a snapshot's metadata, which is held in memory meanwhile. */
#define METADATA_MAX (UINT64_C(256) << 20)
/* What the hook takes by default; a start's first reads count most. */
#define PROFILE_MAX (1000u << 10)
#define TOKEN_MAX 4096
#define SECONDS_DEFAULT 10
#define TIMEOUT_MS 20000

struct snap_reporter {
        const struct snap_config_reports *config;
        const char *directory, *store_path;
        struct zp_cancel cancel;
        struct zp_http *http;
        pthread_t thread;
};

/* ---- the settings ---- */

static int read_url(struct zp_yaml *yaml, const yaml_node_t *node, char **out) {
        const char *text;
        int r = zp_yaml_text(yaml, node, "url", &text);
        if (r < 0)
                return r;
        struct zp_error reason = { 0 };
        if (zp_url_check_service(text, &reason) < 0)
                return zp_yaml_fail(yaml, node, "url: %s", reason.message);
        size_t size = strlen(text);
        while (text[size - 1] == '/')
                size--;
        *out = strndup(text, size);
        return *out ? 0 : zp_yaml_no_memory(yaml);
}

int snap_config_read_reports(struct zp_yaml *yaml, const yaml_node_t *node, struct snap_config_reports *config) {
        enum { URL, TOKEN_FILE, CA_FILE, SECONDS, COUNT };
        static const char *const names[] = { "url", "token_file", "ca_file", "seconds" };
        yaml_node_t *values[COUNT];
        config->seconds = SECONDS_DEFAULT;
        if (!node)
                return 0;
        int r = zp_yaml_members(yaml, node, "report_starts", names, COUNT, values);
        if (r == 0 && !values[URL])
                r = zp_yaml_fail(yaml, node, "report_starts: 'url' is missing");
        if (r == 0)
                r = read_url(yaml, values[URL], &config->url);
        if (r == 0 && values[TOKEN_FILE])
                r = zp_yaml_path(yaml, values[TOKEN_FILE], "token_file", &config->token_file);
        if (r == 0 && values[CA_FILE])
                r = zp_yaml_path(yaml, values[CA_FILE], "ca_file", &config->ca_file);
        if (r == 0 && values[SECONDS])
                r = zp_yaml_number(yaml, values[SECONDS], "seconds", &config->seconds);
        if (r == 0 && config->seconds > 600)
                r = zp_yaml_fail(yaml, node, "report_starts: seconds: not from 1 to 600");
        return r;
}

void snap_config_clear_reports(struct snap_config_reports *config) {
        free(config->url);
        free(config->token_file);
        free(config->ca_file);
        *config = (struct snap_config_reports){ 0 };
}

/* ---- from reads to a profile ---- */

/* The number in the data plane's file is the first eight bytes of the digest. */
static bool find_device(const struct zp_loaded *snapshot, uint64_t number, uint16_t *out) {
        for (uint16_t i = 0; i < snapshot->device_count; i++) {
                uint64_t id;
                memcpy(&id, snapshot->devices[i].digest.bytes, sizeof id);
                if (be64toh(id) == number) {
                        *out = i;
                        return true;
                }
        }
        return false;
}

/* Nothing before the number, and `end` behind it; *text is what comes then. */
static bool read_number(const char **text, int base, char end, uint64_t *out) {
        char *stop;
        if (!isxdigit((unsigned char) **text))
                return false;
        errno = 0;
        *out = strtoull(*text, &stop, base);
        if (errno || stop == *text || *stop != end)
                return false;
        *text = stop + 1;
        return true;
}

/* Lines of "DEVICE OFFSET SIZE"; what is another image's is left out. */
static int note_reads(const struct zp_loaded *snapshot, const char *text, struct zp_trace *trace,
                      struct zp_error *err) {
        for (const char *line = text; *line;) {
                uint64_t device, offset, size;
                uint16_t number;
                if (!read_number(&line, 16, ' ', &device) || !read_number(&line, 10, ' ', &offset) ||
                    !read_number(&line, 10, '\n', &size))
                        return zp_error_set(err, EBADMSG, "reads of a start: malformed");
                if (find_device(snapshot, device, &number))
                        zp_trace_note(trace, number, offset, size);
        }
        return 0;
}

int snap_report_profile(struct zp_store *store, const struct zp_image_record *image, const char *text,
                        struct zp_profile **out, struct zp_error *err) {
        zp_autoloaded struct zp_loaded snapshot = { 0 };
        zp_auto(zp_trace_free) struct zp_trace *trace = NULL;
        zp_auto(zp_profile_free) struct zp_profile *profile = NULL;
        *out = NULL;
        if (image->metadata_size > METADATA_MAX)
                return zp_error_set(err, EFBIG, "snapshot.erofs: too large to look at");
        int r = zp_snapshot_load(store, image, &snapshot, err);
        zp_autofree uint64_t *blocks = calloc((size_t) snapshot.device_count + 1, sizeof *blocks);
        if (r == 0 && !blocks)
                r = zp_error_errno(err, ENOMEM, "reads of a start");
        for (uint16_t i = 0; r == 0 && i < snapshot.device_count; i++)
                blocks[i] = snapshot.devices[i].blocks;
        if (r == 0)
                r = zp_trace_new(snapshot.tree, blocks, snapshot.device_count, &trace, err);
        if (r == 0)
                r = note_reads(&snapshot, text, trace, err);
        if (r < 0 || zp_trace_blocks(trace) == 0)
                return r;
        if (!(profile = zp_profile_new()))
                return zp_error_errno(err, ENOMEM, "reads of a start");
        r = zp_trace_profile(trace, profile, err);
        if (r == 0)
                *out = zp_steal(&profile);
        return r;
}

/* ---- telling ---- */

static int read_text(void *context, uint64_t offset, void *buffer, size_t size, struct zp_error *err) {
        (void) err;
        memcpy(buffer, (const char *) context + offset, size);
        return 0;
}

/* "Bearer TOKEN", of the file's first line; NULL when there is none. */
static int authorization(const struct snap_reporter *reporter, char **out, struct zp_error *err) {
        zp_autofree char *token = NULL;
        size_t size;
        *out = NULL;
        if (!reporter->config->token_file)
                return 0;
        int r = zp_read_file(AT_FDCWD, reporter->config->token_file, TOKEN_MAX, &token, &size, err);
        if (r < 0)
                return r;
        *out = zp_format("Bearer %.*s", (int) strcspn(token, "\r\n"), token);
        explicit_bzero(token, size);
        return *out ? 0 : zp_error_errno(err, ENOMEM, "report");
}

/* -EAGAIN: to be tried again. */
static int post(struct snap_reporter *reporter, const char *repository, bool is_partial, struct zp_buffer *text,
                struct zp_error *err) {
        zp_autofree char *secret = NULL;
        /* a repository's name has no character that a query would need escaped, but for a host's brackets */
        zp_autofree char *url = zp_format("%s/v1/profiles?repository=%s%s", reporter->config->url, repository,
                                          is_partial ? "&partial=true" : "");
        int r = authorization(reporter, &secret, err);
        if (r < 0 || !url)
                return r < 0 ? r : zp_error_errno(err, ENOMEM, "report");
        struct zp_http_body body = {
                .size = text->size, .content_type = "text/plain", .read = read_text, .context = text->data
        };
        struct zp_http_request request = { .url = url,
                                           .method = "POST",
                                           .body = &body,
                                           .authorization = secret,
                                           .timeout_ms = TIMEOUT_MS,
                                           .body_limit = 65536 };
        struct zp_http_response response = { 0 };
        r = zp_http_exchange(reporter->http, &request, &response, err);
        if (r < 0)
                r = -EAGAIN;
        else if (response.status > 299)
                r = zp_error_set(err, zp_fetch_may_retry(&response) ? EAGAIN : EINVAL, "%s: %d: %.300s",
                                 reporter->config->url, response.status, response.body.data ? response.body.data : "");
        zp_http_response_clear(&response);
        if (secret)
                explicit_bzero(secret, strlen(secret));
        return r;
}

/* The most that is taken, in whole lines. */
static void cut(struct zp_buffer *text) {
        if (text->size <= PROFILE_MAX)
                return;
        const char *end = memrchr(text->data, '\n', PROFILE_MAX);
        text->size = end ? (size_t) (end - text->data) + 1 : 0;
}

static int tell(struct snap_reporter *reporter, struct zp_store *store, const struct zp_image_record *image,
                const char *reads, struct zp_error *err) {
        static const char scheme[] = "docker://";
        zp_auto(zp_profile_free) struct zp_profile *profile = NULL;
        zp_autobuffer struct zp_buffer text = { 0 };
        bool is_partial = strncmp(reads, SNAP_DATA_STARTS_PARTIAL, strlen(SNAP_DATA_STARTS_PARTIAL)) == 0;
        if (!image->origin || strncmp(image->origin, scheme, strlen(scheme)) != 0)
                return 0; /* of no repository: nobody builds it there */
        if (is_partial)
                reads += strlen(SNAP_DATA_STARTS_PARTIAL);
        int r = snap_report_profile(store, image, reads, &profile, err);
        if (r < 0 || !profile)
                return r;
        r = zp_profile_format(profile, &text, err);
        cut(&text);
        if (r == 0)
                r = post(reporter, image->origin + strlen(scheme), is_partial, &text, err);
        if (r == 0)
                snap_log_event(SNAP_LOG_INFO, "start reported", "image", image->origin, NULL);
        return r;
}

static int report(struct snap_reporter *reporter, int directory, const char *name, struct zp_error *err) {
        zp_auto(zp_store_close) struct zp_store *store = NULL;
        zp_autofree char *reads = NULL;
        struct zp_image_record image = { 0 };
        struct zp_digest digest;
        size_t size;
        int r = zp_read_file(directory, name, FILE_MAX, &reads, &size, err);
        if (r == 0 && !zp_digest_parse_hex(name, &digest))
                r = zp_error_set(err, EBADMSG, "'%s' is no image's", name);
        if (r == 0)
                r = zp_store_open(reporter->store_path, ZP_STORE_READ, &store, err);
        if (r == 0)
                r = zp_store_find_image(store, &digest, &image, err);
        r = r == 1 ? tell(reporter, store, &image, reads, err) : r;
        zp_image_record_clear(&image);
        return r;
}

/* ---- the thread ---- */

/* What was told, and what never can be, goes. Nothing is made ready for a hook that is away. Whether it is, or was. */
static bool report_and_remove(struct snap_reporter *reporter, int directory, const char *name, bool is_away) {
        struct zp_error err = { 0 };
        struct stat st;
        int r = is_away ? zp_error_set(&err, EAGAIN, "the hook is away") : report(reporter, directory, name, &err);
        bool is_old = fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || time(NULL) - st.st_mtime > KEEP_S;
        if (r == -EAGAIN && !is_old)
                return true;
        if (r < 0)
                snap_log_event(SNAP_LOG_WARN, "start not reported", "image", name, "error", err.message, NULL);
        unlinkat(directory, name, 0);
        return r == -EAGAIN;
}

/* Whether the hook is away: then only what is old was removed. */
static bool report_all(struct snap_reporter *reporter) {
        bool is_away = false;
        zp_autoclosedir DIR *listing = zp_open_listing(AT_FDCWD, reporter->directory);
        for (struct dirent *entry; listing && (entry = zp_next_entry(listing));)
                if (!zp_cancelled(&reporter->cancel) && strlen(entry->d_name) == ZP_SHA256_HEX_SIZE - 1)
                        is_away = report_and_remove(reporter, dirfd(listing), entry->d_name, is_away);
        return is_away;
}

static void *report_until_cancelled(void *context) {
        struct snap_reporter *reporter = context;
        unsigned pause_ms = PAUSE_MS;
        while (zp_pause(pause_ms, &reporter->cancel)) {
                bool is_away = report_all(reporter);
                pause_ms = !is_away ? PAUSE_MS : pause_ms < AWAY_PAUSE_MAX_MS / 2 ? pause_ms * 2 : AWAY_PAUSE_MAX_MS;
        }
        return NULL;
}

int snap_reporter_new(const struct snap_config_reports *config, const char *directory, const char *store,
                      struct snap_reporter **out, struct zp_error *err) {
        struct snap_reporter *reporter = calloc(1, sizeof *reporter);
        if (!reporter)
                return zp_error_errno(err, ENOMEM, "reports");
        reporter->config = config;
        reporter->directory = directory;
        reporter->store_path = store;
        struct zp_http_options http = { .ca_file = config->ca_file,
                                        .user_agent = "zeropull-snapshotter/" ZP_VERSION,
                                        .stall_timeout_ms = TIMEOUT_MS,
                                        .cancel = &reporter->cancel };
        int r = zp_http_new(&http, &reporter->http, err);
        int code = r < 0 ? 0 : pthread_create(&reporter->thread, NULL, report_until_cancelled, reporter);
        if (code)
                r = zp_error_errno(err, code, "reports: thread");
        if (r < 0) {
                if (reporter->http)
                        zp_http_free(reporter->http);
                free(reporter);
                return r;
        }
        *out = reporter;
        return 0;
}

void snap_reporter_free(struct snap_reporter *reporter) {
        atomic_store(&reporter->cancel.requested, true);
        pthread_join(reporter->thread, NULL);
        zp_http_free(reporter->http);
        free(reporter);
}
