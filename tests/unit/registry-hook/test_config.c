/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/create.h"
#include "base/file.h"
#include "registry-hook/config.h"
#include "trust/key.h"

#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SHA256 "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define MINIMAL "version: 1\nregistries: [{host: r.example}]\nrules: [{name: all, repositories: r.example/**}]\n"

static int parse(const char *text, struct hook_config **out, struct zp_error *err) {
        return hook_config_parse(text, strlen(text), "hook.yaml", out, err);
}

static void what_is_left_out_has_a_default_that_is_safe(void **state) {
        (void) state;
        zp_auto(hook_config_drop) struct hook_config *c = NULL;
        assert_int_equal(parse(MINIMAL, &c, NULL), 0);
        assert_string_equal(c->listen, "127.0.0.1:8480");
        assert_int_equal(c->anonymous, HOOK_NOBODY);
        assert_int_equal(c->body_size, 16 << 20);
        assert_int_equal(c->concurrency, 2);
        assert_int_equal(c->endpoint_count, 0);
        assert_true(c->rules[0].has_profile);
        assert_int_equal(c->rules[0].base, HOOK_BASE_PREVIOUS);
}

static void every_setting_arrives(void **state) {
        (void) state;
        zp_auto(hook_config_drop) struct hook_config *c = NULL;
        struct zp_error err = { 0 };
        int r = parse(
                "version: 1\n"
                "listen: '[::]:443'\n"
                "tls: {certificate: c.pem, key: k.pem}\n"
                "state: /s\nbuilder: /b\nstore: /st\nconcurrency: 7\nanonymous: reader\n"
                "limits: {body: 2M, connections: 9, idle: 5s, memory: 1G, time: 10m, file-size: 3G, min-free: 5M}\n"
                "history: {age: 2d, keep: 12}\n"
                "tokens: [{name: ci, role: builder, sha256: "
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad}]\n"
                "registries:\n"
                "- {host: r.example, auth-file: a, ca-file: c, plain-http: true, concurrency: 3,"
                " reconcile: {every: 2h, catalog: true, repositories: [x/y]}}\n"
                "rules:\n"
                "- {name: none, action: skip, repositories: ['r.example/tmp/**']}\n"
                "- name: web\n"
                "  repositories: ['r.example/acme/*', '**/web']\n"
                "  tags: [v*, latest]\n"
                "  exclude: {repositories: 'r.example/acme/x', tags: '*-dev'}\n"
                "  labels: {a: b}\n  annotations: {c: d}\n  platforms: [linux/amd64]\n  min-size: 10M\n"
                "  target: docker://o.example/s\n  sign-key: k\n  passphrase-file: p\n  base: rebuild\n"
                "  profile: none\n  priority: -5\n  retention: {keep: 3, superseded: 7d, deleted: 1h, dry-run: true}\n",
                &c, &err);
        assert_string_equal(err.message, "");
        assert_int_equal(r, 0);
        assert_string_equal(c->tls_key, "k.pem");
        assert_int_equal(c->connections, 9);
        assert_int_equal(c->idle_ms, 5000);
        assert_int_equal(c->memory, 1 << 30);
        assert_int_equal(c->time_ms, 600000);
        assert_int_equal(c->history_ms, 2 * 86400000);
        assert_int_equal(c->registries[0].reconcile_ms, 7200000);
        assert_string_equal(c->registries[0].repositories[0], "x/y");
        assert_true(c->rules[0].is_skip);
        const struct hook_rule *rule = hook_config_rule(c, "web");
        assert_int_equal(rule->repository_count, 2);
        assert_int_equal(rule->tag_count, 2);
        assert_string_equal(rule->not_tags[0], "*-dev");
        assert_string_equal(rule->labels[0].pattern, "b");
        assert_int_equal(rule->min_size, 10 << 20);
        assert_int_equal(rule->priority, -5);
        assert_int_equal(rule->keep, 3);
        assert_int_equal(rule->superseded_ms, 7 * 86400000);
        assert_int_equal(rule->deleted_ms, 3600000);
        assert_true(rule->is_dry_run);
        assert_int_equal(rule->base, HOOK_BASE_REBUILD);
        assert_false(rule->has_profile);
        const char *name;
        assert_int_equal(hook_config_role(c, "abc", &name), HOOK_BUILDER);
        assert_string_equal(name, "ci");
        assert_int_equal(hook_config_role(c, "abd", NULL), HOOK_NOBODY);
        assert_int_equal(hook_config_role(c, NULL, NULL), HOOK_READER);
}

