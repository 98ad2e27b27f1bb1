/* SPDX-License-Identifier: Apache-2.0
 *
 * Names that users and other programs see in the cluster.
 */
#ifndef CTL_NAMES_H
#define CTL_NAMES_H

#define CTL_API_VERSION "zeropull.dev/v1alpha1"
#define CTL_SNAPSHOT_KIND "ImageSnapshot"
#define CTL_SNAPSHOT_PLURAL "imagesnapshots"
#define CTL_CLUSTER_KIND "ClusterImageSnapshot"
#define CTL_CLUSTER_PLURAL "clusterimagesnapshots"
#define CTL_FINALIZER "zeropull.dev/cleanup"
#define CTL_FIELD_MANAGER "zeropull-controller"
#define CTL_CONTROLLER "zeropull.dev/controller" /* whose events they are */
/* A new value of this annotation makes the controller try again what has failed for good. */
#define CTL_RETRY_ANNOTATION "zeropull.dev/retry"
/* On what a ClusterImageSnapshot has made: its name. */
#define CTL_MADE_BY_LABEL "zeropull.dev/cluster-image-snapshot"
/* On the same: a digest of what it was told. */
#define CTL_APPLIED_ANNOTATION "zeropull.dev/applied"
/* On a Job: the uid of the object that wants it. */
#define CTL_OWNER_LABEL "zeropull.dev/owner"
#define CTL_BUILD_LABELS "app.kubernetes.io/name=zeropull,app.kubernetes.io/component=build"

/* The limits of Kubernetes, with the final NUL. */
#define CTL_NAMESPACE_SIZE 64
#define CTL_NAME_SIZE 254
/* "namespace/name", or "/name" of what is in no namespace. */
#define CTL_KEY_SIZE (CTL_NAMESPACE_SIZE + CTL_NAME_SIZE)

#endif
