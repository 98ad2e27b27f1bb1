/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/base-image.h"

#include <string.h>
#include <sys/mman.h>

#include "base/fingerprint.h"
#include "base/limits.h"
#include "builder/blobs.h"
#include "cli/child.h"
#include "cli/earlier-images.h"
#include "cli/remote-names.h"
#include "cli/signing.h"
#include "ship/pull.h"

/* 1: there is one that was built here. Images are looked up by what was typed, which may be short for a name; with
 * `is_name` only the name itself counts. */
static int find_built(struct zp_store *store, const char *text, bool is_name, struct zp_image_record *out) {
        if (zp_store_lookup_image(store, text, out, NULL) < 0)
                return 0;
        if (!out->is_fetched && (!is_name || zp_image_record_has_name(out, text)))
                return 1;
        zp_image_record_clear(out);
        return 0;
}

/* Whoever may push an image may name another's manifest, too: what was built here serves only if the image's repository
 * has shown that it has it, or its data is not here. 1, 0; then *out is cleared. */
static int is_shown(const struct cli_base_wish *wish, struct zp_store *store, struct zp_image_record *out,
                    struct zp_error *err) {
        int r = zp_blobs_are_known(store, out, wish->image, err);
        if (r != 1)
                zp_image_record_clear(out);
        return r;
}

/* ---- from a repository, by a process that confines itself ---- */

/* The snapshot that was found good, in memory that both processes share. */
struct fetched {
        struct zp_digest manifest_digest, metadata_digest;
        uint16_t layer_count;
        struct zp_digest layers[ZP_LIMIT_LAYERS];
};

struct fetching {
        struct cli_call *call;
        const struct cli_base_wish *wish;
        const char *image, *remote; /* what to fetch from where; remote NULL: it is beside the image */
        uint64_t deadline_ms;
        const char *store;
        struct fetched *fetched;
};

static void tell(struct fetched *fetched, const struct zp_image_record *image) {
        fetched->manifest_digest = image->manifest_digest;
        fetched->metadata_digest = image->metadata_digest;
        fetched->layer_count = image->layer_count;
        for (uint16_t i = 0; i < image->layer_count && i < ZP_LIMIT_LAYERS; i++)
                fetched->layers[i] = image->layers[i];
}

static bool is_same(const struct fetched *fetched, const struct zp_image_record *image) {
        bool same = zp_digest_equal(&fetched->metadata_digest, &image->metadata_digest) &&
                    fetched->layer_count == image->layer_count;
        for (uint16_t i = 0; same && i < image->layer_count; i++)
                same = zp_digest_equal(&fetched->layers[i], &image->layers[i]);
        return same;
}

/* 1: the remote has the device's data, 0: not that anybody knew. */
static int has_data(struct zp_remote *remote, struct zp_store *store, const struct zp_device_record *device,
                    struct zp_error *err) {
        struct zp_digest digest = device->pack_digest;
        uint64_t size = device->pack_size;
        if (!device->has_pack_digest && !device->is_complete)
                return 0;
        if (!device->has_pack_digest) {
                zp_autoclose int fd = zp_store_open_device_file(store, &device->digest, "device.zst", err);
                int r = fd < 0 ? fd : zp_fingerprint(fd, "device.zst", &size, &digest, err);
                if (r == 0)
                        r = zp_store_note_pack(store, &device->digest, &digest, err);
                if (r < 0)
                        return r;
        }
        return zp_remote_has_blob(remote, &digest, size, err);
}

/* A snapshot may name devices that others have: their data may be in the store, and would be sent with what is built.
 * So it serves only if it lies where the snapshot does. */
static int check_data(struct zp_remote *remote, struct zp_store *store, const struct zp_image_record *image,
                      struct zp_error *err) {
        zp_autofree struct zp_device_record *devices = NULL;
        size_t count = 0;
        int r = zp_store_list_devices_of(store, &image->manifest_digest, &devices, &count, err);
        for (size_t i = 0; r == 0 && i < count; i++) {
                int has = has_data(remote, store, &devices[i], err);
                if (has == 0)
                        has = zp_error_set(err, ENOENT, "%s does not have its data", zp_remote_name(remote));
                r = has < 0 ? has : 0;
        }
        return r;
}

static int pull_from(const struct fetching *f, struct zp_source *source, struct zp_remote *remote,
                     struct zp_error *err) {
        zp_auto(zp_store_close) struct zp_store *store = NULL;
        zp_auto(zp_policy_free) struct zp_policy *policy = NULL;
        int r = cli_load_policy(f->call, f->wish->policy_option, &policy, err);
        if (r == 0)
                r = zp_store_open(f->store, ZP_STORE_WRITE, &store, err);
        if (r < 0)
                return r;
        struct zp_trust trust = { .remote = remote,
                                  .image = zp_source_name(source),
                                  .policy = policy,
                                  .keys = &f->wish->sign_key,
                                  .key_count = f->wish->sign_key != NULL };
        struct zp_pull_options options = { .platform = *f->wish->platform,
                                           .with_maps = true,
                                           .confine = true,
                                           .also_readable = cli_remote_local_path(remote, f->wish->source_options),
                                           .cancel = f->call->cancel };
        r = zp_trust_wants_check(&trust, err);
        if (r < 0)
                return r;
        options.check = r ? zp_trust_check : NULL;
        options.check_context = &trust;
        struct zp_pull_result result = { 0 };
        r = zp_pull(source, remote, store, &options, &result, err);
        bool is_known = r == 0 && !result.image.is_fetched &&
                        zp_blobs_are_known(store, &result.image, zp_source_name(source), NULL) == 1;
        if (r == 0 && !is_known)
                r = check_data(remote, store, &result.image, err);
        if (r == 0)
                tell(f->fetched, &result.image);
        zp_image_record_clear(&result.image);
        return r;
}

