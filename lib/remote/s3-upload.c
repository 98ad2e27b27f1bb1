/* SPDX-License-Identifier: Apache-2.0
 *
 * Storing objects. A large one goes in parts (a multipart upload), so that a broken connection costs one part. Where
 * a killed writer left an upload of the same object, its parts are used; so are those of a writer who is at the same
 * object right now: both send the same bytes, and whoever is second to finish finds the object there.
 */
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/bytes.h"
#include "base/limits.h"
#include "remote/s3-internal.h"
#include "remote/xml.h"

/* S3's: 10 000 parts of 5 MiB to 5 GiB. */
#define PARTS_MAX 10000u
#define PART_SIZE_MIN (UINT64_C(32) << 20)
#define SINGLE_MAX (UINT64_C(64) << 20)
#define PART_MAX (UINT64_C(5) << 30)
#define PIECE_SIZE (1u << 20)
#define ETAG_MAX 200

/* A run of the content, as a request's body. */
struct window {
        struct zp_s3_content *content;
        uint64_t start;
};

static int read_window(void *context, uint64_t offset, void *buffer, size_t size, struct zp_error *err) {
        struct window *window = context;
        window->content->sent += size;
        return window->content->read(window->content->context, window->start + offset, buffer, size, err);
}

/* SHA-256 of a run of the content, to sign with; `whole` goes on over all runs, MD5 (may be NULL) over this one. */
static int hash_run(const struct zp_cancel *cancel, struct zp_s3_content *content, uint64_t start, uint64_t size,
                    struct zp_sha256 *whole, EVP_MD_CTX *md5, struct zp_digest *out, struct zp_error *err) {
        zp_autofree char *piece = malloc(PIECE_SIZE);
        zp_auto(zp_sha256_free) struct zp_sha256 *hash = zp_sha256_new();
        if (!piece || !hash)
                return zp_error_errno(err, ENOMEM, "S3 upload");
        for (uint64_t done = 0; done < size;) {
                size_t n = (size_t) zp_min_u64(PIECE_SIZE, size - done);
                int r = zp_check_cancel(cancel, err);
                if (r == 0)
                        r = content->read(content->context, start + done, piece, n, err);
                if (r < 0)
                        return r;
                zp_sha256_update(hash, piece, n);
                zp_sha256_update(whole, piece, n);
                if (md5)
                        EVP_DigestUpdate(md5, piece, n);
                done += n;
        }
        zp_sha256_finish(hash, out);
        return 0;
}

static int wrong_content(const struct zp_digest *digest, struct zp_error *err) {
        char text[ZP_DIGEST_TEXT_SIZE];
        return zp_error_set(err, EBADMSG, "what should be stored as %s has another digest",
                            zp_digest_text(digest, text));
}

static int upload_single(struct zp_s3 *s3, const char *key, const struct zp_digest *digest,
                         struct zp_s3_content *content, struct zp_error *err) {
        struct zp_digest actual;
        zp_auto(zp_sha256_free) struct zp_sha256 *whole = zp_sha256_new();
        if (!whole)
                return zp_error_errno(err, ENOMEM, "S3 upload");
        int r = hash_run(zp_http_cancel(s3->http), content, 0, content->size, whole, NULL, &actual, err);
        if (r < 0)
                return r;
        if (!zp_digest_equal(&actual, digest))
                return wrong_content(digest, err);
        struct window window = { .content = content };
        const struct zp_http_body body = {
                .size = content->size,
                .content_type = "application/octet-stream",
                .read = read_window,
                .context = &window,
        };
        struct zp_http_response response = { 0 };
        r = zp_s3_request(s3,
                          &(struct zp_s3_request){ .method = "PUT",
                                                   .key = key,
                                                   .body = &body,
                                                   .payload = digest,
                                                   .body_limit = ZP_LIMIT_JSON_SIZE },
                          &response, err);
        zp_http_response_clear(&response);
        return r;
}

/* A multipart upload under way. */
struct upload {
        struct zp_s3 *s3;
        const char *key;
        struct zp_s3_content *content;
        uint64_t part_size;
        unsigned part_count;
        char *id;
        struct part {
                uint64_t size; /* 0: the server has none */
                char *etag;
        } * parts;
};

static void upload_clear(struct upload *upload) {
        for (unsigned i = 0; upload->parts && i < upload->part_count; i++)
                free(upload->parts[i].etag);
        free(upload->parts);
        free(upload->id);
        upload->parts = NULL;
        upload->id = NULL;
}

