/* SPDX-License-Identifier: Apache-2.0 */
#include "remote/xml.h"

#include <expat.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/limits.h"

#define PATH_MAX_SIZE 256
#define DEPTH_MAX 16
#define TEXT_MAX 8192 /* the longest are keys: 1024 bytes */

ZP_DEFINE_AUTO(struct XML_ParserStruct, XML_ParserFree);

struct parse {
        XML_Parser parser;
        char path[PATH_MAX_SIZE];
        unsigned depth;
        struct zp_buffer text; /* since the last tag */
        zp_xml_element element;
        void *context;
        struct zp_error *err;
        int failure;
};

static void stop(struct parse *parse, int failure) {
        parse->failure = failure;
        XML_StopParser(parse->parser, XML_FALSE);
}

static void on_start(void *context, const char *name, const char **attributes) {
        struct parse *parse = context;
        (void) attributes;
        size_t used = strlen(parse->path);
        if (parse->failure)
                return;
        if (++parse->depth > DEPTH_MAX || strlen(name) + 2 > sizeof parse->path - used) {
                stop(parse, zp_error_set(parse->err, EBADMSG, "XML: elements are nested too deeply"));
                return;
        }
        snprintf(parse->path + used, sizeof parse->path - used, "/%s", name);
        parse->text.size = 0;
}

static void on_end(void *context, const char *name) {
        struct parse *parse = context;
        (void) name;
        if (parse->failure)
                return;
        if (!zp_buffer_append(&parse->text, "", 0)) { /* ends in a NUL now, however short */
                stop(parse, zp_error_errno(parse->err, ENOMEM, "XML"));
                return;
        }
        int r = parse->element(parse->context, parse->path, parse->text.data, parse->err);
        if (r < 0)
                stop(parse, r);
        *strrchr(parse->path, '/') = '\0';
        parse->depth--;
        parse->text.size = 0;
}

static void on_text(void *context, const char *text, int size) {
        struct parse *parse = context;
        if (parse->failure)
                return;
        if (parse->text.size + (size_t) size > TEXT_MAX)
                stop(parse,
                     zp_error_set(parse->err, EBADMSG, "XML: '%s' is longer than %d bytes", parse->path, TEXT_MAX));
        else if (!zp_buffer_append(&parse->text, text, (size_t) size))
                stop(parse, zp_error_errno(parse->err, ENOMEM, "XML"));
}

static void on_document_type(void *context, const char *name, const char *system, const char *public, int internal) {
        struct parse *parse = context;
        (void) name, (void) system, (void) public, (void) internal;
        if (!parse->failure)
                stop(parse, zp_error_set(parse->err, EBADMSG, "XML: it declares a document type"));
}

int zp_xml_parse(const char *data, size_t size, zp_xml_element element, void *context, struct zp_error *err) {
        if (size > ZP_LIMIT_JSON_SIZE)
                return zp_error_set(err, EFBIG, "XML: larger than %ju bytes", (uintmax_t) ZP_LIMIT_JSON_SIZE);
        zp_auto(XML_ParserFree) XML_Parser parser = XML_ParserCreate(NULL);
        if (!parser)
                return zp_error_errno(err, ENOMEM, "XML");
        struct parse parse = { .parser = parser, .element = element, .context = context, .err = err };
        XML_SetUserData(parser, &parse);
        XML_SetElementHandler(parser, on_start, on_end);
        XML_SetCharacterDataHandler(parser, on_text);
        XML_SetStartDoctypeDeclHandler(parser, on_document_type);
        for (; size > 0 && strchr(" \t\r\n", *data) && *data; data++, size--)
                ; /* sent while the server was still at work */
        enum XML_Status status = XML_Parse(parser, data ? data : "", (int) size, XML_TRUE);
        zp_buffer_clear(&parse.text);
        if (parse.failure)
                return parse.failure;
        if (status != XML_STATUS_OK)
                return zp_error_set(err, EBADMSG, "XML: line %lu: %s", (unsigned long) XML_GetCurrentLineNumber(parser),
                                    XML_ErrorString(XML_GetErrorCode(parser)));
        return 0;
}
