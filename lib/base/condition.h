/* SPDX-License-Identifier: Apache-2.0
 *
 * Condition variables whose timed waits no change of the clock disturbs.
 */
#ifndef ZP_BASE_CONDITION_H
#define ZP_BASE_CONDITION_H

#include <pthread.h>

/* pthread_cond_timedwait() of it goes by CLOCK_MONOTONIC. To be ended by pthread_cond_destroy(). */
void zp_condition_init(pthread_cond_t *condition);

#endif