/* What a list of uploads or parts, or the answer to a new upload has told so far. */
struct listing {
        struct upload *upload;
        char *key;
        const char *wanted_key; /* with the prefix */
        uint64_t part_number, part_size;
        char *etag;
        bool is_truncated;
        uint64_t next;
};

static int keep(char **member, const char *text, struct zp_error *err) {
        free(*member);
        *member = strdup(text);
        return *member ? 0 : zp_error_errno(err, ENOMEM, "S3 upload");
}

/* Several uploads of one object: everybody takes the one with the lowest id. */
static int on_upload_element(void *context, const char *path, const char *text, struct zp_error *err) {
        struct listing *listing = context;
        char **id = &listing->upload->id;
        if (strcmp(path, "/ListMultipartUploadsResult/Upload/Key") == 0)
                return keep(&listing->key, text, err);
        if (strcmp(path, "/ListMultipartUploadsResult/Upload/UploadId") == 0)
                return keep(&listing->etag, text, err);
        if (strcmp(path, "/ListMultipartUploadsResult/Upload") != 0 || !listing->key || !listing->etag)
                return 0;
        if (strcmp(listing->key, listing->wanted_key) == 0 && (!*id || strcmp(listing->etag, *id) < 0))
                return keep(id, listing->etag, err);
        return 0;
}

static int on_created_element(void *context, const char *path, const char *text, struct zp_error *err) {
        struct upload *upload = context;
        return strcmp(path, "/InitiateMultipartUploadResult/UploadId") == 0 ? keep(&upload->id, text, err) : 0;
}

static int on_part_element(void *context, const char *path, const char *text, struct zp_error *err) {
        struct listing *listing = context;
        struct upload *upload = listing->upload;
        if (strcmp(path, "/ListPartsResult/Part/PartNumber") == 0)
                listing->part_number = strtoull(text, NULL, 10);
        else if (strcmp(path, "/ListPartsResult/Part/Size") == 0)
                listing->part_size = strtoull(text, NULL, 10);
        else if (strcmp(path, "/ListPartsResult/Part/ETag") == 0)
                return keep(&listing->etag, text, err);
        else if (strcmp(path, "/ListPartsResult/IsTruncated") == 0)
                listing->is_truncated = strcmp(text, "true") == 0;
        else if (strcmp(path, "/ListPartsResult/NextPartNumberMarker") == 0)
                listing->next = strtoull(text, NULL, 10);
        if (strcmp(path, "/ListPartsResult/Part") != 0 || !listing->etag || listing->part_number < 1 ||
            listing->part_number > upload->part_count)
                return 0;
        struct part *part = &upload->parts[listing->part_number - 1];
        part->size = listing->part_size;
        free(part->etag);
        part->etag = zp_steal(&listing->etag);
        return 0;
}

/* Sends a request without body and reads the XML of its answer. */
static int ask(struct zp_s3 *s3, const struct zp_s3_request *request, zp_xml_element element, void *context,
               struct zp_error *err) {
        struct zp_http_response response = { 0 };
        int r = zp_s3_request(s3, request, &response, err);
        if (r == 0)
                r = zp_xml_parse(response.body.data, response.body.size, element, context, err);
        zp_http_response_clear(&response);
        return r;
}

/* Looks for an upload that somebody has begun; no matter when the server does not tell. */
static void find_begun(struct upload *upload) {
        zp_autofree char *key = zp_format("%s%s", upload->s3->place.prefix, upload->key);
        struct listing listing = { .upload = upload, .wanted_key = key };
        if (!key)
                return;
        int r = ask(upload->s3,
                    &(struct zp_s3_request){ .method = "GET",
                                             .parameters = { { "prefix", key }, { "uploads", "" } },
                                             .body_limit = ZP_LIMIT_JSON_SIZE },
                    on_upload_element, &listing, NULL);
        if (r < 0) {
                free(upload->id);
                upload->id = NULL;
        }
        free(listing.key);
        free(listing.etag);
}

