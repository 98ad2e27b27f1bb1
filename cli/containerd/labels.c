/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/containerd/labels.h"

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"

static bool add(struct containerd_labels *labels, const char *key, const char *value) {
        struct containerd_label label = { zp_arena_copy(&labels->arena, key, strlen(key)),
                                          zp_arena_copy(&labels->arena, value, strlen(value)) };
        if (!label.key || !label.value || labels->count == sizeof labels->items / sizeof *labels->items)
                return false;
        labels->items[labels->count++] = label;
        return true;
}

bool containerd_labels_of_manifest(struct containerd_labels *labels, const struct zp_image *image) {
        char key[64], digest[ZP_DIGEST_TEXT_SIZE];
        bool is_good =
                add(labels, "containerd.io/gc.ref.content.config", zp_digest_text(&image->config_digest, digest));
        for (unsigned i = 0; is_good && i < image->layer_count; i++) {
                snprintf(key, sizeof key, "containerd.io/gc.ref.content.l.%u", i);
                is_good = add(labels, key, zp_digest_text(&image->layers[i].digest, digest));
        }
        return is_good;
}

bool containerd_labels_of_config(struct containerd_labels *labels, const char *snapshotter, const char *chain_id) {
        zp_autofree char *key = zp_format("containerd.io/gc.ref.snapshot.%s", snapshotter);
        return key && (!chain_id[0] || add(labels, key, chain_id));
}

/* The layers from this one on, as many as fit. */
static bool add_layer_list(struct containerd_labels *labels, const struct zp_image *image, unsigned layer) {
        static const char key[] = "containerd.io/snapshot/cri.image-layers";
        char list[CONTAINERD_LABEL_MAX] = "", digest[ZP_DIGEST_TEXT_SIZE];
        size_t used = 0;
        for (unsigned i = layer; i < image->layer_count; i++) {
                zp_digest_text(&image->layers[i].digest, digest);
                if (strlen(key) + used + (used > 0) + strlen(digest) > CONTAINERD_LABEL_MAX)
                        break;
                used += (size_t) snprintf(list + used, sizeof list - used, "%s%s", used ? "," : "", digest);
        }
        return add(labels, key, list);
}

bool containerd_labels_of_layer(struct containerd_labels *labels, const struct zp_image *image, const char *name,
                                unsigned layer, const char *chain_id) {
        char manifest[ZP_DIGEST_TEXT_SIZE], digest[ZP_DIGEST_TEXT_SIZE];
        zp_digest_text(&image->manifest_digest, manifest);
        zp_digest_text(&image->layers[layer].digest, digest);
        return add(labels, "containerd.io/snapshot.ref", chain_id) &&
               add(labels, "containerd.io/snapshot/cri.image-ref", name) &&
               add(labels, "containerd.io/snapshot/cri.manifest-digest", manifest) &&
               add(labels, "containerd.io/snapshot/cri.layer-digest", digest) && add_layer_list(labels, image, layer);
}

/* The host without its port, as containerd has it. */
char *containerd_source_key(const struct zp_reference *reference) {
        const char *host = reference->registry;
        size_t size = strcspn(host, ":");
        if (host[0] == '[') {
                host++;
                size = strcspn(host, "]");
        }
        return zp_format("containerd.io/distribution.source.%.*s", (int) size, host);
}

static int compare_texts(const void *a, const void *b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

/* Joins the names, sorted and each once. `known` is taken apart. */
static bool join(char *known, const char *repository, struct zp_buffer *out) {
        char *names[CONTAINERD_LABEL_MAX / 2 + 2], *rest = NULL;
        size_t count = 0;
        for (char *name = strtok_r(known, ",", &rest); name; name = strtok_r(NULL, ",", &rest))
                names[count++] = name;
        names[count++] = (char *) repository;
        qsort(names, count, sizeof *names, compare_texts);
        bool is_good = true;
        for (size_t i = 0; is_good && i < count; i++)
                if (i == 0 || strcmp(names[i], names[i - 1]) != 0)
                        is_good = (i == 0 || zp_buffer_text(out, ",")) && zp_buffer_text(out, names[i]);
        return is_good;
}

bool containerd_labels_add_source(struct containerd_labels *labels, const struct zp_reference *reference,
                                  const char *known) {
        zp_autofree char *key = containerd_source_key(reference);
        zp_autofree char *names = strdup(known ? known : "");
        zp_autobuffer struct zp_buffer value = { 0 };
        if (!key || !names)
                return false;
        if (strlen(names) > CONTAINERD_LABEL_MAX)
                return true;
        if (!join(names, reference->repository, &value))
                return false;
        return strlen(key) + value.size > CONTAINERD_LABEL_MAX || add(labels, key, value.data);
}
