/* SPDX-License-Identifier: Apache-2.0
 *
 * The files that a configuration names, read as those who use them will.
 */
#include <fcntl.h>
#include <openssl/pem.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "oci/auth-file.h"
#include "registry-hook/config-internal.h"
#include "trust/key.h"

#define PEM_FILE_MAX (4u << 20)

ZP_DEFINE_AUTO(X509, X509_free);
ZP_DEFINE_AUTO(EVP_PKEY, EVP_PKEY_free);
ZP_DEFINE_AUTO(BIO, BIO_free_all);

/* Never asks at a terminal. */
static int no_passphrase(char *buffer, int size, int is_new, void *context) {
        (void) buffer, (void) size, (void) is_new, (void) context;
        return -1;
}

static int read_pem(const char *path, BIO **out, struct zp_error *err) {
        zp_autofree char *text = NULL;
        size_t size;
        int r = zp_read_file(AT_FDCWD, path, PEM_FILE_MAX, &text, &size, err);
        if (r < 0)
                return r;
        *out = BIO_new(BIO_s_mem());
        bool is_copied = *out && BIO_write(*out, text, (int) size) == (int) size;
        explicit_bzero(text, size);
        return is_copied || size == 0 ? 0 : zp_error_errno(err, ENOMEM, "'%s'", path);
}

/* The first certificate of a file. */
static int read_certificate(const char *path, X509 **out, struct zp_error *err) {
        zp_auto(BIO_free_all) BIO *pem = NULL;
        int r = read_pem(path, &pem, err);
        if (r == 0 && !(*out = PEM_read_bio_X509(pem, NULL, no_passphrase, NULL)))
                r = zp_error_set(err, EINVAL, "'%s' has no certificate in PEM", path);
        return r;
}

static int check_authorities(const char *path, struct zp_error *err) {
        zp_auto(X509_free) X509 *certificate = NULL;
        return path ? read_certificate(path, &certificate, err) : 0;
}

static int check_tls(const char *certificate_path, const char *key_path, struct zp_error *err) {
        zp_auto(X509_free) X509 *certificate = NULL;
        zp_auto(EVP_PKEY_free) EVP_PKEY *key = NULL;
        zp_auto(BIO_free_all) BIO *pem = NULL;
        if (!certificate_path)
                return 0;
        int r = read_certificate(certificate_path, &certificate, err);
        if (r == 0)
                r = read_pem(key_path, &pem, err);
        if (r == 0 && !(key = PEM_read_bio_PrivateKey(pem, NULL, no_passphrase, NULL)))
                r = zp_error_set(err, EINVAL, "'%s' has no unencrypted private key in PEM", key_path);
        if (r == 0 && X509_check_private_key(certificate, key) != 1)
                r = zp_error_set(err, EINVAL, "the key of '%s' is not that of the certificate of '%s'", key_path,
                                 certificate_path);
        return r;
}

/* The builder takes several, separated by colons, and so none with a colon in its name. */
static int check_auth_file(const char *path, struct zp_error *err) {
        if (path && strchr(path, ':'))
                return zp_error_set(err, EINVAL, "'%s': no colon may be in the name", path);
        return path ? zp_auth_file_check(path, err) : 0;
}

static int ask_file(void *path, const char *name, char passphrase[ZP_PASSPHRASE_SIZE], struct zp_error *err) {
        zp_autofree char *text = NULL;
        size_t size;
        if (!path)
                return zp_error_set(err, EACCES, "the key '%s' is encrypted: set 'passphrase-file'", name);
        int r = zp_read_file(AT_FDCWD, path, ZP_PASSPHRASE_SIZE - 1, &text, &size, err);
        if (r < 0)
                return r;
        text[strcspn(text, "\r\n")] = '\0';
        memcpy(passphrase, text, strlen(text) + 1);
        explicit_bzero(text, size);
        return 0;
}

static int check_sign_key(const struct hook_rule *rule, struct zp_error *err) {
        zp_auto(zp_key_free) struct zp_key *key = NULL;
        zp_autofree char *passphrase_file = rule->passphrase_file ? strdup(rule->passphrase_file) : NULL;
        const struct zp_passphrase passphrase = { ask_file, passphrase_file };
        return rule->sign_key ? zp_key_load_private(rule->sign_key, &passphrase, &key, err) : 0;
}

/* What is wrong with the file of the setting `what`, with the place in front. */
static int wrong(const struct hook_config *config, size_t line, const char *what, struct zp_error *err) {
        zp_error_wrap(err, "%s:%zu: %s", config->path, line, what);
        if (err)
                err->code = EINVAL; /* a file that is not there makes a bad configuration, not an absent one */
        return -EINVAL;
}

int hook_config_check_builder(const struct hook_config *config, struct zp_error *err) {
        if (!config->builder || access(config->builder, X_OK) == 0)
                return 0;
        zp_error_errno(err, errno, "'%s'", config->builder);
        return wrong(config, config->builder_line, "builder", err);
}

int hook_config_check_files(const struct hook_config *config, struct zp_error *err) {
        if (check_tls(config->tls_certificate, config->tls_key, err) < 0)
                return wrong(config, config->tls_line, "tls", err);
        for (size_t i = 0; i < config->registry_count; i++) {
                const struct hook_registry *registry = &config->registries[i];
                if (check_auth_file(registry->auth_file, err) < 0)
                        return wrong(config, registry->auth_file_line, "auth-file", err);
                if (check_authorities(registry->ca_file, err) < 0)
                        return wrong(config, registry->ca_file_line, "ca-file", err);
        }
        for (size_t i = 0; i < config->rule_count; i++)
                if (check_sign_key(&config->rules[i], err) < 0)
                        return wrong(config, config->rules[i].sign_key_line, "sign-key", err);
        return 0;
}
