/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/progress.h"

#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include "base/condition.h"
#include "cli/output.h"
#include "cli/progress-format.h"

#define REDRAW_MS 100
#define TELL_MS 500
#define TOLD_MAX 16u
#define COLUMNS_MAX 512u
#define BARS_MAX 8u

struct task {
        bool is_running;
        char label[64];
        uint64_t done, total, started_ms;
        struct progress_rate rate;
};

struct progress {
        bool is_quiet, is_terminal, is_buffered;
        bool is_json;               /* then not a terminal, whatever it is */
        bool is_ending, has_thread; /* guarded by lock until progress_free */
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t wake;
        struct task tasks[PROGRESS_TASKS]; /* guarded by lock, as all below */
        unsigned drawn;                    /* lines of bars now on the screen, the cursor below the last */
        unsigned told;                     /* tasks in the last line of JSON */
};

static uint64_t now_ms(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

/* Asked for at every drawing: a window that changed its size needs no signal then. */
static unsigned terminal_columns(unsigned *rows) {
        struct winsize size = { 0 };
        if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
                size = (struct winsize){ .ws_col = 80, .ws_row = 24 };
        *rows = size.ws_row;
        return size.ws_col < COLUMNS_MAX ? size.ws_col : COLUMNS_MAX;
}

static void erase(struct progress *p) {
        if (p->drawn)
                fprintf(stderr, "\033[%uA\r\033[J", p->drawn);
        p->drawn = 0;
}

static void draw(struct progress *p) {
        unsigned rows, columns = terminal_columns(&rows);
        unsigned room = rows > BARS_MAX + 1 ? BARS_MAX : rows > 1 ? rows - 1 : 1;
        uint64_t now = now_ms();
        erase(p);
        for (unsigned i = 0; i < PROGRESS_TASKS && p->drawn < room; i++) {
                struct task *task = &p->tasks[i];
                if (!task->is_running)
                        continue;
                char text[COLUMNS_MAX + 1];
                progress_rate_update(&task->rate, now, task->done);
                struct progress_line line = { task->label, task->done, task->total, &task->rate };
                /* the last column stays free: some terminals wrap there */
                progress_line_text(&line, columns > 1 ? columns - 1 : 1, text, sizeof text);
                fprintf(stderr, "%s\n", text);
                p->drawn++;
        }
        fflush(stderr);
}

static void tell(struct progress *p) {
        unsigned told = 0;
        json_t *tasks = json_array();
        for (unsigned i = 0; i < PROGRESS_TASKS && told < TOLD_MAX; i++) {
                const struct task *task = &p->tasks[i];
                if (task->is_running && json_array_append_new(tasks, json_pack("{s:s, s:I, s:I}", "label", task->label,
                                                                               "done", (json_int_t) task->done, "total",
                                                                               (json_int_t) task->total)) == 0)
                        told++;
        }
        json_t *line = json_pack("{s:o}", "tasks", tasks);
        zp_autofree char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
        json_decref(line);
        if (text && (told || p->told))
                fprintf(stderr, "%s\n", text);
        p->told = told;
}

static void *draw_now_and_then(void *context) {
        struct progress *p = context;
        pthread_mutex_lock(&p->lock);
        while (!p->is_ending) {
                zp_condition_wait_until(&p->wake, &p->lock, zp_monotonic_ms() + (p->is_json ? TELL_MS : REDRAW_MS));
                if (!p->is_ending)
                        (p->is_json ? tell : draw)(p);
        }
        pthread_mutex_unlock(&p->lock);
        return NULL;
}

static void start_thread(struct progress *p) {
        sigset_t all, old;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        p->has_thread = pthread_create(&p->thread, NULL, draw_now_and_then, p) == 0;
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        p->is_terminal &= p->has_thread;
}

struct progress *progress_new(bool quiet) {
        struct progress *p = calloc(1, sizeof *p);
        if (!p)
                return NULL;
        const char *terminal = getenv("TERM");
        p->is_quiet = quiet;
        p->is_terminal = !quiet && isatty(STDERR_FILENO) && terminal && strcmp(terminal, "dumb") != 0;
        pthread_mutex_init(&p->lock, NULL);
        zp_condition_init(&p->wake);
        /* a frame reaches the terminal in one piece */
        if (p->is_terminal)
                p->is_buffered = setvbuf(stderr, NULL, _IOFBF, 8192) == 0;
        return p;
}

void progress_tell_json(struct progress *p) {
        if (!p)
                return;
        p->is_json = true;
        p->is_terminal = false;
}

void progress_free(struct progress *p) {
        if (!p)
                return;
        if (p->has_thread) {
                pthread_mutex_lock(&p->lock);
                p->is_ending = true;
                pthread_cond_signal(&p->wake);
                pthread_mutex_unlock(&p->lock);
                pthread_join(p->thread, NULL);
                erase(p);
        }
        if (p->is_buffered) {
                fflush(stderr);
                setvbuf(stderr, NULL, _IOLBF, 0);
        }
        pthread_cond_destroy(&p->wake);
        pthread_mutex_destroy(&p->lock);
        free(p);
}

static void say_locked(struct progress *p, const char *text) {
        if (p->is_terminal)
                erase(p);
        cli_print_escaped(stderr, text, strlen(text));
        fputc('\n', stderr);
        if (p->is_terminal)
                draw(p);
}

void progress_say(struct progress *p, const char *format, ...) {
        char text[1024];
        if (!p || p->is_quiet)
                return;
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        pthread_mutex_lock(&p->lock);
        say_locked(p, text);
        pthread_mutex_unlock(&p->lock);
}

void progress_pause(struct progress *p) {
        if (!p)
                return;
        pthread_mutex_lock(&p->lock);
        erase(p);
        fflush(stderr);
}

void progress_resume(struct progress *p) {
        if (!p)
                return;
        fflush(stdout);
        pthread_mutex_unlock(&p->lock);
}

void progress_begin(struct progress *p, unsigned task, const char *label, const char *verb, uint64_t total) {
        if (!p || p->is_quiet)
                return;
        pthread_mutex_lock(&p->lock);
        struct task *t = &p->tasks[task];
        *t = (struct task){ .is_running = true, .total = total, .started_ms = now_ms() };
        snprintf(t->label, sizeof t->label, "%s", label);
        progress_rate_update(&t->rate, t->started_ms, 0);
        if ((p->is_terminal || p->is_json) && !p->has_thread)
                start_thread(p);
        if (!p->is_terminal) {
                char text[128], size[CLI_SIZE_TEXT];
                snprintf(text, sizeof text, total ? "%s: %s (%s)" : "%s: %s", label, verb, cli_size_text(total, size));
                say_locked(p, text);
        }
        pthread_mutex_unlock(&p->lock);
}

void progress_update(struct progress *p, unsigned task, uint64_t done) {
        if (!p || p->is_quiet)
                return;
        pthread_mutex_lock(&p->lock);
        p->tasks[task].done = done;
        pthread_mutex_unlock(&p->lock);
}

void progress_advance(struct progress *p, unsigned task, uint64_t more) {
        if (!p || p->is_quiet)
                return;
        pthread_mutex_lock(&p->lock);
        p->tasks[task].done += more;
        pthread_mutex_unlock(&p->lock);
}

void progress_end(struct progress *p, unsigned task, const char *outcome) {
        if (!p || p->is_quiet)
                return;
        pthread_mutex_lock(&p->lock);
        struct task *t = &p->tasks[task];
        if (t->is_running) {
                char text[128];
                snprintf(text, sizeof text, "%s: %s in %.1f s", t->label, outcome,
                         (double) (now_ms() - t->started_ms) / 1000);
                t->is_running = false;
                say_locked(p, text);
        }
        pthread_mutex_unlock(&p->lock);
}
