/* SPDX-License-Identifier: Apache-2.0
 *
 * XML from an object store, read by expat: bounded depth and text, no document type and so no entities of its own.
 */
#ifndef ZP_REMOTE_XML_H
#define ZP_REMOTE_XML_H

#include <stddef.h>

#include "base/error.h"

/* Called at the end of each element: `path` is "/ListBucketResult/Contents/Key", `text` what stands in it directly (for
 * an element with children mostly white space). Non-zero stops with that (negative) error. */
typedef int (*zp_xml_element)(void *context, const char *path, const char *text, struct zp_error *err);

/* -EBADMSG: not well-formed, or strange. */
int zp_xml_parse(const char *data, size_t size, zp_xml_element element, void *context, struct zp_error *err);

#endif