static int list_parts(struct upload *upload, struct zp_error *err) {
        char marker[24] = "0";
        struct listing listing = { .upload = upload };
        int r;
        do {
                uint64_t before = listing.next;
                listing.is_truncated = false;
                r = ask(upload->s3,
                        &(struct zp_s3_request){
                                .method = "GET",
                                .key = upload->key,
                                .parameters = { { "uploadId", upload->id }, { "part-number-marker", marker } },
                                .body_limit = ZP_LIMIT_JSON_SIZE },
                        on_part_element, &listing, err);
                if (r == 0 && listing.is_truncated && listing.next <= before)
                        r = zp_error_set(err, EPROTO, "the list of parts does not go on");
                snprintf(marker, sizeof marker, "%ju", (uintmax_t) listing.next);
        } while (r == 0 && listing.is_truncated);
        free(listing.etag);
        return r;
}

static int begin(struct upload *upload, struct zp_error *err) {
        upload->parts = calloc(upload->part_count, sizeof *upload->parts);
        if (!upload->parts)
                return zp_error_errno(err, ENOMEM, "S3 upload");
        find_begun(upload);
        if (upload->id)
                return list_parts(upload, err);
        int r = ask(upload->s3,
                    &(struct zp_s3_request){ .method = "POST",
                                             .key = upload->key,
                                             .parameters = { { "uploads", "" } },
                                             .body_limit = ZP_LIMIT_JSON_SIZE },
                    on_created_element, upload, err);
        if (r == 0 && !upload->id)
                r = zp_error_set(err, EPROTO, "the server began an upload without naming it");
        return r;
}

/* A part's ETag is its MD5 (unless it is encrypted with a key of KMS: then the part is sent again). */
static bool has_part(const struct part *part, uint64_t size, EVP_MD_CTX *md5) {
        unsigned char digest[EVP_MAX_MD_SIZE];
        char hex[2 * EVP_MAX_MD_SIZE + 1];
        unsigned length = 0;
        if (!part->etag || part->size != size || !md5 || !EVP_DigestFinal_ex(md5, digest, &length))
                return false;
        for (unsigned i = 0; i < length; i++)
                snprintf(hex + 2 * (size_t) i, 3, "%02x", digest[i]);
        const char *etag = part->etag + strspn(part->etag, "\"");
        return strncmp(etag, hex, strlen(hex)) == 0 && strspn(etag + strlen(hex), "\"") == strlen(etag + strlen(hex));
}

static int send_part(struct upload *upload, unsigned index, uint64_t size, const struct zp_digest *digest,
                     struct zp_error *err) {
        char number[12];
        snprintf(number, sizeof number, "%u", index + 1);
        struct window window = { .content = upload->content, .start = index * upload->part_size };
        const struct zp_http_body body = {
                .size = size,
                .content_type = "application/octet-stream",
                .read = read_window,
                .context = &window,
        };
        struct zp_http_response response = { 0 };
        int r = zp_s3_request(upload->s3,
                              &(struct zp_s3_request){
                                      .method = "PUT",
                                      .key = upload->key,
                                      .parameters = { { "partNumber", number }, { "uploadId", upload->id } },
                                      .body = &body,
                                      .payload = digest,
                                      .body_limit = ZP_LIMIT_JSON_SIZE,
                              },
                              &response, err);
        if (r == 0 && (!response.etag || strlen(response.etag) > ETAG_MAX || strpbrk(response.etag, "<>&")))
                r = zp_error_set(err, EPROTO, "the server stored a part without a usable ETag");
        if (r == 0) {
                free(upload->parts[index].etag);
                upload->parts[index].etag = zp_steal(&response.etag);
        }
        zp_http_response_clear(&response);
        return r;
}

static int send_parts(struct upload *upload, const struct zp_digest *digest, struct zp_error *err) {
        struct zp_digest part_digest, actual;
        zp_auto(zp_sha256_free) struct zp_sha256 *whole = zp_sha256_new();
        EVP_MD_CTX *md5 = EVP_MD_CTX_new();
        int r = whole && md5 ? 0 : zp_error_errno(err, ENOMEM, "S3 upload");
        for (unsigned i = 0; r == 0 && i < upload->part_count; i++) {
                uint64_t start = i * upload->part_size;
                uint64_t size = zp_min_u64(upload->part_size, upload->content->size - start);
                bool has_md5 = EVP_DigestInit_ex(md5, EVP_md5(), NULL); /* a FIPS build has none */
                r = hash_run(zp_http_cancel(upload->s3->http), upload->content, start, size, whole,
                             has_md5 ? md5 : NULL, &part_digest, err);
                if (r == 0 && !has_part(&upload->parts[i], size, has_md5 ? md5 : NULL))
                        r = send_part(upload, i, size, &part_digest, err);
        }
        EVP_MD_CTX_free(md5);
        if (r < 0)
                return r;
        zp_sha256_finish(whole, &actual);
        return zp_digest_equal(&actual, digest) ? 0 : wrong_content(digest, err);
}

