/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/earlier-images.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "cli/child.h"
#include "oci/earlier-tags.h"
#include "oci/listing.h"
#include "oci/reference.h"

struct asking {
        const struct zp_reference *reference;
        const struct zp_source_options *options;
        struct cli_earlier_images *out; /* shared with the process that asks */
};

static void take_names(const struct asking *a, const struct zp_listing *tags) {
        const char *earlier[CLI_EARLIER_MAX];
        size_t count = zp_earlier_tags(a->reference->tag, tags->names, tags->count, earlier, CLI_EARLIER_MAX);
        for (size_t i = 0; i < count; i++) {
                char *name = a->out->names[a->out->count];
                int size = snprintf(name, CLI_EARLIER_NAME_SIZE, ZP_REGISTRY_SCHEME "%s/%s:%s", a->reference->registry,
                                    a->reference->repository, earlier[i]);
                a->out->count += size > 0 && size < CLI_EARLIER_NAME_SIZE;
        }
}

static int ask(void *context, struct zp_error *err) {
        const struct asking *a = context;
        zp_auto(zp_registry_free) struct zp_registry *registry = NULL;
        struct zp_listing tags = { 0 };
        int r = zp_registry_new(a->reference->registry, a->reference->repository, a->options, &registry, err);
        if (r == 0)
                r = zp_list_first_tags(registry, &tags, err);
        if (r == 0)
                take_names(a, &tags);
        zp_listing_clear(&tags);
        return r;
}

static int ask_elsewhere(struct cli_call *call, struct asking *a, uint64_t deadline_ms, struct cli_earlier_images *out,
                         struct zp_error *err) {
        a->out = mmap(NULL, sizeof *a->out, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (a->out == MAP_FAILED)
                return zp_error_errno(err, errno, "list tags");
        int r = cli_in_child_until(deadline_ms, ask, a, call->cancel, err);
        if (r == 0)
                *out = *a->out;
        munmap(a->out, sizeof *a->out);
        return r;
}

int cli_earlier_images(struct cli_call *call, const char *image, const struct zp_source_options *options,
                       uint64_t deadline_ms, struct cli_earlier_images *out, struct zp_error *err) {
        struct zp_reference reference;
        *out = (struct cli_earlier_images){ 0 };
        int r = zp_reference_of_name(image, &reference, err);
        if (r == -ENOTSUP) {
                zp_error_clear(err);
                return 0;
        }
        if (r < 0)
                return r;
        struct asking asking = { .reference = &reference, .options = options };
        if (reference.tag && strpbrk(reference.tag, "0123456789"))
                r = ask_elsewhere(call, &asking, deadline_ms, out, err);
        zp_reference_clear(&reference);
        return r;
}
