/* SPDX-License-Identifier: Apache-2.0
 *
 * SIGINT, SIGTERM and SIGHUP ask the work to stop and clean up; a second one ends the process at once.
 */
#ifndef ZP_CLI_INTERRUPT_H
#define ZP_CLI_INTERRUPT_H

#include "base/cancel.h"

/* Installs the handlers, once per process. SIGPIPE is ignored: a closed pipe shows as EPIPE. */
const struct zp_cancel *cli_interrupt_setup(void);
/* The signal that arrived first, 0: none. */
int cli_interrupt_signal(void);

#endif