static void errors_name_file_and_line(void **state) {
        (void) state;
#define HEAD "version: 1\nregistries: [{host: r.example}]\n"
        static const struct {
                const char *text, *message;
        } cases[] = {
                { "", "hook.yaml:1: the configuration is empty" },
                { "version: 2\nregistries: []\nrules: []\n", "hook.yaml:1: version: '2' is not a number from 1 to 1" },
                { "version: 2\n", "hook.yaml:1: version: '2' is not a number from 1 to 1" },
                { "version: 1\n", "hook.yaml:1: configuration: 'registries' is missing" },
                { HEAD "limits: {memory: 4}\nrules: [{name: a, repositories: '**'}]\n",
                  "hook.yaml:3: memory: less than 64M" },
                { "version: 1\nregistries:\n- {host: '*.example'}\n- {host: r.example}\nrules: []\n",
                  "hook.yaml:4: host: 'r.example' is never used: '*.example' on line 3 names it first" },
                { "version: 1\nregistries:\n- host: r.example\n  reconcile:\n    repositories:\n    - acme/web\n"
                  "    - acme/*\nrules: []\n",
                  "hook.yaml:7: repositories: 'acme/*' is not a repository" },
                { "version: 1\nregistries:\n- {host: r.example, reconcile: {repositories: 'r.example:5/acme/web'}}\n"
                  "rules: []\n",
                  "hook.yaml:3: repositories: 'r.example:5/acme/web' is not a repository" },
                { "version: 1\nregistries:\n- {host: r.example, reconcile: {repositories: 'acme/web:1'}}\nrules: []\n",
                  "hook.yaml:3: repositories: 'acme/web:1' is not a repository" },
                { HEAD "rules:\n- {name: a}\n", "hook.yaml:4: rule: 'repositories' is missing" },
                { HEAD "rules:\n- name: a\n  repositories: web\n",
                  "hook.yaml:5: repositories: 'web' names no host: write 'HOST/REPOSITORY'" },
                { HEAD "rules:\n- name: a\n  repositories: r.example/web:1\n",
                  "hook.yaml:5: repositories: 'r.example/web:1': a tag does not belong here" },
                { HEAD "rules:\n- name: a\n  repositories: '**'\n  platform: x\n",
                  "hook.yaml:6: rule: 'platform' is not known" },
                { HEAD "rules:\n- name: a\n  repositories: '**'\n  platforms: [linux]\n", "hook.yaml:6: platforms: " },
                { HEAD "rules:\n- {name: a, repositories: '**'}\n- {name: a, repositories: '**'}\n",
                  "hook.yaml:5: name: 'a' is that of the rule on line 4" },
                { HEAD "rules:\n- {name: a, action: skip, repositories: '**', priority: 3}\n",
                  "hook.yaml:4: priority: of no use in a rule that skips" },
                { HEAD "rules:\n- {name: a, repositories: '**', min-size: 10X}\n",
                  "hook.yaml:4: min-size: '10X' is not a number with one of the units KMGT (or none)" },
                { HEAD "rules:\n- {name: a, repositories: **}\n", "hook.yaml:4: while scanning an alias" },
                { HEAD "endpoints: [{provider: distribution}]\nrules: [{name: a, repositories: '**'}]\n",
                  "hook.yaml:3: endpoint 'distribution': wants 'secret-file', or 'open: true'" },
                { HEAD "endpoints: [{provider: nexus, open: true}]\nrules: [{name: a, repositories: '**'}]\n",
                  "hook.yaml:3: endpoint 'nexus': 'host' is missing" },
                { HEAD "endpoints: [{provider: x}]\nrules: [{name: a, repositories: '**'}]\n",
                  "hook.yaml:3: provider: 'x' is none of: distribution, gitlab, harbor, " },
                { HEAD "history: {age: 0}\nrules: [{name: a, repositories: '**'}]\n",
                  "hook.yaml:3: age: less than a minute" },
                { HEAD "limits: {idle: 0}\nrules: [{name: a, repositories: '**'}]\n",
                  "hook.yaml:3: idle: less than a second" },
                { HEAD "rules:\n- {name: a, repositories: '**', target: 'docker://other/y'}\n",
                  "hook.yaml:4: rule 'a': target: 'docker://other/y': 'other' is no host" },
                { HEAD "rules:\n- {name: a, repositories: '**', retention: {keep: 3}}\n",
                  "hook.yaml:4: retention: removes nothing" },
                { "version: 1\nregistries:\n- {host: r.example}\n- {host: r.example}\nrules: []\n",
                  "hook.yaml:4: host: 'r.example' a second time" },
                { HEAD "endpoints: [{provider: zot, open: true, host: 'https://r.example'}]\nrules: []\n",
                  "hook.yaml:3: host: 'https://r.example' is not a host" },
                { HEAD "listen: 8480\nrules: [{name: a, repositories: '**'}]\n", "hook.yaml:3: listen: " },
                { HEAD "url: hook.example\nrules: [{name: a, repositories: '**'}]\n",
                  "hook.yaml:3: url: 'hook.example' is not 'https://HOST[:PORT]'" },
                { HEAD "url: 'https://u:p@hook.example'\nrules: [{name: a, repositories: '**'}]\n",
                  "hook.yaml:3: url: " },
                { HEAD "url: 'ftp://hook.example'\nrules: [{name: a, repositories: '**'}]\n", "hook.yaml:3: url: " },
                { HEAD "rules:\n- {name: a, repositories: '**', base: older}\n",
                  "hook.yaml:4: base (unless an image, 'HOST/REPOSITORY:TAG'): 'older' is none of: previous, none, "
                  "rebuild" },
                { HEAD "endpoints:\n- {provider: harbor, secret-file: /nonexistent}\nrules: []\n",
                  "hook.yaml:4: secret-file: " },
                { HEAD "limits: {file-size: 1}\nrules: [{name: a, repositories: '**'}]\n",
                  "hook.yaml:3: file-size: less than 1M" },
                { HEAD "limits:\n  memory: 1G\n  body: 1\nrules: [{name: a, repositories: '**'}]\n",
                  "hook.yaml:5: body: not from 1K to 64M" },
                { "version: 1\nregistries:\n- {host: 'a b'}\nrules: []\n", "hook.yaml:3: host: 'a b' is not a host" },
                { "version: 1\nregistries:\n- {host: '*.a b'}\nrules: []\n",
                  "hook.yaml:3: host: '*.a b' is not a pattern of hosts" },
                { "version: 1\nregistries:\n- {host: 'r.example:x'}\nrules: []\n",
                  "hook.yaml:3: host: 'r.example:x' is not a host" },
                { "version: 1\nregistries:\n- {host: 'r.example:'}\nrules: []\n",
                  "hook.yaml:3: host: 'r.example:' is not a host" },
                { "version: 1\nregistries:\n- {host: r..example}\nrules: []\n",
                  "hook.yaml:3: host: 'r..example' is not a host" },
                { "version: 1\nregistries:\n- {host: 'me@r.example'}\nrules: []\n",
                  "hook.yaml:3: host: 'me@r.example' is not a host" },
                { "version: 1\nregistries:\n- {host: R.example}\nrules: []\n",
                  "hook.yaml:3: host: 'R.example' is not in lower case" },
                { "version: 1\nregistries:\n- {host: registry}\nrules: []\n",
                  "hook.yaml:3: host: 'registry' is no registry's host in a reference" },
                { HEAD "endpoints: [{provider: zot, open: true, host: 'r.example:port'}]\nrules: []\n",
                  "hook.yaml:3: host: 'r.example:port' is not a host" },
                { HEAD "endpoints: [{provider: zot, open: true, host: registry}]\nrules: []\n",
                  "hook.yaml:3: host: 'registry' is no registry's host in a reference" },
                { HEAD "tokens:\n- {name: a, role: root, sha256: 00}\n", "hook.yaml:1: configuration: 'rules'" },
                { HEAD "tokens:\n- {name: anonymous, role: reader, sha256: " SHA256 "}\nrules: []\n",
                  "hook.yaml:4: token: the name 'anonymous' is taken" },
                { HEAD "tokens:\n- {name: a, role: reader, sha256: " SHA256
                       "}\n- {name: b, role: admin, sha256: " SHA256 "}\nrules: []\n",
                  "hook.yaml:5: token 'b': the same as that of 'a'" },
                { HEAD "tokens:\n- {name: a, role: root, sha256: 00}\nrules: [{name: a, repositories: '**'}]\n",
                  "hook.yaml:4: token: wants" },
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct hook_config *c = NULL;
                struct zp_error err = { 0 };
                int r = parse(cases[i].text, &c, &err);
                if (i == sizeof cases / sizeof *cases - 1) { /* the role comes first there */
                        assert_string_equal(err.message,
                                            "hook.yaml:4: role: 'root' is none of: reader, builder, admin");
                        continue;
                }
                if (r != -EINVAL || strncmp(err.message, cases[i].message, strlen(cases[i].message)) != 0)
                        fail_msg("case %zu: %d '%s'", i, r, err.message);
        }
}

