/* SPDX-License-Identifier: Apache-2.0 */
#include "base/resident.h"

#include <link.h>
#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Of one program or library: its segments that nobody writes to, of which each page is as the file has it. */
static int let_go(struct dl_phdr_info *info, size_t size, void *page) {
        uintptr_t mask = *(const uintptr_t *) page - 1;
        (void) size;
        if (strstr(info->dlpi_name, "vdso"))
                return 0;
        for (unsigned i = 0; i < info->dlpi_phnum; i++) {
                const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
                uintptr_t start = (info->dlpi_addr + segment->p_vaddr) & ~mask;
                if (segment->p_type == PT_LOAD && !(segment->p_flags & PF_W))
                        madvise((void *) start, (info->dlpi_addr + segment->p_vaddr + segment->p_memsz) - start,
                                MADV_DONTNEED);
        }
        return 0;
}

void zp_resident_rest(void) {
        uintptr_t page = (uintptr_t) sysconf(_SC_PAGESIZE);
        malloc_trim(0);
        dl_iterate_phdr(let_go, &page);
}
