/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/build-watch.h"

#include <stdio.h>

/* Before the build confines itself: credentials may be anywhere. */
static void begin_shipping(struct build_watch *w, const struct zp_image *image) {
        struct build_shipping *s = &w->shipping;
        s->image = image->manifest_digest;
        for (uint16_t i = 0; i < image->layer_count; i++)
                if (image->layers[i].size >= ZP_PUSH_GROWING_MIN) /* no need to ask the remote for small ones */
                        s->options.growing_for = &s->image;
        if (s->remote && zp_push_open(s->store, s->remote, &s->options, &s->push, &s->error) < 0)
                atomic_store(&w->cancel.requested, true); /* what cannot be published need not be built */
}

static void on_resolved(void *context, const struct zp_image *image) {
        struct build_watch *w = context;
        char platform[100], size[CLI_SIZE_TEXT], digest[ZP_DIGEST_TEXT_SIZE];
        uint64_t total = 0;
        w->is_found = true;
        w->layer_count = image->layer_count;
        for (uint16_t i = 0; i < image->layer_count; i++) {
                total += w->sizes[i] = image->layers[i].size;
                w->diff_ids[i] = image->diff_ids[i];
                w->checked[i] = false;
                cli_short_digest(&image->layers[i].digest, w->digests[i]);
        }
        progress_say(w->progress, "%s: %s, %s, %u layer%s, %s", image->name,
                     zp_digest_text(&image->manifest_digest, digest), zp_platform_text(&image->platform, platform),
                     image->layer_count, image->layer_count == 1 ? "" : "s", cli_size_text(total, size));
        begin_shipping(w, image);
}

static void on_layer_state(void *context, uint16_t layer, enum zp_layer_state state, const struct zp_digest *name) {
        struct build_watch *w = context;
        char label[32], verb[64];
        snprintf(label, sizeof label, "layer %u/%u", layer + 1u, w->layer_count);
        bool is_checked = state == ZP_LAYER_REUSED && w->checked[layer];
        snprintf(verb, sizeof verb, "%s %s", state == ZP_LAYER_CHECKING ? "checking" : "converting", w->digests[layer]);
        if (state == ZP_LAYER_CHECKING)
                w->checked[layer] = true;
        if (state == ZP_LAYER_CONVERTING || state == ZP_LAYER_CHECKING)
                progress_begin(w->progress, layer, label, verb, w->sizes[layer]);
        else if (state == ZP_LAYER_DONE)
                progress_end(w->progress, layer, "converted");
        else if (is_checked)
                progress_end(w->progress, layer, "already there, checked");
        else if (state == ZP_LAYER_REUSED)
                progress_say(w->progress, "%s: %s is already there", label, w->digests[layer]);
        if (w->shipping.push && (state == ZP_LAYER_DONE || state == ZP_LAYER_REUSED))
                zp_push_add_layer(w->shipping.push, name, &w->diff_ids[layer], (uint16_t) (layer + 1));
}

static void on_layer_progress(void *context, uint16_t layer, uint64_t blob_bytes_read) {
        struct build_watch *w = context;
        progress_update(w->progress, layer, blob_bytes_read);
}

static void on_waiting(void *context) {
        struct build_watch *w = context;
        progress_say(w->progress, "another process builds the same: waiting for it");
}

static void on_comparing(void *context, uint16_t devices) {
        struct build_watch *w = context;
        progress_say(w->progress, "comparing with %u device%s of the base", devices, devices == 1 ? "" : "s");
}

static void on_merging(void *context) {
        struct build_watch *w = context;
        progress_say(w->progress, "merging %u layer%s", w->layer_count, w->layer_count == 1 ? "" : "s");
}

static void on_pack_grown(void *context, uint16_t layer, int fd, uint64_t size) {
        struct build_watch *w = context;
        if (w->shipping.push)
                zp_push_grow(w->shipping.push, (uint16_t) (layer + 1), fd, size);
}

static void on_pack_ended(void *context, uint16_t layer, const struct zp_device_record *device) {
        struct build_watch *w = context;
        if (w->shipping.push)
                zp_push_grown(w->shipping.push, (uint16_t) (layer + 1), device);
}

struct zp_build_events build_watch_events(struct build_watch *w) {
        return (struct zp_build_events){ .context = w,
                                         .resolved = on_resolved,
                                         .layer_state = on_layer_state,
                                         .layer_progress = on_layer_progress,
                                         .waiting = on_waiting,
                                         .comparing = on_comparing,
                                         .merging = on_merging,
                                         .pack_grown = on_pack_grown,
                                         .pack_ended = on_pack_ended };
}
