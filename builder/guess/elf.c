/* SPDX-License-Identifier: Apache-2.0 */
#include "builder/guess/elf.h"

#include <elf.h>
#include <string.h>

#include "base/bytes.h"

/* An entry of the dynamic section is 16 bytes: more than any library has. */
#define DYNAMIC_MAX (16u << 10)

struct loading {
        zp_elf_read read;
        void *context;
        uint64_t file_size;
        struct zp_elf *out;
        uint64_t addresses[ZP_ELF_SEGMENTS_MAX]; /* of the segments, when loaded */
};

static int read_at(const struct loading *l, uint64_t offset, void *buffer, size_t size, struct zp_error *err) {
        if (offset > l->file_size || size > l->file_size - offset)
                return 0;
        return l->read(l->context, offset, buffer, size, err);
}

int zp_elf_text(zp_elf_read read, void *context, uint64_t file_size, uint64_t offset, char name[ZP_ELF_NAME_MAX],
                struct zp_error *err) {
        const struct loading l = { .read = read, .context = context, .file_size = file_size };
        if (offset >= file_size)
                return 0;
        size_t size = (size_t) zp_min_u64(ZP_ELF_NAME_MAX, file_size - offset);
        int r = read_at(&l, offset, name, size, err);
        return r == 1 && !memchr(name, '\0', size) ? 0 : r;
}

/* What a segment has no bytes of in the file is not read. */
static void add_segment(struct loading *l, uint32_t flags, uint64_t offset, uint64_t address, uint64_t size) {
        struct zp_elf *elf = l->out;
        if (elf->segment_count == ZP_ELF_SEGMENTS_MAX || offset >= l->file_size || size == 0)
                return;
        l->addresses[elf->segment_count] = address;
        elf->segments[elf->segment_count++] = (struct zp_elf_segment){ .offset = offset,
                                                                       .size = zp_min_u64(size, l->file_size - offset),
                                                                       .is_executable = flags & PF_X,
                                                                       .is_writable = flags & PF_W };
}

static int add_program_header(struct loading *l, const uint8_t bytes[sizeof(Elf64_Phdr)], struct zp_error *err) {
        struct zp_reader reader = zp_reader(bytes, sizeof(Elf64_Phdr));
        uint32_t type = zp_read_le32(&reader), flags = zp_read_le32(&reader);
        uint64_t offset = zp_read_le64(&reader), address = zp_read_le64(&reader);
        zp_read_le64(&reader); /* the physical address */
        uint64_t size = zp_read_le64(&reader);
        if (type == PT_LOAD)
                add_segment(l, flags, offset, address, size);
        if (type == PT_DYNAMIC) {
                l->out->dynamic_offset = offset;
                l->out->dynamic_size = size;
        }
        int r = type == PT_INTERP ? zp_elf_text(l->read, l->context, l->file_size, offset, l->out->interpreter, err)
                                  : 1;
        if (r == 0)
                l->out->interpreter[0] = '\0';
        return r < 0 ? r : 0;
}

static int read_program_headers(struct loading *l, uint64_t offset, uint16_t count, struct zp_error *err) {
        for (uint16_t i = 0; i < count; i++) {
                uint8_t bytes[sizeof(Elf64_Phdr)];
                uint64_t at;
                if (zp_add_overflows(offset, (uint64_t) i * sizeof bytes, &at))
                        return 0;
                int r = read_at(l, at, bytes, sizeof bytes, err);
                if (r == 1)
                        r = add_program_header(l, bytes, err);
                else if (r == 0)
                        return 0;
                if (r < 0)
                        return r;
        }
        return 1;
}

/* Where in the file an address is that is loaded from it. */
static bool find_address(const struct loading *l, uint64_t address, uint64_t *offset) {
        for (uint16_t i = 0; i < l->out->segment_count; i++) {
                const struct zp_elf_segment *segment = &l->out->segments[i];
                if (address < l->addresses[i] || address - l->addresses[i] >= segment->size)
                        continue;
                *offset = segment->offset + (address - l->addresses[i]);
                return true;
        }
        return false;
}

/* The dynamic section's texts, as offsets from that of the first. */
struct texts {
        uint64_t strings, run_path, r_path; /* UINT64_MAX: none */
};

