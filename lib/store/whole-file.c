/* SPDX-License-Identifier: Apache-2.0 */
#include "store/whole-file.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "base/file.h"

static int damaged(struct zp_error *err) {
        zp_error_hint(err, "'zeropull build --rebuild' of the image makes it again");
        return -EBADMSG;
}

int zp_store_read_whole(int fd, const char *name, uint64_t max, const struct zp_digest *digest, char **out,
                        size_t *size, struct zp_error *err) {
        struct stat st;
        if (fstat(fd, &st) < 0)
                return zp_error_errno(err, errno, "'%s'", name);
        if ((uint64_t) st.st_size > max) {
                zp_error_set(err, EBADMSG, "'%s' is damaged: it has %llu bytes, more than %llu", name,
                             (unsigned long long) st.st_size, (unsigned long long) max);
                return damaged(err);
        }
        zp_autofree char *data = malloc((size_t) st.st_size + 1);
        if (!data)
                return zp_error_errno(err, ENOMEM, "'%s'", name);
        int r = zp_pread_all(fd, data, (size_t) st.st_size, 0, name, err);
        if (r < 0)
                return r;
        data[st.st_size] = '\0';
        struct zp_digest actual;
        zp_digest_of(data, (size_t) st.st_size, &actual);
        if (digest && !zp_digest_equal(&actual, digest)) {
                char text[ZP_DIGEST_TEXT_SIZE], wanted[ZP_DIGEST_TEXT_SIZE];
                zp_error_set(err, EBADMSG, "'%s' is damaged: its digest is %s, not %s", name,
                             zp_digest_text(&actual, text), zp_digest_text(digest, wanted));
                return damaged(err);
        }
        *size = (size_t) st.st_size;
        *out = zp_steal(&data);
        return 0;
}

int zp_store_read_image_file(struct zp_store *store, const struct zp_digest *manifest_digest, const char *file,
                             uint64_t max, const struct zp_digest *digest, char **out, size_t *size,
                             struct zp_error *err) {
        zp_autoclose int fd = zp_store_open_image_file(store, manifest_digest, file, err);
        return fd < 0 ? fd : zp_store_read_whole(fd, file, max, digest, out, size, err);
}
