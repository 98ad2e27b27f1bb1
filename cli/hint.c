/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/hint.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/usage.h"

#define PROGRAM "zeropull "

/* True when what follows the program's name is a command that looks into a store. */
static bool takes_store(const char *text) {
        char name[32];
        size_t size = strspn(text, "abcdefghijklmnopqrstuvwxyz");
        if (size >= sizeof name)
                return false;
        memcpy(name, text, size);
        name[size] = '\0';
        const struct cli_command *command = cli_find_command(name);
        return command && command != &cli_key && command != &cli_help && command != &cli_rpull;
}

static bool is_printable(const char *text) {
        for (; *text; text++)
                if ((unsigned char) *text < 0x20 || *text == 0x7f)
                        return false;
        return true;
}

char *cli_shell_word(const char *word) {
        static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._-+=:@%,";
        char *out = is_printable(word) ? malloc(2 * strlen(word) + 3) : NULL, *end = out;
        if (!out)
                return NULL;
        for (const char *p = word; *p; p++) {
                if (!strchr(plain, *p) && (unsigned char) *p < 0x80)
                        *end++ = '\\';
                *end++ = *p;
        }
        strcpy(end, *word ? "" : "''");
        return out;
}

void cli_print_hint(FILE *out, const char *hint, const char *store) {
        bool is_synopsis = strncmp(hint, "usage:", 6) == 0;
        zp_autofree char *word = store && !is_synopsis ? cli_shell_word(store) : NULL;
        fputs("  hint: ", out);
        for (const char *found; word && (found = strstr(hint, PROGRAM));) {
                const char *rest = found + strlen(PROGRAM);
                fwrite(hint, 1, (size_t) (rest - hint), out);
                if (takes_store(rest))
                        fprintf(out, "--store %s ", word);
                hint = rest;
        }
        fprintf(out, "%s\n", hint);
}
