/* SPDX-License-Identifier: Apache-2.0
 *
 * Fetches the rest of devices that are wanted whole, one after the other: an open device takes memory. Which they are
 * is asked for anew each time, so nothing has to be remembered over the death of a process.
 */
#include "snapshotter/data/data-internal.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/cleanup.h"
#include "base/condition.h"
#include "snapshotter/control/statistics.h"

/* After something was mounted, until what it needs to start has been fetched; and else. */
#define SOON_MS 3000
#define LATER_MS 60000
#define LOOK_MS 250
/* A device of which nothing more comes lets others have their turn. */
#define PATIENCE_LOOKS 40

struct snap_completer {
        struct snap_data *data;
        pthread_t thread;
        bool has_thread, has_told;
        pthread_mutex_t lock;
        pthread_cond_t wake;
        bool is_ending, has_news; /* guarded by lock */
};

/* Whether it is time to end. */
static bool wait_ms(struct snap_completer *c, unsigned ms, bool ends_with_news) {
        uint64_t until_ms = zp_monotonic_ms() + ms;
        pthread_mutex_lock(&c->lock);
        while (!c->is_ending && !(ends_with_news && c->has_news) &&
               zp_condition_wait_until(&c->wake, &c->lock, until_ms))
                continue;
        bool is_ending = c->is_ending;
        pthread_mutex_unlock(&c->lock);
        return is_ending;
}

