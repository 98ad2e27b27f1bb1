/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/authorization.h"

#include <curl/curl.h>
#include <openssl/evp.h>
#include <string.h>

#include "oci/fetch.h"
#include "oci/json.h"
#include "oci/response-error.h"
#include "oci/url.h"

#define TOKEN_RESPONSE_MAX (1u << 20)
#define TOKEN_MAX 65536       /* more does not fit in any server's header limit */
#define DEFAULT_LIFETIME_S 60 /* distribution's token specification */
#define LIFETIME_MAX_S 86400

static int out_of_memory(struct zp_error *err) {
        return zp_error_errno(err, ENOMEM, "authentication");
}

static int refuse(const char *registry, struct zp_error *err) {
        zp_error_set(err, EACCES, "the registry asks for a user and password");
        zp_error_hint(err, "log in with `docker login %s` (or `skopeo login`), or give them with --creds", registry);
        return -EACCES;
}

char *zp_basic_authorization(const char *user, const char *password) {
        zp_auto(zp_secret_free) char *pair = zp_format("%s:%s", user, password ? password : "");
        zp_auto(zp_secret_free) char *text = pair ? malloc(4 * (strlen(pair) / 3 + 1) + 1) : NULL;
        if (!text)
                return NULL;
        EVP_EncodeBlock((unsigned char *) text, (const unsigned char *) pair, (int) strlen(pair));
        return zp_format("Basic %s", text);
}

static int basic_value(const struct zp_credentials *credentials, char **out, struct zp_error *err) {
        *out = zp_basic_authorization(credentials->username, credentials->password);
        return *out ? 0 : out_of_memory(err);
}

static bool append_field(struct zp_buffer *buffer, const char *name, const char *value, size_t size) {
        char *escaped = curl_easy_escape(NULL, value, (int) size);
        bool ok = escaped && zp_buffer_text(buffer, buffer->size ? "&" : "") && zp_buffer_text(buffer, name) &&
                  zp_buffer_text(buffer, "=") && zp_buffer_text(buffer, escaped);
        curl_free(escaped);
        return ok;
}

/* service=…&scope=…&scope=… */
static bool append_query(const struct zp_challenge *challenge, bool repeat_scope, struct zp_buffer *out) {
        if (challenge->service[0] && !append_field(out, "service", challenge->service, strlen(challenge->service)))
                return false;
        if (!repeat_scope)
                return append_field(out, "scope", challenge->scope, strlen(challenge->scope));
        for (const char *p = challenge->scope; *p;) {
                size_t size = strcspn(p, " ");
                if (size && !append_field(out, "scope", p, size))
                        return false;
                p += size + strspn(p + size, " ");
        }
        return true;
}

/* How far a realm may be trusted. */
static int check_realm(const char *registry_url, const char *realm, bool has_credentials, struct zp_error *err) {
        if (zp_url_is_https(realm))
                return 0;
        if (strncasecmp(realm, "http://", 7) != 0)
                return zp_error_set(err, EPROTO, "the registry's realm '%.200s' is not a URL", realm);
        bool is_near = zp_url_is_loopback(realm) && zp_url_is_loopback(registry_url);
        if (is_near || zp_url_same_origin(registry_url, realm))
                return 0;
        if (!has_credentials && !zp_url_is_https(registry_url))
                return 0;
        return zp_error_set(err, EACCES,
                            "the registry wants its tokens fetched by plain HTTP from '%.200s', which is "
                            "not safe",
                            realm);
}

/* Fit for a header. */
static bool is_token(const char *text) {
        size_t size = strlen(text);
        for (const char *p = text; *p; p++)
                if (*p <= 0x20 || *p > 0x7e)
                        return false;
        return size > 0 && size <= TOKEN_MAX;
}

