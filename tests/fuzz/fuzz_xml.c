/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "remote/xml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int check(void *context, const char *path, const char *text, struct zp_error *err) {
        (void) context;
        if (path[0] != '/' || strlen(path) > 255 || strlen(text) > 8192)
                abort();
        return strstr(path, "/stop") ? zp_error_set(err, ECANCELED, "stopped at %s", path) : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct zp_error err = { 0 };
        if (zp_xml_parse((const char *) data, size, check, NULL, &err) < 0 && err.code == 0)
                abort();
        return 0;
}
