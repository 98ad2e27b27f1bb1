/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/reference.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buffer.h"
#include "base/cleanup.h"

#define TAG_MAX 128
#define REPOSITORY_MAX 255
#define DOMAIN_MAX 255 /* a DNS name; the grammar gives no limit */
#define TEXT_MAX 1024

/* Not <ctype.h>: the grammar is ASCII whatever the locale. */
static bool is_lower(char c) {
        return c >= 'a' && c <= 'z';
}
static bool is_upper(char c) {
        return c >= 'A' && c <= 'Z';
}
static bool is_digit(char c) {
        return c >= '0' && c <= '9';
}
static bool is_alphanumeric(char c) {
        return is_lower(c) || is_upper(c) || is_digit(c);
}

/* alphanumeric, with hyphens inside, joined by single dots */
static bool valid_host_name(const char *text, size_t size) {
        bool start = true;
        for (size_t i = 0; i < size; i++) {
                if (is_alphanumeric(text[i]))
                        start = false;
                else if (start || (text[i] != '-' && text[i] != '.'))
                        return false;
                else if (text[i] == '.' && text[i - 1] == '-')
                        return false;
                else if (text[i] == '.')
                        start = true;
        }
        return size > 0 && !start && text[size - 1] != '-';
}

static bool valid_ipv6(const char *text, size_t size) {
        for (size_t i = 0; i < size; i++)
                if (!is_digit(text[i]) && text[i] != ':' && !(text[i] >= 'a' && text[i] <= 'f') &&
                    !(text[i] >= 'A' && text[i] <= 'F'))
                        return false;
        return size > 0;
}

static bool valid_port(const char *text) {
        unsigned port = 0;
        for (const char *p = text; *p; p++) {
                if (!is_digit(*p))
                        return false;
                port = port * 10 + (unsigned) (*p - '0');
                if (port > 65535)
                        return false;
        }
        return port > 0;
}

static bool valid_domain(const char *domain) {
        if (strlen(domain) > DOMAIN_MAX)
                return false;
        const char *end;
        if (domain[0] == '[') {
                const char *close = strchr(domain, ']');
                if (!close || !valid_ipv6(domain + 1, (size_t) (close - domain - 1)))
                        return false;
                end = close + 1;
        } else {
                end = strchrnul(domain, ':');
                if (!valid_host_name(domain, (size_t) (end - domain)))
                        return false;
        }
        return *end == '\0' || (*end == ':' && valid_port(end + 1));
}

/* The length of the separator at `text`: one of ".", "_", "__", or hyphens; 0: none. */
static size_t separator_size(const char *text) {
        if (text[0] == '.')
                return 1;
        if (text[0] == '_')
                return text[1] == '_' ? 2 : 1;
        return strspn(text, "-");
}

/* lower-case alphanumerics joined by separators, components joined by '/' */
static bool valid_repository(const char *path) {
        for (const char *p = path;;) {
                if (!is_lower(*p) && !is_digit(*p))
                        return false;
                while (is_lower(*p) || is_digit(*p))
                        p++;
                if (*p == '\0')
                        return true;
                size_t skip = *p == '/' ? 1 : separator_size(p);
                if (skip == 0)
                        return false;
                p += skip;
        }
}

static bool valid_tag(const char *tag) {
        size_t size = strlen(tag);
        if (size == 0 || size > TAG_MAX || tag[0] == '.' || tag[0] == '-')
                return false;
        for (const char *p = tag; *p; p++)
                if (!is_alphanumeric(*p) && *p != '_' && *p != '.' && *p != '-')
                        return false;
        return true;
}

/* True when what precedes the first '/' names a host and not the first part of a Docker Hub repository. */
static bool is_host(const char *text, size_t size) {
        if (memchr(text, '.', size) || memchr(text, ':', size) || (size == 9 && memcmp(text, "localhost", 9) == 0))
                return true;
        for (size_t i = 0; i < size; i++)
                if (is_upper(text[i]))
                        return true;
        return false;
}

static int out_of_memory(const char *text, struct zp_error *err) {
        return zp_error_errno(err, ENOMEM, "image reference '%s'", text);
}

