/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/event.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buffer.h"
#include "oci/reference.h"

static void copy_cut(char *out, size_t size, const char *text) {
        snprintf(out, size, "%s", text ? text : "");
}

static bool copy_whole(char *out, size_t size, const char *text) {
        return (size_t) snprintf(out, size, "%s", text) < size;
}

/* What of "https://Registry.example/" names the host. */
static const char *host_part(const char *text, size_t *size) {
        static const char *const schemes[] = { "https://", "http://" };
        for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
                if (strncasecmp(text, schemes[i], strlen(schemes[i])) == 0) {
                        text += strlen(schemes[i]);
                        break;
                }
        *size = strlen(text);
        while (*size > 0 && text[*size - 1] == '/')
                --*size;
        return text;
}

/* "registry.example:5000", in lower case as names of hosts are compared. */
static int set_host(struct hook_event *event, const char *text, struct zp_error *err) {
        size_t size;
        const char *host = host_part(text ? text : "", &size);
        if (size == 0)
                return zp_error_set(err, EBADMSG, "event: names no registry");
        if (size >= sizeof event->host || memchr(host, '/', size))
                return zp_error_set(err, EBADMSG, "event: '%.100s' is not a registry's host", host);
        for (size_t i = 0; i < size; i++)
                event->host[i] = host[i] >= 'A' && host[i] <= 'Z' ? (char) (host[i] - 'A' + 'a') : host[i];
        event->host[size] = '\0';
        return 0;
}

/* The name as a reference: what the grammar of references refuses, no image has. */
static int set_name(struct hook_event *event, const struct hook_event_text *text, struct zp_error *err) {
        const char *repository = text->repository ? text->repository : "", *tag = text->tag ? text->tag : "";
        if (!*repository || strpbrk(repository, ":@"))
                return zp_error_set(err, EBADMSG, "event: '%.100s' is not a repository", repository);
        zp_autofree char *name = zp_format("%s/%s%s%s", event->host, repository, *tag ? ":" : "", tag);
        struct zp_reference reference;
        struct zp_error reason = { 0 };
        if (!name)
                return zp_error_errno(err, ENOMEM, "event");
        if (strchr(tag, '@') || zp_reference_parse(name, &reference, &reason) < 0)
                return zp_error_set(err, reason.code == ENOMEM ? ENOMEM : EBADMSG, "event: %s",
                                    reason.code ? reason.message : "a digest is not a tag");
        bool same_host = strcmp(reference.registry, event->host) == 0;
        bool fits = copy_whole(event->repository, sizeof event->repository, reference.repository) &&
                    copy_whole(event->tag, sizeof event->tag, *tag ? reference.tag : "");
        zp_reference_clear(&reference);
        if (!same_host) /* "vm/app" is docker.io/vm/app */
                return zp_error_set(err, EHOSTUNREACH,
                                    "event: '%.100s' is no registry's host in a reference: no dot, no port",
                                    event->host);
        return fits ? 0 : zp_error_set(err, EBADMSG, "event: '%.100s': too long", name);
}

static void set_id(struct hook_event *event, const char *id) {
        struct zp_digest digest;
        if (!id || copy_whole(event->id, sizeof event->id, id))
                return;
        zp_digest_of(id, strlen(id), &digest);
        char text[ZP_DIGEST_TEXT_SIZE];
        copy_cut(event->id, sizeof event->id, zp_digest_text(&digest, text));
}

static int fill(struct hook_event *event, const struct hook_event_text *text, struct zp_error *err) {
        *event = (struct hook_event){ .kind = text->kind };
        int r = set_host(event, text->host, err);
        if (r == 0)
                r = set_name(event, text, err);
        if (r == 0 && text->digest && *text->digest) {
                r = zp_digest_parse(text->digest, &event->digest, err);
                event->has_digest = r == 0;
        }
        if (r < 0 && r != -ENOMEM && r != -EHOSTUNREACH) {
                if (err)
                        err->code = EBADMSG; /* also what a digest's parser calls otherwise */
                return -EBADMSG;
        }
        if (r < 0)
                return r;
        set_id(event, text->id);
        copy_cut(event->media_type, sizeof event->media_type, text->media_type);
        copy_cut(event->agent, sizeof event->agent, text->agent);
        if (event->kind == HOOK_PUSH && !event->tag[0] && !event->has_digest)
                return zp_error_set(err, EBADMSG, "event: %s: neither tag nor digest", event->repository);
        return 0;
}

int hook_events_add(struct hook_events *events, const struct hook_event_text *text, struct zp_error *err) {
        if (events->count == HOOK_EVENTS_MAX)
                return zp_error_set(err, E2BIG, "more than %d events", HOOK_EVENTS_MAX);
        if (events->count == events->capacity) {
                size_t capacity = events->capacity ? events->capacity * 2 : 4;
                struct hook_event *items = reallocarray(events->items, capacity, sizeof *items);
                if (!items)
                        return zp_error_errno(err, ENOMEM, "events");
                events->items = items;
                events->capacity = capacity;
        }
        int r = fill(&events->items[events->count], text, err);
        if (r == 0)
                events->count++;
        return r;
}

int hook_events_add_reference(struct hook_events *events, const char *text, struct zp_error *err) {
        struct zp_reference reference;
        char digest[ZP_DIGEST_TEXT_SIZE];
        if (strncmp(text, "docker://", 9) == 0)
                text += 9;
        int r = zp_reference_parse(text, &reference, err);
        if (r < 0)
                return r;
        struct hook_event_text event = { .host = reference.registry, .repository = reference.repository };
        if (reference.has_digest) {
                event.kind = HOOK_WISH;
                event.digest = zp_digest_text(&reference.digest, digest);
        } else {
                event.tag = reference.tag;
        }
        r = hook_events_add(events, &event, err);
        zp_reference_clear(&reference);
        return r;
}

void hook_events_clear(struct hook_events *events) {
        free(events->items);
        *events = (struct hook_events){ 0 };
}
