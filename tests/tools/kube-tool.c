/* SPDX-License-Identifier: Apache-2.0
 *
 * Drives the Kubernetes client for tests: `kube-tool COMMAND ARGUMENT…` with $KUBECONFIG. What it finds goes to stdout
 * as lines of JSON, errors to stderr as "errno: message". Commands that run on stop at SIGTERM and at the end of stdin;
 * a line on stdin makes them print their statistics. $WRITES: how many attempts to change something are allowed.
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>

#include "controller/kube/apply.h"
#include "controller/kube/events.h"
#include "controller/kube/lease.h"
#include "controller/kube/reflector.h"

static struct zp_cancel cancel;
static pthread_mutex_t output_lock = PTHREAD_MUTEX_INITIALIZER;

/* Takes the object over. */
static void print(json_t *object) {
        pthread_mutex_lock(&output_lock);
        json_dumpf(object, stdout, JSON_COMPACT);
        puts("");
        fflush(stdout);
        pthread_mutex_unlock(&output_lock);
        json_decref(object);
}

static void tell(void *context, const char *text) {
        (void) context;
        print(json_pack("{s:s}", "notice", text));
}

static bool may_write(void *context) {
        long *left = context;
        return (*left)-- > 0;
}

static int fail(const struct zp_error *err) {
        fprintf(stderr, "%s: %s\n", strerrorname_np(err->code), err->message);
        if (err->hint[0])
                fprintf(stderr, "hint: %s\n", err->hint);
        return 1;
}

/* "-" stands for none. */
static const char *argument(char **arguments, int at) {
        return strcmp(arguments[at], "-") == 0 ? NULL : arguments[at];
}

/* API_VERSION PLURAL NAMESPACE NAME [SUBRESOURCE] */
static struct zp_kube_place place_of(char **arguments) {
        return (struct zp_kube_place){ .resource = { arguments[0], arguments[1] },
                                       .namespace = argument(arguments, 2),
                                       .name = arguments[3] ? argument(arguments, 3) : NULL,
                                       .subresource = arguments[3] ? arguments[4] : NULL };
}

static json_t *read_stdin(void) {
        json_t *object = json_loadf(stdin, 0, NULL);
        if (!object)
                fputs("EINVAL: stdin is not JSON\n", stderr);
        return object;
}

/* ---- waiting ---- */

static void wait_for_end(void (*statistics)(void *), void *context) {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        int signals = signalfd(-1, &set, SFD_CLOEXEC);
        struct pollfd wait[] = { { .fd = signals, .events = POLLIN }, { .fd = STDIN_FILENO, .events = POLLIN } };
        char line[256];
        while (poll(wait, 2, -1) > 0 && !(wait[0].revents & POLLIN)) {
                if (read(STDIN_FILENO, line, sizeof line) <= 0)
                        break;
                statistics(context);
        }
        close(signals);
        atomic_store(&cancel.requested, true);
}

/* The most memory that was resident since exec. (Not ru_maxrss, which has the forking process's in it.) */
static json_int_t peak_rss_kib(void) {
        char line[256];
        long long kib = 0;
        zp_autofclose FILE *status = fopen("/proc/self/status", "re");
        while (status && fgets(line, sizeof line, status))
                if (sscanf(line, "VmHWM: %lld kB", &kib) == 1)
                        break;
        return kib;
}

static json_t *client_statistics(struct zp_kube *kube) {
        struct zp_kube_statistics s = zp_kube_statistics(kube);
        return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "requests", (json_int_t) s.requests, "retries",
                         (json_int_t) s.retries, "throttled", (json_int_t) s.throttled, "failures",
                         (json_int_t) s.failures, "credential_reloads", (json_int_t) s.credential_reloads,
                         "peak_rss_kib", peak_rss_kib());
}

/* ---- requests ---- */

static int each(void *context, json_t *object, struct zp_error *err) {
        (void) context, (void) err;
        print(json_incref(object));
        return 0;
}

static int command_list(struct zp_kube *kube, char **arguments, struct zp_error *err) {
        const struct zp_kube_place place = place_of(arguments);
        zp_autofree char *version = NULL;
        int r = zp_kube_list(kube, &place, arguments[3] ? argument(arguments, 3) : NULL, each, NULL, &version, err);
        if (r == 0)
                print(json_pack("{s:s}", "resourceVersion", version));
        return r;
}

static int command_get(struct zp_kube *kube, char **arguments, struct zp_error *err) {
        json_t *object = NULL;
        int r = zp_kube_call(kube, &(struct zp_kube_request){ .path = arguments[0] }, &object, err);
        if (r == 0)
                print(object);
        return r;
}