static void secrets_are_the_first_lines_of_files(void **state) {
        (void) state;
        char directory[] = "/tmp/zp-config-XXXXXX";
        assert_non_null(mkdtemp(directory));
        zp_autofree char *file = zp_format("%s/secret", directory);
        zp_autofree char *text = zp_format(HEAD "endpoints: [{provider: harbor, secret-file: %s}]\n"
                                                "tokens: [{name: t, role: admin, file: %s}]\n"
                                                "rules: [{name: a, repositories: '**'}]\n",
                                           file, file);
        assert_int_equal(zp_create_file(file, "0123456789abcdef\n# note\n", 24, 0600, NULL), 0);
        zp_auto(hook_config_drop) struct hook_config *c = NULL;
        assert_int_equal(parse(text, &c, NULL), 0);
        assert_string_equal(hook_config_endpoint(c, "harbor")->secrets[0], "0123456789abcdef");
        assert_int_equal(hook_config_role(c, "0123456789abcdef", NULL), HOOK_ADMIN);
        zp_remove_tree(AT_FDCWD, directory, NULL);
}

static void hosts_that_no_entry_names_are_not_allowed(void **state) {
        (void) state;
        zp_auto(hook_config_drop) struct hook_config *c = NULL;
        assert_int_equal(
                parse("version: 1\nregistries: [{host: '*.r.example'}, {host: 'localhost:*'}, {host: '[::1]:5'},"
                      " {host: '[::1]:*'}, {host: localhost}, {host: docker.io}, {host: 'r-?.example:*'}]\n"
                      "rules: [{name: a, repositories: '**'}]\n",
                      &c, NULL),
                0);
        assert_non_null(hook_config_registry(c, "a.r.example"));
        assert_non_null(hook_config_registry(c, "localhost:5000"));
        assert_null(hook_config_registry(c, "r.example"));
        assert_null(hook_config_registry(c, "a.r.example.evil"));
        assert_null(hook_config_registry(c, "169.254.169.254"));
}

