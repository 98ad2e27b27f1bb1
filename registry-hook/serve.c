/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/serve.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>

#include "base/file.h"
#include "base/notify.h"
#include "oci/url.h"
#include "registry-hook/clock.h"
#include "registry-hook/gifts.h"
#include "registry-hook/log.h"
#include "registry-hook/queue.h"
#include "registry-hook/server.h"

#define STATE_DEFAULT "/var/lib/zeropull-hook"
#define TICK_MS 1000
/* Watchers are told that somebody is still there, and those that are gone are noticed. */
#define PULSE_TICKS 15

struct running {
        struct hook_service service;
        struct hook_sandbox *sandbox;
        struct hook_server *server;
        char *state, *builder, *store, *url;
        int signal_fd;
};

/* ---- the configuration ---- */

/* Every image pushed to a registry on this machine is marked. */
static const char standalone_text[] = "version: 1\n"
                                      "anonymous: admin\n"
                                      "registries:\n"
                                      "- {host: 'localhost'}\n"
                                      "- {host: 'localhost:*'}\n"
                                      "- {host: '127.0.0.1'}\n"
                                      "- {host: '127.0.0.1:*'}\n"
                                      "- {host: '[::1]:*'}\n"
                                      "endpoints:\n"
                                      "- {provider: distribution, open: true}\n"
                                      "rules:\n"
                                      "- {name: all, repositories: '**'}\n";

int hook_serve_config(const struct hook_serve_options *options, struct hook_config **out, struct zp_error *err) {
        zp_auto(hook_config_drop) struct hook_config *config = NULL;
        int r = options->standalone
                        ? hook_config_parse(standalone_text, strlen(standalone_text), "standalone", &config, err)
                        : hook_config_load(options->config, &config, err);
        if (r < 0)
                return r;
        if (options->listen)
                config->listen = options->listen;
        if (options->state)
                config->state = options->state;
        if (options->builder)
                config->builder = options->builder, config->builder_line = 0;
        if (options->standalone && !zp_is_loopback(config->listen))
                return zp_error_set(err, EINVAL,
                                    "--standalone believes whoever can reach it: it listens on loopback only");
        *out = zp_steal(&config);
        return 0;
}

static char *standalone_state(void) {
        const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
        if (state && state[0] == '/')
                return zp_format("%s/zeropull-hook", state);
        return home && home[0] == '/' ? zp_format("%s/.local/state/zeropull-hook", home) : strdup(STATE_DEFAULT);
}

/* The program that lies beside this one, as they are installed, or where it is built. */
static char *builder_beside(void) {
        char self[4096];
        ssize_t size = readlink("/proc/self/exe", self, sizeof self - 1);
        if (size <= 0)
                return strdup("/usr/bin/zeropull");
        self[size] = '\0';
        *strrchr(self, '/') = '\0';
        zp_autofree char *installed = zp_format("%s/zeropull", self), *built = zp_format("%s/../cli/zeropull", self);
        bool is_built = installed && built && access(installed, X_OK) < 0 && access(built, X_OK) == 0;
        return is_built ? zp_steal(&built) : zp_steal(&installed);
}

static int set_paths(struct running *run, const struct hook_serve_options *options, const struct hook_config *config,
                     struct zp_error *err) {
        zp_autofree char *state = config->state         ? strdup(config->state)
                                  : options->standalone ? standalone_state()
                                                        : strdup(STATE_DEFAULT);
        if (!state)
                return zp_error_errno(err, ENOMEM, "state");
        int r = zp_make_directories(state, 0700, err);
        if (r < 0)
                return r;
        run->state = realpath(state, NULL);
        run->builder = config->builder ? realpath(config->builder, NULL) : builder_beside();
        if (!run->state || !run->builder)
                return zp_error_errno(err, errno, "'%s'", run->state ? config->builder : state);
        if (access(run->builder, X_OK) < 0)
                return zp_error_errno(err, errno, "builder '%s'", run->builder);
        zp_autofree char *store = config->store ? strdup(config->store) : zp_format("%s/store", run->state);
        r = store ? zp_make_directories(store, 0755, err) : zp_error_errno(err, ENOMEM, "store");
        if (r < 0)
                return r;
        run->store = realpath(store, NULL);
        return run->store ? 0 : zp_error_errno(err, errno, "store '%s'", store);
}

