/* SPDX-License-Identifier: Apache-2.0
 *
 * What the user should hear while an image is read, for nothing else is to be seen: that a server is waited for.
 */
#ifndef ZP_OCI_NOTICE_H
#define ZP_OCI_NOTICE_H

/* `tell` gets one line without a newline, from whichever thread has something to say, perhaps several at once. What
 * comes from a server in it may be any bytes. NULL: nobody listens. */
struct zp_notice {
        void (*tell)(void *context, const char *text);
        void *context;
};

void zp_notice_tell(const struct zp_notice *notice, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
