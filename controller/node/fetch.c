/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/node/fetch.h"

#include <string.h>

#include "controller/node/amount.h"
#include "controller/node/child.h"
#include "controller/node/secrets.h"
#include "oci/json.h"
#include "oci/reference.h"
#include "snapshotter/control/config.h"

#define ARGUMENTS_MAX 24
#define REMOVE_TIMEOUT_S 120
/* zeropull's exit codes (zeropull(1)) */
#define EXIT_NOT_FOUND 3
#define EXIT_REFUSED 4

static void fail(struct node_fetched *out, const char *reason, const char *message) {
        snprintf(out->message, sizeof out->message, "%s", message);
        out->result = (struct node_result){ .reason = reason, .message = out->message };
}

/* ---- removing ---- */

static int run(const char *const *argv, const struct zp_cancel *cancel, struct node_outcome *outcome,
               struct zp_error *err) {
        const struct node_run run = { .argv = argv, .timeout_s = REMOVE_TIMEOUT_S, .cancel = cancel };
        return node_run(&run, outcome, err);
}

/* The image first; what only it had is then nobody's. */
static void remove_image(const struct node_options *options, const struct node_task *task, struct node_fetched *out) {
        const char *remove[] = { options->zeropull, "remove", "--store", options->store, task->digest, NULL };
        const char *prune[] = { options->zeropull, "prune", "--quiet", "--store", options->store, NULL };
        node_autooutcome struct node_outcome removed = { 0 }, pruned = { 0 };
        struct zp_error err = { 0 };
        if (run(remove, options->cancel, &removed, &err) < 0)
                fail(out, "RemoveFailed", err.message);
        else if (removed.exit_code != 0 && removed.exit_code != EXIT_NOT_FOUND)
                fail(out, "RemoveFailed", removed.reason);
        else if (run(prune, options->cancel, &pruned, &err) < 0)
                fail(out, "PruneFailed", err.message);
        else if (pruned.exit_code != 0) /* a pull is under way: its data would stay */
                fail(out, "PruneFailed", pruned.reason);
        else
                out->result = (struct node_result){ .is_done = true };
}

/* ---- pulling ---- */

struct command {
        const char *argv[ARGUMENTS_MAX + 1];
        size_t count;
        char *owned[4];
        size_t owned_count;
};

static void command_clear(struct command *c) {
        for (size_t i = 0; i < c->owned_count; i++)
                free(c->owned[i]);
}
#define autocommand __attribute__((cleanup(command_clear)))

static void add(struct command *c, const char *argument) {
        c->argv[c->count++] = argument;
}

static void add_pair(struct command *c, const char *option, const char *value) {
        if (value) {
                add(c, option);
                add(c, value);
        }
}

static bool add_owned(struct command *c, const char *option, char *value) {
        if (!value)
                return false;
        c->owned[c->owned_count++] = value;
        if (option)
                add(c, option);
        add(c, value);
        return true;
}

/* "repository@sha256:…" of "repository[:tag]": the digest says it all. */
static char *pinned_name(const struct node_task *task) {
        const char *slash = strrchr(task->image, '/'), *name = slash ? slash + 1 : task->image;
        size_t size = (size_t) (name - task->image) + strcspn(name, ":@");
        if (!task->digest[0])
                return zp_format("docker://%s", task->image);
        return zp_format("docker://%.*s@%s", (int) size, task->image, task->digest);
}

/* "host/repository", which is no directory of this node, whatever pull understands besides. */
static bool is_repository(const char *text) {
        struct zp_reference reference;
        size_t host_size = strcspn(text, "/");
        if (text[host_size] != '/' || strchr(text, '@') || zp_reference_parse(text, &reference, NULL) < 0)
                return false;
        bool has_host = strncmp(reference.registry, text, host_size) == 0 && !reference.registry[host_size];
        zp_reference_clear(&reference);
        return has_host;
}

static bool set_arguments(struct command *c, const struct node_options *options, const struct snap_config *config,
                          const struct node_task *task, bool has_secret) {
        add(c, options->zeropull);
        add(c, "pull");
        add(c, "--json");
        add_pair(c, "--progress", "json");
        add_pair(c, "--store", options->store);
        add_pair(c, "--policy", config->policy);
        add_pair(c, "--ca-file", config->ca_file);
        add_pair(c, "--auth-file", has_secret ? NODE_SECRET_PATH : config->auth_file);
        if (task->is_complete)
                add(c, "--complete");
        if (task->from && !add_owned(c, "--from", zp_format("docker://%s", task->from)))
                return false;
        return add_owned(c, NULL, pinned_name(task));
}