/* ---- parts ---- */

static void wake_scheduler(void *context) {
        struct hook_service *service = context;
        hook_scheduler_wake(service->scheduler);
}

static void wake_deciders(void *context) {
        struct hook_service *service = context;
        hook_deciders_wake(service->deciders);
}

static int start_parts(struct running *run, struct zp_error *err) {
        struct hook_service *s = &run->service;
        int r = hook_live_new(&s->live, err);
        if (r == 0)
                r = hook_db_open(run->state, &s->db, err);
        if (r == 0)
                r = hook_db_write(s->db, hook_queue_recover, NULL, err);
        if (r == 0)
                r = hook_gifts_recover(run->state, err);
        if (r == 0)
                r = hook_sandbox_new(run->store, &run->sandbox, err);
        if (r < 0)
                return r;
        struct hook_scheduler_options scheduler = { s->db,        s->current,    s->live,
                                                    run->sandbox, run->builder,  run->store,
                                                    run->state,   wake_deciders, s };
        struct hook_deciders_options deciders = { s->db, s->current, s->live, wake_scheduler, s };
        r = hook_scheduler_new(&scheduler, &s->scheduler, err);
        if (r == 0)
                r = hook_deciders_new(&deciders, &s->deciders, err);
        if (r == 0)
                r = hook_scheduler_begin(s->scheduler, err); /* they wake each other */
        struct hook_upkeep_options upkeep = { s->db, s->current, wake_deciders, wake_scheduler, s };
        if (r == 0)
                r = hook_upkeep_new(&upkeep, &s->upkeep, err);
        return r < 0 ? r : hook_server_new(s, &run->server, err);
}

/* What is taken in last is ended first; the database, which all write to, at the very end. */
static void stop_parts(struct running *run) {
        struct hook_service *s = &run->service;
        if (s->live)
                hook_live_end(s->live);
        if (run->server)
                hook_server_free(run->server);
        if (s->upkeep)
                hook_upkeep_free(s->upkeep);
        if (s->scheduler)
                hook_scheduler_end(s->scheduler);
        if (s->deciders)
                hook_deciders_free(s->deciders);
        if (s->scheduler)
                hook_scheduler_free(s->scheduler);
        if (run->sandbox)
                hook_sandbox_free(run->sandbox);
        if (s->db)
                hook_db_close(s->db);
        if (s->live)
                hook_live_free(s->live);
        if (s->current)
                hook_current_free(s->current);
        if (run->signal_fd >= 0)
                close(run->signal_fd);
        free(run->state);
        free(run->builder);
        free(run->store);
        free(run->url);
}

/* ---- being there ---- */

static void notify(const char *state) {
        struct zp_error err = { 0 };
        if (zp_notify_manager(state, -1, &err) < 0)
                hook_log(HOOK_LOG_WARNING, "%s", err.message);
}

static void print_registry_lines(const char *url) {
        printf("# Add this to the registry's configuration (CNCF Distribution), and start it again:\n"
               "notifications:\n"
               "  endpoints:\n"
               "  - name: zeropull\n"
               "    url: %s/hooks/distribution\n"
               "    timeout: 5s\n"
               "    threshold: 3\n"
               "    backoff: 5s\n"
               "    ignore:\n"
               "      mediatypes: [application/octet-stream]\n"
               "      actions: [pull]\n"
               "# Every image that is pushed then gets its snapshot. What happens is shown at %s/\n",
               url, url);
        fflush(stdout);
}

