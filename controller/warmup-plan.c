/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/warmup-plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "controller/warmup-list.h"
#include "oci/json.h"

struct decision {
        const struct warmup_world *world;
        struct warmup_list *lists; /* of the nodes, in their order */
        json_t *counts;
};

static int no_memory(struct zp_error *err) {
        return zp_error_errno(err, ENOMEM, "warm-up");
}

static const char *text(json_t *object, const char *key) {
        const char *value = json_string_value(json_object_get(object, key));
        return value ? value : "";
}

/* ---- who is meant ---- */

static bool is_selected(json_t *object, json_t *node) {
        const char *key;
        json_t *value, *labels = json_object_get(node, "labels");
        json_object_foreach(json_object_get(object, "selector"), key, value) {
                if (!json_is_string(value) || !json_equal(value, json_object_get(labels, key)))
                        return false;
        }
        return true;
}

/* "linux/arm64" and "linux/arm64/v8" are an arm64 node's. */
static bool is_for_node(json_t *image, json_t *node) {
        const char *platform = text(image, "platform"), *os = text(node, "os");
        const char *architecture = text(node, "architecture");
        size_t os_size = strlen(os), size = strlen(architecture);
        if (!platform[0])
                return true;
        if (strncmp(platform, os, os_size) != 0 || platform[os_size] != '/')
                return false;
        platform += os_size + 1;
        return strncmp(platform, architecture, size) == 0 && (platform[size] == '\0' || platform[size] == '/');
}

/* ---- how far it is ---- */

enum state { STATE_NOT_READY, STATE_UNASSIGNED, STATE_UNDER_WAY, STATE_READY, STATE_FAILED };

/* Of one image of an object on one node. */
static enum state image_state(json_t *object, json_t *image, json_t *cache) {
        const char *digest = text(image, "digest");
        if (!digest[0])
                return STATE_NOT_READY;
        zp_autofree char *name = warmup_listed_name(image, json_object_get(cache, "wanted"));
        json_t *wanted = name ? json_object_get(json_object_get(cache, "wanted"), name) : NULL;
        json_t *state = name ? json_object_get(json_object_get(cache, "states"), name) : NULL;
        if (!warmup_has_digest(wanted, digest))
                return STATE_UNASSIGNED;
        if (json_is_true(json_object_get(object, "complete")) && !json_is_true(json_object_get(wanted, "complete")))
                return STATE_UNASSIGNED;
        if (!warmup_has_digest(state, digest))
                return STATE_UNDER_WAY;
        if (strcmp(text(state, "phase"), "Failed") == 0)
                return STATE_FAILED;
        bool is_whole =
                !json_is_true(json_object_get(object, "complete")) || json_is_true(json_object_get(state, "complete"));
        return strcmp(text(state, "phase"), "Ready") == 0 && is_whole ? STATE_READY : STATE_UNDER_WAY;
}

struct progress {
        unsigned desired, ready, failed, under_way, unassigned;
};

static struct progress look_at_node(json_t *object, json_t *node, json_t *cache) {
        struct progress sum = { 0 };
        json_t *image;
        size_t i;
        json_array_foreach(json_object_get(object, "images"), i, image) {
                if (!is_for_node(image, node))
                        continue;
                enum state state = image_state(object, image, cache);
                sum.desired++;
                sum.ready += state == STATE_READY;
                sum.failed += state == STATE_FAILED;
                sum.under_way += state == STATE_UNDER_WAY;
                sum.unassigned += state == STATE_UNASSIGNED;
        }
        return sum;
}

/* ---- what a node shall have ---- */

static json_t *entry_of(json_t *object, json_t *image) {
        json_t *entry = json_pack("{s:O, s:O, s:O, s:O}", "image", json_object_get(image, "image"), "digest",
                                  json_object_get(image, "digest"), "complete", json_object_get(object, "complete"),
                                  "deadlineSeconds", json_object_get(object, "deadline"));
        if (entry && json_array_size(json_object_get(object, "secrets")) > 0)
                json_object_set_new(entry, "pullSecrets", json_copy(json_object_get(object, "secrets")));
        warmup_set_from(entry, json_object_get(object, "from"));
        return entry;
}

/* What is there under the image's name stays there, but from no place other than the object's, whoever wrote it. */
static int keep_old(json_t *object, json_t *image, json_t *cache, struct warmup_list *list, struct zp_error *err) {
        json_t *there = json_object_get(cache, "wanted"), *old = json_object_get(there, text(image, "image"));
        zp_auto(json_decref) json_t *entry = old ? json_deep_copy(old) : NULL;
        if (!old)
                return 0;
        if (!entry)
                return no_memory(err);
        warmup_set_from(entry, json_object_get(object, "from"));
        return warmup_list_keep(list, entry, there, err);
}

/* All of an object's images that there are, or those of its last time that are there. Returns how many are listed that
 * were not before. */
static int add_images(json_t *object, json_t *node, json_t *cache, bool is_turn, struct warmup_list *list,
                      struct zp_error *err) {
        json_t *image;
        size_t i;
        int begun = 0;
        json_array_foreach(json_object_get(object, "images"), i, image) {
                if (!is_for_node(image, node))
                        continue;
                enum state state = image_state(object, image, cache);
                bool is_new = state != STATE_NOT_READY && (is_turn || state != STATE_UNASSIGNED);
                zp_auto(json_decref) json_t *entry = is_new ? entry_of(object, image) : NULL;
                if (is_new && !entry)
                        return no_memory(err);
                int r = is_new ? warmup_list_add(list, entry, err) : keep_old(object, image, cache, list, err);
                if (r < 0)
                        return r;
                begun += r == 1 && state == STATE_UNASSIGNED;
        }
        return begun;
}

