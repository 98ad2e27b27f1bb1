/* SPDX-License-Identifier: Apache-2.0
 *
 * Random access to the files of a tar archive: indexed once, without reading the files' data.
 */
#ifndef ZP_OCI_ARCHIVE_H
#define ZP_OCI_ARCHIVE_H

#include "oci/source-internal.h"

struct zp_archive;

/* Opens and indexes a tar file. -ENOTSUP with a hint when it is compressed as a whole. */
int zp_archive_open(const char *path, const struct zp_cancel *cancel, struct zp_archive **out, struct zp_error *err);
void zp_archive_close(struct zp_archive *archive);
ZP_DEFINE_AUTO(struct zp_archive, zp_archive_close);

/* Finds a regular file, through one symbolic or hard link at most (what old docker versions write, and
 * skopeo reads). "./a//b" and "a/b" are the same name; a name that occurs twice is refused (-EBADMSG), since
 * readers disagree on which counts. The extent's fd is the archive's. Thread-safe. */
int zp_archive_find(const struct zp_archive *archive, const char *name, struct zp_extent *out, struct zp_error *err);

#endif
