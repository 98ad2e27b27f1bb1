/* SPDX-License-Identifier: Apache-2.0
 *
 * What a daemon tells the service manager that started it: sd_notify(3).
 */
#ifndef ZP_BASE_NOTIFY_H
#define ZP_BASE_NOTIFY_H

#include "base/error.h"

/* Sends `state`, "READY=1" say, with a copy of `fd` when that is >= 0 ("FDSTORE=1"). 0 also where there is no manager
 * (NOTIFY_SOCKET), or what names it is no address. Reads the environment. */
int zp_notify_manager(const char *state, int fd, struct zp_error *err);

#endif
