/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/kube/thread.h"

#include <signal.h>

#include "base/condition.h"

void zp_kube_bell_init(struct zp_kube_bell *bell) {
        pthread_mutex_init(&bell->lock, NULL);
        zp_condition_init(&bell->rung);
        bell->is_rung = false;
}

void zp_kube_bell_clear(struct zp_kube_bell *bell) {
        pthread_cond_destroy(&bell->rung);
        pthread_mutex_destroy(&bell->lock);
}

void zp_kube_bell_ring(struct zp_kube_bell *bell) {
        pthread_mutex_lock(&bell->lock);
        bell->is_rung = true;
        pthread_cond_signal(&bell->rung);
        pthread_mutex_unlock(&bell->lock);
}

bool zp_kube_bell_wait(struct zp_kube_bell *bell, uint64_t until_ms) {
        pthread_mutex_lock(&bell->lock);
        while (!bell->is_rung && zp_condition_wait_until(&bell->rung, &bell->lock, until_ms))
                continue;
        bool is_rung = bell->is_rung;
        bell->is_rung = false;
        pthread_mutex_unlock(&bell->lock);
        return is_rung;
}

int zp_kube_thread_start(pthread_t *thread, void *(*run)(void *), void *argument, const char *what,
                         struct zp_error *err) {
        sigset_t all, old;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        int code = pthread_create(thread, NULL, run, argument);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        return code == 0 ? 0 : zp_error_errno(err, code, "thread for %s", what);
}
