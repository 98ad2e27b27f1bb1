/* SPDX-License-Identifier: Apache-2.0
 *
 * `zeropull list`.
 */
#include <string.h>

#include "cli/output.h"
#include "cli/view.h"

#define COLUMNS 6

struct row {
        const char *name;
        char digest[CLI_SHORT_DIGEST], image_size[CLI_SIZE_TEXT], snapshot_size[2 * CLI_SIZE_TEXT + 4],
                age[CLI_AGE_TEXT];
        const char *platform;
};

static void print_cell(const char *text, size_t width, bool is_last) {
        /* names were checked when they became names: printable ASCII */
        cli_print_escaped(stdout, text, strlen(text));
        if (is_last)
                putchar('\n');
        else
                printf("%*s", (int) (width - strlen(text) + 2), "");
}

static void cells(const struct row *row, const char *out[COLUMNS]) {
        const char *all[COLUMNS] = { row->name,       row->digest,        row->platform,
                                     row->image_size, row->snapshot_size, row->age };
        memcpy(out, all, sizeof all);
}

static void print_table(const struct row *rows, size_t count) {
        const char *heads[COLUMNS] = { "NAME", "DIGEST", "PLATFORM", "IMAGE SIZE", "SNAPSHOT SIZE", "CREATED" };
        size_t widths[COLUMNS];
        const char *texts[COLUMNS];
        for (int c = 0; c < COLUMNS; c++)
                widths[c] = strlen(heads[c]);
        for (size_t i = 0; i < count; i++) {
                cells(&rows[i], texts);
                for (int c = 0; c < COLUMNS; c++)
                        widths[c] = strlen(texts[c]) > widths[c] ? strlen(texts[c]) : widths[c];
        }
        for (int c = 0; c < COLUMNS; c++)
                print_cell(heads[c], widths[c], c == COLUMNS - 1);
        for (size_t i = 0; i < count; i++) {
                cells(&rows[i], texts);
                for (int c = 0; c < COLUMNS; c++)
                        print_cell(texts[c], widths[c], c == COLUMNS - 1);
        }
}

static void fill_row(struct row *row, const struct zp_image_record *image, const char *name,
                     const struct cli_sizes *sizes) {
        char packed[CLI_SIZE_TEXT], here[CLI_SIZE_TEXT];
        row->name = name;
        row->platform = image->platform;
        cli_short_digest(&image->manifest_digest, row->digest);
        cli_size_text(image->image_size, row->image_size);
        cli_size_text(sizes->packed, packed);
        if (sizes->is_complete)
                snprintf(row->snapshot_size, sizeof row->snapshot_size, "%s", packed);
        else
                snprintf(row->snapshot_size, sizeof row->snapshot_size, "%s of %s", cli_size_text(sizes->here, here),
                         packed);
        cli_age_text(image->created_s, time(NULL), row->age);
}

static size_t name_count(const struct zp_image_record *image) {
        size_t count = 0;
        while (image->names && image->names[count])
                count++;
        return count;
}

/* A row per name; an image whose names moved to others has one with a dash. */
static int print_text(struct zp_store *store, const struct zp_image_record *images, size_t count,
                      struct zp_error *err) {
        size_t row_count = 0;
        for (size_t i = 0; i < count; i++)
                row_count += name_count(&images[i]) ? name_count(&images[i]) : 1;
        zp_autofree struct row *rows = calloc(row_count + 1, sizeof *rows);
        if (!rows)
                return zp_error_errno(err, ENOMEM, "list");
        struct row *row = rows;
        for (size_t i = 0; i < count; i++) {
                struct cli_sizes sizes;
                int r = cli_image_sizes(store, &images[i], &sizes, err);
                if (r < 0)
                        return r;
                size_t names = name_count(&images[i]);
                for (size_t n = 0; n < names; n++)
                        fill_row(row++, &images[i], images[i].names[n], &sizes);
                if (names == 0)
                        fill_row(row++, &images[i], "-", &sizes);
        }
        print_table(rows, row_count);
        return 0;
}

static json_t *image_json(const struct zp_image_record *image, const struct cli_sizes *sizes) {
        char created[CLI_TIME_TEXT];
        json_t *out = json_object(), *names = json_array();
        for (char **name = image->names; name && *name; name++)
                json_array_append_new(names, cli_json_text(*name, strlen(*name)));
        bool done = cli_json_set(out, "names", names) &&
                    cli_json_set(out, "digest", cli_json_digest(&image->manifest_digest)) &&
                    cli_json_set(out, "platform", json_string(image->platform)) &&
                    cli_json_set(out, "layers", json_integer(image->layer_count)) &&
                    cli_json_set(out, "imageSize", json_integer((json_int_t) image->image_size)) &&
                    cli_json_set(out, "snapshotSize", json_integer((json_int_t) sizes->packed)) &&
                    cli_json_set(out, "complete", json_boolean(sizes->is_complete)) &&
                    cli_json_set(out, "created", json_string(cli_time_text(image->created_s, created)));
        if (done)
                return out;
        json_decref(out);
        return NULL;
}

static int print_as_json(struct zp_store *store, const struct zp_image_record *images, size_t count,
                         struct zp_error *err) {
        json_t *list = json_array();
        for (size_t i = 0; i < count; i++) {
                struct cli_sizes sizes;
                int r = cli_image_sizes(store, &images[i], &sizes, err);
                if (r == 0 && json_array_append_new(list, image_json(&images[i], &sizes)) < 0)
                        r = zp_error_errno(err, ENOMEM, "list");
                if (r < 0) {
                        json_decref(list);
                        return r;
                }
        }
        return cli_print_json(list, err);
}

static int print(const struct cli_call *call, struct zp_store *store, const struct zp_image_record *images,
                 size_t count, struct zp_error *err) {
        if (call->json)
                return print_as_json(store, images, count, err);
        if (!call->quiet)
                return print_text(store, images, count, err);
        for (size_t i = 0; i < count; i++) {
                char text[ZP_DIGEST_TEXT_SIZE];
                puts(zp_digest_text(&images[i].manifest_digest, text));
        }
        return 0;
}

static int run(struct cli_call *call, struct zp_error *err) {
        zp_auto(zp_store_close) struct zp_store *store = NULL;
        int r = zp_store_open(call->store, ZP_STORE_READ, &store, err);
        if (r < 0)
                return r;
        struct zp_image_record *images = NULL;
        size_t count = 0;
        r = zp_store_list_images(store, &images, &count, err);
        if (r < 0)
                return r;
        r = print(call, store, images, count, err);
        for (size_t i = 0; i < count; i++)
                zp_image_record_clear(&images[i]);
        free(images);
        return r;
}

const struct cli_command cli_list = {
        .name = "list",
        .arguments = "",
        .summary = "List the images in the store; with --quiet their digests alone",
        .example = "zeropull list --json",
        .run = run,
};
