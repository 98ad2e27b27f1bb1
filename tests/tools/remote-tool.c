/* SPDX-License-Identifier: Apache-2.0
 *
 * Does one thing with a remote, for tests, and prints what came of it as JSON:
 *
 *     remote-tool [OPTIONS] NAME VERB …
 *
 *     name                                 its normalised name
 *     has DIGEST SIZE                      whether it has the blob
 *     put FILE…                            puts files as blobs, each by a thread of its own, unless the remote has them
 *     stream FILE STEP [GATE]              puts a file as a blob that grows by STEP bytes at a time; half of it is
 * there only when the file GATE is; with a STEP of 0 it is never complete get DIGEST SIZE OFFSET LENGTH        the
 * digest and number of the bytes that arrived whole DIGEST SIZE                    the same for a whole blob, which is
 * checked ranges DIGEST SIZE START+LENGTH[d|a|b][!]…  reads them all at once by a range reader: demand, ahead,
 * background; with "!", once all are started, cancels it; with "^" raises it to demand publish FILE an artifact's
 * manifest; subject and type are what it says find SUBJECT-DIGEST TYPE             the artifacts manifest DIGEST SIZE
 * the text
 *
 * Options: -h, -u USER:PASSWORD, -a AUTH_FILE, -c CA_FILE, -k as zeropull's --plain-http, --creds, --authfile,
 * --ca-file and --tls-verify=false; -H HOSTS_DIR; -s STALL_MS; -t CANCEL_MS; -m MOUNT_FROM; for ranges -n
 * REQUESTS_PER_SERVER, -d READ_TIMEOUT_MS, and -r ROUNDS: so many times, one after the other; each says on stderr when
 * it has begun all reads; -b NAME: looks there before, remembering what it learns of registries. A failure is {"code",
 * "message", "hint"} and exit status 1.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/file.h"
#include "base/limits.h"
#include "oci/artifact-manifest.h"
#include "remote/range.h"
#include "remote/remote.h"

#define FILES_MAX 64

static struct zp_cancel cancel;

static void *cancel_later(void *argument) {
        long ms = strtol(argument, NULL, 10);
        pthread_detach(pthread_self());
        nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 }, NULL);
        atomic_store(&cancel.requested, true);
        return NULL;
}

static json_t *digest_json(const struct zp_digest *digest) {
        char text[ZP_DIGEST_TEXT_SIZE];
        return json_string(zp_digest_text(digest, text));
}

static int parse_descriptor(char **arguments, struct zp_descriptor *out, struct zp_error *err) {
        out->media_type = "application/octet-stream";
        out->size = strtoull(arguments[1], NULL, 10);
        return zp_digest_parse(arguments[0], &out->digest, err);
}

static int has(struct zp_remote *remote, char **arguments, json_t **out, struct zp_error *err) {
        struct zp_descriptor blob;
        int r = parse_descriptor(arguments, &blob, err);
        if (r == 0)
                r = zp_remote_has_blob(remote, &blob.digest, blob.size, err);
        *out = json_boolean(r > 0);
        return r < 0 ? r : 0;
}

/* One file on its way. */
struct put {
        pthread_t thread;
        struct zp_remote *remote;
        const char *path, *mount_from;
        int fd;
        struct zp_digest digest;
        uint64_t size, uploaded;
        bool was_there;
        int result;
        struct zp_error err;
};

static int read_file(void *context, uint64_t offset, void *buffer, size_t size, struct zp_error *err) {
        const struct put *put = context;
        ssize_t n = pread(put->fd, buffer, size, (off_t) offset);
        return n == (ssize_t) size ? 0 : zp_error_set(err, EIO, "%s: cannot read", put->path);
}

static int hash_file(struct put *put) {
        static const size_t piece = 1 << 20;
        zp_autofree char *buffer = malloc(piece);
        zp_auto(zp_sha256_free) struct zp_sha256 *hash = zp_sha256_new();
        struct stat stat;
        put->fd = open(put->path, O_RDONLY | O_CLOEXEC);
        if (!buffer || !hash || put->fd < 0 || fstat(put->fd, &stat) < 0)
                return zp_error_errno(&put->err, errno, "%s", put->path);
        put->size = (uint64_t) stat.st_size;
        for (ssize_t n; (n = read(put->fd, buffer, piece)) > 0;)
                zp_sha256_update(hash, buffer, (size_t) n);
        zp_sha256_finish(hash, &put->digest);
        return 0;
}

