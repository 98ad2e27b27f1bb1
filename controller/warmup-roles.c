/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/warmup-roles.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "oci/json.h"

#define PAUSE_FIRST_S 30
#define PAUSE_LAST_S 300

static const char *uid_of(json_t *object) {
        const char *uid = json_string_value(json_object_get(object, "uid"));
        return uid ? uid : "";
}

/* Takes `secrets`. NULL: no memory. */
static json_t *role_of(json_t *object, json_t *secrets) {
        return json_pack("{s:O, s:O, s:O, s:O, s:o}", "kind", json_object_get(object, "kind"), "namespace",
                         json_object_get(object, "namespace"), "name", json_object_get(object, "name"), "uid",
                         json_object_get(object, "uid"), "secrets", secrets);
}

static int64_t number(json_t *object, const char *key) {
        return json_integer_value(json_object_get(object, key));
}

static bool waits(json_t *known, const char *uid, int64_t now) {
        return number(json_object_get(known, uid), "again") > now;
}

int warmup_roles_due(json_t *known, json_t *objects, int64_t now, json_t **due, struct zp_error *err) {
        zp_auto(json_decref) json_t *found = json_object(), *left = json_copy(known);
        const char *key;
        json_t *object;
        int r = found && left ? 0 : -1;
        json_object_foreach(objects, key, object) {
                json_t *secrets = json_object_get(object, "secrets");
                json_t *before = json_object_get(json_object_get(known, uid_of(object)), "secrets");
                if (r < 0 || json_array_size(secrets) == 0)
                        continue;
                json_object_del(left, uid_of(object));
                if (!json_equal(before, secrets) && !waits(known, uid_of(object), now))
                        r = json_object_set_new(found, uid_of(object), role_of(object, json_incref(secrets)));
        }
        json_object_foreach(left, key, object) {
                if (r == 0 && !waits(known, key, now))
                        r = json_object_set_new(found, key, role_of(object, json_array()));
        }
        if (r < 0)
                return zp_error_errno(err, ENOMEM, "warm-up");
        *due = zp_steal(&found);
        return 0;
}

static bool has_rights(json_t *role) {
        json_t *rule;
        size_t i;
        json_array_foreach(json_object_get(role, "rules"), i, rule) {
                if (json_array_size(json_object_get(rule, "resourceNames")) > 0)
                        return true;
        }
        return false;
}

bool warmup_roles_found(json_t *known, json_t *role) {
        json_t *metadata = json_object_get(role, "metadata");
        json_t *owner = json_array_get(json_object_get(metadata, "ownerReferences"), 0);
        const char *name = json_string_value(json_object_get(metadata, "name"));
        if (!name || !*uid_of(owner) || strncmp(name, WARMUP_ROLE_PREFIX, strlen(WARMUP_ROLE_PREFIX)) != 0 ||
            strcmp(name + strlen(WARMUP_ROLE_PREFIX), uid_of(owner)) != 0 || !has_rights(role))
                return true;
        /* no list of secrets equals null */
        json_t *found = json_pack("{s:O, s:O, s:O, s:O, s:n}", "kind", json_object_get(owner, "kind"), "namespace",
                                  json_object_get(metadata, "namespace"), "name", json_object_get(owner, "name"), "uid",
                                  json_object_get(owner, "uid"), "secrets");
        return found && json_object_set_new(known, uid_of(owner), found) == 0;
}

int64_t warmup_roles_pause(int64_t before) {
        int64_t pause = before ? before * 2 : PAUSE_FIRST_S;
        return pause < PAUSE_LAST_S ? pause : PAUSE_LAST_S;
}

/* Of one that failed nobody knows what it is like: no list of secrets equals null. */
static json_t *unknown(json_t *known, json_t *role, int result, int64_t now) {
        json_t *entry = role_of(role, json_null());
        if (!entry || result != -EPERM)
                return entry;
        int64_t pause = warmup_roles_pause(number(json_object_get(known, uid_of(role)), "pause"));
        json_object_set_new(entry, "pause", json_integer(pause));
        json_object_set_new(entry, "again", json_integer(now + pause));
        return entry;
}

bool warmup_roles_done(json_t *known, json_t *role, int result, int64_t now) {
        json_t *secrets = json_object_get(role, "secrets");
        if (result < 0)
                json_object_set_new(known, uid_of(role), unknown(known, role, result, now));
        else if (json_array_size(secrets) == 0)
                json_object_del(known, uid_of(role));
        else
                json_object_set_new(known, uid_of(role), role_of(role, json_incref(secrets)));
        return result < 0 && result != -EPERM;
}

int64_t warmup_roles_next(json_t *known) {
        const char *uid;
        json_t *entry;
        int64_t next = 0;
        json_object_foreach(known, uid, entry) {
                int64_t again = number(entry, "again");
                if (again && (!next || again < next))
                        next = again;
        }
        return next;
}
