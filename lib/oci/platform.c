/* SPDX-License-Identifier: Apache-2.0
 *
 * Platforms: their text form, their normal form (Go's names), and which one runs on which.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "oci/manifest.h"
#include "oci/manifest-internal.h"

struct alias {
        const char *name, *architecture, *variant;
};
/* containerd/platforms, normalizeArch, and uname's names. */
static const struct alias aliases[] = {
        { "i386", "386", "" },      { "i686", "386", "" },     { "x86_64", "amd64", "" }, { "x86-64", "amd64", "" },
        { "aarch64", "arm64", "" }, { "armhf", "arm", "v7" },  { "armv7l", "arm", "v7" }, { "armel", "arm", "v6" },
        { "armv6l", "arm", "v6" },  { "armv5l", "arm", "v5" }, { "armv8l", "arm", "v8" },
};

void zp_platform_normalise(struct zp_platform *platform) {
        for (char *p = platform->os; *p; p++)
                *p = (char) tolower((unsigned char) *p);
        for (char *p = platform->architecture; *p; p++)
                *p = (char) tolower((unsigned char) *p);
        for (char *p = platform->variant; *p; p++)
                *p = (char) tolower((unsigned char) *p);
        for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++) {
                if (strcmp(platform->architecture, aliases[i].name) != 0)
                        continue;
                strcpy(platform->architecture, aliases[i].architecture);
                if (platform->variant[0] == '\0')
                        strcpy(platform->variant, aliases[i].variant);
                break;
        }
        /* "8" for "v8" */
        size_t size = strlen(platform->variant);
        if (isdigit((unsigned char) platform->variant[0]) && size + 1 < sizeof platform->variant) {
                memmove(platform->variant + 1, platform->variant, size + 1);
                platform->variant[0] = 'v';
        }
        bool is_base = (strcmp(platform->architecture, "arm64") == 0 && strcmp(platform->variant, "v8") == 0) ||
                       (strcmp(platform->architecture, "amd64") == 0 && strcmp(platform->variant, "v1") == 0);
        if (is_base)
                platform->variant[0] = '\0';
        if (strcmp(platform->architecture, "arm") == 0 && platform->variant[0] == '\0')
                strcpy(platform->variant, "v7");
}

static bool valid_part(const char *text, size_t size) {
        if (size == 0 || size >= sizeof((struct zp_platform *) 0)->os)
                return false;
        for (size_t i = 0; i < size; i++)
                if (!isalnum((unsigned char) text[i]) && text[i] != '-' && text[i] != '_' && text[i] != '.')
                        return false;
        return true;
}

int zp_platform_parse(const char *text, struct zp_platform *out, struct zp_error *err) {
        struct zp_platform platform = { 0 };
        char *parts[] = { platform.os, platform.architecture, platform.variant };
        size_t count = 0;
        for (const char *p = text;; count++) {
                size_t size = strcspn(p, "/");
                if (count == 3 || !valid_part(p, size))
                        return zp_error_set(err, EINVAL, "platform '%s': not of the form os/architecture[/variant]",
                                            text);
                memcpy(parts[count], p, size);
                if (p[size] == '\0')
                        break;
                p += size + 1;
        }
        if (count == 0)
                return zp_error_set(err, EINVAL, "platform '%s': not of the form os/architecture[/variant]", text);
        zp_platform_normalise(&platform);
        *out = platform;
        return 0;
}

struct zp_platform zp_platform_host(void) {
        struct zp_platform platform = { .os = "linux", .architecture = "unknown" };
        struct utsname name;
        if (uname(&name) == 0 && valid_part(name.machine, strlen(name.machine)))
                strcpy(platform.architecture, name.machine);
        zp_platform_normalise(&platform);
        return platform;
}

char *zp_platform_text(const struct zp_platform *platform, char text[100]) {
        snprintf(text, 100, "%s/%s%s%s", platform->os, platform->architecture, platform->variant[0] ? "/" : "",
                 platform->variant);
        return text;
}

/* "v8.2" → 802; "" → the architecture's base; -1: not a level. */
static int variant_level(const struct zp_platform *platform) {
        const char *text = platform->variant;
        if (text[0] == '\0')
                text = strcmp(platform->architecture, "arm64") == 0 ? "v8" : "v1";
        if (text[0] != 'v' || !isdigit((unsigned char) text[1]))
                return -1;
        char *end;
        long major = strtol(text + 1, &end, 10), minor = 0;
        if (*end == '.' && isdigit((unsigned char) end[1]))
                minor = strtol(end + 1, &end, 10);
        return *end || major > 99 || minor > 99 ? -1 : (int) (major * 100 + minor);
}

int zp_platform_rank(const struct zp_platform *wanted, const struct zp_platform *offered) {
        struct zp_platform w = *wanted, o = *offered;
        zp_platform_normalise(&w);
        zp_platform_normalise(&o);
        if (strcmp(w.os, o.os) != 0 || strcmp(w.architecture, o.architecture) != 0)
                return 0;
        if (strcmp(w.variant, o.variant) == 0)
                return 100000;
        bool has_levels = strcmp(w.architecture, "arm") == 0 || strcmp(w.architecture, "arm64") == 0 ||
                          strcmp(w.architecture, "amd64") == 0;
        int have = variant_level(&w), need = variant_level(&o);
        return has_levels && need > 0 && have >= need ? need : 0;
}
