/* SPDX-License-Identifier: Apache-2.0 */
#include "builder/dedup.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

struct slot {
        struct zp_content_key key;
        const struct zp_inode *inode; /* NULL: empty */
};

struct zp_dedup {
        EVP_CIPHER_CTX *mac; /* AES-128-GCM with everything as associated data is GMAC */
        struct slot *slots;  /* open addressing on the hash, which is random */
        size_t size;         /* a power of two */
        size_t used;
        uint64_t *sizes; /* set of sizes, open addressing; 0: empty */
        size_t sizes_size, sizes_used;
};

#define FIRST_SIZE 1024

int zp_dedup_new(struct zp_dedup **out, struct zp_error *err) {
        zp_auto(zp_dedup_free) struct zp_dedup *dedup = calloc(1, sizeof *dedup);
        if (!dedup)
                return zp_error_errno(err, ENOMEM, "content table");
        dedup->size = dedup->sizes_size = FIRST_SIZE;
        dedup->slots = calloc(dedup->size, sizeof *dedup->slots);
        dedup->sizes = calloc(dedup->sizes_size, sizeof *dedup->sizes);
        dedup->mac = EVP_CIPHER_CTX_new();
        uint8_t key[16];
        if (!dedup->slots || !dedup->sizes || !dedup->mac || RAND_bytes(key, sizeof key) != 1 ||
            EVP_EncryptInit_ex(dedup->mac, EVP_aes_128_gcm(), NULL, key, NULL) != 1)
                return zp_error_errno(err, ENOMEM, "content table");
        *out = zp_steal(&dedup);
        return 0;
}

void zp_dedup_free(struct zp_dedup *dedup) {
        if (!dedup)
                return;
        EVP_CIPHER_CTX_free(dedup->mac);
        free(dedup->slots);
        free(dedup->sizes);
        free(dedup);
}

/* These cannot fail with the arguments given; a broken crypto library must not become a wrong image. */
static void must(int ok) {
        if (ok != 1)
                abort();
}

void zp_dedup_hash_begin(struct zp_dedup *dedup) {
        static const uint8_t iv[12] = { 0 }; /* the tags stay secret, so it may repeat */
        must(EVP_EncryptInit_ex(dedup->mac, NULL, NULL, NULL, iv));
}

void zp_dedup_hash_update(struct zp_dedup *dedup, const void *data, size_t size) {
        const uint8_t *next = data;
        while (size > 0) {
                int part = size > (1u << 30) ? 1 << 30 : (int) size, ignored;
                must(EVP_EncryptUpdate(dedup->mac, NULL, &ignored, next, part));
                next += part;
                size -= (size_t) part;
        }
}

void zp_dedup_hash_end(struct zp_dedup *dedup, uint64_t content_size, struct zp_content_key *out) {
        uint8_t nothing[16];
        int ignored;
        must(EVP_EncryptFinal_ex(dedup->mac, nothing, &ignored));
        must(EVP_CIPHER_CTX_ctrl(dedup->mac, EVP_CTRL_AEAD_GET_TAG, ZP_CONTENT_HASH_SIZE, out->hash));
        out->size = content_size;
}

static struct slot *find_slot(struct slot *slots, size_t size, const struct zp_content_key *key) {
        uint64_t i;
        memcpy(&i, key->hash, sizeof i);
        for (;; i++) {
                struct slot *slot = &slots[i & (size - 1)];
                if (!slot->inode ||
                    (slot->key.size == key->size && memcmp(slot->key.hash, key->hash, ZP_CONTENT_HASH_SIZE) == 0))
                        return slot;
        }
}

static uint64_t *find_size(uint64_t *sizes, size_t count, uint64_t size) {
        uint64_t i = (size * UINT64_C(0x9e3779b97f4a7c15)) >> 32;
        while (sizes[i & (count - 1)] && sizes[i & (count - 1)] != size)
                i++;
        return &sizes[i & (count - 1)];
}

const struct zp_inode *zp_dedup_find(const struct zp_dedup *dedup, const struct zp_content_key *key) {
        return find_slot(dedup->slots, dedup->size, key)->inode;
}

bool zp_dedup_knows_size(const struct zp_dedup *dedup, uint64_t size) {
        return *find_size(dedup->sizes, dedup->sizes_size, size) != 0;
}

static int grow_slots(struct zp_dedup *dedup, struct zp_error *err) {
        struct slot *fresh = calloc(dedup->size * 2, sizeof *fresh);
        if (!fresh)
                return zp_error_errno(err, ENOMEM, "content table");
        for (size_t i = 0; i < dedup->size; i++)
                if (dedup->slots[i].inode)
                        *find_slot(fresh, dedup->size * 2, &dedup->slots[i].key) = dedup->slots[i];
        free(dedup->slots);
        dedup->slots = fresh;
        dedup->size *= 2;
        return 0;
}

static int grow_sizes(struct zp_dedup *dedup, struct zp_error *err) {
        uint64_t *fresh = calloc(dedup->sizes_size * 2, sizeof *fresh);
        if (!fresh)
                return zp_error_errno(err, ENOMEM, "content table");
        for (size_t i = 0; i < dedup->sizes_size; i++)
                if (dedup->sizes[i])
                        *find_size(fresh, dedup->sizes_size * 2, dedup->sizes[i]) = dedup->sizes[i];
        free(dedup->sizes);
        dedup->sizes = fresh;
        dedup->sizes_size *= 2;
        return 0;
}

int zp_dedup_add(struct zp_dedup *dedup, const struct zp_content_key *key, const struct zp_inode *inode,
                 struct zp_error *err) {
        int r = dedup->used * 2 >= dedup->size ? grow_slots(dedup, err) : 0;
        if (r == 0 && dedup->sizes_used * 2 >= dedup->sizes_size)
                r = grow_sizes(dedup, err);
        if (r < 0)
                return r;
        struct slot *slot = find_slot(dedup->slots, dedup->size, key);
        dedup->used += !slot->inode;
        *slot = (struct slot){ *key, inode };
        uint64_t *size = find_size(dedup->sizes, dedup->sizes_size, key->size);
        dedup->sizes_used += *size == 0;
        *size = key->size;
        return 0;
}