/* An image's build has one value of 'plain-http', and one of 'ca-file', for both registries. */
static void a_rule_whose_target_cannot_be_spoken_to_as_its_images_registry_is_refused(void **state) {
        (void) state;
        static const struct {
                const char *image, *target, *rule, *message; /* NULL: it may be */
        } cases[] = {
                { "", ", plain-http: true", "repositories: r.example/**, target: 'docker://t.example/s'",
                  "hook.yaml:3: rule 'a': registries 'r.example' and 't.example': one build cannot use two values of "
                  "'plain-http'" },
                { ", ca-file: a", ", ca-file: b", "repositories: r.example/web, target: 'docker://t.example/s'",
                  "hook.yaml:3: rule 'a': registries 'r.example' and 't.example': one build cannot use two values of "
                  "'ca-file'" },
                { "", ", ca-file: b", "repositories: ['*.example/*', r.example/web], target: 'docker://t.example/s'",
                  "hook.yaml:3: rule 'a': registries 'r.example' and 't.example': one build" },
                { "", "", "repositories: r.example/**, target: 'http://t.example/s'",
                  "hook.yaml:3: rule 'a': target: 'http://t.example/s' is neither docker://HOST/REPOSITORY nor" },
                { "", "", "repositories: r.example/**, target: 'docker://t.example'",
                  "hook.yaml:3: rule 'a': target: " },
                { "", "", "repositories: r.example/**, target: 'docker://t.example/'",
                  "hook.yaml:3: rule 'a': target: " },
                { "", "", "repositories: r.example/**, target: 'docker://t.example/s:tag'",
                  "hook.yaml:3: rule 'a': target: " },
                { "", "", "repositories: r.example/**, target: 'docker://t.example/S'",
                  "hook.yaml:3: rule 'a': target: " },
                { "", "", "repositories: r.example/**, target: 'docker://s'", "hook.yaml:3: rule 'a': target: " },
                { "", "", "repositories: r.example/**, target: 'dir:x'", "hook.yaml:3: rule 'a': target: " },
                { "", "", "repositories: r.example/**, target: 's3://'", "hook.yaml:3: rule 'a': target: " },
                { "", "", "repositories: r.example/**, target: 's3://b/p'", NULL },
                { "", "", "repositories: r.example/**, target: 'docker://t.example:5000/a/b'", NULL },
                { ", ca-file: a", "", "repositories: r.example/**, target: 'docker://t.example/s'", NULL },
                { ", ca-file: a", ", ca-file: a", "repositories: r.example/**, target: 'docker://t.example/s'", NULL },
                { "", ", ca-file: b", "repositories: '*.example/**', target: 'docker://t.example/s'", NULL },
                { "", ", ca-file: b", "repositories: '**/web', target: 'docker://t.example/s'", NULL },
                { "", "", "repositories: ['**', x.example/web]",
                  "hook.yaml:3: rule 'a': repositories: 'x.example' has no entry in 'registries'" },
                { "", ", ca-file: b", "repositories: r.example/web, target: 'dir:/t.example/s'", NULL },
                { "", ", ca-file: b", "repositories: r.example/web", NULL },
                { "", ", ca-file: b", "repositories: r.example/web, action: skip", NULL },
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                zp_autofree char *text =
                        zp_format("version: 1\nregistries: [{host: r.example%s}, {host: t.example%s}]\n"
                                  "rules: [{name: a, %s}]\n",
                                  cases[i].image, cases[i].target, cases[i].rule);
                zp_auto(hook_config_drop) struct hook_config *c = NULL;
                struct zp_error err = { 0 };
                const char *message = cases[i].message;
                int r = parse(text, &c, &err);
                if (message ? r != -EINVAL || strncmp(err.message, message, strlen(message)) != 0 : r != 0)
                        fail_msg("case %zu: %d '%s'", i, r, err.message);
        }
}

