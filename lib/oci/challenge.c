/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/challenge.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HEADER_MAX 65536
#define VALUE_MAX 8192
#define TOKEN_CHARACTERS "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define TOKEN68_CHARACTERS "-._~+/0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define SPACE " \t"

/* The challenge being read; its members are NULL until given. */
struct parsed {
        const char *scheme;
        size_t scheme_size;
        char *realm, *service, *scope;
};

static void clear_parsed(struct parsed *p) {
        free(p->realm);
        free(p->service);
        free(p->scope);
        *p = (struct parsed){ 0 };
}

/* Reads a quoted string or token at *p into malloc'ed memory. */
static int read_value(const char **p, char **out, struct zp_error *err) {
        zp_autofree char *value = malloc(VALUE_MAX + 1);
        if (!value)
                return zp_error_errno(err, ENOMEM, "WWW-Authenticate");
        size_t size = 0;
        const char *s = *p;
        if (*s == '"') {
                for (s++; *s != '"'; s++) {
                        if (*s == '\\' && s[1])
                                s++;
                        if ((unsigned char) *s < 0x20 || *s == 0x7f || size == VALUE_MAX)
                                return zp_error_set(err, EBADMSG, "WWW-Authenticate: malformed quoted string");
                        value[size++] = *s;
                }
                s++;
        } else {
                size = strspn(s, TOKEN_CHARACTERS);
                if (size == 0 || size > VALUE_MAX)
                        return zp_error_set(err, EBADMSG, "WWW-Authenticate: malformed parameter");
                memcpy(value, s, size);
                s += size;
        }
        value[size] = '\0';
        *p = s;
        *out = zp_steal(&value);
        return 0;
}

static char **member_named(struct parsed *p, const char *name, size_t size) {
        if (size == 5 && strncasecmp(name, "realm", size) == 0)
                return &p->realm;
        if (size == 7 && strncasecmp(name, "service", size) == 0)
                return &p->service;
        if (size == 5 && strncasecmp(name, "scope", size) == 0)
                return &p->scope;
        return NULL;
}

/* Skips the token68 that may follow a scheme ("Negotiate YII…=="). */
static const char *skip_token68(const char *s) {
        const char *end = s + strspn(s, TOKEN68_CHARACTERS);
        end += strspn(end, "=");
        const char *after = end + strspn(end, SPACE);
        return end > s && (*after == '\0' || *after == ',') ? after : s;
}

/* Reads the next scheme with its parameters. Returns 1, or 0 at the end. */
static int read_challenge(const char **p, struct parsed *out, struct zp_error *err) {
        const char *s = *p + strspn(*p, SPACE ",");
        *p = s;
        if (*s == '\0')
                return 0;
        out->scheme = s;
        out->scheme_size = strspn(s, TOKEN_CHARACTERS);
        s += out->scheme_size;
        if (out->scheme_size == 0 || (*s != ' ' && *s != '\t' && *s != ',' && *s != '\0'))
                return zp_error_set(err, EBADMSG, "WWW-Authenticate: malformed");
        s = skip_token68(s + strspn(s, SPACE));
        for (bool first = true;; first = false) {
                const char *name = s + strspn(s, SPACE ",");
                size_t size = strspn(name, TOKEN_CHARACTERS);
                const char *equals = name + size + strspn(name + size, SPACE);
                if (size == 0 && *name)
                        return zp_error_set(err, EBADMSG, "WWW-Authenticate: malformed");
                if (size == 0 || *equals != '=') /* the end, or the next scheme */
                        break;
                if (!first && !memchr(s, ',', (size_t) (name - s)))
                        return zp_error_set(err, EBADMSG, "WWW-Authenticate: no comma between parameters");
                s = equals + 1 + strspn(equals + 1, SPACE);
                zp_autofree char *value = NULL;
                int r = read_value(&s, &value, err);
                if (r < 0)
                        return r;
                char **member = member_named(out, name, size);
                if (member && *member)
                        return zp_error_set(err, EBADMSG, "WWW-Authenticate: a parameter is given twice");
                if (member)
                        *member = zp_steal(&value);
        }
        *p = s;
        return 1;
}

static bool is_scheme(const struct parsed *p, const char *name) {
        return p->scheme_size == strlen(name) && strncasecmp(p->scheme, name, p->scheme_size) == 0;
}

static int give(struct parsed *p, enum zp_challenge_scheme scheme, struct zp_challenge *out, struct zp_error *err) {
        *out = (struct zp_challenge){
                .scheme = scheme,
                .realm = p->realm ? zp_steal(&p->realm) : strdup(""),
                .service = p->service ? zp_steal(&p->service) : strdup(""),
                .scope = p->scope ? zp_steal(&p->scope) : strdup(""),
        };
        if (out->realm && out->service && out->scope)
                return 0;
        zp_challenge_clear(out);
        return zp_error_errno(err, ENOMEM, "WWW-Authenticate");
}

int zp_challenge_parse(const char *header, struct zp_challenge *out, struct zp_error *err) {
        struct parsed basic = { 0 }, bearer = { 0 };
        if (strnlen(header, HEADER_MAX + 1) > HEADER_MAX)
                return zp_error_set(err, EBADMSG, "WWW-Authenticate: longer than %d bytes", HEADER_MAX);
        int r;
        for (const char *p = header;;) {
                struct parsed next = { 0 };
                r = read_challenge(&p, &next, err);
                if (r > 0 && !bearer.scheme && is_scheme(&next, "Bearer"))
                        bearer = next;
                else if (r > 0 && !basic.scheme && is_scheme(&next, "Basic"))
                        basic = next;
                else
                        clear_parsed(&next);
                if (r <= 0)
                        break;
        }
        if (r == 0 && bearer.scheme)
                r = give(&bearer, ZP_CHALLENGE_BEARER, out, err);
        else if (r == 0 && basic.scheme)
                r = give(&basic, ZP_CHALLENGE_BASIC, out, err);
        else if (r == 0)
                r = zp_error_set(err, ENOTSUP, "the server wants authentication by '%.100s', not Basic or Bearer",
                                 header);
        clear_parsed(&basic);
        clear_parsed(&bearer);
        return r;
}

void zp_challenge_clear(struct zp_challenge *challenge) {
        free(challenge->realm);
        free(challenge->service);
        free(challenge->scope);
        *challenge = (struct zp_challenge){ 0 };
}