static void *put_file(void *argument) {
        struct put *put = argument;
        int r = hash_file(put);
        if (r == 0)
                r = zp_remote_has_blob(put->remote, &put->digest, put->size, &put->err);
        put->was_there = r > 0;
        if (r == 0)
                r = zp_remote_put_blob(put->remote, &put->digest, put->size, put->mount_from, read_file, put,
                                       &put->uploaded, &put->err);
        put->result = r < 0 ? r : 0;
        if (put->fd >= 0)
                close(put->fd);
        return NULL;
}

static int put(struct zp_remote *remote, int count, char **files, const char *mount_from, json_t **out,
               struct zp_error *err) {
        static struct put puts[FILES_MAX];
        int r = 0;
        for (int i = 0; i < count; i++) {
                puts[i] = (struct put){ .remote = remote, .path = files[i], .mount_from = mount_from, .fd = -1 };
                if (pthread_create(&puts[i].thread, NULL, put_file, &puts[i]) != 0)
                        abort();
        }
        *out = json_array();
        for (int i = 0; i < count; i++) {
                pthread_join(puts[i].thread, NULL);
                if (puts[i].result < 0 && r == 0) {
                        r = puts[i].result;
                        *err = puts[i].err;
                }
                json_array_append_new(*out, json_pack("{s:o, s:I, s:I, s:b}", "digest", digest_json(&puts[i].digest),
                                                      "size", (json_int_t) puts[i].size, "uploaded",
                                                      (json_int_t) puts[i].uploaded, "was_there", puts[i].was_there));
        }
        return r;
}

/* A file that is handed out as if it were being written. */
struct growing {
        struct put file;
        uint64_t step, available;
        const char *gate;
};

static int wait_for_more(void *context, uint64_t known, uint64_t *available, struct zp_digest *digest,
                         struct zp_error *err) {
        struct growing *growing = context;
        (void) known;
        if (growing->step == 0 && growing->available > 0)
                return zp_error_set(err, EIO, "it will never be complete");
        growing->available += growing->step ? growing->step : growing->file.size / 2;
        if (growing->available > growing->file.size)
                growing->available = growing->file.size;
        while (growing->gate && growing->available > growing->file.size / 2 && access(growing->gate, F_OK) < 0)
                nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
        *available = growing->available;
        *digest = growing->file.digest;
        return growing->available == growing->file.size;
}

static int read_growing(void *context, uint64_t offset, void *buffer, size_t size, struct zp_error *err) {
        struct growing *growing = context;
        if (offset + size > growing->available)
                abort();
        return read_file(&growing->file, offset, buffer, size, err);
}

static int stream(struct zp_remote *remote, int count, char **arguments, json_t **out, struct zp_error *err) {
        struct growing growing = { .file = { .path = arguments[0], .fd = -1 },
                                   .step = strtoull(arguments[1], NULL, 10),
                                   .gate = count == 3 ? arguments[2] : NULL };
        const struct zp_remote_growing blob = { .wait = wait_for_more, .read = read_growing, .context = &growing };
        if (hash_file(&growing.file) < 0)
                abort();
        int r = zp_remote_put_stream(remote, &blob, &growing.file.uploaded, err);
        close(growing.file.fd);
        *out = json_pack("{s:o, s:I, s:I}", "digest", digest_json(&growing.file.digest), "size",
                         (json_int_t) growing.file.size, "uploaded", (json_int_t) growing.file.uploaded);
        return r;
}

struct arrived {
        struct zp_sha256 *hash;
        uint64_t size;
};

static int count_and_hash(void *context, const void *data, size_t size, struct zp_error *err) {
        struct arrived *arrived = context;
        (void) err;
        zp_sha256_update(arrived->hash, data, size);
        arrived->size += size;
        return 0;
}