/* ---- one object ---- */

static int decide_object(struct decision *d, const char *key, json_t *object, struct zp_error *err) {
        struct progress sum = { 0 };
        json_int_t parallelism = json_integer_value(json_object_get(object, "parallelism")), under_way = 0;
        struct warmup_list *list = d->lists;
        const char *name;
        json_t *node;
        json_object_foreach(d->world->nodes, name, node) {
                if (!is_selected(object, node))
                        continue;
                struct progress one = look_at_node(object, node, json_object_get(d->world->caches, name));
                sum.desired += one.desired;
                sum.ready += one.ready;
                sum.failed += one.failed;
                under_way += one.under_way > 0 && json_is_true(json_object_get(node, "ready"));
        }
        json_object_foreach(d->world->nodes, name, node) {
                json_t *cache = json_object_get(d->world->caches, name);
                struct warmup_list *its = list++;
                if (!is_selected(object, node))
                        continue;
                struct progress one = look_at_node(object, node, cache);
                bool is_begun = one.under_way > 0;
                bool is_turn = one.unassigned > 0 && json_is_true(json_object_get(node, "ready")) &&
                               (is_begun || under_way < parallelism);
                int r = add_images(object, node, cache, is_turn, its, err);
                if (r < 0)
                        return r;
                under_way += r > 0 && !is_begun; /* one whose list is full takes nobody's place */
        }
        json_t *counts = json_pack("[i, i, i]", (int) sum.desired, (int) sum.ready, (int) sum.failed);
        return json_object_set_new(d->counts, key, counts) < 0 ? no_memory(err) : 0;
}

/* ---- all ---- */

struct ordered {
        const char *key;
        json_t *object;
};

/* By age, then by name: the oldest first, so that no newer one takes its place among a node's images. */
static int compare_objects(const void *a, const void *b) {
        const struct ordered *x = a, *y = b;
        int order = strcmp(text(x->object, "created"), text(y->object, "created"));
        return order ? order : strcmp(x->key, y->key);
}

static int compare_entries(const void *a, const void *b) {
        return strcmp(text(*(json_t *const *) a, "image"), text(*(json_t *const *) b, "image"));
}

static json_t *sorted_values(json_t *map) {
        size_t count = json_object_size(map), i = 0;
        zp_autofree json_t **values = calloc(count ? count : 1, sizeof *values);
        json_t *list = values ? json_array() : NULL, *value;
        const char *key;
        json_object_foreach(map, key, value) {
                if (values)
                        values[i++] = value;
        }
        if (list)
                qsort(values, count, sizeof *values, compare_entries);
        for (i = 0; list && i < count; i++)
                json_array_append(list, values[i]);
        return list;
}

/* A spec whose every entry is as it is in the cluster is no change. */
static int find_changes(struct decision *d, json_t *changes, struct zp_error *err) {
        const struct warmup_list *list = d->lists;
        const char *name;
        json_t *node;
        json_object_foreach(d->world->nodes, name, node) {
                json_t *spec = (list++)->entries;
                json_t *wanted = json_object_get(json_object_get(d->world->caches, name), "wanted");
                if (json_object_size(spec) == 0 && json_object_size(wanted) == 0)
                        continue;
                if (json_equal(spec, wanted))
                        continue;
                if (json_object_set_new(changes, name, sorted_values(spec)) < 0)
                        return no_memory(err);
        }
        return 0;
}

static int decide_all(struct decision *d, struct zp_error *err) {
        size_t count = json_object_size(d->world->objects), i = 0;
        zp_autofree struct ordered *order = calloc(count ? count : 1, sizeof *order);
        const char *key;
        json_t *object;
        int r = order ? 0 : no_memory(err);
        if (r < 0)
                return r;
        json_object_foreach(d->world->objects, key, object) {
                order[i++] = (struct ordered){ key, object };
        }
        qsort(order, count, sizeof *order, compare_objects);
        for (i = 0; i < count && r == 0; i++)
                r = decide_object(d, order[i].key, order[i].object, err);
        return r;
}

int warmup_decide(const struct warmup_world *world, json_t **changes, json_t **counts, struct zp_error *err) {
        zp_auto(json_decref) json_t *found = json_object(), *sums = json_object();
        size_t count = json_object_size(world->nodes), i;
        zp_autofree struct warmup_list *lists = calloc(count ? count : 1, sizeof *lists);
        struct decision d = { .world = world, .lists = lists, .counts = sums };
        int r = lists && found && sums ? 0 : no_memory(err);
        for (i = 0; i < count && r == 0; i++)
                r = warmup_list_init(&lists[i], err);
        if (r == 0)
                r = decide_all(&d, err);
        if (r == 0)
                r = find_changes(&d, found, err);
        for (i = 0; lists && i < count; i++)
                warmup_list_clear(&lists[i]);
        if (r < 0)
                return r;
        *changes = zp_steal(&found);
        *counts = zp_steal(&sums);
        return 0;
}
