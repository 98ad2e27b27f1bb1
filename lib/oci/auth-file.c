/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/auth-file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/buffer.h"
#include "base/file.h"
#include "oci/credential-helper.h"
#include "oci/json.h"
#include "oci/settings-error.h"

#define FILE_MAX (UINT64_C(4) << 20)
#define HUB_KEY "https://index.docker.io/v1/"

void zp_credentials_clear(struct zp_credentials *credentials) {
        char *secrets[] = { credentials->password, credentials->identity_token, credentials->registry_token };
        for (size_t i = 0; i < sizeof secrets / sizeof *secrets; i++)
                if (secrets[i])
                        explicit_bzero(secrets[i], strlen(secrets[i]));
        free(credentials->username);
        free(credentials->password);
        free(credentials->identity_token);
        free(credentials->registry_token);
        *credentials = (struct zp_credentials){ 0 };
}

bool zp_credentials_are_empty(const struct zp_credentials *credentials) {
        return !credentials->username && !credentials->identity_token && !credentials->registry_token;
}

static char *copy_text(const char *text, bool *ok) {
        char *copy = text ? strdup(text) : NULL;
        *ok = *ok && (copy || !text);
        return copy;
}

int zp_credentials_copy(const struct zp_credentials *from, struct zp_credentials *to, struct zp_error *err) {
        bool ok = true;
        *to = (struct zp_credentials){
                .username = copy_text(from->username, &ok),
                .password = copy_text(from->password, &ok),
                .identity_token = copy_text(from->identity_token, &ok),
                .registry_token = copy_text(from->registry_token, &ok),
        };
        if (ok)
                return 0;
        zp_credentials_clear(to);
        return zp_error_errno(err, ENOMEM, "credentials");
}

int zp_credentials_parse(const char *text, struct zp_credentials *out, struct zp_error *err) {
        const char *colon = strchr(text, ':');
        if (!colon || colon == text)
                return zp_error_set(err, EINVAL, "credentials: not of the form user:password");
        *out = (struct zp_credentials){ .username = strndup(text, (size_t) (colon - text)),
                                        .password = strdup(colon + 1) };
        if (out->username && out->password)
                return 0;
        zp_credentials_clear(out);
        return zp_error_errno(err, ENOMEM, "credentials");
}

int zp_credentials_decode(const char *auth, const char *name, struct zp_credentials *out, struct zp_error *err) {
        size_t size = strlen(auth);
        if (size > 65536)
                return zp_error_set(err, EBADMSG, "%s: 'auth' is too long", name);
        uint8_t *text = NULL;
        size_t decoded = 0;
        int r = size == 0 ? -EBADMSG : zp_base64_decode(ZP_BASE64, auth, size, &text, &decoded);
        if (r < 0)
                return r == -ENOMEM ? zp_error_errno(err, ENOMEM, "%s", name)
                                    : zp_error_set(err, EBADMSG, "%s: 'auth' is not base64", name);
        r = zp_credentials_parse((const char *) text, out, err);
        explicit_bzero(text, decoded);
        free(text);
        return r < 0 ? zp_error_set(err, -r, "%s: 'auth' is not of the form user:password", name) : 0;
}

/* "https://host/v1/" → its "host" part, in place of what docker and others write. */
static void normalise_key(const char *key, const char **start, size_t *size) {
        if (strncmp(key, "https://", 8) == 0)
                key += 8;
        else if (strncmp(key, "http://", 7) == 0)
                key += 7;
        size_t n = strlen(key);
        while (n > 0 && key[n - 1] == '/')
                n--;
        if (n > 3 && (memcmp(key + n - 3, "/v1", 3) == 0 || memcmp(key + n - 3, "/v2", 3) == 0))
                n -= 3;
        *start = key;
        *size = n;
}

static bool is_hub(const char *registry) {
        return strcmp(registry, "docker.io") == 0;
}

bool zp_credentials_are_for(const char *key, const char *place) {
        const char *start;
        size_t size;
        normalise_key(key, &start, &size);
        if (is_hub(place) && ((size == 15 && memcmp(start, "index.docker.io", 15) == 0) ||
                              (size == 20 && memcmp(start, "registry-1.docker.io", 20) == 0)))
                return true;
        return strlen(place) == size && memcmp(start, place, size) == 0;
}

/* The value for "registry/a/b", else "registry/a", else "registry"; *key is the file's own. */
static json_t *look_up(json_t *table, const char *registry, const char *repository, const char **key) {
        zp_autofree char *place = zp_format("%s/%s", registry, repository);
        while (place && table) {
                const char *other;
                json_t *value;
                json_object_foreach(table, other, value) {
                        if (zp_credentials_are_for(other, place)) {
                                *key = other;
                                return value;
                        }
                }
                char *slash = strrchr(place, '/');
                if (!slash)
                        break;
                *slash = '\0';
        }
        return NULL;
}

