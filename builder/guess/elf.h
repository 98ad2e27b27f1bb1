/* SPDX-License-Identifier: Apache-2.0
 *
 * What an ELF file says about what is loaded with it: segments, interpreter, libraries. 64-bit little-endian files, as
 * in the System V ABI's "Object Files" and "Program Loading and Dynamic Linking". The bytes are not trusted.
 */
#ifndef ZP_BUILDER_ELF_H
#define ZP_BUILDER_ELF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define ZP_ELF_SEGMENTS_MAX 32
#define ZP_ELF_LIBRARIES_MAX 256
#define ZP_ELF_NAME_MAX 512 /* with its NUL */

struct zp_elf_segment {
        uint64_t offset, size; /* in the file */
        bool is_executable, is_writable;
};

struct zp_elf {
        uint16_t machine; /* EM_… */
        struct zp_elf_segment segments[ZP_ELF_SEGMENTS_MAX];
        uint16_t segment_count;
        uint64_t dynamic_offset, dynamic_size;    /* the dynamic section, in the file as it says; 0, 0: none */
        char interpreter[ZP_ELF_NAME_MAX];        /* "": none */
        char run_path[ZP_ELF_NAME_MAX];           /* DT_RUNPATH; "": none */
        char r_path[ZP_ELF_NAME_MAX];             /* DT_RPATH; "": none, or there is a DT_RUNPATH */
        uint64_t libraries[ZP_ELF_LIBRARIES_MAX]; /* DT_NEEDED: where in the file their names are */
        uint16_t library_count;
};

/* Reads `size` bytes at `offset` of the file: 1; 0: there are not that many, or they cannot be had. */
typedef int (*zp_elf_read)(void *context, uint64_t offset, void *buffer, size_t size, struct zp_error *err);

/* 1: *machine is the file's; 0 and negative as below. */
int zp_elf_read_machine(zp_elf_read read, void *context, uint64_t file_size, uint16_t *machine, struct zp_error *err);
/* 1: *out is filled; 0: it is no such file, or a malformed one; negative: read() failed. */
int zp_elf_load(zp_elf_read read, void *context, uint64_t file_size, struct zp_elf *out, struct zp_error *err);
/* A text in the file, which ends within `name`. 1, 0 and negative as above. */
int zp_elf_text(zp_elf_read read, void *context, uint64_t file_size, uint64_t offset, char name[ZP_ELF_NAME_MAX],
                struct zp_error *err);

#endif