/* ---- the files that are named ---- */

ZP_DEFINE_AUTO(X509, X509_free);
ZP_DEFINE_AUTO(EVP_PKEY, EVP_PKEY_free);
ZP_DEFINE_AUTO(FILE, fclose);

static void write_certificate(const char *directory, const char *name, EVP_PKEY *key) {
        zp_auto(X509_free) X509 *certificate = X509_new();
        X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
        X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
        X509_set_pubkey(certificate, key);
        assert_true(X509_sign(certificate, key, NULL) > 0);
        zp_autofree char *path = zp_format("%s/%s.crt", directory, name),
                         *key_path = zp_format("%s/%s.key", directory, name);
        zp_auto(fclose) FILE *file = fopen(path, "w");
        zp_auto(fclose) FILE *key_file = fopen(key_path, "w");
        assert_int_equal(PEM_write_X509(file, certificate), 1);
        assert_int_equal(PEM_write_PrivateKey(key_file, key, NULL, NULL, 0, NULL, NULL), 1);
}

static void write_keys(const char *directory) {
        for (int i = 0; i < 2; i++) {
                zp_auto(EVP_PKEY_free) EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
                write_certificate(directory, i ? "other" : "tls", key);
        }
        zp_auto(zp_key_free) struct zp_key *key = NULL;
        zp_autofree char *plain = zp_format("%s/plain", directory), *encrypted = zp_format("%s/encrypted", directory),
                         *public = zp_format("%s/public", directory);
        assert_int_equal(zp_key_generate(&key, NULL), 0);
        assert_int_equal(zp_key_save_private(key, plain, NULL, NULL), 0);
        assert_int_equal(zp_key_save_private(key, encrypted, "open sesame", NULL), 0);
        assert_int_equal(zp_key_save_public(key, public, NULL), 0);
}

static void write_text(const char *directory, const char *name, const char *text) {
        zp_autofree char *path = zp_format("%s/%s", directory, name);
        assert_int_equal(zp_create_file(path, text, strlen(text), 0600, NULL), 0);
}

/* Relative ones are meant from the configuration's directory, so that all of this can be checked elsewhere than here.
 */