static int get(struct zp_remote *remote, char **arguments, bool whole, json_t **out, struct zp_error *err) {
        struct zp_descriptor blob;
        struct zp_digest digest;
        struct arrived arrived = { .hash = zp_sha256_new() };
        int r = parse_descriptor(arguments, &blob, err);
        if (r == 0 && whole)
                r = zp_remote_get_whole(remote, &blob, count_and_hash, &arrived, err);
        else if (r == 0)
                r = zp_remote_get_blob(remote, &blob, strtoull(arguments[2], NULL, 10),
                                       strtoull(arguments[3], NULL, 10), count_and_hash, &arrived, err);
        zp_sha256_finish(arrived.hash, &digest);
        zp_sha256_free(arrived.hash);
        *out = json_pack("{s:o, s:I}", "digest", digest_json(&digest), "size", (json_int_t) arrived.size);
        return r;
}

#define READS_MAX 4096

/* A range that is read. */
struct range {
        uint64_t start, size;
        enum zp_range_priority priority;
        bool is_to_cancel, is_to_raise;
        char *buffer;
        unsigned place; /* in the order of completion */
        int result;
        char *message;
};

static struct {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        unsigned done; /* guarded by lock */
} reads = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0 };

static void on_range(void *context, int result, const struct zp_error *err) {
        struct range *range = context;
        range->result = result;
        range->message = result < 0 ? strdup(err->message) : NULL;
        pthread_mutex_lock(&reads.lock);
        range->place = reads.done++;
        pthread_cond_signal(&reads.changed);
        pthread_mutex_unlock(&reads.lock);
}

static void parse_range(const char *text, struct range *out) {
        char *end;
        *out = (struct range){ .start = strtoull(text, &end, 10) };
        out->size = strtoull(end + 1, &end, 10);
        out->priority = *end == 'b' ? ZP_RANGE_BACKGROUND : *end == 'a' ? ZP_RANGE_AHEAD : ZP_RANGE_DEMAND;
        out->is_to_cancel = strchr(end, '!');
        out->is_to_raise = strchr(end, '^');
        out->buffer = malloc(out->size);
}

static json_t *range_json(struct range *range) {
        struct zp_digest digest;
        zp_digest_of(range->buffer, range->size, &digest);
        json_t *json = range->result < 0
                               ? json_pack("{s:i, s:s, s:i}", "code", -range->result, "message", range->message,
                                           "place", range->place)
                               : json_pack("{s:o, s:i}", "digest", digest_json(&digest), "place", range->place);
        free(range->buffer);
        free(range->message);
        return json;
}

static int read_round(struct zp_range_blob *blob, int count, char **texts, json_t *out, struct zp_error *err) {
        static struct range ranges[READS_MAX];
        int r = 0;
        reads.done = 0;
        for (int i = 0; i < count && r == 0; i++) {
                parse_range(texts[i], &ranges[i]);
                r = zp_range_read(blob, ranges[i].start, ranges[i].size, ranges[i].buffer, ranges[i].priority, on_range,
                                  &ranges[i], err);
        }
        if (r < 0) {
                for (int i = 0; i < count; i++)
                        free(ranges[i].buffer);
                return r;
        }
        for (int i = 0; i < count; i++) {
                if (ranges[i].is_to_cancel)
                        zp_range_cancel(blob, &ranges[i]);
                if (ranges[i].is_to_raise)
                        zp_range_raise(blob, &ranges[i], ZP_RANGE_DEMAND);
        }
        fputs("all are asked for\n", stderr);
        pthread_mutex_lock(&reads.lock);
        while (reads.done < (unsigned) count)
                pthread_cond_wait(&reads.changed, &reads.lock);
        pthread_mutex_unlock(&reads.lock);
        for (int i = 0; i < count; i++)
                json_array_append_new(out, range_json(&ranges[i]));
        return 0;
}

