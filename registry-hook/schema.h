/* SPDX-License-Identifier: Apache-2.0
 *
 * The tables of the service's database.
 */
#ifndef HOOK_SCHEMA_H
#define HOOK_SCHEMA_H

#include "registry-hook/sql.h"

/* Creates the tables in a new database. -EBADMSG: it is another program's, or a newer version's. */
int hook_schema_prepare(sqlite3 *db, struct zp_error *err);

#endif
