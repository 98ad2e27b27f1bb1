/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of hosts.h share.
 */
#ifndef ZP_OCI_HOSTS_INTERNAL_H
#define ZP_OCI_HOSTS_INTERNAL_H

#include "oci/hosts.h"

/* Appends the text of a PEM file, named relative to the directory, to *pem (malloc'ed, or NULL). */
int zp_hosts_read_pem(const char *directory, const char *path, char **pem, struct zp_error *err);

#endif
