/* SPDX-License-Identifier: Apache-2.0
 *
 * What a hosts.toml says, table by table.
 */
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buffer.h"
#include "oci/hosts-internal.h"
#include "oci/proxy.h"
#include "oci/toml.h"
#include "oci/url.h"

#define HOSTS_MAX 32
#define TIMEOUT_MAX_MS 600000.0

ZP_DEFINE_AUTO(CURLU, curl_url_cleanup);
ZP_DEFINE_AUTO(char, curl_free);

/* What is being read, for messages. */
struct section {
        const char *directory; /* of hosts.toml */
        const char *name;      /* "server", or the host's URL */
        struct zp_error *err;
};

static int refuse(const struct section *section, const char *key, const char *wanted) {
        return zp_error_set(section->err, EINVAL, "%s/hosts.toml: %s: '%s' should be %s", section->directory,
                            section->name, key, wanted);
}

static int out_of_memory(const struct section *section) {
        return zp_error_errno(section->err, ENOMEM, "%s/hosts.toml", section->directory);
}

/* "HOST", "https://HOST/PATH" → what requests begin with. */
static int read_base(const struct section *section, const char *text, bool override_path, char **out) {
        bool has_scheme = strncasecmp(text, "http://", 7) == 0 || strncasecmp(text, "https://", 8) == 0;
        zp_autofree char *full = has_scheme ? strdup(text) : zp_format("https://%s", text);
        zp_auto(curl_url_cleanup) CURLU *url = curl_url();
        zp_auto(curl_free) char *path = NULL;
        zp_auto(curl_free) char *query = NULL;
        if (!full || !url)
                return out_of_memory(section);
        if (strstr(text, "://") && !has_scheme)
                return refuse(section, text, "an http or https URL");
        if (curl_url_set(url, CURLUPART_URL, full, CURLU_DISALLOW_USER) != CURLUE_OK ||
            curl_url_get(url, CURLUPART_PATH, &path, 0) != CURLUE_OK ||
            curl_url_get(url, CURLUPART_QUERY, &query, 0) == CURLUE_OK || strchr(full, '#'))
                return refuse(section, text, "a URL of a server, without a user name, query or fragment");
        const char *authority = strstr(full, "://") + 3;
        size_t size = (size_t) (authority - full) + strcspn(authority, "/?#");
        size_t path_size = strlen(path);
        while (path_size > 0 && path[path_size - 1] == '/')
                path_size--;
        bool has_version = path_size >= 3 && memcmp(path + path_size - 3, "/v2", 3) == 0;
        *out = zp_format("%.*s%.*s%s", (int) size, full, (int) path_size, path,
                         has_version || override_path ? "" : "/v2");
        return *out ? 0 : out_of_memory(section);
}

static int read_capabilities(const struct section *section, json_t *value, struct zp_host *host) {
        host->can_pull = host->can_resolve = host->can_push = !value || json_array_size(value) == 0;
        size_t i;
        json_t *item;
        if (value && !json_is_array(value))
                return refuse(section, "capabilities", "an array");
        json_array_foreach(value, i, item) {
                const char *text = json_string_value(item);
                if (text && strcasecmp(text, "pull") == 0)
                        host->can_pull = true;
                else if (text && strcasecmp(text, "resolve") == 0)
                        host->can_resolve = true;
                else if (text && strcasecmp(text, "push") == 0)
                        host->can_push = true;
                else
                        return refuse(section, "capabilities", "an array of \"pull\", \"resolve\", \"push\"");
        }
        return 0;
}

