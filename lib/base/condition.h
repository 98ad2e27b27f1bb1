/* SPDX-License-Identifier: Apache-2.0
 *
 * Condition variables whose timed waits no change of the clock disturbs, and the time they go by.
 */
#ifndef ZP_BASE_CONDITION_H
#define ZP_BASE_CONDITION_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Milliseconds of CLOCK_MONOTONIC. */
uint64_t zp_monotonic_ms(void);

/* Timed waits for it go by CLOCK_MONOTONIC. To be ended by pthread_cond_destroy(). */
void zp_condition_init(pthread_cond_t *condition);
/* Waits, with the mutex held, for a condition made by zp_condition_init() until zp_monotonic_ms() is `until_ms`. False:
 * that time has come. True also for no reason, as with pthread_cond_wait(). */
bool zp_condition_wait_until(pthread_cond_t *condition, pthread_mutex_t *mutex, uint64_t until_ms);

#endif
