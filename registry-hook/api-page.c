/* SPDX-License-Identifier: Apache-2.0
 *
 * The page for people, and the API's description.
 */
#include "registry-hook/page/page.h"
#include "registry-hook/server.h"

enum MHD_Result hook_page_get_index(struct hook_exchange *x) {
        return hook_reply_static(x, "text/html; charset=utf-8", hook_page_index, hook_page_index_size);
}

enum MHD_Result hook_page_get_style(struct hook_exchange *x) {
        return hook_reply_static(x, "text/css; charset=utf-8", hook_page_style, hook_page_style_size);
}

enum MHD_Result hook_page_get_script(struct hook_exchange *x) {
        return hook_reply_static(x, "text/javascript; charset=utf-8", hook_page_script, hook_page_script_size);
}

enum MHD_Result hook_page_get_openapi(struct hook_exchange *x) {
        return hook_reply_static(x, "application/json", hook_page_openapi, hook_page_openapi_size);
}