static int complete(struct upload *upload, struct zp_error *err) {
        zp_autobuffer struct zp_buffer xml = { 0 };
        bool ok = zp_buffer_text(&xml, "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
        for (unsigned i = 0; ok && i < upload->part_count; i++) {
                zp_autofree char *part = zp_format("<Part><PartNumber>%u</PartNumber><ETag>%s</ETag></Part>", i + 1,
                                                   upload->parts[i].etag);
                ok = part && zp_buffer_text(&xml, part);
        }
        if (!ok || !zp_buffer_text(&xml, "</CompleteMultipartUpload>"))
                return zp_error_errno(err, ENOMEM, "S3 upload");
        struct zp_digest payload;
        zp_digest_of(xml.data, xml.size, &payload);
        const struct zp_http_body body = {
                .size = xml.size, .content_type = "application/xml", .read = zp_memory_read, .context = xml.data
        };
        struct zp_http_response response = { 0 };
        int r = zp_s3_request(upload->s3,
                              &(struct zp_s3_request){ .method = "POST",
                                                       .key = upload->key,
                                                       .parameters = { { "uploadId", upload->id } },
                                                       .body = &body,
                                                       .payload = &payload,
                                                       .body_limit = ZP_LIMIT_JSON_SIZE },
                              &response, err);
        zp_http_response_clear(&response);
        return r;
}

/* Leaves nothing that costs money. When this fails too, the next writer of the object, or the bucket's rules, do it. */
static void abort_upload(struct zp_s3 *s3, const char *key, const char *id) {
        struct zp_http_response response = { 0 };
        if (id)
                zp_s3_exchange(s3, s3->tidy,
                               &(struct zp_s3_request){ .method = "DELETE",
                                                        .key = key,
                                                        .parameters = { { "uploadId", id } },
                                                        .body_limit = ZP_LIMIT_JSON_SIZE },
                               &response, NULL);
        zp_http_response_clear(&response);
}

/* -ESTALE: the upload `id` came to an end meanwhile, or its parts changed. */
static int upload_parts(struct zp_s3 *s3, const char *key, const struct zp_digest *digest,
                        struct zp_s3_content *content, char **id, struct zp_error *err) {
        struct upload upload = { .s3 = s3, .key = key, .content = content, .part_size = PART_SIZE_MIN };
        if (content->size > PARTS_MAX * PART_MAX)
                return zp_error_set(err, EFBIG, "larger than an object can be");
        while ((content->size + upload.part_size - 1) / upload.part_size > PARTS_MAX)
                upload.part_size += PART_SIZE_MIN;
        upload.part_count = (unsigned) ((content->size + upload.part_size - 1) / upload.part_size);
        int r = begin(&upload, err);
        if (r == 0)
                r = send_parts(&upload, digest, err);
        if (r == 0)
                r = complete(&upload, err);
        if (r < 0 && r != -ESTALE)
                abort_upload(s3, key, upload.id);
        *id = zp_steal(&upload.id);
        upload_clear(&upload);
        return r;
}

int zp_s3_upload(struct zp_s3 *s3, const char *key, const struct zp_digest *digest, struct zp_s3_content *content,
                 struct zp_error *err) {
        if (content->size <= SINGLE_MAX)
                return upload_single(s3, key, digest, content, err);
        const struct zp_http_response no_response = { 0 };
        struct zp_retry retry = { 0 };
        for (;;) {
                zp_autofree char *id = NULL;
                int r = upload_parts(s3, key, digest, content, &id, err);
                if (r != -ESTALE)
                        return r;
                /* Another writer has finished the upload that both worked on, is about to, or has given it up. */
                if (zp_s3_has(s3, key, content->size, NULL) > 0) {
                        abort_upload(s3, key, id); /* a part of ours may have come too late to be used */
                        if (err)
                                zp_error_clear(err);
                        return 0;
                }
                if (!zp_retry_wait(&retry, s3->http, NULL, &no_response, s3->place.bucket, NULL)) {
                        abort_upload(s3, key, id);
                        return zp_http_check_cancel(s3->http, NULL, err) < 0 ? -ECANCELED : r;
                }
        }
}