static int from_entry(json_t *entry, const char *name, struct zp_credentials *out, struct zp_error *err) {
        const char *auth, *token, *username, *password;
        int r = zp_json_text(entry, "identitytoken", ZP_JSON_OPTIONAL, name, &token, err);
        if (r == 0)
                r = zp_json_text(entry, "auth", ZP_JSON_OPTIONAL, name, &auth, err);
        if (r == 0)
                r = zp_json_text(entry, "username", ZP_JSON_OPTIONAL, name, &username, err);
        if (r == 0)
                r = zp_json_text(entry, "password", ZP_JSON_OPTIONAL, name, &password, err);
        if (r < 0)
                return r;
        if (token && token[0]) {
                out->identity_token = strdup(token);
                return out->identity_token ? 0 : zp_error_errno(err, ENOMEM, "%s", name);
        }
        if (auth && auth[0])
                return zp_credentials_decode(auth, name, out, err);
        if (!username || !username[0] || !password)
                return 0;
        out->username = strdup(username);
        out->password = strdup(password);
        if (out->username && out->password)
                return 0;
        zp_credentials_clear(out);
        return zp_error_errno(err, ENOMEM, "%s", name);
}

/* The whole is what other files have under "auths". */
static int parse_old_form(const char *body, size_t size, const char *name, const char *registry, const char *repository,
                          struct zp_credentials *out, struct zp_error *err) {
        zp_auto(json_decref) json_t *auths = NULL;
        const char *key;
        int r = zp_json_load(body, size, name, &auths, err);
        json_t *entry = r == 0 ? look_up(auths, registry, repository, &key) : NULL;
        return entry ? from_entry(entry, name, out, err) : r;
}

static bool is_old_form(const char *path) {
        const char *slash = strrchr(path, '/');
        return strcmp(slash ? slash + 1 : path, ".dockercfg") == 0;
}

int zp_auth_file_parse(const char *body, size_t size, const char *name, const char *registry, const char *repository,
                       const struct zp_cancel *cancel, struct zp_credentials *out, struct zp_error *err) {
        *out = (struct zp_credentials){ 0 };
        zp_auto(json_decref) json_t *json = NULL;
        json_t *auths, *helpers;
        const char *store, *key;
        const char *server = is_hub(registry) ? HUB_KEY : registry;
        int r = zp_json_load(body, size, name, &json, err);
        if (r == 0)
                r = zp_json_get(json, "auths", JSON_OBJECT, ZP_JSON_OPTIONAL, name, &auths, err);
        if (r == 0)
                r = zp_json_get(json, "credHelpers", JSON_OBJECT, ZP_JSON_OPTIONAL, name, &helpers, err);
        if (r == 0)
                r = zp_json_text(json, "credsStore", ZP_JSON_OPTIONAL, name, &store, err);
        if (r < 0)
                return r;
        json_t *helper = look_up(helpers, registry, repository, &key);
        if (helper && !json_is_string(helper))
                return zp_error_set(err, EBADMSG, "%s: credHelpers: '%.200s' is not a string", name, key);
        if (helper)
                r = zp_credential_helper_get(json_string_value(helper), is_hub(registry) ? HUB_KEY : key, cancel, out,
                                             err);
        else if (store && store[0])
                r = zp_credential_helper_get(store, server, cancel, out, err);
        if (r < 0) {
                zp_error_wrap(err, "%s", name);
                return r;
        }
        json_t *entry = zp_credentials_are_empty(out) ? look_up(auths, registry, repository, &key) : NULL;
        return entry ? from_entry(entry, name, out, err) : 0;
}

/* The older form, with the registries at the top, has no mark of its own but its name. */
static bool says_where(const char *path, const json_t *root) {
        return is_old_form(path) || json_is_object(json_object_get(root, "auths")) ||
               json_is_object(json_object_get(root, "credHelpers")) ||
               json_is_string(json_object_get(root, "credsStore"));
}

/* Each entry as if its registry was asked. */
static int check_entries(json_t *auths, const char *path, struct zp_error *err) {
        const char *key;
        json_t *entry;
        int r = 0;
        json_object_foreach(auths, key, entry) {
                struct zp_credentials ignored = { 0 };
                zp_autofree char *name = zp_format("%s: '%.200s'", path, key);
                if (!name)
                        return zp_error_errno(err, ENOMEM, "%s", path);
                r = json_is_object(entry) ? from_entry(entry, name, &ignored, err)
                                          : zp_error_set(err, EBADMSG, "%s: is not an object", name);
                zp_credentials_clear(&ignored);
                if (r < 0)
                        break;
        }
        return r;
}