static int command_create(struct zp_kube *kube, char **arguments, struct zp_error *err) {
        const struct zp_kube_place place = place_of(arguments);
        zp_auto(json_decref) json_t *object = read_stdin();
        json_t *created = NULL;
        int r = object ? zp_kube_create(kube, &place, object, &created, err) : -EINVAL;
        if (r == 0)
                print(created);
        return r;
}

static int command_replace(struct zp_kube *kube, char **arguments, struct zp_error *err) {
        const struct zp_kube_place place = place_of(arguments);
        zp_auto(json_decref) json_t *object = read_stdin();
        json_t *replaced = NULL;
        int r = object ? zp_kube_replace(kube, &place, object, &replaced, err) : -EINVAL;
        if (r == 0)
                print(replaced);
        return r;
}

static int command_delete(struct zp_kube *kube, char **arguments, struct zp_error *err) {
        struct zp_kube_place place = place_of(arguments);
        const char *uid = zp_steal(&place.subresource); /* what stands in its place here */
        return zp_kube_delete(kube, &place, uid, err);
}

static int apply(struct zp_kube *kube, char **arguments, bool is_forced, struct zp_error *err) {
        const struct zp_kube_apply how = { .place = place_of(arguments + 1),
                                           .field_manager = arguments[0],
                                           .is_forced = is_forced };
        zp_auto(json_decref) json_t *object = read_stdin();
        json_t *applied = NULL;
        int r = object ? zp_kube_apply(kube, &how, object, &applied, err) : -EINVAL;
        if (r == 0)
                print(applied);
        return r;
}

static int command_apply(struct zp_kube *kube, char **arguments, struct zp_error *err) {
        return apply(kube, arguments, false, err);
}

static int command_apply_forced(struct zp_kube *kube, char **arguments, struct zp_error *err) {
        return apply(kube, arguments, true, err);
}

/* With an object on stdin, or "null". */
static json_t *read_last_seen(void) {
        json_t *object = json_loadf(stdin, JSON_DECODE_ANY, NULL);
        return json_is_object(object) ? object : NULL;
}

static int command_add_finalizer(struct zp_kube *kube, char **arguments, struct zp_error *err) {
        const struct zp_kube_place place = place_of(arguments + 1);
        zp_auto(json_decref) json_t *object = read_last_seen();
        return zp_kube_add_finalizer(kube, &place, arguments[0], object, err);
}

static int command_remove_finalizer(struct zp_kube *kube, char **arguments, struct zp_error *err) {
        const struct zp_kube_place place = place_of(arguments + 1);
        zp_auto(json_decref) json_t *object = read_last_seen();
        return zp_kube_remove_finalizer(kube, &place, arguments[0], object, err);
}

/* ---- watching ---- */

struct watching {
        struct zp_kube *kube;
        struct zp_kube_reflector *reflector;
};

static void on_change(void *context, enum zp_kube_change change, const struct zp_kube_key *key, json_t *object) {
        static const char *const words[] = { "added", "changed", "deleted" };
        (void) context;
        json_t *line = json_pack("{s:s, s:s, s:s, s:s}", "change", words[change], "namespace", key->namespace, "name",
                                 key->name, "uid", key->uid);
        json_object_set_new(line, "resourceVersion",
                            object ? json_string(zp_kube_resource_version(object)) : json_null());
        print(line);
}

static void on_synced(void *context) {
        (void) context;
        print(json_pack("{s:b}", "synced", 1));
}

static void on_trouble(void *context, const struct zp_error *reason, unsigned failures, unsigned retry_ms) {
        (void) context;
        print(json_pack("{s:s, s:s, s:i, s:i}", "troubled", reason->message, "code", strerrorname_np(reason->code),
                        "failures", (int) failures, "retry_ms", (int) retry_ms));
}

static void watch_statistics(void *context) {
        struct watching *watching = context;
        struct zp_kube_reflector_statistics s = zp_kube_reflector_statistics(watching->reflector);
        json_t *all =
                json_pack("{s:I, s:I, s:I, s:I, s:I, s:b}", "objects", (json_int_t) s.objects, "lists",
                          (json_int_t) s.lists, "watches", (json_int_t) s.watches, "events", (json_int_t) s.events,
                          "watch_failures", (json_int_t) s.failures, "is_synced", (int) s.is_synced);
        json_t *client = client_statistics(watching->kube);
        json_object_update(all, client);
        json_decref(client);
        print(json_pack("{s:o}", "statistics", all));
}

static int command_watch(struct zp_kube *kube, char **arguments, struct zp_error *err) {
        struct watching watching = { .kube = kube };
        const struct zp_kube_reflector_options options = {
                .kube = kube,
                .place = { .resource = { arguments[0], arguments[1] }, .namespace = argument(arguments, 2) },
                .query = arguments[3],
                .watcher = { on_change, on_synced, on_trouble, NULL },
        };
        int r = zp_kube_reflector_start(&options, &watching.reflector, err);
        if (r < 0)
                return r;
        wait_for_end(watch_statistics, &watching);
        zp_kube_reflector_stop(watching.reflector);
        return 0;
}