static void read_answer(const struct node_outcome *outcome, struct node_fetched *out) {
        zp_auto(json_decref) json_t *answer = NULL;
        struct zp_error err = { 0 };
        struct zp_digest digest;
        uint64_t bytes;
        if (zp_json_load(outcome->output.data ? outcome->output.data : "", outcome->output.size, "answer", &answer,
                         &err) < 0 ||
            zp_json_digest(answer, "digest", "answer", &digest, &err) < 0 ||
            zp_json_size(answer, "bytesReceived", "answer", &bytes, &err) < 0) {
                fail(out, "PullFailed", err.message);
                return;
        }
        out->result = (struct node_result){ .is_done = true,
                                            .was_present = json_is_true(json_object_get(answer, "wasPresent")),
                                            .bytes = bytes };
        zp_digest_text(&digest, out->result.digest);
}

static const char *reason_of(int exit_code) {
        switch (exit_code) {
        case EXIT_NOT_FOUND:
                return "NoSnapshot";
        case EXIT_REFUSED:
                return "Refused";
        default:
                return "PullFailed";
        }
}

struct watch {
        const struct node_task *task;
        const struct node_watcher *watcher;
        struct node_amount amount;
};

static void told(void *context, const char *line) {
        struct watch *w = context;
        if (node_amount_add(&w->amount, line))
                w->watcher->got(w->watcher->context, w->task, w->amount.done, w->amount.total);
}

static void pull_with(const struct node_options *options, const struct snap_config *config,
                      const struct node_task *task, const char *secret, const struct node_watcher *watcher,
                      struct node_fetched *out) {
        struct watch watch = { .task = task, .watcher = watcher };
        node_autooutcome struct node_outcome outcome = { 0 };
        autocommand struct command command = { 0 };
        struct zp_error err = { 0 };
        if (!set_arguments(&command, options, config, task, secret != NULL)) {
                fail(out, "PullFailed", "out of memory");
                return;
        }
        const struct node_run run = { .argv = command.argv,
                                      .secret = secret,
                                      .timeout_s = task->timeout_s,
                                      .cancel = options->cancel,
                                      .told = told,
                                      .context = &watch };
        int r = node_run(&run, &outcome, &err);
        node_amount_clear(&watch.amount);
        if (outcome.exit_code == 0) /* also when it was told to end meanwhile */
                read_answer(&outcome, out);
        else if (r == -ETIMEDOUT)
                fail(out, "DeadlineExceeded", err.message);
        else if (r < 0)
                fail(out, "PullFailed", err.message);
        else
                fail(out, reason_of(outcome.exit_code), outcome.exit_code < 0 ? "the pull was killed" : outcome.reason);
}

/* A secret that could not be read may be why a pull failed. */
static void blame_secret(struct node_fetched *out, const struct zp_error *unread) {
        size_t size = strlen(out->message);
        snprintf(out->message + size, sizeof out->message - size, " (%s)", unread->message);
        if (strcmp(out->result.reason, "PullFailed") == 0 || strcmp(out->result.reason, "NoSnapshot") == 0)
                out->result.reason = "SecretNotReadable";
}

static void pull(const struct node_options *options, const struct node_task *task, const struct node_watcher *watcher,
                 struct node_fetched *out) {
        struct snap_config config;
        struct zp_error err = { 0 }, unread = { 0 };
        char *secret = NULL;
        if (task->from && !is_repository(task->from)) {
                fail(out, "Refused", "from: it is no registry's repository (registry.example/snapshots)");
                return;
        }
        snap_config_init(&config);
        /* each time: they may have been changed */
        if (options->config && snap_config_load(options->config, &config, &err) < 0)
                fail(out, "BadSettings", err.message);
        else if (task->secrets && node_secrets_read(options->kube, task->secrets, 0, &secret, &unread, &err) < 0)
                fail(out, "SecretNotReadable", err.message);
        else
                pull_with(options, &config, task, secret, watcher, out);
        if (unread.code && !out->result.is_done)
                blame_secret(out, &unread);
        node_secret_free(secret);
        snap_config_clear(&config);
}

void node_fetch(const struct node_options *options, const struct node_task *task, const struct node_watcher *watcher,
                struct node_fetched *out) {
        *out = (struct node_fetched){ 0 };
        if (task->is_removal)
                remove_image(options, task, out);
        else
                pull(options, task, watcher, out);
}
