/* SPDX-License-Identifier: Apache-2.0
 *
 * Resolves an image and reads all of its layers, for tests of the image sources. Prints what it found as JSON:
 * source-dump [-1] [-h] [-p PLATFORM] [-r] [-u USER:PASSWORD] [-a AUTH_FILE] [-c CA_FILE] [-H HOSTS_DIR] [-k] [-s
 * STALL_MS]
 *             [-t CANCEL_MS] [-T STOP_MS] NAME
 * All layers are read at once, each by a thread of its own; -1: one after the other. -r requires the platform.
 * -t cancels the source, -T only the reading of layers. Notices go to stderr.
 */
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "oci/source.h"

static struct zp_cancel cancel, stop;

struct timer {
        struct zp_cancel *cancel;
        long ms;
};
static bool one_by_one;

static void *cancel_later(void *argument) {
        pthread_detach(pthread_self());
        struct timer *timer = argument;
        nanosleep(&(struct timespec){ .tv_sec = timer->ms / 1000, .tv_nsec = timer->ms % 1000 * 1000000 }, NULL);
        atomic_store(&timer->cancel->requested, true);
        return NULL;
}

static void tell(void *context, const char *text) {
        (void) context;
        fprintf(stderr, "%s\n", text);
}

static int add_to_hash(void *context, const void *data, size_t size, struct zp_error *err) {
        (void) err;
        zp_sha256_update(context, data, size);
        return 0;
}

static json_t *digest_json(const struct zp_digest *digest) {
        char text[ZP_DIGEST_TEXT_SIZE];
        return json_string(zp_digest_text(digest, text));
}

struct reading {
        pthread_t thread;
        struct zp_source *source;
        const struct zp_descriptor *layer;
        struct zp_digest digest; /* of what the sink got */
        struct zp_error err;
        int result;
};

static void *read_layer(void *argument) {
        struct reading *reading = argument;
        struct zp_sha256 *hash = zp_sha256_new();
        reading->result = zp_source_read_blob(reading->source, reading->layer, &stop, add_to_hash, hash, &reading->err);
        zp_sha256_finish(hash, &reading->digest);
        zp_sha256_free(hash);
        return NULL;
}

static int read_layers(struct zp_source *source, const struct zp_image *image, struct reading *readings,
                       struct zp_error *err) {
        int r = 0;
        for (unsigned i = 0; i < image->layer_count; i++) {
                readings[i].source = source;
                readings[i].layer = &image->layers[i];
                if (one_by_one)
                        read_layer(&readings[i]);
                else if (pthread_create(&readings[i].thread, NULL, read_layer, &readings[i]) != 0)
                        abort();
        }
        for (unsigned i = 0; i < image->layer_count; i++) {
                if (!one_by_one)
                        pthread_join(readings[i].thread, NULL);
                if (r == 0 && readings[i].result < 0) {
                        r = readings[i].result;
                        *err = readings[i].err;
                }
        }
        return r;
}

static json_t *layers_json(const struct zp_image *image, const struct reading *readings) {
        json_t *layers = json_array();
        for (unsigned i = 0; i < image->layer_count; i++)
                json_array_append_new(
                        layers, json_pack("{s:o, s:o, s:I, s:o, s:s}", "digest", digest_json(&image->layers[i].digest),
                                          "received", digest_json(&readings[i].digest), "size",
                                          (json_int_t) image->layers[i].size, "diff_id",
                                          digest_json(&image->diff_ids[i]), "media_type", image->layers[i].media_type));
        return layers;
}

static int dump(const char *name, const struct zp_platform *platform, const struct zp_source_options *options,
                struct zp_error *err) {
        struct zp_source *source;
        struct zp_image image = { 0 };
        char text[100];
        int r = zp_source_open(name, options, &source, err);
        if (r < 0)
                return r;
        r = zp_source_resolve(source, platform, &image, err);
        struct reading *readings = calloc(image.layer_count + 1u, sizeof *readings);
        if (r == 0)
                r = read_layers(source, &image, readings, err);
        if (r == 0) {
                json_t *json = json_pack("{s:s, s:o, s:o, s:s, s:s, s:o}", "name", image.name, "manifest_digest",
                                         digest_json(&image.manifest_digest), "config_digest",
                                         digest_json(&image.config_digest), "platform",
                                         zp_platform_text(&image.platform, text), "media_type",
                                         image.manifest_media_type, "layers", layers_json(&image, readings));
                json_dumpf(json, stdout, JSON_INDENT(2));
                json_decref(json);
        }
        free(readings);
        zp_image_clear(&image);
        zp_source_close(source);
        return r;
}

int main(int argc, char **argv) {
        struct zp_source_options options = { .cancel = &cancel, .notice = { .tell = tell } };
        static struct timer timers[2] = { { .cancel = &cancel }, { .cancel = &stop } };
        struct zp_platform platform = zp_platform_host();
        struct zp_error err = { 0 };
        pthread_t thread;
        bool is_required = false;
        int r = 0;
        for (int option; (option = getopt(argc, argv, "1hp:ru:a:c:H:ks:t:T:")) != -1;) {
                if (option == '1')
                        one_by_one = true;
                else if (option == 'h')
                        options.plain_http = true;
                else if (option == 'p')
                        r = zp_platform_parse(optarg, &platform, &err);
                else if (option == 'r')
                        is_required = true;
                else if (option == 'u')
                        options.credentials = optarg;
                else if (option == 'a')
                        options.auth_file = optarg;
                else if (option == 'H')
                        options.hosts_dir = optarg;
                else if (option == 'c')
                        options.ca_file = optarg;
                else if (option == 'k')
                        options.skip_tls_verify = true;
                else if (option == 's')
                        options.stall_timeout_ms = (unsigned) strtoul(optarg, NULL, 10);
                else if (option == 't' || option == 'T') {
                        struct timer *timer = &timers[option == 'T'];
                        timer->ms = strtol(optarg, NULL, 10);
                        r = -pthread_create(&thread, NULL, cancel_later, timer);
                } else
                        return 2;
        }
        if (optind + 1 != argc)
                return 2;
        platform.is_required = is_required;
        if (r == 0)
                r = dump(argv[optind], &platform, &options, &err);
        if (r == 0)
                return 0;
        for (char *p = err.message; *p; p++) /* names may be any bytes, JSON strings may not */
                if ((unsigned char) *p >= 0x80)
                        *p = '?';
        json_t *json = json_pack("{s:i, s:s, s:s}", "code", -r, "message", err.message, "hint", err.hint);
        json_dumpf(json, stdout, JSON_INDENT(2));
        json_decref(json);
        return 1;
}