static int read_ranges(const char *name, const struct zp_range_options *options, unsigned rounds, int count,
                       char **arguments, json_t **out, struct zp_error *err) {
        struct zp_descriptor descriptor;
        struct zp_range_reader *reader;
        struct zp_range_blob *blob = NULL;
        struct zp_range_statistics seen;
        json_t *results = json_array();
        int r = parse_descriptor(arguments, &descriptor, err);
        *out = NULL;
        if (r == 0)
                r = zp_range_reader_new(options, &reader, err);
        if (r < 0)
                return r;
        r = zp_range_blob_open(reader, name, &descriptor, &blob, err);
        for (unsigned i = 0; i < rounds && r == 0; i++)
                r = read_round(blob, count - 2, arguments + 2, results, err);
        zp_range_reader_statistics(reader, &seen);
        if (blob)
                zp_range_blob_close(blob);
        zp_range_reader_free(reader);
        *out = json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:I}", "reads", results, "requests",
                         (json_int_t) seen.requests, "http2_requests", (json_int_t) seen.http2_requests, "connections",
                         (json_int_t) seen.connections, "retries", (json_int_t) seen.retries, "received",
                         (json_int_t) seen.received_bytes, "delivered", (json_int_t) seen.delivered_bytes);
        return r;
}

/* What the manifest says of itself; *out is the root, which type and subject belong to. */
static int read_manifest(const char *body, size_t size, json_t **root, const char **type, struct zp_descriptor *subject,
                         struct zp_error *err) {
        json_t *layers;
        int r = zp_json_load(body, size, "manifest", root, err);
        if (r == 0)
                r = zp_json_text(*root, "artifactType", ZP_JSON_REQUIRED, "manifest", type, err);
        return r < 0 ? r : zp_artifact_manifest_read(*root, *type, "manifest", &layers, subject, err);
}

static int publish(struct zp_remote *remote, const char *path, json_t **out, struct zp_error *err) {
        zp_autofree char *body = NULL;
        zp_auto(json_decref) json_t *root = NULL;
        struct zp_descriptor subject = { 0 };
        struct zp_digest digest;
        const char *type;
        size_t size;
        int r = zp_read_file(AT_FDCWD, path, ZP_LIMIT_JSON_SIZE, &body, &size, err);
        if (r == 0)
                r = read_manifest(body, size, &root, &type, &subject, err);
        if (r == 0)
                r = zp_remote_publish(remote, &subject, type, body, size, err);
        if (r == 0)
                zp_digest_of(body, size, &digest);
        *out = r == 0 ? digest_json(&digest) : NULL;
        free(subject.media_type);
        return r;
}

static int find(struct zp_remote *remote, char **arguments, json_t **out, struct zp_error *err) {
        struct zp_digest subject;
        struct zp_remote_artifact *artifacts = NULL;
        size_t count = 0;
        int r = zp_digest_parse(arguments[0], &subject, err);
        if (r == 0)
                r = zp_remote_find(remote, &subject, arguments[1], &artifacts, &count, err);
        *out = json_array();
        for (size_t i = 0; i < count; i++)
                json_array_append_new(
                        *out, json_pack("{s:o, s:I, s:s, s:s}", "digest", digest_json(&artifacts[i].manifest.digest),
                                        "size", (json_int_t) artifacts[i].manifest.size, "mediaType",
                                        artifacts[i].manifest.media_type, "artifactType", artifacts[i].artifact_type));
        zp_remote_artifacts_free(artifacts, count);
        return r;
}

static int manifest(struct zp_remote *remote, char **arguments, json_t **out, struct zp_error *err) {
        struct zp_descriptor descriptor;
        zp_autofree char *text = NULL;
        int r = parse_descriptor(arguments, &descriptor, err);
        if (r == 0)
                r = zp_remote_get_manifest(remote, &descriptor, &text, err);
        *out = r == 0 ? json_string(text) : NULL;
        return r;
}

static int run(struct zp_remote *remote, const char *verb, int count, char **arguments, const char *mount_from,
               json_t **out, struct zp_error *err) {
        if (strcmp(verb, "name") == 0) {
                *out = json_string(zp_remote_name(remote));
                return 0;
        }
        if (strcmp(verb, "has") == 0 && count == 2)
                return has(remote, arguments, out, err);
        if (strcmp(verb, "put") == 0 && count >= 1 && count <= FILES_MAX)
                return put(remote, count, arguments, mount_from, out, err);
        if (strcmp(verb, "stream") == 0 && (count == 2 || count == 3))
                return stream(remote, count, arguments, out, err);
        if (strcmp(verb, "get") == 0 && count == 4)
                return get(remote, arguments, false, out, err);
        if (strcmp(verb, "whole") == 0 && count == 2)
                return get(remote, arguments, true, out, err);
        if (strcmp(verb, "publish") == 0 && count == 1)
                return publish(remote, arguments[0], out, err);
        if (strcmp(verb, "find") == 0 && count == 2)
                return find(remote, arguments, out, err);
        if (strcmp(verb, "manifest") == 0 && count == 2)
                return manifest(remote, arguments, out, err);
        exit(2);
}