/* Splits `name` (no tag, no digest) and fills registry and repository, as docker normalises them. */
static int parse_name(const char *text, const char *name, struct zp_reference *out, struct zp_error *err) {
        const char *slash = strchr(name, '/');
        const char *path = name;
        if (slash && is_host(name, (size_t) (slash - name))) {
                out->registry = strndup(name, (size_t) (slash - name));
                path = slash + 1;
        } else {
                out->registry = strdup("docker.io");
        }
        if (out->registry && strcmp(out->registry, "index.docker.io") == 0)
                strcpy(out->registry, "docker.io");
        if (!out->registry)
                return out_of_memory(text, err);
        if (!valid_domain(out->registry))
                return zp_error_set(err, EINVAL, "image reference '%s': '%s' is not a host name", text, out->registry);
        bool is_short = strcmp(out->registry, "docker.io") == 0 && !strchr(path, '/');
        out->repository = zp_format("%s%s", is_short ? "library/" : "", path);
        if (!out->repository)
                return out_of_memory(text, err);
        if (strlen(out->repository) > REPOSITORY_MAX)
                return zp_error_set(err, EINVAL,
                                    "image reference '%s': the repository name is longer than %d characters", text,
                                    REPOSITORY_MAX);
        if (valid_repository(out->repository))
                return 0;
        for (const char *p = path; *p; p++)
                if (is_upper(*p))
                        return zp_error_set(err, EINVAL, "image reference '%s': the repository name must be lower case",
                                            text);
        return zp_error_set(err, EINVAL, "image reference '%s': '%s' is not a repository name", text, path);
}

static int parse(const char *text, struct zp_reference *out, struct zp_error *err) {
        zp_autofree char *name = strdup(text);
        if (!name)
                return out_of_memory(text, err);
        char *at = strchr(name, '@');
        if (at) {
                *at = '\0';
                int r = zp_digest_parse(at + 1, &out->digest, err);
                if (r < 0) {
                        zp_error_wrap(err, "image reference '%s'", text);
                        return r;
                }
                out->has_digest = true;
        }
        char *slash = strrchr(name, '/');
        char *colon = strrchr(slash ? slash : name, ':');
        if (colon) {
                *colon = '\0';
                if (!valid_tag(colon + 1))
                        return zp_error_set(err, EINVAL, "image reference '%s': '%s' is not a tag", text, colon + 1);
        }
        struct zp_digest id;
        if (zp_digest_parse_hex(name, &id))
                return zp_error_set(err, EINVAL, "image reference '%s': an image ID, not a repository name", text);
        int r = parse_name(text, name, out, err);
        if (r < 0)
                return r;
        if (colon || !at) {
                out->tag = strdup(colon ? colon + 1 : "latest");
                if (!out->tag)
                        return out_of_memory(text, err);
        }
        return 0;
}

int zp_reference_parse(const char *text, struct zp_reference *out, struct zp_error *err) {
        *out = (struct zp_reference){ 0 };
        if (text[0] == '\0')
                return zp_error_set(err, EINVAL, "image reference: empty");
        if (strlen(text) > TEXT_MAX)
                return zp_error_set(err, EINVAL, "image reference '%.64s…': longer than %d bytes", text, TEXT_MAX);
        int r = parse(text, out, err);
        if (r < 0)
                zp_reference_clear(out);
        return r;
}

int zp_reference_of_name(const char *name, struct zp_reference *out, struct zp_error *err) {
        size_t scheme = strlen(ZP_REGISTRY_SCHEME);
        if (strncmp(name, ZP_REGISTRY_SCHEME, scheme) != 0)
                return zp_error_set(err, ENOTSUP, "'%s' is not in a registry", name);
        return zp_reference_parse(name + scheme, out, err);
}

char *zp_reference_text(const struct zp_reference *reference) {
        char digest[ZP_DIGEST_TEXT_SIZE] = "";
        if (reference->has_digest)
                zp_digest_text(&reference->digest, digest);
        return zp_format("%s/%s%s%s%s%s", reference->registry, reference->repository, reference->tag ? ":" : "",
                         reference->tag ? reference->tag : "", reference->has_digest ? "@" : "", digest);
}

void zp_reference_clear(struct zp_reference *reference) {
        free(reference->registry);
        free(reference->repository);
        free(reference->tag);
        *reference = (struct zp_reference){ 0 };
}
