/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/containerd/services.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/buffer.h"
#include "cli/output.h"
#include "containerd.pb-c.h"

/* A lease that nobody ended. */
#define LEASE_S 3600
#define ID_MAX 48
/* As the snapshotter calls it. */
#define REASON_LABEL "containerd.io/snapshot/zeropull.not-accelerated"
#define KEY_MAX (ID_MAX + ZP_DIGEST_TEXT_SIZE + 1)
/* WriteAction.COMMIT */
#define WRITE_COMMIT 2

#define LEASES "/containerd.services.leases.v1.Leases/"
#define CONTENT "/containerd.services.content.v1.Content/"
#define SNAPSHOTS "/containerd.services.snapshots.v1.Snapshots/"
#define IMAGES "/containerd.services.images.v1.Images/"

struct containerd {
        struct containerd_caller *caller;
        char *snapshotter;
        char id[ID_MAX]; /* of the lease; what else has to be unique begins with it */
};

int containerd_open(const struct containerd_options *options, struct containerd **out, struct zp_error *err) {
        zp_auto(containerd_close) struct containerd *containerd = calloc(1, sizeof *containerd);
        uint64_t number;
        if (containerd)
                containerd->snapshotter = strdup(options->snapshotter);
        if (!containerd || !containerd->snapshotter)
                return zp_error_errno(err, ENOMEM, "containerd");
        if (getrandom(&number, sizeof number, 0) != sizeof number)
                return zp_error_errno(err, errno, "random bytes");
        snprintf(containerd->id, sizeof containerd->id, "zeropull-%016" PRIx64, number);
        int r = containerd_caller_new(options->address, options->namespace, options->cancel, &containerd->caller, err);
        if (r == 0)
                *out = zp_steal(&containerd);
        return r;
}

void containerd_close(struct containerd *containerd) {
        if (!containerd)
                return;
        containerd_caller_free(containerd->caller);
        free(containerd->snapshotter);
        free(containerd);
}

const char *containerd_snapshotter(const struct containerd *containerd) {
        return containerd->snapshotter;
}

static ProtobufCBinaryData text(const char *value) {
        return (ProtobufCBinaryData){ .len = strlen(value), .data = (uint8_t *) value };
}

/* What is wanted is that it works. */
static int call(struct containerd *containerd, const struct containerd_method *method, const ProtobufCMessage *request,
                struct zp_error *err) {
        return containerd_call(containerd->caller, method, request, NULL, NULL, err);
}

/* ---- labels ---- */

/* As messages have them; the arrays are the labels' own. False: no memory. */
static bool label_messages(struct containerd_labels *labels, Snap__Label ***out) {
        Snap__Label *messages = zp_arena_alloc(&labels->arena, labels->count * sizeof *messages + 1);
        *out = zp_arena_alloc(&labels->arena, labels->count * sizeof **out + 1);
        for (size_t i = 0; messages && *out && i < labels->count; i++) {
                snap__label__init(&messages[i]);
                messages[i].key = text(labels->items[i].key);
                messages[i].value = text(labels->items[i].value);
                (*out)[i] = &messages[i];
        }
        return messages && *out;
}

/* Paths of a mask that names these labels and no other. */
static bool label_paths(struct containerd_labels *labels, ProtobufCBinaryData **out) {
        *out = zp_arena_alloc(&labels->arena, labels->count * sizeof **out + 1);
        for (size_t i = 0; *out && i < labels->count; i++) {
                size_t size = strlen("labels.") + strlen(labels->items[i].key);
                char *path = zp_arena_alloc(&labels->arena, size + 1);
                if (!path)
                        return false;
                snprintf(path, size + 1, "labels.%s", labels->items[i].key);
                (*out)[i] = text(path);
        }
        return *out != NULL;
}

/* ---- leases ---- */

int containerd_lease_begin(struct containerd *containerd, struct zp_error *err) {
        /* containerd answers calls in an order of its own: broken off here, it might make the lease after it was ended */
        static const struct containerd_method create = { LEASES "Create", 30, .is_uninterrupted = true };
        char until[CLI_TIME_TEXT];
        Snap__Label label = SNAP__LABEL__INIT, *labels[] = { &label };
        Ctrd__LeaseRequest request = CTRD__LEASE_REQUEST__INIT;
        label.key = text("containerd.io/gc.expire");
        label.value = text(cli_time_text(time(NULL) + LEASE_S, until));
        request.id = text(containerd->id);
        request.labels = labels;
        request.n_labels = 1;
        int r = call(containerd, &create, &request.base, err);
        return r < 0 ? r : containerd_caller_set_lease(containerd->caller, containerd->id, err);
}

