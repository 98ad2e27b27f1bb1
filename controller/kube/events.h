/* SPDX-License-Identifier: Apache-2.0
 *
 * Events (events.k8s.io/v1): what `kubectl describe` shows below an object. Posting costs the caller nothing and never
 * fails: a thread sends them; the same again within six minutes becomes a series of the first; more than 25 at once
 * about one object, and one every 5 minutes from then on, are dropped, as is what exceeds 1,000 waiting ones.
 */
#ifndef KUBE_EVENTS_H
#define KUBE_EVENTS_H

#include "controller/kube/client.h"

struct zp_kube_events_options {
        struct zp_kube *kube;    /* must outlive this, as the strings */
        const char *controller;  /* reportingController: "zeropull.dev/controller" */
        const char *instance;    /* reportingInstance: the pod's or host's name */
        struct zp_notice notice; /* told of what could not be sent */
};

struct zp_kube_events;
int zp_kube_events_start(const struct zp_kube_events_options *options, struct zp_kube_events **out,
                         struct zp_error *err);
/* Sends what waits, for up to two seconds, then frees. */
void zp_kube_events_stop(struct zp_kube_events *events);
ZP_DEFINE_AUTO(struct zp_kube_events, zp_kube_events_stop);

struct zp_kube_event {
        /* The object it is about. namespace NULL or "": cluster-scoped, its events are in "default". */
        const char *api_version, *kind, *namespace, *name, *uid;
        bool is_warning;    /* else Normal */
        const char *action; /* what was done: "Build" (1 to 128 bytes) */
        const char *reason; /* "BuildFailed" (1 to 128 bytes) */
        const char *note;   /* for people; cut after 1,000 bytes */
};

/* Any thread; copies all. */
void zp_kube_events_post(struct zp_kube_events *events, const struct zp_kube_event *event);

struct zp_kube_events_statistics {
        uint64_t sent, dropped, failed;
};
struct zp_kube_events_statistics zp_kube_events_statistics(struct zp_kube_events *events);

#endif
