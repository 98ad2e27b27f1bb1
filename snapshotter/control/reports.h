/* SPDX-License-Identifier: Apache-2.0
 *
 * Tells a zeropull-hook what containers read in their first seconds, so that the next snapshot of their image's
 * repository is laid out by it. The data plane leaves what it saw in files; the thread here makes start-up profiles of
 * them.
 *
 *   report_starts:
 *     url: https://hook.example          # POST URL/v1/profiles
 *     token_file: /etc/zeropull/hook.token
 *     ca_file: /etc/ssl/hook.pem
 *     seconds: 10                        # from a container's first read on
 */
#ifndef SNAP_REPORTS_H
#define SNAP_REPORTS_H

#include "base/cleanup.h"
#include "base/yaml.h"
#include "store/store.h"

struct snap_config_reports {
        char *url; /* NULL: nothing is told */
        char *token_file, *ca_file;
        size_t seconds;
};
/* `config` is zeroed, and to be cleared in any case. -EINVAL with "path:line: ". */
int snap_config_read_reports(struct zp_yaml *yaml, const yaml_node_t *node, struct snap_config_reports *config);
void snap_config_clear_reports(struct snap_config_reports *config);

struct snap_reporter;
/* Begins to tell. `directory` is where the data plane leaves what it saw, and need not be there yet. What cannot be
 * told now is tried again, for an hour. All must outlive it. */
int snap_reporter_new(const struct snap_config_reports *config, const char *directory, const char *store,
                      struct snap_reporter **out, struct zp_error *err);
void snap_reporter_free(struct snap_reporter *reporter);
ZP_DEFINE_AUTO(struct snap_reporter, snap_reporter_free);

/* The profile of what a file of the data plane's says, `text`, of an image; *out is NULL when nothing in it is the
 * image's. -EBADMSG: it is no such file, or the image is damaged. */
struct zp_profile;
int snap_report_profile(struct zp_store *store, const struct zp_image_record *image, const char *text,
                        struct zp_profile **out, struct zp_error *err);

#endif
