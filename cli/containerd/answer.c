/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/containerd/answer.h"

#include <endian.h>
#include <string.h>
#include <strings.h>

#include "base/bytes.h"

void containerd_frame_header(uint8_t header[CONTAINERD_FRAME_HEADER], uint32_t message_size) {
        uint32_t big_endian = htobe32(message_size);
        header[0] = 0;
        memcpy(header + 1, &big_endian, sizeof big_endian);
}

/* The value of the line's field when it is the one called `name`; NULL: another one. */
static const char *value_of(const char *line, size_t size, const char *name, size_t *value_size) {
        size_t at = strlen(name);
        if (size <= at || strncasecmp(line, name, at) != 0 || line[at] != ':')
                return NULL;
        for (at++; at < size && line[at] == ' ';)
                at++;
        while (size > at && strchr("\r\n ", line[size - 1]))
                size--;
        *value_size = size - at;
        return line + at;
}

static int hex_digit(char c) {
        static const char digits[] = "0123456789abcdef";
        const char *found = c ? strchr(digits, c | ('A' <= c && c <= 'F' ? 0x20 : 0)) : NULL;
        return found ? (int) (found - digits) : -1;
}

/* Percent-encoding, which may be wrong: then it stays as it is. */
static void take_message(struct containerd_answer *answer, const char *value, size_t size) {
        size_t used = 0;
        for (size_t i = 0; i < size && used < sizeof answer->message - 1; i++) {
                int high = value[i] == '%' && size - i > 2 ? hex_digit(value[i + 1]) : -1;
                int low = high >= 0 ? hex_digit(value[i + 2]) : -1;
                answer->message[used++] = (char) (low >= 0 ? high << 4 | low : value[i]);
                i += low >= 0 ? 2 : 0;
        }
        answer->message[used] = '\0';
}

void containerd_answer_take_header(struct containerd_answer *answer, const char *line, size_t size) {
        size_t value_size;
        const char *value = value_of(line, size, "grpc-message", &value_size);
        if (value)
                take_message(answer, value, value_size);
        value = value_of(line, size, "grpc-status", &value_size);
        if (!value || value_size == 0 || value_size > 3)
                return;
        unsigned status = 0;
        for (size_t i = 0; i < value_size; i++) {
                if (value[i] < '0' || value[i] > '9')
                        return;
                status = status * 10 + (unsigned) (value[i] - '0');
        }
        answer->has_status = true;
        answer->status = status;
}

bool containerd_answer_take_body(struct containerd_answer *answer, const void *data, size_t size) {
        return size <= CONTAINERD_ANSWER_MAX - answer->body.size && zp_buffer_append(&answer->body, data, size);
}

/* grpc/status.h's numbers. */
static int errno_of(unsigned status) {
        static const int codes[] = { [1] = ECANCELED, [3] = EINVAL, [4] = ETIMEDOUT, [5] = ENOENT,  [6] = EEXIST,
                                     [7] = EACCES,    [8] = ENOSPC, [9] = EBUSY,     [12] = ENOSYS, [14] = EAGAIN };
        bool is_known = status < sizeof codes / sizeof *codes && codes[status];
        return is_known ? codes[status] : EIO;
}

int containerd_answer_result(const struct containerd_answer *answer, struct zp_error *err) {
        if (!answer->has_status)
                return zp_error_set(err, EPROTO, "the answer is not gRPC's");
        if (answer->status == 0)
                return 0;
        if (!answer->message[0])
                return zp_error_set(err, errno_of(answer->status), "gRPC status %u", answer->status);
        return zp_error_set(err, errno_of(answer->status), "%s", answer->message);
}

int containerd_answer_first(const struct containerd_answer *answer, const uint8_t **data, size_t *size,
                            struct zp_error *err) {
        struct zp_reader reader = zp_reader(answer->body.data, answer->body.size);
        const uint8_t *header = zp_read_bytes(&reader, CONTAINERD_FRAME_HEADER);
        uint32_t big_endian = 0;
        if (header)
                memcpy(&big_endian, header + 1, sizeof big_endian);
        *size = be32toh(big_endian);
        *data = zp_read_bytes(&reader, *size);
        if (!*data || header[0] != 0)
                return zp_error_set(err, EPROTO, "the answer is cut short or compressed");
        return 0;
}