static int read_ca(const struct section *section, json_t *value, struct zp_host *host) {
        static const char wanted[] = "a path or an array of paths";
        size_t i;
        json_t *item;
        if (json_is_string(value))
                return zp_hosts_read_pem(section->directory, json_string_value(value), &host->ca_pem, section->err);
        if (value && !json_is_array(value))
                return refuse(section, "ca", wanted);
        json_array_foreach(value, i, item) {
                int r = json_is_string(item) ? zp_hosts_read_pem(section->directory, json_string_value(item),
                                                                 &host->ca_pem, section->err)
                                             : refuse(section, "ca", wanted);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* "path", ["path"], [["certificate", "key"]]. */
static int read_client(const struct section *section, json_t *value, struct zp_host *host) {
        json_t *pair = value;
        if (json_is_array(value)) {
                if (json_array_size(value) != 1) /* which to show is not ours to guess */
                        return refuse(section, "client", "one certificate");
                pair = json_array_get(value, 0);
        }
        const char *certificate = json_string_value(json_is_array(pair) ? json_array_get(pair, 0) : pair);
        const char *key = json_is_array(pair) ? json_string_value(json_array_get(pair, 1)) : "";
        if (!value)
                return 0;
        if (!certificate || !key || (json_is_array(pair) && json_array_size(pair) != 2))
                return refuse(section, "client", "a path, or a pair of paths: certificate and key");
        int r = zp_hosts_read_pem(section->directory, certificate, &host->client_pem, section->err);
        return r < 0 ? r
                     : zp_hosts_read_pem(section->directory, key[0] ? key : certificate, &host->client_key_pem,
                                         section->err);
}

static bool is_header_name(const char *name) {
        return name[0] &&
               strspn(name, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") ==
                       strlen(name);
}

static int add_header(const struct section *section, const char *name, json_t *value, struct zp_host *host) {
        size_t count = 0;
        if (!is_header_name(name) || !json_is_string(value) || strpbrk(json_string_value(value), "\r\n"))
                return refuse(section, name, "a header's name, with a string or an array of strings");
        while (host->headers && host->headers[count])
                count++;
        char **more = realloc(host->headers, (count + 2) * sizeof *more);
        if (!more)
                return out_of_memory(section);
        host->headers = more;
        more[count] = zp_format("%s: %s", name, json_string_value(value));
        more[count + 1] = NULL;
        return more[count] ? 0 : out_of_memory(section);
}

static int read_headers(const struct section *section, json_t *table, struct zp_host *host) {
        const char *name;
        json_t *value, *item;
        size_t i;
        int r = table && !json_is_object(table) ? refuse(section, "header", "a table") : 0;
        json_object_foreach(table, name, value) {
                if (r == 0 && !json_is_array(value))
                        r = add_header(section, name, value, host);
                json_array_foreach(value, i, item) {
                        if (r == 0)
                                r = add_header(section, name, item, host);
                }
        }
        return r;
}

static int read_bool(const struct section *section, json_t *table, const char *key, bool *out) {
        json_t *value = json_object_get(table, key);
        *out = json_is_true(value);
        return !value || json_is_boolean(value) ? 0 : refuse(section, key, "true or false");
}

/* "1s", "1m30s", "500ms": the part of Go's durations that makes sense for a connection. */
static int read_timeout(const struct section *section, json_t *value, struct zp_host *host) {
        static const char wanted[] = "a time such as \"5s\" or \"500ms\", above 0 and at most 10 minutes";
        const char *text = json_string_value(value);
        double total_ms = 0;
        if (!value)
                return 0;
        if (!text || !text[0])
                return refuse(section, "dial_timeout", wanted);
        while (*text) {
                char *end;
                size_t digits = strspn(text, "0123456789.");
                double number = strtod(text, &end);
                if (digits == 0 || digits > 10 || end != text + digits)
                        return refuse(section, "dial_timeout", wanted);
                double unit = strncmp(end, "ms", 2) == 0 ? 1 : *end == 's' ? 1000 : *end == 'm' ? 60000 : 0;
                if (unit == 0)
                        return refuse(section, "dial_timeout", wanted);
                text = end + (unit == 1 ? 2 : 1);
                total_ms += number * unit;
        }
        if (total_ms < 1 || total_ms > TIMEOUT_MAX_MS)
                return refuse(section, "dial_timeout", wanted);
        host->connect_timeout_ms = (unsigned) total_ms;
        return 0;
}

static int read_proxy(const struct section *section, json_t *value, struct zp_host *host) {
        const char *text = json_string_value(value);
        if (!value)
                return 0;
        if (!text || !strstr(text, "://") || !zp_proxy_is_well_formed(text)) /* not shown: it may hold a password */
                return refuse(section, "proxy", "scheme://host:port with http, https, socks5 or socks5h");
        host->proxy = strdup(text);
        return host->proxy ? 0 : out_of_memory(section);
}

/* The fields that a host's table and the file's root share. What else is there is for other readers. */
static int read_host(const struct section *section, const char *url, json_t *table, struct zp_host *host) {
        bool override_path;
        int r = read_bool(section, table, "override_path", &override_path);
        if (r == 0 && url)
                r = read_base(section, url, override_path, &host->base);
        if (r == 0)
                r = read_capabilities(section, json_object_get(table, "capabilities"), host);
        if (r == 0)
                r = read_bool(section, table, "skip_verify", &host->skip_tls_verify);
        if (r == 0)
                r = read_ca(section, json_object_get(table, "ca"), host);
        if (r == 0)
                r = read_client(section, json_object_get(table, "client"), host);
        if (r == 0)
                r = read_headers(section, json_object_get(table, "header"), host);
        if (r == 0)
                r = read_timeout(section, json_object_get(table, "dial_timeout"), host);
        return r < 0 ? r : read_proxy(section, json_object_get(table, "proxy"), host);
}

static int read_hosts(json_t *root, const char *directory, struct zp_hosts *out, struct zp_error *err) {
        struct section section = { .directory = directory, .name = "server", .err = err };
        json_t *tables = json_object_get(root, "host"), *server = json_object_get(root, "server"), *table;
        const char *url;
        int r = 0;
        if (tables && !json_is_object(tables))
                return refuse(&section, "host", "a table");
        if (server && !json_is_string(server))
                return refuse(&section, "server", "a string");
        if (json_object_size(tables) > HOSTS_MAX)
                return zp_error_set(err, EFBIG, "%s/hosts.toml: more than %d hosts", directory, HOSTS_MAX);
        out->hosts = calloc(json_object_size(tables) + 1, sizeof *out->hosts);
        if (!out->hosts)
                return out_of_memory(&section);
        json_object_foreach(tables, url, table) {
                section.name = url;
                r = json_is_object(table) ? read_host(&section, url, table, &out->hosts[out->count++])
                                          : refuse(&section, url, "a table");
                if (r < 0)
                        return r;
        }
        section.name = "server";
        url = json_string_value(server);
        struct zp_host *last = &out->hosts[out->count++];
        r = read_host(&section, url && url[0] ? url : NULL, root, last);
        if (!last->base) /* what is said about it is how to reach it */
                last->can_pull = last->can_resolve = last->can_push = true;
        return r;
}

int zp_hosts_parse(const char *text, size_t size, const char *directory, struct zp_hosts *out, struct zp_error *err) {
        zp_auto(json_decref) json_t *root = NULL;
        zp_autofree char *name = zp_format("%s/hosts.toml", directory);
        *out = (struct zp_hosts){ 0 };
        if (!name)
                return zp_error_errno(err, ENOMEM, "hosts.toml");
        int r = zp_toml_parse(text, size, name, &root, err);
        if (r == 0)
                r = read_hosts(root, directory, out, err);
        if (r < 0)
                zp_hosts_clear(out);
        return r;
}
