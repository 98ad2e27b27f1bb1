/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/url.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <string.h>
#include <strings.h>

#include "base/buffer.h"
#include "base/bytes.h"
#include "base/cleanup.h"

#define URL_MAX 16384 /* signed URLs have 2-3 KiB */

ZP_DEFINE_AUTO(CURLU, curl_url_cleanup);
ZP_DEFINE_AUTO(char, curl_free);

bool zp_is_loopback(const char *host) {
        char name[256];
        size_t size = host[0] == '[' ? strcspn(++host, "]") : strcspn(host, ":");
        struct in_addr v4;
        struct in6_addr v6;
        if (strchr(host, ':') != strrchr(host, ':') && !strchr(host, ']'))
                size = strlen(host); /* a bare IPv6 address */
        if (size >= sizeof name)
                return false;
        memcpy(name, host, size);
        name[size] = '\0';
        if (strcasecmp(name, "localhost") == 0)
                return true;
        if (inet_pton(AF_INET, name, &v4) == 1)
                return ntohl(v4.s_addr) >> 24 == 127;
        return inet_pton(AF_INET6, name, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

static CURLU *parse(const char *url) {
        CURLU *parsed = curl_url();
        if (parsed && curl_url_set(parsed, CURLUPART_URL, url, 0) != CURLUE_OK) {
                curl_url_cleanup(parsed);
                return NULL;
        }
        return parsed;
}

int zp_url_check_service(const char *url, struct zp_error *err) {
        zp_auto(curl_url_cleanup) CURLU *parsed = parse(url);
        zp_auto(curl_free) char *user = NULL;
        bool is_http = zp_url_is_https(url) || strncasecmp(url, "http://", 7) == 0;
        if (!parsed || !is_http || strpbrk(url, "?#") ||
            curl_url_get(parsed, CURLUPART_USER, &user, 0) != CURLUE_NO_USER)
                return zp_error_set(err, EINVAL, "'%.200s' is not 'https://HOST[:PORT]' (or http)", url);
        return 0;
}

static bool same_part(CURLU *a, CURLU *b, CURLUPart part) {
        zp_auto(curl_free) char *x = NULL;
        zp_auto(curl_free) char *y = NULL;
        return curl_url_get(a, part, &x, CURLU_DEFAULT_PORT) == CURLUE_OK &&
               curl_url_get(b, part, &y, CURLU_DEFAULT_PORT) == CURLUE_OK && strcasecmp(x, y) == 0;
}

bool zp_url_same_origin(const char *a, const char *b) {
        zp_auto(curl_url_cleanup) CURLU *x = parse(a);
        zp_auto(curl_url_cleanup) CURLU *y = parse(b);
        return x && y && same_part(x, y, CURLUPART_SCHEME) && same_part(x, y, CURLUPART_HOST) &&
               same_part(x, y, CURLUPART_PORT);
}

bool zp_url_is_at(const char *url, const char *host) {
        zp_autofree char *own = zp_format("%s://%s", zp_url_is_https(url) ? "https" : "http", host);
        return own && zp_url_same_origin(url, own);
}

bool zp_url_is_https(const char *url) {
        return strncasecmp(url, "https://", 8) == 0;
}

bool zp_url_is_loopback(const char *url) {
        zp_auto(curl_url_cleanup) CURLU *parsed = parse(url);
        zp_auto(curl_free) char *host = NULL;
        return parsed && curl_url_get(parsed, CURLUPART_HOST, &host, 0) == CURLUE_OK && zp_is_loopback(host);
}

int zp_url_resolve(const char *base, const char *location, char **out, struct zp_error *err) {
        zp_auto(curl_url_cleanup) CURLU *url = parse(base);
        if (!url)
                return zp_error_set(err, EPROTO, "'%.200s' is not a URL", base);
        zp_auto(curl_free) char *text = NULL;
        if (strlen(location) > URL_MAX ||
            curl_url_set(url, CURLUPART_URL, location, CURLU_DISALLOW_USER) != CURLUE_OK ||
            curl_url_get(url, CURLUPART_URL, &text, 0) != CURLUE_OK)
                return zp_error_set(err, EPROTO,
                                    "redirected to what is no usable URL: malformed, too long, or with a user name");
        int shown = (int) zp_min_u64(strcspn(text, "?#"), 200); /* a query may hold a signature */
        if (!zp_url_is_https(text) && strncasecmp(text, "http://", 7) != 0)
                return zp_error_set(err, EPROTO, "redirected to '%.*s', which is neither http nor https", shown, text);
        bool is_local = zp_url_is_loopback(base) && zp_url_is_loopback(text);
        if (zp_url_is_https(base) && !zp_url_is_https(text) && !is_local)
                return zp_error_set(err, EPROTO, "redirected from https to plain '%.*s'", shown, text);
        *out = strdup(text);
        return *out ? 0 : zp_error_errno(err, ENOMEM, "redirect");
}

char *zp_url_with_query(const char *url, const char *name, const char *value) {
        zp_auto(curl_free) char *escaped = curl_easy_escape(NULL, value, 0);
        size_t size = strcspn(url, "#");
        const char *query = memchr(url, '?', size);
        const char *joint = !query ? "?" : query + 1 == url + size || url[size - 1] == '&' ? "" : "&";
        return escaped ? zp_format("%.*s%s%s=%s", (int) size, url, joint, name, escaped) : NULL;
}

char *zp_url_host(const char *url, char text[ZP_URL_HOST_SIZE]) {
        const char *start = strstr(url, "://");
        start = start ? start + 3 : url;
        size_t size = strcspn(start, "/?#");
        const char *user_end = memrchr(start, '@', size);
        if (user_end) {
                size -= (size_t) (user_end + 1 - start);
                start = user_end + 1;
        }
        if (size >= ZP_URL_HOST_SIZE)
                size = ZP_URL_HOST_SIZE - 1;
        memcpy(text, start, size);
        text[size] = '\0';
        return text;
}
