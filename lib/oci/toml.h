/* SPDX-License-Identifier: Apache-2.0
 *
 * The part of TOML 1.0 (toml.io/en/v1.0.0) that hosts.toml and containerd's configuration are written in: tables, arrays
 * of tables, strings, numbers, booleans, arrays and inline tables of these.
 *
 * Not accepted: dates, inf and nan, multi-line strings, dotted keys before "=", control characters in strings (also as
 * \u escapes), a table that is begun twice.
 */
#ifndef ZP_OCI_TOML_H
#define ZP_OCI_TOML_H

#include "oci/json.h"

/* Reads a document into an object of objects, strings, numbers, booleans and arrays, all in the order of the file.
 * `name` is for messages. -EINVAL: "NAME:LINE: what is wrong". */
int zp_toml_parse(const char *text, size_t size, const char *name, json_t **out, struct zp_error *err);

#endif
