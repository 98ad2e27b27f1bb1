/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/hint.h"

#include <stdbool.h>
#include <string.h>

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

/* As a shell reads it as one word. */
static void print_word(FILE *out, const char *word) {
        static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._-+=:@%,";
        for (; *word; word++) {
                if (!strchr(plain, *word) && (unsigned char) *word < 0x80)
                        fputc('\\', out);
                fputc(*word, out);
        }
}

/* What a shell cannot be told in one line is left out. */
static bool is_printable(const char *text) {
        for (; *text; text++)
                if ((unsigned char) *text < 0x20 || *text == 0x7f)
                        return false;
        return true;
}

void cli_print_hint(FILE *out, const char *hint, const char *store) {
        bool is_synopsis = strncmp(hint, "usage:", 6) == 0;
        fputs("  hint: ", out);
        for (const char *found; store && !is_synopsis && is_printable(store) && (found = strstr(hint, PROGRAM));) {
                const char *rest = found + strlen(PROGRAM);
                fwrite(hint, 1, (size_t) (rest - hint), out);
                if (takes_store(rest)) {
                        fputs("--store ", out);
                        print_word(out, store);
                        fputc(' ', out);
                }
                hint = rest;
        }
        fprintf(out, "%s\n", hint);
}
