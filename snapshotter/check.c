/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/check.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "snapshotter/named.h"

static const char *const states[] = {
        [SNAP_CHECK_OK] = "ok", [SNAP_CHECK_NOTE] = "note", [SNAP_CHECK_MISSING] = "missing"
};

void snap_check_add(struct snap_check *check, const char *name, enum snap_check_state state, const char *remedy,
                    const char *format, ...) {
        if (check->count == SNAP_FINDINGS_MAX)
                return;
        struct snap_finding *finding = &check->items[check->count++];
        *finding = (struct snap_finding){ .name = name, .state = state, .remedy = remedy };
        va_list args;
        va_start(args, format);
        vsnprintf(finding->text, sizeof finding->text, format, args);
        va_end(args);
        for (char *p = finding->text; *p; p++) /* whatever a file or a program has put in */
                if ((unsigned char) *p < ' ' || *p == 0x7f)
                        *p = ' ';
}

static void print_text(const struct snap_check *check) {
        for (size_t i = 0; i < check->count; i++) {
                const struct snap_finding *finding = &check->items[i];
                printf("%-8s%-22s%s\n", states[finding->state], finding->name, finding->text);
                if (finding->remedy)
                        printf("%-8s%-22s-> %s\n", "", "", finding->remedy);
        }
}

static int print_json(const struct snap_check *check, bool is_ready, struct zp_error *err) {
        json_t *list = json_array();
        for (size_t i = 0; i < check->count; i++) {
                const struct snap_finding *finding = &check->items[i];
                json_t *text = json_string(finding->text);
                json_array_append_new(
                        list, json_pack("{s:s, s:s, s:o, s:s?}", "name", finding->name, "state", states[finding->state],
                                        "text", text ? text : json_string("(not UTF-8)"), "remedy", finding->remedy));
        }
        json_t *all = json_pack("{s:b, s:o}", "ready", is_ready, "checks", list);
        char *text = json_dumps(all, JSON_INDENT(2));
        json_decref(all);
        if (!text)
                return zp_error_errno(err, ENOMEM, "check");
        puts(text);
        free(text);
        return 0;
}

static void add_named(void *context, const char *setting, const char *path, const char *problem, const char *remedy) {
        if (problem)
                snap_check_add(context, setting, SNAP_CHECK_MISSING, remedy, "%s", problem);
        else
                snap_check_add(context, setting, SNAP_CHECK_OK, NULL, "'%.300s'", path);
}

static void check_named(struct snap_check *check, const struct snap_config *config) {
        if (!snap_named_policy(config)) /* layers are shared on a node by what they claim to be */
                snap_check_add(check, "policy", SNAP_CHECK_NOTE,
                               "when not all who publish are trusted alike, let a policy require signatures",
                               "none: whoever publishes a snapshot says what images with the same layers show");
        snap_named_look(config, add_named, check);
}

static void check_store(struct snap_check *check, const struct snap_config *config) {
        zp_autofree char *store = snap_config_store(config);
        if (!store || access(store, F_OK) < 0)
                return;
        if (snap_config_is_open_to_writers(store))
                snap_check_add(check, "store", SNAP_CHECK_NOTE, "chmod go-w it",
                               "others may write into '%.200s': who does decides what containers run", store);
        else
                snap_check_add(check, "store", SNAP_CHECK_OK, NULL, "'%.300s'", store);
}

int snap_check_run(const struct snap_config *config, const char *containerd_config, bool as_json,
                   struct zp_error *err) {
        struct snap_check check = { 0 };
        bool is_ready = true;
        snap_check_node(&check, config);
        check_store(&check, config);
        check_named(&check, config);
        snap_check_containerd(&check, config, containerd_config);
        for (size_t i = 0; i < check.count; i++)
                is_ready &= check.items[i].state != SNAP_CHECK_MISSING;
        int r = 0;
        if (as_json)
                r = print_json(&check, is_ready, err);
        else
                print_text(&check);
        return r < 0 ? r : !is_ready;
}
