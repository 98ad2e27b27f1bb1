/* SPDX-License-Identifier: Apache-2.0
 *
 * The part of TOML 1.0 (toml.io/en/v1.0.0) that hosts.toml is written in: tables, strings, booleans, arrays of these.
 *
 * Not accepted: numbers, dates, inline tables, arrays of tables ([[x]]), multi-line strings, dotted keys before "=",
 * control characters in strings (also as \u escapes), a table that is begun twice.
 */
#ifndef ZP_OCI_TOML_H
#define ZP_OCI_TOML_H

#include "oci/json.h"

/* Reads a document into an object of objects, strings, booleans and arrays, all in the order of the file. `name` is for
 * messages. -EINVAL: "NAME:LINE: what is wrong". */
int zp_toml_parse(const char *text, size_t size, const char *name, json_t **out, struct zp_error *err);

#endif
