/* SPDX-License-Identifier: Apache-2.0 */
#include "device/device-internal.h"

#include <stdlib.h>

static void drop(struct zp_device_engine *engine, struct zp_recent **link) {
        struct zp_recent *recent = *link;
        *link = recent->next;
        engine->recent_size -= recent->size;
        free(recent->data);
        free(recent);
}

const uint8_t *zp_recent_find(struct zp_device *device, uint32_t frame) {
        struct zp_device_engine *engine = device->engine;
        for (struct zp_recent **link = &engine->recent; *link; link = &(*link)->next) {
                struct zp_recent *recent = *link;
                if (recent->device != device || recent->frame != frame)
                        continue;
                *link = recent->next;
                recent->next = engine->recent;
                engine->recent = recent;
                return recent->data;
        }
        return NULL;
}

void zp_recent_keep(struct zp_device *device, uint32_t frame, uint8_t *data, uint32_t size) {
        struct zp_device_engine *engine = device->engine;
        struct zp_recent *recent = malloc(sizeof *recent);
        if (!recent) {
                free(data);
                return;
        }
        *recent = (struct zp_recent){ engine->recent, device, frame, size, data };
        engine->recent = recent;
        engine->recent_size += size;
        while (engine->recent_size > engine->options.memory_limit) {
                struct zp_recent **last = &engine->recent;
                while ((*last)->next)
                        last = &(*last)->next;
                drop(engine, last);
        }
}

void zp_recent_forget(struct zp_device *device) {
        for (struct zp_recent **link = &device->engine->recent; *link;)
                if ((*link)->device == device)
                        drop(device->engine, link);
                else
                        link = &(*link)->next;
}
