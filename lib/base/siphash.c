/* SPDX-License-Identifier: Apache-2.0 */
#include "base/siphash.h"

#include <string.h>
#include <sys/auxv.h>

#include "base/bytes.h"

struct zp_siphash_key zp_siphash_process_key(void) {
        struct zp_siphash_key key = { 0 };
        const void *random = (const void *) getauxval(AT_RANDOM); /* 16 bytes from the kernel, needs no system call */
        if (random)
                memcpy(key.words, random, sizeof key.words);
        return key;
}

static uint64_t rotate(uint64_t value, unsigned bits) {
        return value << bits | value >> (64 - bits);
}

static void rounds(uint64_t v[4], int count) {
        while (count-- > 0) {
                v[0] += v[1];
                v[2] += v[3];
                v[1] = rotate(v[1], 13) ^ v[0];
                v[3] = rotate(v[3], 16) ^ v[2];
                v[0] = rotate(v[0], 32) + v[3];
                v[2] += v[1];
                v[1] = rotate(v[1], 17) ^ v[2];
                v[3] = rotate(v[3], 21) ^ v[0];
                v[2] = rotate(v[2], 32);
        }
}

static void absorb(uint64_t v[4], uint64_t word) {
        v[3] ^= word;
        rounds(v, 2);
        v[0] ^= word;
}

uint64_t zp_siphash(struct zp_siphash_key key, const void *data, size_t size) {
        uint64_t v[4] = { key.words[0] ^ UINT64_C(0x736f6d6570736575), key.words[1] ^ UINT64_C(0x646f72616e646f6d),
                          key.words[0] ^ UINT64_C(0x6c7967656e657261), key.words[1] ^ UINT64_C(0x7465646279746573) };
        const uint8_t *next = data;
        size_t left = size;
        for (; left >= 8; left -= 8, next += 8)
                absorb(v, zp_get_le64(next));
        uint64_t last = (uint64_t) size << 56;
        for (size_t i = 0; i < left; i++)
                last |= (uint64_t) next[i] << (8 * i);
        absorb(v, last);
        v[2] ^= 0xff;
        rounds(v, 4);
        return v[0] ^ v[1] ^ v[2] ^ v[3];
}
