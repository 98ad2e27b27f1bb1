/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/proxy.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "oci/url.h"

ZP_DEFINE_AUTO(CURLU, curl_url_cleanup);
ZP_DEFINE_AUTO(char, curl_free);

bool zp_proxy_is_well_formed(const char *text) {
        static const char *const schemes[] = { "http", "https", "socks5", "socks5h" };
        zp_auto(curl_url_cleanup) CURLU *url = curl_url();
        zp_auto(curl_free) char *scheme = NULL;
        zp_auto(curl_free) char *host = NULL;
        zp_auto(curl_free) char *path = NULL;
        zp_auto(curl_free) char *query = NULL;
        if (!url ||
            curl_url_set(url, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME | CURLU_DEFAULT_SCHEME) != CURLUE_OK ||
            curl_url_get(url, CURLUPART_HOST, &host, 0) != CURLUE_OK || !host[0] ||
            curl_url_get(url, CURLUPART_PATH, &path, 0) != CURLUE_OK || strlen(path) > 1 ||
            curl_url_get(url, CURLUPART_QUERY, &query, 0) == CURLUE_OK || strchr(text, '#'))
                return false;
        if (!strstr(text, "://"))
                return true;
        if (curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK)
                return false;
        for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
                if (strcasecmp(scheme, schemes[i]) == 0)
                        return true;
        return false;
}

/* Whom a request goes to. */
struct target {
        char *host; /* without brackets */
        char *port;
        unsigned char address[16];
        int family; /* AF_INET, AF_INET6: the host is an address; 0: a name */
};

static void target_clear(struct target *target) {
        free(target->host);
        curl_free(target->port);
}

static int parse_address(const char *text, unsigned char address[16]) {
        return inet_pton(AF_INET, text, address) == 1    ? AF_INET
               : inet_pton(AF_INET6, text, address) == 1 ? AF_INET6
                                                         : 0;
}

static bool parse_target(const char *text, struct target *out) {
        zp_auto(curl_url_cleanup) CURLU *url = curl_url();
        zp_auto(curl_free) char *host = NULL;
        if (!url || curl_url_set(url, CURLUPART_URL, text, 0) != CURLUE_OK ||
            curl_url_get(url, CURLUPART_HOST, &host, 0) != CURLUE_OK ||
            curl_url_get(url, CURLUPART_PORT, &out->port, CURLU_DEFAULT_PORT) != CURLUE_OK)
                return false;
        size_t size = strlen(host);
        bool has_brackets = size > 1 && host[0] == '[' && host[size - 1] == ']';
        out->host = strndup(host + has_brackets, size - 2 * has_brackets);
        if (!out->host)
                return false;
        out->family = parse_address(out->host, out->address);
        return true;
}

/* "10.0.0.0/8" */
static bool is_in_network(const struct target *target, const char *text, const char *slash) {
        unsigned char network[16];
        zp_autofree char *base = strndup(text, (size_t) (slash - text));
        char *end;
        unsigned long bits = strtoul(slash + 1, &end, 10);
        int family = base ? parse_address(base, network) : 0;
        if (!family || family != target->family || *end || end == slash + 1 || bits > (family == AF_INET ? 32 : 128))
                return false;
        for (unsigned i = 0; i < bits; i++)
                if ((network[i / 8] ^ target->address[i / 8]) & (0x80 >> i % 8))
                        return false;
        return true;
}

/* Takes ":PORT" off a host's pattern. False: it is another port than the target's. */
static bool match_port(const struct target *target, char *pattern) {
        char *colon = strrchr(pattern, ':');
        unsigned char address[16];
        bool has_port =
                colon && (pattern[0] != '[' || colon > strchr(pattern, ']')) && !parse_address(pattern, address);
        if (!has_port)
                return true;
        *colon = '\0';
        return strcmp(colon + 1, target->port) == 0;
}

static bool is_excluded_by(const struct target *target, char *pattern) {
        const char *slash = strchr(pattern, '/');
        unsigned char address[16];
        if (strcmp(pattern, "*") == 0)
                return true;
        if (slash)
                return is_in_network(target, pattern, slash);
        if (!match_port(target, pattern))
                return false;
        size_t size = strlen(pattern), host_size = strlen(target->host);
        if (size > 1 && pattern[0] == '[' && pattern[size - 1] == ']') {
                pattern[size - 1] = '\0';
                pattern++;
        }
        int family = parse_address(pattern, address);
        if (family || target->family)
                return family == target->family && memcmp(address, target->address, family == AF_INET ? 4 : 16) == 0;
        if (strncmp(pattern, "*.", 2) == 0)
                pattern++;
        size = strlen(pattern);
        if (size == 0 || size > host_size || strcasecmp(target->host + host_size - size, pattern) != 0)
                return false;
        /* "a.b" is that host and those below, ".a.b" those below. */
        return pattern[0] == '.' ? size < host_size : size == host_size || target->host[host_size - size - 1] == '.';
}

static bool is_excluded(const struct target *target, const char *list, bool *ok) {
        for (const char *p = list; *p;) {
                size_t size = strcspn(p, ", \t");
                zp_autofree char *pattern = strndup(p, size);
                if (!pattern) {
                        *ok = false;
                        return false;
                }
                if (size > 0 && is_excluded_by(target, pattern))
                        return true;
                p += size + strspn(p + size, ", \t");
        }
        return false;
}

static const char *first_of(char *(*variable)(const char *), const char *const *names, const char **name) {
        for (; *names; names++) {
                const char *value = variable(*names);
                *name = *names;
                if (value && value[0])
                        return value;
        }
        return NULL;
}

int zp_proxy_find(const char *url, char *(*variable)(const char *), char **out, struct zp_error *err) {
        static const char *const https[] = { "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", NULL };
        static const char *const http[] = { "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", NULL };
        static const char *const none[] = { "NO_PROXY", "no_proxy", NULL };
        const char *name, *ignored;
        const char *proxy = first_of(variable, zp_url_is_https(url) ? https : http, &name);
        const char *exceptions = first_of(variable, none, &ignored);
        struct target target = { 0 };
        bool ok = true;
        *out = NULL;
        if (!proxy || zp_url_is_loopback(url))
                return 0;
        bool is_direct = parse_target(url, &target) && exceptions && is_excluded(&target, exceptions, &ok);
        target_clear(&target);
        if (is_direct)
                return 0;
        if (!zp_proxy_is_well_formed(proxy))
                return zp_error_set(err, EINVAL, "%s is not scheme://host:port of a proxy", name);
        *out = ok ? strdup(proxy) : NULL;
        return *out ? 0 : zp_error_errno(err, ENOMEM, "proxy");
}
