/* SPDX-License-Identifier: Apache-2.0
 *
 * `zeropull key generate` and `zeropull key show`.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "cli/output.h"
#include "cli/secret.h"

enum { OPTION_ENCRYPT, OPTION_PASSPHRASE_FILE, OPTION_PUBLIC };

static const struct cli_option options[] = {
        [OPTION_ENCRYPT] = { "encrypt", 'e', NULL, "generate: ask for a passphrase" },
        [OPTION_PASSPHRASE_FILE] = { "passphrase-file", 0, "FILE", "the passphrase is this file's first line" },
        [OPTION_PUBLIC] = { "public", 0, NULL, "show: print the public key alone, in PEM" },
        { 0 },
};

/* ---- generate ---- */

static int check_absent(const char *path, struct zp_error *err) {
        if (faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
                return 0;
        zp_error_set(err, EEXIST, "'%s' exists already", path);
        zp_error_hint(err, "a key is never overwritten; remove it yourself if nothing needs it any more");
        return -EEXIST;
}

/* Both files or neither. */
static int save(const struct zp_key *key, const char *private_path, const char *public_path, const char *passphrase,
                struct zp_error *err) {
        int r = zp_key_save_private(key, private_path, passphrase, err);
        if (r < 0)
                return r;
        r = zp_key_save_public(key, public_path, err);
        if (r < 0)
                unlink(private_path); /* a moment old: nobody has used it */
        return r;
}

static int tell_generated(const struct cli_call *call, const struct zp_key *key, const char *private_path,
                          const char *public_path, bool is_encrypted, struct zp_error *err) {
        char id[ZP_DIGEST_TEXT_SIZE];
        zp_digest_text(zp_key_id(key), id);
        if (call->json)
                return cli_print_json(json_pack("{s:s, s:o, s:o, s:b}", "id", id, "privateKeyFile",
                                                cli_json_text(private_path, strlen(private_path)), "publicKeyFile",
                                                cli_json_text(public_path, strlen(public_path)), "encrypted",
                                                (int) is_encrypted),
                                      err);
        puts(id);
        if (!call->quiet)
                fprintf(stderr, "private key: %s (%s)\npublic key: %s\n", private_path,
                        is_encrypted ? "encrypted" : "not encrypted: guard it", public_path);
        return 0;
}

static int generate(struct cli_call *call, struct zp_error *err) {
        const char *path = call->arguments[1], *file = call->values[OPTION_PASSPHRASE_FILE];
        bool is_encrypted = file || cli_flag(call, OPTION_ENCRYPT);
        char passphrase[ZP_PASSPHRASE_SIZE] = "";
        zp_auto(zp_key_free) struct zp_key *key = NULL;
        zp_autofree char *public_path = zp_format("%s.pub", path);
        if (!public_path)
                return zp_error_errno(err, ENOMEM, "key");
        if (cli_flag(call, OPTION_PUBLIC))
                return cli_usage_error(call, err, "--public is for 'key show'");
        int r = check_absent(path, err);
        if (r == 0)
                r = check_absent(public_path, err);
        if (r == 0 && is_encrypted)
                r = cli_new_passphrase(file, path, passphrase, err);
        if (r == 0)
                r = zp_key_generate(&key, err);
        if (r == 0)
                r = save(key, path, public_path, is_encrypted ? passphrase : NULL, err);
        explicit_bzero(passphrase, sizeof passphrase);
        return r < 0 ? r : tell_generated(call, key, path, public_path, is_encrypted, err);
}

/* ---- show ---- */

static int print_key(const struct cli_call *call, const struct zp_key *key, struct zp_error *err) {
        zp_autofree char *pem = NULL;
        size_t size = 0;
        char id[ZP_DIGEST_TEXT_SIZE];
        int r = zp_key_format_public(key, &pem, &size, err);
        if (r < 0)
                return r;
        zp_digest_text(zp_key_id(key), id);
        if (call->json)
                return cli_print_json(json_pack("{s:s, s:b, s:b, s:s}", "id", id, "private",
                                                (int) zp_key_is_private(key), "encrypted",
                                                (int) zp_key_is_encrypted(key), "publicKey", pem),
                                      err);
        if (cli_flag(call, OPTION_PUBLIC))
                fputs(pem, stdout);
        else if (call->quiet)
                puts(id);
        else
                printf("id:   %s\nkind: %s\n\n%s", id,
                       zp_key_is_encrypted(key) ? "private, encrypted"
                       : zp_key_is_private(key) ? "private"
                                                : "public",
                       pem);
        return 0;
}

static int show(struct cli_call *call, struct zp_error *err) {
        zp_auto(zp_key_free) struct zp_key *key = NULL;
        struct zp_passphrase passphrase = cli_passphrase(call->values[OPTION_PASSPHRASE_FILE]);
        if (cli_flag(call, OPTION_ENCRYPT))
                return cli_usage_error(call, err, "--encrypt is for 'key generate'");
        int r = zp_key_load(call->arguments[1], &passphrase, &key, err);
        return r < 0 ? r : print_key(call, key, err);
}

static int run(struct cli_call *call, struct zp_error *err) {
        if (strcmp(call->arguments[0], "generate") == 0)
                return cli_file_failed(call, generate(call, err));
        if (strcmp(call->arguments[0], "show") == 0)
                return cli_file_failed(call, show(call, err));
        return cli_usage_error(call, err, "key: '%s' is neither 'generate' nor 'show'", call->arguments[0]);
}

const struct cli_command cli_key = {
        .name = "key",
        .arguments = "generate|show FILE",
        .summary = "Make and show the keys that snapshots are signed with",
        .example = "zeropull key generate release.key && zeropull key show release.key.pub",
        .options = options,
        .arguments_min = 2,
        .arguments_max = 2,
        .run = run,
};
