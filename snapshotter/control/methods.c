/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/control/methods.h"

#include <string.h>

#include "base/utf8.h"
#include "snapshotter/control/filter.h"
#include "snapshotter/control/log.h"
#include "snapshots.pb-c.h"

#define UNPACK(request, type, out, err) \
        snap_request_unpack(request, &snap__##type##__descriptor, (ProtobufCMessage **) (out), err)

static int no_memory(struct zp_error *err) {
        return zp_error_errno(err, ENOMEM, "request");
}

static ProtobufCBinaryData bytes_of(const char *text) {
        return (ProtobufCBinaryData){ strlen(text), (uint8_t *) text };
}

/* ---- labels ---- */

/* The API's limit for a label, key and value together. */
#define LABEL_MAX 4096

static int take_labels(struct snap_request *request, Snap__Label *const *labels, size_t count, struct snap_labels *out,
                       struct zp_error *err) {
        *out = (struct snap_labels){ zp_arena_alloc(&request->arena, (count + 1) * sizeof *out->items), count };
        if (!out->items)
                return no_memory(err);
        for (size_t i = 0; i < count; i++) {
                int r = snap_request_name(request, labels[i]->key, "label", &out->items[i].key, err);
                if (r == 0)
                        r = snap_request_text(request, labels[i]->value, "label", &out->items[i].value, err);
                if (r < 0)
                        return r;
                if (labels[i]->key.len + labels[i]->value.len > LABEL_MAX)
                        return zp_error_set(err, EINVAL, "label '%.100s': more than %d bytes", out->items[i].key,
                                            LABEL_MAX);
        }
        return 0;
}

/* One that was stored by an earlier version may hold whatever a registry said, and for one text that is not UTF-8 the
 * client refuses the whole answer. */
static bool give_value(struct snap_request *request, const char *value, ProtobufCBinaryData *out) {
        size_t size = strlen(value);
        if (zp_is_utf8(value, size)) {
                *out = bytes_of(value);
                return true;
        }
        char *mended = zp_arena_copy(&request->arena, value, size);
        if (!mended)
                return false;
        zp_utf8_mend(mended);
        *out = bytes_of(mended);
        return true;
}

static int give_labels(struct snap_request *request, const struct snap_labels *labels, Snap__Info *info,
                       struct zp_error *err) {
        Snap__Label *items = zp_arena_alloc(&request->arena, (labels->count + 1) * sizeof *items);
        info->labels = zp_arena_alloc(&request->arena, (labels->count + 1) * sizeof *info->labels);
        if (!items || !info->labels)
                return no_memory(err);
        info->n_labels = labels->count;
        for (size_t i = 0; i < labels->count; i++) {
                snap__label__init(&items[i]);
                items[i].key = bytes_of(labels->items[i].key);
                if (!give_value(request, labels->items[i].value, &items[i].value))
                        return no_memory(err);
                info->labels[i] = &items[i];
        }
        return 0;
}

/* ---- Prepare, View, Mounts ---- */

static int reply_mount(struct snap_request *request, const struct snap_mount *mount, struct zp_error *err) {
        Snap__MountsResponse response = SNAP__MOUNTS_RESPONSE__INIT;
        Snap__Mount one = SNAP__MOUNT__INIT, *mounts = &one;
        one.type = bytes_of(mount->type);
        one.source = bytes_of(mount->source);
        one.n_options = mount->option_count;
        one.options = zp_arena_alloc(&request->arena, (mount->option_count + 1) * sizeof *one.options);
        if (!one.options)
                return no_memory(err);
        for (size_t i = 0; i < mount->option_count; i++)
                one.options[i] = bytes_of(mount->options[i]);
        response.n_mounts = 1;
        response.mounts = &mounts;
        return snap_request_reply(request, &response.base, err);
}

static int take_new(struct snap_request *request, enum snap_kind kind, struct snap_new *new, struct zp_error *err) {
        Snap__CreateRequest *message;
        *new = (struct snap_new){ .kind = kind };
        int r = UNPACK(request, create_request, &message, err);
        if (r == 0)
                r = snap_request_name(request, message->key, "key", &new->key, err);
        if (r == 0)
                r = snap_request_text(request, message->parent, "parent", &new->parent, err);
        return r < 0 ? r : take_labels(request, message->labels, message->n_labels, &new->labels, err);
}

static int create(struct snap_request *request, enum snap_kind kind, struct zp_error *err) {
        struct snap_new new;
        struct snap_mount mount;
        int r = take_new(request, kind, &new, err);
        if (r < 0)
                return r;
        new.mounts_elsewhere = !request->is_mounting;
        r = snap_service_create(request->service, &request->arena, &new, request->cancel, &mount, err);
        if (r < 0)
                return r;
        snap_log_event(SNAP_LOG_DEBUG, kind == SNAP_VIEW ? "view prepared" : "snapshot prepared", "key", new.key,
                       "parent", new.parent, NULL);
        return reply_mount(request, &mount, err);
}

static int run_prepare(struct snap_request *request, struct zp_error *err) {
        return create(request, SNAP_ACTIVE, err);
}

static int run_view(struct snap_request *request, struct zp_error *err) {
        return create(request, SNAP_VIEW, err);
}

/* The key of Mounts, Remove, Stat and Usage. */
static int take_key(struct snap_request *request, const char **key, struct zp_error *err) {
        Snap__KeyRequest *message;
        int r = UNPACK(request, key_request, &message, err);
        return r < 0 ? r : snap_request_name(request, message->key, "key", key, err);
}

static int run_mounts(struct snap_request *request, struct zp_error *err) {
        const char *key;
        struct snap_mount mount;
        int r = take_key(request, &key, err);
        if (r == 0)
                r = snap_service_mounts(request->service, &request->arena, key, !request->is_mounting, request->cancel,
                                        &mount, err);
        return r < 0 ? r : reply_mount(request, &mount, err);
}

/* ---- Commit, Remove, Cleanup ---- */

static int reply_empty(struct snap_request *request, struct zp_error *err) {
        Snap__Empty empty = SNAP__EMPTY__INIT;
        return snap_request_reply(request, &empty.base, err);
}

static int run_commit(struct snap_request *request, struct zp_error *err) {
        Snap__CommitRequest *message;
        const char *name, *key, *parent;
        struct snap_labels labels;
        int r = UNPACK(request, commit_request, &message, err);
        if (r == 0)
                r = snap_request_name(request, message->name, "name", &name, err);
        if (r == 0)
                r = snap_request_name(request, message->key, "key", &key, err);
        if (r == 0)
                r = snap_request_text(request, message->parent, "parent", &parent, err);
        if (r == 0)
                r = take_labels(request, message->labels, message->n_labels, &labels, err);
        if (r == 0)
                r = snap_service_commit(request->service, name, key, parent, &labels, request->cancel, err);
        if (r < 0)
                return r;
        snap_log_event(SNAP_LOG_DEBUG, "snapshot committed", "key", key, "name", name, NULL);
        return reply_empty(request, err);
}

static int run_remove(struct snap_request *request, struct zp_error *err) {
        const char *key;
        int r = take_key(request, &key, err);
        if (r == 0)
                r = snap_service_remove(request->service, key, err);
        if (r < 0)
                return r;
        snap_log_event(SNAP_LOG_DEBUG, "snapshot removed", "key", key, NULL);
        return reply_empty(request, err);
}

static int run_cleanup(struct snap_request *request, struct zp_error *err) {
        Snap__CleanupRequest *message;
        int r = UNPACK(request, cleanup_request, &message, err);
        if (r == 0)
                r = snap_service_cleanup(request->service, request->cancel, err);
        return r < 0 ? r : reply_empty(request, err);
}

/* ---- Stat, Update, List ---- */

static int give_info(struct snap_request *request, const struct snap_info *info, Snap__Info **out,
                     struct zp_error *err) {
        struct {
                Snap__Info info;
                Snap__Timestamp created, updated;
        } *message = zp_arena_alloc(&request->arena, sizeof *message);
        if (!message)
                return no_memory(err);
        snap__info__init(&message->info);
        snap__timestamp__init(&message->created);
        snap__timestamp__init(&message->updated);
        message->created.seconds = info->created_ns / 1000000000;
        message->created.nanos = (int32_t) (info->created_ns % 1000000000);
        message->updated.seconds = info->updated_ns / 1000000000;
        message->updated.nanos = (int32_t) (info->updated_ns % 1000000000);
        message->info.name = bytes_of(info->name);
        message->info.parent = bytes_of(info->parent);
        message->info.kind = info->kind;
        message->info.created_at = &message->created;
        message->info.updated_at = &message->updated;
        *out = &message->info;
        return give_labels(request, &info->labels, &message->info, err);
}

static int reply_info(struct snap_request *request, const struct snap_info *info, struct zp_error *err) {
        Snap__InfoResponse response = SNAP__INFO_RESPONSE__INIT;
        int r = give_info(request, info, &response.info, err);
        return r < 0 ? r : snap_request_reply(request, &response.base, err);
}

static int run_stat(struct snap_request *request, struct zp_error *err) {
        const char *key;
        struct snap_info info;
        struct snap_metastore *store = snap_service_metastore(request->service);
        int r = take_key(request, &key, err);
        if (r == 0)
                r = snap_metastore_get(store, &request->arena, key, &info, NULL, err);
        return r < 0 ? r : reply_info(request, &info, err);
}

/* Which labels: those of "labels.KEY", or all, with "labels" or without any mask. */
static int take_mask(struct snap_request *request, const Snap__FieldMask *mask, struct snap_update *update,
                     struct zp_error *err) {
        static const char prefix[] = "labels.";
        size_t count = mask ? mask->n_paths : 0;
        const char **keys = zp_arena_alloc(&request->arena, (count + 1) * sizeof *keys);
        bool is_all = count == 0;
        if (!keys)
                return no_memory(err);
        for (size_t i = 0; i < count; i++) {
                const char *path;
                int r = snap_request_text(request, mask->paths[i], "update mask", &path, err);
                if (r < 0)
                        return r;
                if (strcmp(path, "labels") == 0)
                        is_all = true;
                else if (strncmp(path, prefix, strlen(prefix)) == 0 && path[strlen(prefix)])
                        keys[update->key_count++] = path + strlen(prefix);
                else
                        return zp_error_set(err, EINVAL, "the field '%.100s' of a snapshot cannot be updated", path);
        }
        update->keys = is_all ? NULL : keys;
        return 0;
}

static int run_update(struct snap_request *request, struct zp_error *err) {
        Snap__UpdateRequest *message;
        struct snap_update update = { 0 };
        struct snap_info info;
        int r = UNPACK(request, update_request, &message, err);
        if (r == 0 && !message->info)
                r = zp_error_set(err, EINVAL, "info: missing");
        if (r == 0)
                r = snap_request_name(request, message->info->name, "name", &update.name, err);
        if (r == 0)
                r = take_labels(request, message->info->labels, message->info->n_labels, &update.labels, err);
        if (r == 0)
                r = take_mask(request, message->update_mask, &update, err);
        if (r == 0)
                r = snap_service_update(request->service, &request->arena, &update, &info, err);
        return r < 0 ? r : reply_info(request, &info, err);
}

static int take_filter(struct snap_request *request, struct snap_filter **filter, struct zp_error *err) {
        Snap__ListRequest *message;
        int r = UNPACK(request, list_request, &message, err);
        if (r < 0)
                return r;
        const char **texts = zp_arena_alloc(&request->arena, (message->n_filters + 1) * sizeof *texts);
        if (!texts)
                return no_memory(err);
        for (size_t i = 0; i < message->n_filters && r == 0; i++)
                r = snap_request_text(request, message->filters[i], "filter", &texts[i], err);
        return r < 0 ? r : snap_filter_parse(texts, message->n_filters, filter, err);
}

/* A page's strings die with it. */
static int list_page(struct snap_request *request, struct snap_filter *filter, uint64_t *after, struct zp_error *err) {
        struct snap_metastore *store = snap_service_metastore(request->service);
        struct snap_info infos[SNAP_LIST_PAGE];
        Snap__Info *found[SNAP_LIST_PAGE];
        Snap__ListResponse response = SNAP__LIST_RESPONSE__INIT;
        int count = snap_metastore_list(store, &request->arena, *after, SNAP_LIST_PAGE, infos, err), r = 0;
        response.info = found;
        for (int i = 0; i < count && r == 0; i++)
                if (snap_filter_matches(filter, &infos[i]))
                        r = give_info(request, &infos[i], &found[response.n_info++], err);
        if (r == 0 && response.n_info > 0)
                r = snap_request_reply(request, &response.base, err);
        if (count > 0)
                *after = infos[count - 1].id;
        return r < 0 ? r : count;
}

static int run_list(struct snap_request *request, struct zp_error *err) {
        zp_auto(snap_filter_free) struct snap_filter *filter = NULL;
        uint64_t after = 0;
        int r = take_filter(request, &filter, err), count = SNAP_LIST_PAGE;
        while (r == 0 && count == SNAP_LIST_PAGE && (r = zp_check_cancel(request->cancel, err)) == 0) {
                zp_arena_clear(&request->arena);
                count = list_page(request, filter, &after, err);
                r = count < 0 ? count : 0;
        }
        return r;
}

static int run_usage(struct snap_request *request, struct zp_error *err) {
        const char *key;
        struct snap_usage usage;
        Snap__UsageResponse response = SNAP__USAGE_RESPONSE__INIT;
        int r = take_key(request, &key, err);
        if (r == 0)
                r = snap_service_usage(request->service, key, request->cancel, &usage, err);
        if (r < 0)
                return r;
        response.size = (int64_t) usage.size;
        response.inodes = (int64_t) usage.inodes;
        return snap_request_reply(request, &response.base, err);
}

#define METHOD(name) "/containerd.services.snapshots.v1.Snapshots/" name

const struct snap_method snap_methods[] = {
        { METHOD("Prepare"), SNAP_MAY_ASK, run_prepare },
        { METHOD("View"), SNAP_STARTS, run_view },
        { METHOD("Mounts"), SNAP_STARTS, run_mounts },
        { METHOD("Commit"), SNAP_WALKS, run_commit },
        { METHOD("Remove"), SNAP_QUICK, run_remove },
        { METHOD("Stat"), SNAP_QUICK, run_stat },
        { METHOD("Update"), SNAP_QUICK, run_update },
        { METHOD("List"), SNAP_WALKS, run_list },
        { METHOD("Usage"), SNAP_WALKS, run_usage },
        { METHOD("Cleanup"), SNAP_WALKS, run_cleanup },
        { 0 },
};
