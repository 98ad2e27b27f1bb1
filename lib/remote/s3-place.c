/* SPDX-License-Identifier: Apache-2.0
 *
 * The name of an S3 remote, and the variables that AWS's own tools read.
 */
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#include "oci/url.h"
#include "remote/s3-internal.h"

#define KEY_MAX 1024 /* S3's */
#define KEY_OURS 400 /* of it, the longest that paths.h makes */

ZP_DEFINE_AUTO(CURLU, curl_url_cleanup);
ZP_DEFINE_AUTO(char, curl_free);

void zp_s3_place_clear(struct zp_s3_place *place) {
        free(place->bucket);
        free(place->prefix);
        free(place->base);
        free(place->host);
        free(place->region);
        free(place->access_key);
        if (place->secret_key)
                explicit_bzero(place->secret_key, strlen(place->secret_key));
        free(place->secret_key);
        free(place->session_token);
        *place = (struct zp_s3_place){ 0 };
}

static bool is_made_of(const char *text, const char *set) {
        return text[0] && text[strspn(text, set)] == '\0';
}

static int parse_bucket(const char *name, struct zp_s3_place *out, struct zp_error *err) {
        size_t size = strcspn(name, "/");
        out->bucket = strndup(name, size);
        if (!out->bucket)
                return zp_error_errno(err, ENOMEM, "s3");
        if (size < 3 || size > 255 ||
            !strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", name[0]) ||
            !is_made_of(out->bucket, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._"))
                return zp_error_set(err, EINVAL, "s3: '%.200s' is no name of a bucket", out->bucket);
        return 0;
}

/* A prefix of names between single slashes; "." and ".." are refused, as HTTP clients and servers resolve them. */
static int parse_prefix(const char *text, struct zp_s3_place *out, struct zp_error *err) {
        size_t size = strlen(text);
        while (size > 0 && text[size - 1] == '/')
                size--;
        if (size > KEY_MAX - KEY_OURS)
                return zp_error_set(err, EINVAL, "s3: the prefix is longer than %d bytes", KEY_MAX - KEY_OURS);
        for (const char *p = text; p < text + size;) {
                size_t part = strcspn(p, "/");
                if (part > (size_t) (text + size - p))
                        part = (size_t) (text + size - p);
                if (part == 0 || (part == 1 && p[0] == '.') || (part == 2 && p[0] == '.' && p[1] == '.'))
                        return zp_error_set(err, EINVAL, "s3: the prefix '%.200s' has an empty, '.' or '..' part",
                                            text);
                for (size_t i = 0; i < part; i++)
                        if ((unsigned char) p[i] < 0x20 || p[i] == 0x7f)
                                return zp_error_set(err, EINVAL, "s3: the prefix has a control character");
                p += part + 1;
        }
        out->prefix = size ? zp_format("%.*s/", (int) size, text) : strdup("");
        return out->prefix ? 0 : zp_error_errno(err, ENOMEM, "s3");
}

/* A variable that goes into headers; *out NULL: not set. */
static int take(char *(*variable)(const char *), const char *name, char **out, struct zp_error *err) {
        const char *value = variable(name);
        if (!value || !value[0])
                return 0;
        for (const char *p = value; *p; p++)
                if (*p <= 0x20 || *p >= 0x7f)
                        return zp_error_set(err, EINVAL, "s3: %s has a character that none has", name);
        *out = strdup(value);
        return *out ? 0 : zp_error_errno(err, ENOMEM, "s3");
}

static int parse_credentials(char *(*variable)(const char *), struct zp_s3_place *out, struct zp_error *err) {
        int r = take(variable, "AWS_ACCESS_KEY_ID", &out->access_key, err);
        if (r == 0)
                r = take(variable, "AWS_SECRET_ACCESS_KEY", &out->secret_key, err);
        if (r == 0)
                r = take(variable, "AWS_SESSION_TOKEN", &out->session_token, err);
        if (r == 0 && !out->access_key != !out->secret_key)
                return zp_error_set(err, EINVAL, "s3: of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY only one is set");
        return r;
}

static int parse_region(char *(*variable)(const char *), struct zp_s3_place *out, struct zp_error *err) {
        int r = take(variable, "AWS_REGION", &out->region, err);
        if (r == 0 && !out->region)
                r = take(variable, "AWS_DEFAULT_REGION", &out->region, err);
        if (r == 0 && !out->region)
                out->region = strdup("us-east-1");
        if (r == 0 && !out->region)
                return zp_error_errno(err, ENOMEM, "s3");
        if (r == 0 && !is_made_of(out->region, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"))
                return zp_error_set(err, EINVAL, "s3: '%.100s' is no region", out->region);
        return r;
}

/* A bucket that can be one label before the endpoint's name: lower case, and no dot, which certificates do not cover.
 */
static bool fits_host(const char *bucket) {
        return strlen(bucket) <= 63 && is_made_of(bucket, "abcdefghijklmnopqrstuvwxyz0123456789-");
}

static int choose_style(char *(*variable)(const char *), bool is_aws, const char *bucket, bool *is_virtual,
                        struct zp_error *err) {
        const char *style = variable("AWS_S3_ADDRESSING_STYLE");
        if (!style || !style[0] || strcmp(style, "auto") == 0)
                *is_virtual = is_aws && fits_host(bucket);
        else if (strcmp(style, "path") == 0)
                *is_virtual = false;
        else if (strcmp(style, "virtual") == 0)
                *is_virtual = true;
        else
                return zp_error_set(err, EINVAL, "s3: AWS_S3_ADDRESSING_STYLE is '%.40s', not path, virtual or auto",
                                    style);
        if (*is_virtual && !fits_host(bucket))
                return zp_error_set(err, EINVAL, "s3: the bucket '%s' cannot be part of a host name", bucket);
        return 0;
}

/* Puts URL and host together from the endpoint's parts, as curl will send them. */
static int make_base(CURLU *url, bool is_virtual, struct zp_s3_place *out, struct zp_error *err) {
        zp_auto(curl_free) char *scheme = NULL;
        zp_auto(curl_free) char *host = NULL;
        zp_auto(curl_free) char *port = NULL;
        zp_auto(curl_free) char *path = NULL;
        if (curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
            curl_url_get(url, CURLUPART_HOST, &host, 0) != CURLUE_OK ||
            curl_url_get(url, CURLUPART_PATH, &path, 0) != CURLUE_OK)
                return zp_error_errno(err, ENOMEM, "s3");
        if (curl_url_get(url, CURLUPART_PORT, &port, CURLU_NO_DEFAULT_PORT) != CURLUE_OK)
                port = NULL;
        for (size_t size = strlen(path); size > 0 && path[size - 1] == '/'; size--)
                path[size - 1] = '\0';
        out->host = zp_format("%s%s%s%s%s", is_virtual ? out->bucket : "", is_virtual ? "." : "", host, port ? ":" : "",
                              port ? port : "");
        if (out->host)
                out->base = zp_format("%s://%s%s%s%s", scheme, out->host, path, is_virtual ? "" : "/",
                                      is_virtual ? "" : out->bucket);
        if (!out->base)
                return zp_error_errno(err, ENOMEM, "s3");
        out->path_at = strlen(scheme) + 3 + strlen(out->host);
        return 0;
}

static int parse_endpoint(char *(*variable)(const char *), struct zp_s3_place *out, struct zp_error *err) {
        const char *given = variable("AWS_ENDPOINT_URL_S3");
        if (!given || !given[0])
                given = variable("AWS_ENDPOINT_URL");
        zp_autofree char *endpoint = given && given[0] ? strdup(given)
                                                       : zp_format("https://s3.%s.amazonaws.com%s", out->region,
                                                                   strncmp(out->region, "cn-", 3) == 0 ? ".cn" : "");
        zp_auto(curl_url_cleanup) CURLU *url = curl_url();
        zp_auto(curl_free) char *host = NULL;
        zp_auto(curl_free) char *query = NULL;
        if (!endpoint || !url)
                return zp_error_errno(err, ENOMEM, "s3");
        if ((strncmp(endpoint, "https://", 8) != 0 && strncmp(endpoint, "http://", 7) != 0) ||
            curl_url_set(url, CURLUPART_URL, endpoint, CURLU_DISALLOW_USER) != CURLUE_OK ||
            curl_url_get(url, CURLUPART_QUERY, &query, 0) == CURLUE_OK || strchr(endpoint, '#') ||
            curl_url_get(url, CURLUPART_HOST, &host, 0) != CURLUE_OK)
                return zp_error_set(err, EINVAL, "s3: the endpoint '%.200s' is not of the form https://HOST[:PORT]",
                                    endpoint);
        size_t size = strlen(host);
        bool is_aws = (size > 14 && strcmp(host + size - 14, ".amazonaws.com") == 0) ||
                      (size > 17 && strcmp(host + size - 17, ".amazonaws.com.cn") == 0);
        bool is_virtual;
        int r = choose_style(variable, is_aws, out->bucket, &is_virtual, err);
        return r < 0 ? r : make_base(url, is_virtual, out, err);
}

int zp_s3_place_parse(const char *name, char *(*variable)(const char *), struct zp_s3_place *out,
                      struct zp_error *err) {
        int r = parse_bucket(name, out, err);
        const char *slash = strchr(name, '/');
        if (r == 0)
                r = parse_prefix(slash ? slash + 1 : "", out, err);
        if (r == 0)
                r = parse_credentials(variable, out, err);
        if (r == 0)
                r = parse_region(variable, out, err);
        if (r == 0)
                r = parse_endpoint(variable, out, err);
        if (r < 0)
                zp_s3_place_clear(out);
        return r;
}