static int parse_token(const struct zp_http_response *response, char **value, int64_t *lifetime_s,
                       struct zp_error *err) {
        zp_auto(json_decref) json_t *json = NULL;
        const char *token, *access_token;
        const char *body = response->body.data ? response->body.data : "";
        int r = zp_json_load(body, response->body.size, "token", &json, err);
        if (r == 0)
                r = zp_json_text(json, "token", ZP_JSON_OPTIONAL, "token", &token, err);
        if (r == 0)
                r = zp_json_text(json, "access_token", ZP_JSON_OPTIONAL, "token", &access_token, err);
        if (r < 0)
                return r;
        if (!token || !token[0])
                token = access_token;
        if (!token || !token[0])
                return zp_error_set(err, EBADMSG, "token: the answer has none");
        if (!is_token(token))
                return zp_error_set(err, EBADMSG, "token: not fit for a header");
        json_t *expires_in = json_object_get(json, "expires_in");
        double lifetime = json_is_number(expires_in) ? json_number_value(expires_in) : DEFAULT_LIFETIME_S;
        *lifetime_s = lifetime < 1                ? DEFAULT_LIFETIME_S
                      : lifetime > LIFETIME_MAX_S ? LIFETIME_MAX_S
                                                  : (int64_t) lifetime;
        *value = zp_format("Bearer %s", token);
        return *value ? 0 : out_of_memory(err);
}

/* GET realm?service=…&scope=…, with Basic when there are credentials. */
static int get_token(const struct zp_authorization_request *q, struct zp_http_response *response,
                     struct zp_error *err) {
        zp_autobuffer struct zp_buffer query = { 0 };
        char *basic = NULL;
        if (!append_query(q->challenge, true, &query))
                return out_of_memory(err);
        int r = q->known->username ? basic_value(q->known, &basic, err) : 0;
        zp_autofree char *url =
                zp_format("%s%c%s", q->challenge->realm, strchr(q->challenge->realm, '?') ? '&' : '?', query.data);
        if (r == 0 && !url)
                r = out_of_memory(err);
        if (r == 0)
                r = zp_fetch(q->http,
                             &(struct zp_http_request){
                                     .url = url, .authorization = basic, .body_limit = TOKEN_RESPONSE_MAX },
                             response, err);
        zp_secret_free(basic);
        return r;
}

/* OAuth2: POST grant_type=refresh_token. */
static int refresh_token(const struct zp_authorization_request *q, struct zp_http_response *response,
                         struct zp_error *err) {
        const char *identity_token = q->known->identity_token;
        zp_autobuffer struct zp_buffer form = { 0 };
        bool ok = append_field(&form, "grant_type", "refresh_token", 13) &&
                  append_field(&form, "client_id", "zeropull", 8) &&
                  append_field(&form, "refresh_token", identity_token, strlen(identity_token)) &&
                  append_query(q->challenge, false, &form);
        int r = ok ? zp_fetch(q->http,
                              &(struct zp_http_request){
                                      .url = q->challenge->realm, .form = form.data, .body_limit = TOKEN_RESPONSE_MAX },
                              response, err)
                   : out_of_memory(err);
        if (form.data)
                explicit_bzero(form.data, form.size);
        return r;
}

/* The token that somebody else has fetched. */
static int given_token(const char *token, char **value, struct zp_error *err) {
        if (!is_token(token))
                return zp_error_set(err, EINVAL, "the token that was given for the registry is not fit for a header");
        *value = zp_format("Bearer %s", token);
        return *value ? 0 : out_of_memory(err);
}

static int bearer_value(const struct zp_authorization_request *q, char **value, int64_t *lifetime_s,
                        struct zp_error *err) {
        int r = check_realm(q->registry_url, q->challenge->realm, !zp_credentials_are_empty(q->known), err);
        if (r < 0)
                return r;
        struct zp_http_response response = { 0 };
        r = q->known->identity_token ? refresh_token(q, &response, err) : get_token(q, &response, err);
        if (r == 0)
                r = response.status == 200 ? parse_token(&response, value, lifetime_s, err)
                                           : zp_response_error(&response, q->registry, err);
        if (response.body.data)
                explicit_bzero(response.body.data, response.body.size);
        zp_http_response_clear(&response);
        if (r < 0)
                zp_error_wrap(err, "token from %.200s", q->challenge->realm);
        return r;
}

int zp_authorization_obtain(const struct zp_authorization_request *request, char **value, int64_t *lifetime_s,
                            struct zp_error *err) {
        const struct zp_credentials *known = request->known;
        *lifetime_s = LIFETIME_MAX_S;
        if (request->challenge->scheme == ZP_CHALLENGE_BEARER)
                return known->registry_token ? given_token(known->registry_token, value, err)
                                             : bearer_value(request, value, lifetime_s, err);
        return known->username ? basic_value(known, value, err) : refuse(request->registry, err);
}
