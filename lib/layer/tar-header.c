/* SPDX-License-Identifier: Apache-2.0
 *
 * One tar header block: which format it is, and its fields. Accepts what Go's archive/tar accepts:
 * v7, ustar (POSIX), GNU and star.
 */
#include "layer/tar-internal.h"

#include <string.h>

#include "base/bytes.h"

enum format { FORMAT_V7, FORMAT_USTAR, FORMAT_STAR, FORMAT_GNU };

/* Where a field lies in the block. */
struct field {
        uint16_t offset, size;
};
static const struct field NAME = { 0, 100 }, MODE = { 100, 8 }, UID = { 108, 8 }, GID = { 116, 8 }, SIZE = { 124, 12 },
                          MTIME = { 136, 12 }, CHECKSUM = { 148, 8 }, LINK = { 157, 100 }, DEVICE_MAJOR = { 329, 8 },
                          DEVICE_MINOR = { 337, 8 }, USTAR_PREFIX = { 345, 155 }, STAR_PREFIX = { 345, 131 },
                          STAR_ATIME = { 476, 12 }, STAR_CTIME = { 488, 12 }, GNU_ATIME = { 345, 12 },
                          GNU_CTIME = { 357, 12 };
#define TYPE_OFFSET 156
#define MAGIC_OFFSET 257
#define STAR_TRAILER_OFFSET 508

static bool is_padding(uint8_t c) {
        return c == ' ' || c == '\0';
}

/* Octal digits with spaces and NULs around them; nothing but those is 0. */
static bool parse_octal(const uint8_t *block, struct field field, int64_t *out) {
        const uint8_t *p = block + field.offset, *end = p + field.size;
        uint64_t value = 0;

        while (p < end && is_padding(*p))
                p++;
        while (end > p && is_padding(end[-1]))
                end--;
        /* What lies between an inner NUL and the trailing padding is not looked at. At most 12 digits. */
        for (; p < end && *p != '\0'; p++) {
                if (*p < '0' || *p > '7')
                        return false;
                value = value << 3 | (uint64_t) (*p - '0');
        }
        *out = (int64_t) value;
        return true;
}

/* Octal, or, with the first bit set, a big-endian two's complement number of all the other bits. */
static bool parse_number(const uint8_t *block, struct field field, int64_t *out) {
        const uint8_t *p = block + field.offset;

        if (!(p[0] & 0x80))
                return parse_octal(block, field, out);

        uint8_t invert = p[0] & 0x40 ? 0xff : 0;
        uint64_t value = 0;
        for (size_t i = 0; i < field.size; i++) {
                uint8_t c = p[i] ^ invert;
                if (i == 0)
                        c &= 0x7f;
                if (value >> 56)
                        return false;
                value = value << 8 | c;
        }
        if (value >> 63)
                return false;
        *out = invert ? ~(int64_t) value : (int64_t) value;
        return true;
}

/* The sum of all bytes, eight at a time: each 16-bit lane takes 128 bytes, which cannot overflow it. */
static uint32_t sum_bytes(const uint8_t *block) {
        const uint64_t even = UINT64_C(0x00ff00ff00ff00ff);
        uint64_t lanes = 0, word;

        for (size_t i = 0; i < ZP_TAR_BLOCK; i += sizeof word) {
                memcpy(&word, block + i, sizeof word);
                lanes += (word & even) + (word >> 8 & even);
        }
        return (uint32_t) ((lanes & 0xffff) + (lanes >> 16 & 0xffff) + (lanes >> 32 & 0xffff) + (lanes >> 48));
}

static uint32_t count_high_bytes(const uint8_t *p, size_t size) {
        uint32_t count = 0;
        for (size_t i = 0; i < size; i++)
                count += p[i] >> 7;
        return count;
}