static void read_tags(struct loading *l, struct zp_reader reader, struct texts *out) {
        struct zp_elf *elf = l->out;
        for (;;) {
                uint64_t tag = zp_read_le64(&reader), value = zp_read_le64(&reader);
                if (reader.failed || tag == DT_NULL)
                        return;
                if (tag == DT_NEEDED && elf->library_count < ZP_ELF_LIBRARIES_MAX)
                        elf->libraries[elf->library_count++] = value;
                else if (tag == DT_STRTAB)
                        out->strings = value;
                else if (tag == DT_RUNPATH)
                        out->run_path = value;
                else if (tag == DT_RPATH)
                        out->r_path = value;
        }
}

/* UINT64_MAX, past every file's end, when it does not fit. */
static uint64_t add(uint64_t a, uint64_t b) {
        uint64_t sum;
        return zp_add_overflows(a, b, &sum) ? UINT64_MAX : sum;
}

static int read_path(const struct loading *l, uint64_t offset, char out[ZP_ELF_NAME_MAX], struct zp_error *err) {
        int r = zp_elf_text(l->read, l->context, l->file_size, offset, out, err);
        if (r == 0)
                out[0] = '\0';
        return r < 0 ? r : 0;
}

static int read_dynamic(struct loading *l, struct zp_error *err) {
        struct zp_elf *elf = l->out;
        struct texts texts = { UINT64_MAX, UINT64_MAX, UINT64_MAX };
        uint8_t bytes[DYNAMIC_MAX];
        size_t size = (size_t) zp_min_u64(l->out->dynamic_size, sizeof bytes);
        uint64_t names = 0;
        int r = read_at(l, l->out->dynamic_offset, bytes, size, err);
        if (r <= 0)
                return r;
        read_tags(l, zp_reader(bytes, size), &texts);
        if (!find_address(l, texts.strings, &names)) {
                elf->library_count = 0;
                return 0;
        }
        for (uint16_t i = 0; i < elf->library_count; i++)
                elf->libraries[i] = add(names, elf->libraries[i]);
        r = read_path(l, add(names, texts.run_path), elf->run_path, err);
        return r == 0 && !elf->run_path[0] ? read_path(l, add(names, texts.r_path), elf->r_path, err) : r;
}

/* 1: it is one, *bytes is its header. */
static int read_header(const struct loading *l, uint8_t bytes[sizeof(Elf64_Ehdr)], struct zp_error *err) {
        int r = read_at(l, 0, bytes, sizeof(Elf64_Ehdr), err);
        return r <= 0 ? r
                      : memcmp(bytes, ELFMAG, SELFMAG) == 0 && bytes[EI_CLASS] == ELFCLASS64 &&
                                bytes[EI_DATA] == ELFDATA2LSB;
}

int zp_elf_read_machine(zp_elf_read read, void *context, uint64_t file_size, uint16_t *machine, struct zp_error *err) {
        const struct loading l = { .read = read, .context = context, .file_size = file_size };
        uint8_t bytes[sizeof(Elf64_Ehdr)];
        int r = read_header(&l, bytes, err);
        if (r == 1)
                *machine = zp_get_le16(bytes + offsetof(Elf64_Ehdr, e_machine));
        return r;
}

int zp_elf_load(zp_elf_read read, void *context, uint64_t file_size, struct zp_elf *out, struct zp_error *err) {
        struct loading l = { .read = read, .context = context, .file_size = file_size, .out = out };
        uint8_t bytes[sizeof(Elf64_Ehdr)];
        *out = (struct zp_elf){ 0 };
        int r = read_header(&l, bytes, err);
        if (r <= 0)
                return r;
        out->machine = zp_get_le16(bytes + offsetof(Elf64_Ehdr, e_machine));
        uint64_t headers = zp_get_le64(bytes + offsetof(Elf64_Ehdr, e_phoff));
        uint16_t size = zp_get_le16(bytes + offsetof(Elf64_Ehdr, e_phentsize));
        uint16_t count = zp_get_le16(bytes + offsetof(Elf64_Ehdr, e_phnum));
        if (size != sizeof(Elf64_Phdr) || count == 0 || count > 4 * ZP_ELF_SEGMENTS_MAX)
                return 0;
        r = read_program_headers(&l, headers, count, err);
        if (r <= 0)
                return r;
        r = out->dynamic_size ? read_dynamic(&l, err) : 0;
        return r < 0 ? r : 1;
}
