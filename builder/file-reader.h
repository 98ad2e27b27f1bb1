/* SPDX-License-Identifier: Apache-2.0
 *
 * The contents of a snapshot's files, read from the packs in the store. One thread at a time.
 */
#ifndef ZP_BUILDER_FILE_READER_H
#define ZP_BUILDER_FILE_READER_H

#include "erofs/reader.h"
#include "store/store.h"

struct zp_file_reader;

/* `devices` are the snapshot's, which its extents count; they and the store are the caller's and outlive it. */
int zp_file_reader_new(struct zp_store *store, const struct zp_erofs_device *devices, uint16_t device_count,
                       struct zp_file_reader **out, struct zp_error *err);
void zp_file_reader_free(struct zp_file_reader *reader);
ZP_DEFINE_AUTO(struct zp_file_reader, zp_file_reader_free);

/* Reads a part of a regular file that has extents. -ENODATA: the store does not have it, or it is damaged, or
 * so much was read already that the rest is not looked at. The context is the struct zp_file_reader. */
int zp_file_reader_read(void *context, const struct zp_inode *inode, uint64_t offset, void *buffer, size_t size,
                        struct zp_error *err);

#endif
