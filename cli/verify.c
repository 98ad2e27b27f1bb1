/* SPDX-License-Identifier: Apache-2.0
 *
 * What is to be verified, and what was found.
 */
#include "cli/verify.h"

#include <string.h>

#include "cli/output.h"
#include "cli/view.h"

int verify_problem(struct verifier *v, const char *object, const struct zp_error *problem) {
        static const int of_this_machine[] = { ECANCELED, ENOMEM, ENOSPC, EDQUOT, EMFILE, ENFILE };
        for (size_t i = 0; i < sizeof of_this_machine / sizeof *of_this_machine; i++)
                if (problem->code == of_this_machine[i])
                        return -problem->code;
        v->problem_count++;
        if (!v->problems) {
                progress_pause(v->progress);
                printf("%s: %s\n", object, problem->message);
                progress_resume(v->progress);
                return 0;
        }
        json_t *entry = json_pack("{s:s, s:o}", "object", object, "problem",
                                  cli_json_text(problem->message, strlen(problem->message)));
        return json_array_append_new(v->problems, entry) < 0 ? -ENOMEM : 0;
}

struct verify_subject verify_image_subject(const struct zp_image_record *image) {
        struct verify_subject subject = { .image = image };
        char text[ZP_DIGEST_TEXT_SIZE];
        snprintf(subject.name, sizeof subject.name, "image %s", zp_digest_text(&image->manifest_digest, text));
        return subject;
}

struct verify_subject verify_layer_subject(const struct zp_layer_record *layer) {
        struct verify_subject subject = { .layer = layer };
        char text[ZP_DIGEST_TEXT_SIZE];
        snprintf(subject.name, sizeof subject.name, "layer %s", zp_digest_text(&layer->metadata_digest, text));
        return subject;
}

struct verify_subject verify_device_subject(const struct zp_device_record *device) {
        struct verify_subject subject = { .device = device };
        char text[ZP_DIGEST_TEXT_SIZE];
        snprintf(subject.name, sizeof subject.name, "device %s", zp_digest_text(&device->digest, text));
        return subject;
}

/* 1: the record is the one that was checked against. */
static int is_recorded(struct verifier *v, const struct verify_subject *subject, struct zp_error *err) {
        struct zp_layer_record layer;
        struct zp_device_record device;
        struct zp_image_record image = { 0 };
        int r = zp_store_await_change(v->store, v->call->cancel, err);
        if (r == 0 && subject->device) {
                r = zp_store_find_device(v->store, &subject->device->digest, &device, err);
        } else if (r == 0 && subject->layer) {
                r = zp_store_find_layer(v->store, &subject->layer->metadata_digest, NULL, &layer, err);
        } else if (r == 0) {
                r = zp_store_find_image(v->store, &subject->image->manifest_digest, &image, err);
                if (r == 1)
                        r = zp_digest_equal(&image.metadata_digest, &subject->image->metadata_digest);
                zp_image_record_clear(&image);
        }
        return r;
}

static bool has_subject(struct verifier *v, const struct zp_image_record *image, const struct verify_subject *subject) {
        zp_autofree struct zp_device_record *devices = NULL;
        size_t count = 0;
        for (uint16_t i = 0; subject->layer && i < image->layer_count; i++)
                if (zp_digest_equal(&image->layers[i], &subject->layer->metadata_digest))
                        return true;
        if (subject->device && zp_store_list_devices_of(v->store, &image->manifest_digest, &devices, &count, NULL) == 0)
                for (size_t i = 0; i < count; i++)
                        if (zp_digest_equal(&devices[i].digest, &subject->device->digest))
                                return true;
        return subject->image == image;
}

/* Remembers an image that was fetched, and so can be again. */
static void note_image(struct verifier *v, const struct verify_subject *subject) {
        for (size_t i = 0; i < v->image_count && !v->fetched_name; i++) {
                const struct zp_image_record *image = &v->images[i];
                if (image->is_fetched && image->names && image->names[0] && has_subject(v, image, subject))
                        v->fetched_name = image->names[0];
        }
}