static int fetch(void *context, struct zp_error *err) {
        const struct fetching *f = context;
        zp_auto(zp_source_close) struct zp_source *source = NULL;
        zp_auto(zp_remote_close) struct zp_remote *remote = NULL;
        zp_autofree char *beside = NULL;
        int r = zp_source_open(f->image, f->wish->source_options, &source, err);
        if (r == 0 && !f->remote)
                r = cli_remote_beside(zp_source_name(source), "pull it first: zeropull pull --from REMOTE", &beside,
                                      err);
        if (r == 0)
                r = zp_remote_open(f->remote ? f->remote : beside, f->wish->source_options, &remote, err);
        return r < 0 ? r : pull_from(f, source, remote, err);
}

/* Another pull may put another snapshot of the image in its place at any time, which nobody has looked at: only as long
 * as the image is locked it is the one that was found good. What will be signed rests on a base that bears the same
 * signature: without it the base would have been refused. */
static int take_fetched(const struct fetching *f, struct zp_store *store, struct zp_image_record *out,
                        struct zp_error *err) {
        zp_auto(zp_store_unlock) struct zp_store_lock *lock = NULL;
        const struct zp_digest *digest = &f->fetched->manifest_digest;
        int r = zp_store_lock(store, digest, f->call->cancel, NULL, NULL, &lock, err);
        if (r == 0)
                r = zp_store_find_image(store, digest, out, err);
        if (r == 1 && is_same(f->fetched, out))
                return f->wish->sign_key ? zp_store_vouch(store, digest, err) : 0;
        if (r == 1)
                zp_image_record_clear(out);
        if (r >= 0) {
                r = zp_error_set(err, EAGAIN, "it was replaced in the store while it was fetched");
                zp_error_hint(err, "run it again");
        }
        return r;
}

static int fetch_base(struct fetching *f, struct zp_store *store, struct zp_image_record *out, struct zp_error *err) {
        f->store = zp_store_path(store);
        f->fetched = mmap(NULL, sizeof *f->fetched, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (f->fetched == MAP_FAILED)
                return zp_error_errno(err, errno, "fetch");
        progress_say(f->wish->progress, "base: fetching what is known of %s", f->image);
        int r = cli_in_child_until(f->deadline_ms, fetch, f, f->call->cancel, err);
        if (r == 0)
                r = take_fetched(f, store, out, err);
        if (r < 0)
                zp_image_record_clear(out);
        munmap(f->fetched, sizeof *f->fetched);
        return r;
}

static int take_named(struct cli_call *call, const struct cli_base_wish *wish, struct zp_store *store,
                      struct zp_image_record *out, struct zp_error *err) {
        if (find_built(store, wish->text, false, out))
                return 1;
        struct fetching fetching = { .call = call, .wish = wish, .image = wish->text, .deadline_ms = UINT64_MAX };
        int r = fetch_base(&fetching, store, out, err);
        if (r == -EACCES)
                call->exit_code = CLI_REFUSED;
        return r < 0 ? zp_error_wrap(err, "base %s", wish->text) : 1;
}

/* ---- when nobody says which ---- */

/* 1: *out; 0: not this one; negative: the search is over. */
static int try_earlier(struct fetching *f, struct zp_store *store, struct zp_image_record *out, struct zp_error *err) {
        int r = find_built(store, f->image, true, out) ? is_shown(f->wish, store, out, err) : 0;
        if (r != 0)
                return r;
        r = fetch_base(f, store, out, err);
        if (r == -ENOENT || r == -EACCES) {
                progress_say(f->wish->progress, "base: not %s: %s", f->image, err->message);
                *err = (struct zp_error){ 0 };
                return 0;
        }
        return r < 0 ? r : 1;
}

static int search(struct cli_call *call, const struct cli_base_wish *wish, struct zp_store *store,
                  struct zp_image_record *out, struct zp_error *err) {
        struct fetching fetching = {
                .call = call, .wish = wish, .remote = wish->remote, .deadline_ms = cli_now_ms() + CLI_BASE_SEARCH_MS
        };
        struct cli_earlier_images earlier;
        int r = cli_earlier_images(call, wish->image, wish->source_options, fetching.deadline_ms, &earlier, err);
        for (unsigned i = 0; r == 0 && i < earlier.count; i++) {
                fetching.image = earlier.names[i];
                r = try_earlier(&fetching, store, out, err);
        }
        if (r == 1)
                progress_say(wish->progress, "base: %s", fetching.image);
        return r;
}

static int take_previous(struct cli_call *call, const struct cli_base_wish *wish, struct zp_store *store,
                         struct zp_image_record *out, struct zp_error *err) {
        struct zp_error reason = { 0 };
        int r = find_built(store, wish->image, true, out) ? is_shown(wish, store, out, &reason) : 0;
        if (r == 0 && wish->remote)
                r = search(call, wish, store, out, &reason);
        if (r < 0 && zp_cancelled(call->cancel))
                return zp_check_cancel(call->cancel, err);
        if (r < 0)
                progress_say(wish->progress, "base: none: %s", reason.message);
        return r == 1;
}

int cli_find_base(struct cli_call *call, const struct cli_base_wish *wish, struct zp_store *store,
                  struct zp_image_record *out, struct zp_error *err) {
        if (!wish->text)
                return take_previous(call, wish, store, out, err);
        return strcmp(wish->text, "none") == 0 ? 0 : take_named(call, wish, store, out, err);
}