static int announce(struct running *run, const struct hook_serve_options *options, struct zp_error *err) {
        zp_auto(hook_config_drop) struct hook_config *config = hook_current_hold(run->service.current);
        const char *colon = strrchr(config->listen, ':');
        run->url = config->url
                           ? strdup(config->url)
                           : zp_format("%s://%.*s:%u", config->tls_certificate ? "https" : "http",
                                       (int) (colon - config->listen), config->listen, hook_server_port(run->server));
        if (!run->url)
                return zp_error_errno(err, ENOMEM, "url");
        run->service.url = run->url;
        hook_log(HOOK_LOG_INFO, "listening on %s; state in %s; builds run in: %s", run->url, run->state,
                 hook_sandbox_text(run->sandbox));
        if (options->standalone)
                print_registry_lines(run->url);
        notify("READY=1");
        return 0;
}

static bool differ(const char *a, const char *b) {
        return (!a != !b) || (a && strcmp(a, b) != 0);
}

/* What counts at the start only. */
static void tell_what_waits(const struct hook_config *old, const struct hook_config *new) {
        if (differ(old->listen, new->listen) || differ(old->state, new->state) || differ(old->store, new->store) ||
            differ(old->builder, new->builder) || differ(old->tls_certificate, new->tls_certificate) ||
            differ(old->tls_key, new->tls_key))
                hook_log(HOOK_LOG_WARNING,
                         "listen, tls, state, store or builder: what has changed counts after a restart");
}

static void reload(struct running *run, const struct hook_serve_options *options) {
        struct hook_config *config = NULL;
        struct zp_error err = { 0 };
        notify("RELOADING=1");
        if (hook_serve_config(options, &config, &err) < 0) {
                hook_log(HOOK_LOG_ERROR, "%s; the old configuration stays in force", err.message);
        } else {
                zp_auto(hook_config_drop) struct hook_config *old = hook_current_hold(run->service.current);
                tell_what_waits(old, config);
                hook_current_exchange(run->service.current, config);
                hook_log(HOOK_LOG_INFO, "the configuration was read again");
                hook_scheduler_wake(run->service.scheduler);
        }
        notify("READY=1");
}

static void tick(struct running *run, unsigned ticks) {
        hook_server_tick(run->server);
        if (ticks % PULSE_TICKS == 0)
                hook_live_send(run->service.live, "pulse", "{}");
}

static void run_until_told(struct running *run, const struct hook_serve_options *options) {
        for (unsigned ticks = 0;;) {
                struct pollfd signals = { .fd = run->signal_fd, .events = POLLIN };
                struct signalfd_siginfo info;
                if (poll(&signals, 1, TICK_MS) == 0) {
                        tick(run, ++ticks);
                        continue;
                }
                if (read(run->signal_fd, &info, sizeof info) != (ssize_t) sizeof info)
                        continue;
                if (info.ssi_signo != SIGHUP)
                        break;
                reload(run, options);
        }
        hook_log(HOOK_LOG_INFO, "ending; what is queued stays queued");
        notify("STOPPING=1");
}

static int block_signals(struct running *run, struct zp_error *err) {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        sigaddset(&set, SIGHUP);
        signal(SIGPIPE, SIG_IGN);
        sigprocmask(SIG_BLOCK, &set, NULL); /* in all threads to come */
        run->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
        return run->signal_fd < 0 ? zp_error_errno(err, errno, "signals") : 0;
}

int hook_serve(const struct hook_serve_options *options, struct zp_error *err) {
        struct running run = { .signal_fd = -1, .service.started_ms = hook_monotonic_ms() };
        struct hook_config *config = NULL;
        int r = hook_serve_config(options, &config, err);
        if (r < 0)
                return r;
        r = set_paths(&run, options, config, err);
        if (r < 0)
                hook_config_drop(config);
        else
                r = hook_current_new(config, &run.service.current, err);
        if (r == 0)
                r = block_signals(&run, err);
        if (r == 0)
                r = start_parts(&run, err);
        if (r == 0)
                r = announce(&run, options, err);
        if (r == 0)
                run_until_told(&run, options);
        stop_parts(&run);
        return r;
}