int verify_note(struct verifier *v, struct verify_subject *subject, int result, struct zp_error *err) {
        if (result >= 0 || subject->is_gone) {
                zp_error_clear(err);
                return 0;
        }
        struct zp_error problem = *err;
        zp_error_clear(err);
        int r = is_recorded(v, subject, err);
        if (r < 0)
                return r;
        if (r == 1) {
                note_image(v, subject);
                r = verify_problem(v, subject->name, &problem);
                if (r < 0)
                        *err = problem;
                return r;
        }
        subject->is_gone = true;
        progress_say(v->progress, "%s: removed or replaced meanwhile", subject->name);
        return 0;
}

/* ---- what to check ---- */

static bool has_layer(const struct verifier *v, const struct zp_digest *name) {
        for (size_t i = 0; i < v->layer_count; i++)
                if (zp_digest_equal(&v->layers[i].metadata_digest, name))
                        return true;
        return false;
}

static bool has_device(const struct verifier *v, const struct zp_digest *name) {
        for (size_t i = 0; i < v->device_count; i++)
                if (zp_digest_equal(&v->devices[i].digest, name))
                        return true;
        return false;
}

static int collect_layers_of(struct verifier *v, const struct zp_image_record *image, struct zp_error *err) {
        size_t room = v->layer_count + image->layer_count;
        struct zp_layer_record *grown = reallocarray(v->layers, room + 1, sizeof *grown);
        if (!grown)
                return zp_error_errno(err, ENOMEM, "verify");
        v->layers = grown;
        for (uint16_t i = 0; i < image->layer_count; i++) {
                if (has_layer(v, &image->layers[i]))
                        continue;
                /* one that is missing is told of with its image */
                int r = zp_store_find_layer(v->store, &image->layers[i], &image->diff_ids[i],
                                            &v->layers[v->layer_count], err);
                if (r < 0)
                        return r;
                v->layer_count += (size_t) r;
        }
        return 0;
}

static int collect_devices_of(struct verifier *v, const struct zp_image_record *image, struct zp_error *err) {
        zp_autofree struct zp_device_record *devices = NULL;
        size_t count = 0;
        int r = zp_store_list_devices_of(v->store, &image->manifest_digest, &devices, &count, err);
        if (r < 0)
                return r;
        struct zp_device_record *grown = reallocarray(v->devices, v->device_count + count + 1, sizeof *grown);
        if (!grown)
                return zp_error_errno(err, ENOMEM, "verify");
        v->devices = grown;
        for (size_t i = 0; i < count; i++)
                if (!has_device(v, &devices[i].digest))
                        v->devices[v->device_count++] = devices[i];
        return 0;
}

static int collect_all(struct verifier *v, struct zp_error *err) {
        int r = zp_store_list_images(v->store, &v->images, &v->image_count, err);
        if (r == 0)
                r = zp_store_list_layers(v->store, &v->layers, &v->layer_count, err);
        return r < 0 ? r : zp_store_list_devices(v->store, &v->devices, &v->device_count, err);
}

int verify_collect(struct verifier *v, struct zp_error *err) {
        if (v->call->argument_count == 0)
                return collect_all(v, err);
        v->images = calloc((size_t) v->call->argument_count, sizeof *v->images);
        if (!v->images)
                return zp_error_errno(err, ENOMEM, "verify");
        for (int i = 0; i < v->call->argument_count; i++) {
                struct zp_image_record *image = &v->images[v->image_count];
                int r = cli_lookup(v->store, v->call->arguments[i], image, err);
                if (r < 0)
                        return r;
                v->image_count++;
                r = collect_layers_of(v, image, err);
                if (r == 0)
                        r = collect_devices_of(v, image, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

void verify_clear(struct verifier *v) {
        for (size_t i = 0; i < v->image_count; i++)
                zp_image_record_clear(&v->images[i]);
        free(v->images);
        free(v->layers);
        free(v->devices);
}