int containerd_lease_end(struct containerd *containerd, bool collect, struct zp_error *err) {
        static const struct containerd_method delete = { LEASES "Delete", 60, .is_uninterrupted = true };
        Ctrd__LeaseDeleteRequest request = CTRD__LEASE_DELETE_REQUEST__INIT;
        request.id = text(containerd->id);
        request.sync = collect;
        return call(containerd, &delete, &request.base, err);
}

/* ---- content ---- */

static int write_blob(struct containerd *containerd, const struct zp_descriptor *blob, const char *digest,
                      const char *data, struct containerd_labels *labels, struct zp_error *err) {
        static const struct containerd_method write = { CONTENT "Write", 60 };
        Ctrd__WriteRequest request = CTRD__WRITE_REQUEST__INIT;
        char key[KEY_MAX];
        if (!label_messages(labels, &request.labels))
                return zp_error_errno(err, ENOMEM, "%s", digest);
        snprintf(key, sizeof key, "%s-%s", containerd->id, digest);
        request.n_labels = labels->count;
        request.action = WRITE_COMMIT;
        request.ref = text(key);
        request.total = (int64_t) blob->size;
        request.expected = text(digest);
        request.data = (ProtobufCBinaryData){ .len = blob->size, .data = (uint8_t *) data };
        return call(containerd, &write, &request.base, err);
}

/* malloc'ed; NULL: it is not there, or there is no memory. */
static char *find_label(Snap__Label *const *labels, size_t count, const char *key) {
        for (size_t i = 0; i < count; i++)
                if (labels[i]->key.len == strlen(key) && memcmp(labels[i]->key.data, key, strlen(key)) == 0)
                        return strndup((char *) labels[i]->value.data, labels[i]->value.len);
        return NULL;
}

/* The value of a label, "" when it is not there; malloc'ed. */
static int read_label(struct containerd *containerd, const char *digest, const char *key, char **value,
                      struct zp_error *err) {
        static const struct containerd_method method = { CONTENT "Info", 60 };
        Ctrd__InfoRequest request = CTRD__INFO_REQUEST__INIT;
        ProtobufCMessage *answer = NULL;
        request.digest = text(digest);
        int r = containerd_call(containerd->caller, &method, &request.base, &ctrd__info_response__descriptor, &answer,
                                err);
        if (r < 0)
                return r;
        const Ctrd__Info *info = ((Ctrd__InfoResponse *) answer)->info;
        *value = info ? find_label(info->labels, info->n_labels, key) : NULL;
        if (!*value)
                *value = strdup("");
        protobuf_c_message_free_unpacked(answer, NULL);
        return *value ? 0 : zp_error_errno(err, ENOMEM, "%s", digest);
}

static int update_labels(struct containerd *containerd, const char *digest, struct containerd_labels *labels,
                         struct zp_error *err) {
        static const struct containerd_method update = { CONTENT "Update", 60 };
        Snap__FieldMask mask = SNAP__FIELD_MASK__INIT;
        Ctrd__Info info = CTRD__INFO__INIT;
        Ctrd__InfoUpdateRequest request = CTRD__INFO_UPDATE_REQUEST__INIT;
        if (!label_messages(labels, &info.labels) || !label_paths(labels, &mask.paths))
                return zp_error_errno(err, ENOMEM, "%s", digest);
        info.digest = text(digest);
        info.n_labels = mask.n_paths = labels->count;
        request.info = &info;
        request.update_mask = &mask;
        return call(containerd, &update, &request.base, err);
}

/* The first write finds out whether the blob is there, and has the lease hold it then. */
int containerd_put_blob(struct containerd *containerd, const struct zp_descriptor *blob, const char *data,
                        const struct zp_reference *reference, struct containerd_labels *labels, struct zp_error *err) {
        char digest[ZP_DIGEST_TEXT_SIZE];
        zp_autofree char *key = containerd_source_key(reference);
        zp_autofree char *sources = NULL;
        size_t others = labels->count;
        zp_digest_text(&blob->digest, digest);
        if (!key || !containerd_labels_add_source(labels, reference, NULL))
                return zp_error_errno(err, ENOMEM, "%s", digest);
        int r = write_blob(containerd, blob, digest, data, labels, err);
        if (r == -EEXIST) {
                labels->count = others;
                r = read_label(containerd, digest, key, &sources, err);
                if (r == 0 && !containerd_labels_add_source(labels, reference, sources))
                        r = zp_error_errno(err, ENOMEM, "%s", digest);
                if (r == 0)
                        r = update_labels(containerd, digest, labels, err);
        }
        return r < 0 ? zp_error_wrap(err, "containerd's content %s", digest) : 0;
}

