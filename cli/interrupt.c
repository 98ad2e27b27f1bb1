/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/interrupt.h"

#include <signal.h>
#include <unistd.h>

static struct zp_cancel cancel;
static volatile sig_atomic_t first_signal;

static void on_signal(int number) {
        if (first_signal)
                _exit(128 + number);
        /* before the request: whoever sees that asks for the signal */
        first_signal = number;
        atomic_store(&cancel.requested, true);
}

const struct zp_cancel *cli_interrupt_setup(void) {
        /* without SA_RESTART: a prompt that waits for a key wakes up */
        struct sigaction action = { .sa_handler = on_signal }, old;
        static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
        for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
                /* nohup(1) and shells' background jobs want theirs to stay ignored */
                if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
                        sigaction(signals[i], &action, NULL);
        signal(SIGPIPE, SIG_IGN);
        signal(SIGXFSZ, SIG_IGN);
        return &cancel;
}

int cli_interrupt_signal(void) {
        return first_signal;
}