/* The sum of all bytes, the checksum field itself counted as spaces; early tars summed signed chars. */
static bool checksum_matches(const uint8_t *block) {
        const uint8_t *field = block + CHECKSUM.offset;
        int64_t stored, sum = sum_bytes(block);

        if (!parse_octal(block, CHECKSUM, &stored))
                return false;
        for (size_t i = 0; i < CHECKSUM.size; i++)
                sum += ' ' - field[i];
        if (stored == sum)
                return true;
        int64_t high = count_high_bytes(block, ZP_TAR_BLOCK) - count_high_bytes(field, CHECKSUM.size);
        return stored == sum - 256 * high;
}

static enum format detect_format(const uint8_t *block) {
        if (memcmp(block + MAGIC_OFFSET, "ustar\0", 6) == 0)
                return memcmp(block + STAR_TRAILER_OFFSET, "tar\0", 4) == 0 ? FORMAT_STAR : FORMAT_USTAR;
        if (memcmp(block + MAGIC_OFFSET, "ustar  \0", 8) == 0)
                return FORMAT_GNU;
        return FORMAT_V7;
}

static size_t text_size(const uint8_t *block, struct field field) {
        return strnlen((const char *) block + field.offset, field.size);
}

/* GNU has times where ustar has the prefix. Old Go programs wrote a prefix there all the same: when the
 * times make no sense and the text is ASCII, it is one. */
static struct field gnu_prefix(const uint8_t *block) {
        const struct field none = { 0, 0 };
        int64_t ignored;
        bool times_valid = (block[GNU_ATIME.offset] == 0 || parse_number(block, GNU_ATIME, &ignored)) &&
                           (block[GNU_CTIME.offset] == 0 || parse_number(block, GNU_CTIME, &ignored));

        if (times_valid)
                return none;
        for (size_t i = 0; i < text_size(block, USTAR_PREFIX); i++)
                if (block[USTAR_PREFIX.offset + i] >= 0x80)
                        return none;
        return USTAR_PREFIX;
}

static void join_name(const uint8_t *block, struct field prefix, struct zp_tar_header *out) {
        size_t prefix_size = prefix.size ? text_size(block, prefix) : 0;
        size_t name_size = text_size(block, NAME);
        char *p = out->name;

        if (prefix_size) {
                memcpy(p, block + prefix.offset, prefix_size);
                p += prefix_size;
                *p++ = '/';
        }
        memcpy(p, block + NAME.offset, name_size);
        p[name_size] = '\0';
        out->name_size = (size_t) (p - out->name) + name_size;
}

int zp_tar_parse_header(const uint8_t *block, struct zp_tar_header *out, struct zp_error *err) {
        struct field prefix = { 0, 0 };
        int64_t ignored;

        if (!checksum_matches(block))
                return zp_error_set(err, EBADMSG, "not a tar header (checksum differs)");
        if (!parse_number(block, SIZE, &out->size) || !parse_number(block, MODE, &out->mode) ||
            !parse_number(block, UID, &out->uid) || !parse_number(block, GID, &out->gid) ||
            !parse_number(block, MTIME, &out->mtime))
                return zp_error_set(err, EBADMSG, "bad number in the tar header");

        enum format format = detect_format(block);
        out->type = (char) block[TYPE_OFFSET];
        out->device_major = out->device_minor = 0;
        if (format != FORMAT_V7 && (!parse_number(block, DEVICE_MAJOR, &out->device_major) ||
                                    !parse_number(block, DEVICE_MINOR, &out->device_minor)))
                return zp_error_set(err, EBADMSG, "bad device number in the tar header");

        if (format == FORMAT_STAR) {
                if (!parse_number(block, STAR_ATIME, &ignored) || !parse_number(block, STAR_CTIME, &ignored))
                        return zp_error_set(err, EBADMSG, "bad time in the tar header");
                prefix = STAR_PREFIX;
        } else if (format == FORMAT_USTAR) {
                prefix = USTAR_PREFIX;
        } else if (format == FORMAT_GNU) {
                prefix = gnu_prefix(block);
        }
        join_name(block, prefix, out);
        out->link_size = text_size(block, LINK);
        memcpy(out->link, block + LINK.offset, out->link_size);
        out->link[out->link_size] = '\0';
        return 0;
}
