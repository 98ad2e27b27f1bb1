/* SPDX-License-Identifier: Apache-2.0
 *
 * The page for people and the API's description, as they are in this directory and in docs/ (embed.py).
 */
#ifndef HOOK_PAGE_PAGE_H
#define HOOK_PAGE_PAGE_H

#include <stddef.h>

extern const unsigned char hook_page_index[], hook_page_style[], hook_page_script[], hook_page_openapi[];
extern const size_t hook_page_index_size, hook_page_style_size, hook_page_script_size, hook_page_openapi_size;

#endif