static void files_that_cannot_be_used_are_told_with_the_line_of_what_names_them(void **state) {
        (void) state;
        static const struct {
                const char *settings, *registry, *rule, *message; /* NULL: they can */
        } cases[] = {
                { "", "", "", NULL },
                { "tls: {certificate: tls.crt, key: tls.key}\n", "", "", NULL },
                { "", ", auth-file: auth, ca-file: tls.crt", ", sign-key: plain", NULL },
                { "builder: /bin/sh\n", ", auth-file: helper", ", sign-key: encrypted, passphrase-file: pass", NULL },
                { "tls: {certificate: absent, key: tls.key}\n", "", "", ":2: tls: " },
                { "tls: {certificate: auth, key: tls.key}\n", "", "", ":2: tls: '%s/auth' has no certificate" },
                { "tls: {certificate: tls.crt, key: tls.crt}\n", "", "", ":2: tls: '%s/tls.crt' has no unencrypted" },
                { "tls: {certificate: tls.crt, key: other.key}\n", "", "",
                  ":2: tls: the key of '%s/other.key' is not that" },
                { "builder: absent\n", "", "", ":2: builder: '%s/absent'" },
                { "builder: auth\n", "", "", ":2: builder: '%s/auth'" },
                { "", ",\n  auth-file: absent", "", ":3: auth-file: " },
                { "", ",\n  ca-file: absent", "", ":3: ca-file: " },
                { "", "", ",\n  sign-key: absent", ":4: sign-key: " },
                { "", ", auth-file: absent", "", ":2: auth-file: " },
                { "", ", auth-file: plain", "", ":2: auth-file: %s/plain: not valid JSON" },
                { "", ", auth-file: bad-auth", "", ":2: auth-file: '%s/bad-auth' has no 'auths'" },
                { "", ", auth-file: old-auth", "", ":2: auth-file: '%s/old-auth' has no 'auths'" },
                { "", ", auth-file: no-base64", "", ":2: auth-file: %s/no-base64: 'r.example': 'auth' is not base64" },
                { "", ", auth-file: 'a:b'", "", ":2: auth-file: '%s/a:b': no colon" },
                { "", ", ca-file: empty", "", ":2: ca-file: '%s/empty' has no certificate" },
                { "", "", ", sign-key: absent", ":3: sign-key: " },
                { "", "", ", sign-key: auth", ":3: sign-key: " },
                { "", "", ", sign-key: public", ":3: sign-key: " },
                { "", "", ", sign-key: encrypted",
                  ":3: sign-key: the key '%s/encrypted' is encrypted: set 'passphrase-file'" },
                { "", "", ", sign-key: encrypted, passphrase-file: auth", ":3: sign-key: " },
                { "", "", ", sign-key: encrypted, passphrase-file: absent", ":3: sign-key: " },
        };
        char directory[] = "/tmp/zp-config-XXXXXX";
        assert_non_null(mkdtemp(directory));
        write_keys(directory);
        write_text(directory, "auth", "{\"auths\": {}}");
        write_text(directory, "old-auth", "{\"r.example\": {\"auth\": \"\"}}");
        write_text(directory, "helper", "{\"credHelpers\": {\"r.example\": \"x\"}}");
        write_text(directory, "a:b", "{\"auths\": {}}");
        write_text(directory, "bad-auth", "{\"auths\": []}");
        write_text(directory, "no-base64", "{\"auths\": {\"r.example\": {\"auth\": \"!!!\"}}}");
        write_text(directory, "empty", "");
        write_text(directory, "pass", "open sesame\nnot this\n");
        zp_autofree char *path = zp_format("%s/hook.yaml", directory);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                zp_autofree char *text = zp_format(
                        "version: 1\n%sregistries: [{host: r.example%s}]\nrules: [{name: a, repositories: '**'%s}]\n",
                        cases[i].settings, cases[i].registry, cases[i].rule);
                zp_auto(hook_config_drop) struct hook_config *c = NULL;
                struct zp_error err = { 0 };
                unlink(path);
                write_text(directory, "hook.yaml", text);
                int r = hook_config_load(path, &c, &err);
                if (r == 0)
                        r = hook_config_check_builder(c, &err);
                const char *message = cases[i].message ? cases[i].message : "", *name = strstr(message, "%s");
                zp_autofree char *want =
                        name ? zp_format("%s%.*s%s%s", path, (int) (name - message), message, directory, name + 2)
                             : zp_format("%s%s", path, message);
                if (cases[i].message ? r != -EINVAL || strncmp(err.message, want, strlen(want)) != 0 : r != 0)
                        fail_msg("case %zu: %d '%s', not '%s'", i, r, err.message, want);
        }
        zp_remove_tree(AT_FDCWD, directory, NULL);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_is_left_out_has_a_default_that_is_safe),
                cmocka_unit_test(every_setting_arrives),
                cmocka_unit_test(errors_name_file_and_line),
                cmocka_unit_test(secrets_are_the_first_lines_of_files),
                cmocka_unit_test(hosts_that_no_entry_names_are_not_allowed),
                cmocka_unit_test(a_rule_whose_target_cannot_be_spoken_to_as_its_images_registry_is_refused),
                cmocka_unit_test(files_that_cannot_be_used_are_told_with_the_line_of_what_names_them),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