bool snap_device_is_whole(const struct snap_data *data, const struct zp_digest *device) {
        char hex[ZP_SHA256_HEX_SIZE], name[ZP_SHA256_HEX_SIZE + 4];
        struct stat st;
        snprintf(name, sizeof name, "%s.raw", zp_digest_hex(device, hex));
        return fstatat(data->options->device.cache_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Until it is whole, or nothing comes any more. Whether it is time to end. */
static bool complete(struct snap_completer *c, struct zp_device *device) {
        uint32_t missing = zp_device_missing_frames(device), now;
        bool is_ending = false;
        zp_device_complete(device);
        for (unsigned looks = 0; missing && looks < PATIENCE_LOOKS && !is_ending; looks++) {
                is_ending = wait_ms(c, LOOK_MS, false);
                now = zp_device_missing_frames(device);
                if (now < missing)
                        looks = 0;
                missing = now;
        }
        zp_device_complete_no_more(device);
        return is_ending;
}

/* Of the disk, left to others. */
#define FREE_SHARE 16

/* Not the last room on the disk. The local copies are as large as what is there of them. */
uint64_t snap_data_room(const struct snap_data *data) {
        const struct zp_device_options *options = &data->options->device;
        struct statvfs disk;
        struct snap_cache_use use;
        if (fstatvfs(options->cache_fd, &disk) < 0 || snap_cache_use(data->options->store, &use, NULL) < 0)
                return 0;
        uint64_t there = (uint64_t) disk.f_bavail * disk.f_frsize,
                 kept = (uint64_t) disk.f_blocks * disk.f_frsize / FREE_SHARE;
        uint64_t room = there > kept ? there - kept : 0;
        if (!options->cache_limit)
                return room;
        uint64_t allowed = use.bytes < options->cache_limit ? options->cache_limit - use.bytes : 0;
        return room < allowed ? room : allowed;
}

bool snap_device_is_in_use(const struct snap_data *data, const struct zp_digest *device) {
        const struct zp_device_options *options = &data->options->device;
        char hex[ZP_SHA256_HEX_SIZE];
        zp_digest_hex(device, hex);
        return options->is_in_use && options->is_in_use(options->context, hex);
}

/* What nobody has mounted takes no other copy's place: else they would be fetched and removed in turns for ever. */
static bool has_room(const struct snap_data *data, const struct zp_digest *device, uint64_t size) {
        return snap_device_is_in_use(data, device) || size < snap_data_room(data);
}

/* It is told once, until there is room again. */
static void tell_no_room(struct snap_completer *c, size_t without_room) {
        const struct zp_device_options *options = &c->data->options->device;
        if (without_room && !c->has_told && options->notice)
                options->notice(options->context, "devices are not fetched to their end: there is no room for them");
        c->has_told = without_room > 0;
}

/* ---- opening devices ---- */

enum { IS_AWAITED, IS_TOLD, IS_FORSAKEN };

/* Belongs to the one who comes last: who is told, or who forsakes it. */
struct opening {
        struct snap_wait wait; /* first: what is told back */
        atomic_int state;
        struct snap_entry *entry; /* NULL: it could not be opened */
};

static void end_opening(struct opening *opening) {
        if (opening->entry)
                snap_table_let_go(opening->entry);
        free(opening);
}

static void on_told(struct snap_wait *wait, struct snap_entry *entry, int result, const struct zp_error *err) {
        struct opening *opening = (struct opening *) wait;
        (void) result, (void) err;
        opening->entry = entry;
        if (atomic_exchange(&opening->state, IS_TOLD) == IS_FORSAKEN)
                end_opening(opening);
}

/* The device open, NULL when it is not after a while: another one's turn comes then, and its own with the next list.
 * *is_ending: it is time to end. */
static struct opening *open_device(struct snap_completer *c, const struct zp_digest *device, bool *is_ending) {
        struct opening *opening = calloc(1, sizeof *opening);
        if (!opening)
                return NULL;
        opening->wait.done = on_told;
        snap_table_want(c->data->table, snap_device_id(device), device, &opening->wait);
        unsigned ms = 1;
        for (unsigned waited = 0; waited < LOOK_MS * PATIENCE_LOOKS && !*is_ending; waited += ms) {
                if (atomic_load(&opening->state) == IS_TOLD)
                        break;
                ms = 2 * ms < LOOK_MS ? 2 * ms : LOOK_MS;
                *is_ending = wait_ms(c, ms, false);
        }
        if (atomic_exchange(&opening->state, IS_FORSAKEN) != IS_TOLD)
                return NULL;
        if (opening->entry && !*is_ending)
                return opening;
        end_opening(opening);
        return NULL;
}

/* ---- */

static bool complete_all(struct snap_completer *c) {
        const struct snap_data_lookups *lookups = &c->data->options->lookups;
        const struct zp_device_options *options = &c->data->options->device;
        zp_autofree struct zp_digest *devices = NULL;
        size_t count = 0;
        struct zp_error err = { 0 };
        size_t without_room = 0;
        bool is_ending = false;
        if (lookups->list_wanted(lookups->context, &devices, &count, &err) < 0) {
                if (options->notice)
                        options->notice(options->context, err.message);
                return false;
        }
        for (size_t i = 0; i < count && !is_ending; i++) {
                if (snap_device_is_whole(c->data, &devices[i]))
                        continue;
                struct opening *opening = open_device(c, &devices[i], &is_ending);
                if (!opening)
                        continue;
                struct zp_device *device = snap_entry_device(opening->entry);
                if (has_room(c->data, &devices[i], zp_device_size(device)))
                        is_ending = complete(c, device);
                else
                        without_room++;
                end_opening(opening);
        }
        tell_no_room(c, without_room);
        return is_ending;
}

static void *run(void *argument) {
        struct snap_completer *c = argument;
        bool is_ending = wait_ms(c, SOON_MS, false);
        while (!is_ending) {
                pthread_mutex_lock(&c->lock);
                c->has_news = false;
                pthread_mutex_unlock(&c->lock);
                is_ending = complete_all(c) || wait_ms(c, LATER_MS, true) || wait_ms(c, SOON_MS, false);
        }
        return NULL;
}

int snap_completer_new(struct snap_data *data, struct snap_completer **out, struct zp_error *err) {
        struct snap_completer *c = calloc(1, sizeof *c);
        if (!c)
                return zp_error_errno(err, ENOMEM, "completion");
        c->data = data;
        pthread_mutex_init(&c->lock, NULL);
        zp_condition_init(&c->wake);
        *out = c;
        if (!data->options->lookups.list_wanted)
                return 0;
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        int code = pthread_create(&c->thread, NULL, run, c);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        c->has_thread = code == 0;
        return code ? zp_error_errno(err, code, "start a thread") : 0;
}

void snap_completer_tell(struct snap_completer *c) {
        pthread_mutex_lock(&c->lock);
        c->has_news = true;
        pthread_cond_signal(&c->wake);
        pthread_mutex_unlock(&c->lock);
}

void snap_completer_free(struct snap_completer *c) {
        if (!c)
                return;
        pthread_mutex_lock(&c->lock);
        c->is_ending = true;
        pthread_cond_signal(&c->wake);
        pthread_mutex_unlock(&c->lock);
        if (c->has_thread)
                pthread_join(c->thread, NULL);
        pthread_cond_destroy(&c->wake);
        pthread_mutex_destroy(&c->lock);
        free(c);
}