/* ---- snapshots ---- */

static void make_key(const struct containerd *containerd, const char *chain_id, char key[KEY_MAX]) {
        snprintf(key, KEY_MAX, "%s %s", containerd->id, chain_id);
}

/* The snapshotter may ask registries for a while. */
int containerd_prepare(struct containerd *containerd, const char *chain_id, const char *parent,
                       struct containerd_labels *labels, struct zp_error *err) {
        static const struct containerd_method prepare = { SNAPSHOTS "Prepare", 300 };
        Snap__CreateRequest request = SNAP__CREATE_REQUEST__INIT;
        char key[KEY_MAX];
        if (!label_messages(labels, &request.labels))
                return zp_error_errno(err, ENOMEM, "%s", chain_id);
        make_key(containerd, chain_id, key);
        request.n_labels = labels->count;
        request.snapshotter = text(containerd->snapshotter);
        request.key = text(key);
        request.parent = text(parent);
        int r = call(containerd, &prepare, &request.base, err);
        return r == -EEXIST ? 1 : r;
}

int containerd_refusal(struct containerd *containerd, const char *chain_id, char **out, struct zp_error *err) {
        static const struct containerd_method stat = { SNAPSHOTS "Stat", 60 };
        Snap__KeyRequest request = SNAP__KEY_REQUEST__INIT;
        ProtobufCMessage *answer = NULL;
        char key[KEY_MAX];
        make_key(containerd, chain_id, key);
        request.snapshotter = text(containerd->snapshotter);
        request.key = text(key);
        int r = containerd_call(containerd->caller, &stat, &request.base, &snap__info_response__descriptor, &answer,
                                err);
        if (r < 0)
                return r;
        const Snap__Info *info = ((Snap__InfoResponse *) answer)->info;
        *out = info ? find_label(info->labels, info->n_labels, REASON_LABEL) : NULL;
        protobuf_c_message_free_unpacked(answer, NULL);
        return 0;
}

static int hold(struct containerd *containerd, const char *name, struct zp_error *err) {
        static const struct containerd_method add = { LEASES "AddResource", 60 };
        zp_autofree char *type = zp_format("snapshots/%s", containerd->snapshotter);
        Ctrd__Resource resource = CTRD__RESOURCE__INIT;
        Ctrd__LeaseResourceRequest request = CTRD__LEASE_RESOURCE_REQUEST__INIT;
        if (!type)
                return zp_error_errno(err, ENOMEM, "%s", name);
        resource.id = text(name);
        resource.type = text(type);
        request.id = text(containerd->id);
        request.resource = &resource;
        return call(containerd, &add, &request.base, err);
}

int containerd_hold_snapshot(struct containerd *containerd, const char *name, struct zp_error *err) {
        static const struct containerd_method stat = { SNAPSHOTS "Stat", 60 };
        Snap__KeyRequest request = SNAP__KEY_REQUEST__INIT;
        request.snapshotter = text(containerd->snapshotter);
        request.key = text(name);
        int r = hold(containerd, name, err);
        return r < 0 ? r : call(containerd, &stat, &request.base, err);
}

/* ---- images ---- */

int containerd_put_image(struct containerd *containerd, const char *name, const struct zp_descriptor *manifest,
                         struct zp_error *err) {
        static const struct containerd_method create = { IMAGES "Create", 60 }, update = { IMAGES "Update", 60 };
        char digest[ZP_DIGEST_TEXT_SIZE];
        ProtobufCBinaryData path = text("target");
        Snap__FieldMask mask = SNAP__FIELD_MASK__INIT;
        Ctrd__Descriptor target = CTRD__DESCRIPTOR__INIT;
        Ctrd__Image image = CTRD__IMAGE__INIT;
        Ctrd__ImageRequest request = CTRD__IMAGE_REQUEST__INIT;
        target.media_type = text(manifest->media_type);
        target.digest = text(zp_digest_text(&manifest->digest, digest));
        target.size = (int64_t) manifest->size;
        image.name = text(name);
        image.target = &target;
        request.image = &image;
        int r = call(containerd, &create, &request.base, err);
        if (r == -EEXIST) {
                mask.paths = &path;
                mask.n_paths = 1;
                request.update_mask = &mask;
                r = call(containerd, &update, &request.base, err);
        }
        return r < 0 ? zp_error_wrap(err, "containerd's image '%s'", name) : 0;
}
