/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/node/gate.h"

#include <errno.h>
#include <string.h>

#include "base/buffer.h"
#include "controller/log.h"
#include "snapshotter/control/metastore.h"

/* containerd waits for two seconds, and then goes on without us: what is not known in time is refused. */
#define PATIENCE_MS 1000

struct finding {
        struct zp_arena arena;
        bool is_ours;        /* zeropull-snapshotter has the container's snapshot */
        bool shows_base;     /* and layers of it are a snapshot's */
        bool is_accelerated; /* all of its image's layers are */
        const char *reason;  /* why not */
};

static int look_into(struct snap_metastore *store, const char *id, struct finding *out, struct zp_error *err) {
        struct snap_info info;
        struct snap_base base = { 0 };
        struct snap_explained explained = { 0 };
        int r = snap_metastore_find_active(store, &out->arena, id, &info, err);
        if (r <= 0)
                return r;
        out->is_ours = true;
        r = snap_metastore_get_base(store, &out->arena, info.name, &base, err);
        if (r == 0)
                r = snap_metastore_explain(store, &out->arena, info.name, &base, &explained, err);
        out->shows_base = base.id != 0;
        out->is_accelerated = r == 0 && !explained.reason;
        out->reason = explained.reason;
        return r;
}

static int look(const char *root, const char *id, struct finding *out, struct zp_error *err) {
        zp_autofree char *path = zp_format("%s/metadata.db", root);
        zp_auto(snap_metastore_close) struct snap_metastore *store = NULL;
        int r = path ? snap_metastore_open_to_read(path, PATIENCE_MS, &store, err)
                     : zp_error_errno(err, ENOMEM, "gate");
        if (r == -ENOENT) { /* no snapshotter has begun here */
                zp_error_clear(err);
                return 0;
        }
        return r < 0 ? r : look_into(store, id, out, err);
}

static int judge(const struct finding *found, bool is_required, struct zp_error *err) {
        if (is_required && !found->is_ours)
                return zp_error_set(err, EPERM, NODE_POD_ANNOTATION ": required, but it would not run on zeropull");
        if (is_required && !found->is_accelerated)
                return zp_error_set(err, EPERM,
                                    NODE_POD_ANNOTATION ": required, but the image has no snapshot here: %s",
                                    found->reason);
        if (!is_required && found->shows_base)
                return zp_error_set(err, EPERM,
                                    NODE_POD_ANNOTATION ": never, but it would start from a snapshot; the pod needs "
                                                        "'runtimeClassName: overlayfs'");
        return 0;
}

int node_gate_check(void *root, const struct node_nri_container *container, struct zp_error *err) {
        const char *wish = container->annotation;
        struct finding found = { 0 };
        if (!wish)
                return 0;
        bool is_required = strcmp(wish, "required") == 0;
        if (!is_required && strcmp(wish, "never") != 0)
                return zp_error_set(err, EINVAL, NODE_POD_ANNOTATION ": '%.40s' is neither 'required' nor 'never'",
                                    wish);
        int r = look(root, container->id, &found, err);
        if (r >= 0)
                r = judge(&found, is_required, err);
        zp_arena_clear(&found.arena);
        if (r < 0)
                ctl_log(CTL_LOG_WARNING, "container %s of pod %s/%s is not made: %s", container->name,
                        container->namespace, container->pod, err->message);
        return r < 0 ? r : 0;
}