/* ---- leases ---- */

static void on_acquired(void *context) {
        print(json_pack("{s:s, s:s}", "lease", "acquired", "identity", context));
}

static void on_lost(void *context) {
        print(json_pack("{s:s, s:s}", "lease", "lost", "identity", context));
}

static void lease_statistics(void *context) {
        struct zp_kube_lease *lease = context;
        print(json_pack("{s:b}", "is_held", zp_kube_lease_is_held(lease)));
}

/* NAMESPACE NAME IDENTITY */
static int command_lease(struct zp_kube *kube, char **arguments, struct zp_error *err) {
        const struct zp_kube_lease_options options = {
                .kube = kube,
                .namespace = arguments[0],
                .name = arguments[1],
                .identity = arguments[2],
                .acquired = on_acquired,
                .lost = on_lost,
                .notice = { tell, NULL },
                .context = arguments[2],
        };
        struct zp_kube_lease *lease;
        int r = zp_kube_lease_start(&options, &lease, err);
        if (r < 0)
                return r;
        wait_for_end(lease_statistics, lease);
        zp_kube_lease_stop(lease);
        return 0;
}

/* ---- events ---- */

/* How often each object of stdin is to happen: [{"apiVersion", …, "note", "times"}]. */
static int command_events(struct zp_kube *kube, char **arguments, struct zp_error *err) {
        const struct zp_kube_events_options options = {
                .kube = kube, .controller = "zeropull.dev/test", .instance = arguments[0], .notice = { tell, NULL }
        };
        zp_auto(json_decref) json_t *list = read_stdin();
        struct zp_kube_events *events;
        int r = list ? zp_kube_events_start(&options, &events, err) : -EINVAL;
        if (r < 0)
                return r;
        json_t *item;
        size_t i;
        json_array_foreach(list, i, item) {
                struct zp_kube_event event = { 0 };
                int times = 1, is_warning = 0;
                json_unpack(item, "{s:s, s:s, s?s, s:s, s:s, s:s, s:s, s:s, s?i, s?b}", "apiVersion",
                            &event.api_version, "kind", &event.kind, "namespace", &event.namespace, "name", &event.name,
                            "uid", &event.uid, "action", &event.action, "reason", &event.reason, "note", &event.note,
                            "times", &times, "warning", &is_warning);
                event.is_warning = is_warning;
                while (times-- > 0)
                        zp_kube_events_post(events, &event);
        }
        atomic_store(&cancel.requested, true); /* what waits is sent all the same */
        zp_kube_events_stop(events);
        return 0;
}

static const struct {
        const char *name;
        int arguments; /* at least */
        int (*run)(struct zp_kube *kube, char **arguments, struct zp_error *err);
} commands[] = {
        { "get", 1, command_get },
        { "list", 3, command_list },
        { "create", 3, command_create },
        { "replace", 4, command_replace },
        { "delete", 4, command_delete },
        { "apply", 5, command_apply },
        { "apply-forced", 5, command_apply_forced },
        { "add-finalizer", 5, command_add_finalizer },
        { "remove-finalizer", 5, command_remove_finalizer },
        { "watch", 3, command_watch },
        { "lease", 3, command_lease },
        { "events", 1, command_events },
};

static int run(char **arguments, int count) {
        struct zp_error err = { 0 };
        zp_auto(zp_kube_config_free) struct zp_kube_config *config = NULL;
        const struct zp_kube_config_choice choice = { 0 };
        if (zp_kube_config_load(&choice, &config, &err) < 0)
                return fail(&err);
        zp_auto(zp_kube_free) struct zp_kube *kube = NULL;
        const char *writes = getenv("WRITES");
        long writes_left = writes ? strtol(writes, NULL, 10) : 0;
        const struct zp_kube_options options = { .config = config,
                                                 .user_agent = "kube-tool",
                                                 .cancel = &cancel,
                                                 .notice = { tell, NULL },
                                                 .may_write = writes ? may_write : NULL,
                                                 .context = &writes_left };
        if (zp_kube_new(&options, &kube, &err) < 0)
                return fail(&err);
        for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
                if (strcmp(commands[i].name, arguments[0]) == 0 && count > commands[i].arguments)
                        return commands[i].run(kube, arguments + 1, &err) < 0 ? fail(&err) : 0;
        fputs("usage: kube-tool COMMAND ARGUMENT...\n", stderr);
        return 2;
}

int main(int argc, char **argv) {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigprocmask(SIG_BLOCK, &set, NULL);
        return argc < 2 ? 2 : run(argv + 1, argc - 1);
}