static int check_root(json_t *root, const char *path, struct zp_error *err) {
        json_t *auths, *helpers, *helper;
        const char *key, *store;
        if (is_old_form(path))
                return check_entries(root, path, err);
        int r = zp_json_get(root, "auths", JSON_OBJECT, ZP_JSON_OPTIONAL, path, &auths, err);
        if (r == 0)
                r = zp_json_get(root, "credHelpers", JSON_OBJECT, ZP_JSON_OPTIONAL, path, &helpers, err);
        if (r == 0)
                r = zp_json_text(root, "credsStore", ZP_JSON_OPTIONAL, path, &store, err);
        if (r < 0)
                return r;
        json_object_foreach(helpers, key, helper) if (!json_is_string(helper)) return zp_error_set(
                err, EBADMSG, "%s: credHelpers: '%.200s' is not a string", path, key);
        return check_entries(auths, path, err);
}

int zp_auth_file_check(const char *path, struct zp_error *err) {
        zp_autofree char *text = NULL;
        zp_auto(json_decref) json_t *root = NULL;
        size_t size = 0;
        int r = zp_read_file(AT_FDCWD, path, FILE_MAX, &text, &size, err);
        if (r < 0)
                return r;
        r = zp_json_load(text, size, path, &root, err);
        explicit_bzero(text, size);
        if (r == 0 && !says_where(path, root))
                r = zp_error_set(err, EINVAL, "'%s' has no 'auths', as docker login writes them, and no helper", path);
        return r < 0 ? r : check_root(root, path, err);
}

static int find_in(const char *path, bool must_exist, const char *registry, const char *repository,
                   const struct zp_cancel *cancel, struct zp_credentials *out, struct zp_error *err) {
        zp_autofree char *body = NULL;
        size_t size;
        struct zp_error reason = { 0 };
        int r = zp_read_file(AT_FDCWD, path, FILE_MAX, &body, &size, &reason);
        if ((r == -ENOENT || r == -ENOTDIR) && !must_exist)
                return 0;
        if (r < 0) {
                zp_error_wrap(&reason, "credentials");
                return zp_settings_error(&reason, err);
        }
        if (is_old_form(path))
                r = parse_old_form(body, size, path, registry, repository, out, &reason);
        else
                r = zp_auth_file_parse(body, size, path, registry, repository, cancel, out, &reason);
        explicit_bzero(body, size);
        return r < 0 ? zp_settings_error(&reason, err) : 0;
}

/* The usual places, in order. The environment's strings are not ours to keep. */
static char *usual_place(unsigned number) {
        const char *docker = getenv("DOCKER_CONFIG"), *home = getenv("HOME");
        const char *runtime = getenv("XDG_RUNTIME_DIR"), *config = getenv("XDG_CONFIG_HOME");
        const char *containers = getenv("REGISTRY_AUTH_FILE");
        switch (number) {
        case 0:
                return containers ? strdup(containers) : NULL;
        case 1:
                if (docker)
                        return zp_format("%s/config.json", docker);
                return home ? zp_format("%s/.docker/config.json", home) : NULL;
        case 2:
                return runtime ? zp_format("%s/containers/auth.json", runtime) : NULL;
        case 3:
                if (config)
                        return zp_format("%s/containers/auth.json", config);
                return home ? zp_format("%s/.config/containers/auth.json", home) : NULL;
        default:
                return NULL;
        }
}

static int find_in_usual_places(const char *registry, const char *repository, const struct zp_cancel *cancel,
                                struct zp_credentials *out, struct zp_error *err) {
        for (unsigned i = 0; i < 4; i++) {
                zp_autofree char *place = usual_place(i);
                int r = place ? find_in(place, false, registry, repository, cancel, out, err) : 0;
                if (r < 0 || !zp_credentials_are_empty(out))
                        return r;
        }
        return 0;
}

/* In the files of a list with colons, one after the other; of several, those that are not there know nothing. */
static int find_in_list(const char *paths, const char *registry, const char *repository, const struct zp_cancel *cancel,
                        struct zp_credentials *out, struct zp_error *err) {
        bool is_single = !strchr(paths, ':');
        for (;;) {
                size_t size = strcspn(paths, ":");
                zp_autofree char *path = strndup(paths, size);
                int r = !path                  ? zp_error_errno(err, ENOMEM, "credentials")
                        : path[0] || is_single ? find_in(path, is_single, registry, repository, cancel, out, err)
                                               : find_in_usual_places(registry, repository, cancel, out, err);
                if (r < 0 || !zp_credentials_are_empty(out) || !paths[size])
                        return r;
                paths += size + 1;
        }
}

int zp_auth_file_find(const char *path, const char *registry, const char *repository, const struct zp_cancel *cancel,
                      struct zp_credentials *out, struct zp_error *err) {
        *out = (struct zp_credentials){ 0 };
        return path ? find_in_list(path, registry, repository, cancel, out, err)
                    : find_in_usual_places(registry, repository, cancel, out, err);
}
