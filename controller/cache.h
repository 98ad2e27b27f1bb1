/* SPDX-License-Identifier: Apache-2.0
 *
 * The objects of one kind as they were last seen: of each what the controller reads, as one short text. The versions
 * that come from a watch and those that come back from our own writes meet here, and the newer one stays.
 */
#ifndef CTL_CACHE_H
#define CTL_CACHE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

/* Any thread. */
struct ctl_cache;
int ctl_cache_new(struct ctl_cache **out, struct zp_error *err);
void ctl_cache_free(struct ctl_cache *cache);
ZP_DEFINE_AUTO(struct ctl_cache, ctl_cache_free);

/* Takes an object in, unless the same or a newer version of it is there. 1: it was news, or older than
 * what is there; 0: it is there. */
int ctl_cache_put(struct ctl_cache *cache, const char *key, json_t *object, struct zp_error *err);
/* Only that very object. */
void ctl_cache_remove(struct ctl_cache *cache, const char *key, const char *uid);
/* What is known of it; NULL: nothing, or no memory. The caller's. */
json_t *ctl_cache_get(struct ctl_cache *cache, const char *key);
/* Numbers that are kept with the object until it goes, in this process only; 0 at first. */
enum ctl_note {
        CTL_NOTE_CHECKED,      /* when all its tags were looked at */
        CTL_NOTE_UNUSED_SINCE, /* since when no pod names it */
        CTL_NOTE_NEXT,         /* the image with which the next look begins */
        CTL_NOTE_LEFT,         /* so many images from there on have not had their turn; 0: all have */
        CTL_NOTE_ROUND,        /* when their turns began */
        CTL_NOTE_UNCLEAN,      /* when what is removed at the end could first not be; 0: all could, or it is given up */
};
#define CTL_NOTES 6
void ctl_cache_note(struct ctl_cache *cache, const char *key, enum ctl_note which, int64_t value);
int64_t ctl_cache_noted(struct ctl_cache *cache, const char *key, enum ctl_note which);
size_t ctl_cache_size(struct ctl_cache *cache);

/* Calls for each key; with the cache's lock held, so that nothing of this file may be called. */
void ctl_cache_each(struct ctl_cache *cache, void (*each)(void *context, const char *key), void *context);
/* The objects in which `text` occurs, but for those that are being deleted and that of key `except`: their keys, up to
 * a NULL; malloc'ed each and all, see ctl_cache_keys_free(). NULL: no memory. */
char **ctl_cache_mentioning(struct ctl_cache *cache, const char *text, const char *except);
void ctl_cache_keys_free(char **keys);

#endif