/* The same with another remote before, of which only what was learned is kept. */
static int run_before(const char *name, const struct zp_source_options *options, const char *verb, int count,
                      char **arguments, struct zp_error *err) {
        struct zp_remote *remote;
        json_t *answer = NULL;
        int r = zp_remote_open(name, options, &remote, err);
        if (r < 0)
                return r;
        r = run(remote, verb, count, arguments, NULL, &answer, err);
        json_decref(answer);
        zp_remote_close(remote);
        return r;
}

/* Notices go to standard error, one a line. */
static void tell(void *context, const char *text) {
        (void) context;
        fprintf(stderr, "%s\n", text);
}

static void print(json_t *json) {
        json_dumpf(json, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
        json_decref(json);
}

static int fail(int r, struct zp_error *err) {
        for (char *p = err->message; *p; p++) /* names may be any bytes, JSON strings may not */
                if ((unsigned char) *p >= 0x80)
                        *p = '?';
        print(json_pack("{s:i, s:s, s:s}", "code", -r, "message", err->message, "hint", err->hint));
        return 1;
}

int main(int argc, char **argv) {
        struct zp_source_options options = { .cancel = &cancel, .notice = { .tell = tell } };
        struct zp_range_options ranges = { 0 };
        unsigned rounds = 1;
        struct zp_error err = { 0 };
        struct zp_remote *remote;
        const char *mount_from = NULL, *before = NULL;
        json_t *answer = NULL;
        zp_auto(zp_learned_free) struct zp_learned *learned = NULL;
        pthread_t thread;
        for (int option; (option = getopt(argc, argv, "hu:a:c:H:ks:t:m:n:d:r:b:")) != -1;) {
                if (option == 'h')
                        options.plain_http = true;
                else if (option == 'u')
                        options.credentials = optarg;
                else if (option == 'a')
                        options.auth_file = optarg;
                else if (option == 'H')
                        options.hosts_dir = optarg;
                else if (option == 'c')
                        options.ca_file = optarg;
                else if (option == 'k')
                        options.skip_tls_verify = true;
                else if (option == 's')
                        options.stall_timeout_ms = (unsigned) strtoul(optarg, NULL, 10);
                else if (option == 'm')
                        mount_from = optarg;
                else if (option == 'b')
                        before = optarg;
                else if (option == 'n')
                        ranges.requests_per_server = (unsigned) strtoul(optarg, NULL, 10);
                else if (option == 'd')
                        ranges.read_timeout_ms = (unsigned) strtoul(optarg, NULL, 10);
                else if (option == 'r')
                        rounds = (unsigned) strtoul(optarg, NULL, 10);
                else if (option != 't' || pthread_create(&thread, NULL, cancel_later, optarg) != 0)
                        return 2;
        }
        if (argc - optind < 2)
                return 2;
        int count = argc - optind - 2, r;
        char **arguments = argv + optind + 2;
        if (strcmp(argv[optind + 1], "ranges") == 0 && count > 2 && count - 2 <= READS_MAX) {
                ranges.source = options;
                r = read_ranges(argv[optind], &ranges, rounds, count, arguments, &answer, &err);
        } else {
                r = before ? zp_learned_new(&learned, &err) : 0;
                options.learned = learned;
                if (before && r == 0)
                        r = run_before(before, &options, argv[optind + 1], count, arguments, &err);
                if (r == 0)
                        r = zp_remote_open(argv[optind], &options, &remote, &err);
                if (r < 0)
                        return fail(r, &err);
                r = run(remote, argv[optind + 1], count, arguments, mount_from, &answer, &err);
                zp_remote_close(remote);
        }
        if (r == 0) {
                print(answer);
                return 0;
        }
        json_decref(answer);
        return fail(r, &err);
}
