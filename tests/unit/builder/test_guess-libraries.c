/* SPDX-License-Identifier: Apache-2.0
 *
 * Which libraries a program is started with, as ld.so(8) finds them, and which parts of them a start reads.
 */
#include "guess-fixture.h"

/* ---- where libraries are ---- */

static void library_is_found_by_the_run_path(void **state) {
        put_libraries(*state, "opt/app/lib/liba.so", "opt/libb.so", "opt/app/libc.so", "opt/app/bin/x/libd.so");
        put_elf(*state, "opt/app/bin/run", .needed = { "liba.so", "libb.so", "libc.so", "libd.so", "libe.so" },
                .run_path = "::relative:$ORIGIN/../lib:/none:/opt:${ORIGIN}/..:$LIB:$ORIGIN/x");
        assert_guess(*state, "'Cmd':['/opt/app/bin/run']",
                     "opt/app/bin/run opt/app/lib/liba.so opt/libb.so opt/app/libc.so opt/app/bin/x/libd.so");
}

static void origin_is_where_the_file_lies_and_not_a_link_to_it(void **state) {
        struct image *image = *state;
        put_libraries(image, "opt/app/liba.so", "usr/bin/liba.so", "libroot.so");
        put_elf(image, "opt/app/run", .needed = { "liba.so" }, .run_path = "$ORIGIN");
        put_elf(image, "init", .needed = { "libroot.so" }, .run_path = "$ORIGIN");
        add_link(image->tree, "usr/bin/run", "/opt/app/run");
        assert_guess(image, "'Cmd':['run','/init']", "opt/app/run opt/app/liba.so init libroot.so");
}

static void old_run_path_counts_when_there_is_no_new_one(void **state) {
        put_libraries(*state, "old/liba.so", "new/liba.so");
        put_elf(*state, "bin/a", .needed = { "liba.so" }, .r_path = "/old");
        put_elf(*state, "bin/b", .needed = { "liba.so" }, .r_path = "/old", .run_path = "/new");
        assert_guess(*state, "'Cmd':['a']", "bin/a old/liba.so");
        assert_guess(*state, "'Cmd':['b']", "bin/b new/liba.so");
}

/* ld.so(8): DT_RPATH, LD_LIBRARY_PATH, DT_RUNPATH, what ld.so.conf names, and the usual directories. */
static void environment_is_asked_between_old_and_new_run_paths(void **state) {
        static const char config[] = "'Env':['LD_LIBRARY_PATH=/environment;/more:'],'Cmd':['a']";
        put_libraries(*state, "run/liba.so", "environment/liba.so", "more/libb.so", "run/libb.so", "lib/libb.so");
        put_elf(*state, "bin/a", .needed = { "liba.so", "libb.so" }, .run_path = "/run");
        assert_guess(*state, config, "bin/a environment/liba.so more/libb.so");
        put_elf(*state, "bin/a", .needed = { "liba.so", "libb.so" }, .r_path = "/run");
        assert_guess(*state, config, "bin/a run/liba.so run/libb.so");
}

static void directories_are_read_from_the_loaders_settings(void **state) {
        struct image *image = *state;
        put_text(image, "etc/ld.so.conf", "include /etc/ld.so.conf.d/*.conf\n/first\n");
        put_text(image, "etc/ld.so.conf.d/b.conf", "# /comment\n/usr/local/special\n\n/third");
        put_text(image, "etc/ld.so.conf.d/a.conf", "/second\n");
        put_libraries(image, "first/liba.so", "second/liba.so", "second/libb.so", "third/libb.so", "third/libc.so",
                      "usr/lib/libc.so", "usr/local/special/libd.so", "comment/libe.so");
        put_elf(image, "bin/a", .needed = { "liba.so", "libb.so", "libc.so", "libd.so", "libe.so" });
        assert_guess(image, "'Cmd':['a']",
                     "bin/a first/liba.so second/libb.so third/libc.so usr/local/special/libd.so");
}

static void usual_directories_are_searched_last(void **state) {
        put_libraries(*state, "lib/x86_64-linux-gnu/liba.so", "usr/lib/aarch64-linux-gnu/libb.so", "usr/lib64/libc.so",
                      "usr/lib/libd.so", "usr/local/lib/libe.so", "usr/lib/liba.so", "srv/libf.so");
        put_elf(*state, "bin/a",
                .needed = { "liba.so", "libb.so", "libc.so", "libd.so", "libe.so", "libf.so", "/srv/libf.so" });
        assert_guess(*state, "'Cmd':['a']",
                     "bin/a lib/x86_64-linux-gnu/liba.so usr/lib/aarch64-linux-gnu/libb.so usr/lib64/libc.so "
                     "usr/lib/libd.so usr/local/lib/libe.so srv/libf.so");
}

/* ---- which are loaded ---- */

static void libraries_of_libraries_are_loaded_each_once(void **state) {
        put_elf(*state, "bin/a", .needed = { "liba.so", "libc.so" });
        put_elf(*state, "bin/b", .needed = { "libb.so", "libd.so" });
        put_elf(*state, "lib/liba.so", .needed = { "libb.so", "libc.so" });
        put_elf(*state, "lib/libb.so", .needed = { "liba.so", "libb.so", "libc.so" });
        put_elf(*state, "lib/libc.so");
        put_elf(*state, "lib/libd.so", .needed = { "libc.so" });
        assert_guess(*state, "'Cmd':['a','b','a']", "bin/a lib/liba.so lib/libc.so lib/libb.so bin/b lib/libd.so");
}

static void interpreter_is_loaded_with_the_program(void **state) {
        struct image *image = *state;
        put_elf(image, "bin/a", .interpreter = "/lib64/ld-linux-x86-64.so.2", .needed = { "libc.so.6" });
        put_elf(image, "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2");
        put_elf(image, "usr/lib/x86_64-linux-gnu/libc.so.6", .needed = { "ld-linux-x86-64.so.2" });
        add_link(image->tree, "lib64", "usr/lib64");
        add_link(image->tree, "usr/lib64/ld-linux-x86-64.so.2", "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2");
        assert_guess(image, "'Cmd':['a']",
                     "bin/a usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 usr/lib/x86_64-linux-gnu/libc.so.6");
}

static void file_that_is_needed_and_no_library_is_not_named(void **state) {
        put_elf(*state, "bin/a", .needed = { "libc.so", "libd.so", "libe.so" });
        put_text(*state, "lib/libc.so", "GROUP ( libc.so.6 )\n");
        add(((struct image *) *state)->tree, "lib/libd.so", S_IFDIR | 0755);
        add_link(((struct image *) *state)->tree, "lib/libe.so", "libe.so");
        assert_guess(*state, "'Cmd':['a']", "bin/a");
}

static void library_is_for_the_programs_machine(void **state) {
        struct elf_file other = make_elf((struct elf_parts){ 0 });
        other.header.e_machine = EM_AARCH64;
        put_bytes(*state, "lib/aarch64-linux-gnu/liba.so", &other, sizeof other);
        put_bytes(*state, "run/liba.so", &other, sizeof other);
        put_libraries(*state, "usr/lib/liba.so");
        put_elf(*state, "bin/a", .needed = { "liba.so" }, .run_path = "/run");
        assert_guess(*state, "'Cmd':['a']", "bin/a usr/lib/liba.so");
}

static void library_that_cannot_be_read_is_named_when_it_is_small(void **state) {
        struct image *image = *state;
        put_outside(image, "lib/liba.so", MIB(8), NULL, 0);
        put_outside(image, "lib/libb.so", MIB(8) + 1, NULL, 0);
        image->outside = NULL;
        put_elf(image, "bin/a", .needed = { "liba.so", "libb.so" });
        assert_guess(image, "'Cmd':['a']", "bin/a lib/liba.so");
}

/* ---- what of them is read ---- */

static void add_part(struct elf_file *elf, unsigned number, uint32_t flags, uint64_t offset, uint64_t size) {
        elf->segments[number] = (Elf64_Phdr){ .p_type = PT_LOAD,
                                              .p_flags = flags,
                                              .p_offset = offset,
                                              .p_vaddr = ELF_ADDRESS + offset,
                                              .p_filesz = size };
}

/* Of up to 8 MiB, also what lies behind the segments is named, last of all. */
static void file_up_to_1_mib_is_named_whole(void **state) {
        struct elf_file elf = make_elf((struct elf_parts){ 0 });
        put_outside(*state, "bin/a", MIB(1), &elf, sizeof elf);
        assert_guess(*state, "'Cmd':['a']", "bin/a");
        put_outside(*state, "bin/a", MIB(1) + 1, &elf, sizeof elf);
        assert_guess(*state, "'Cmd':['a']", "bin/a[0+1056] bin/a[1056+1047521]");
}

static void large_file_is_named_by_its_segments(void **state) {
        struct elf_file elf = make_elf((struct elf_parts){ 0 });
        add_part(&elf, LOAD, PF_R | PF_X, 0, MIB(9));
        add_part(&elf, INTERPRETER, PF_R | PF_W, MIB(10), MIB(1));
        add_part(&elf, MORE, PF_R, MIB(12), MIB(2));
        put_outside(*state, "bin/a", MIB(100), &elf, sizeof elf);
        assert_guess(*state, "'Cmd':['a']",
                     "bin/a[0+524288] bin/a[10485760+1048576] bin/a[524288+8912896] bin/a[12582912+2097152]");
}

/* As ld.so goes about it: all are found, then each is initialised after what it needs. */
static void large_programs_code_is_named_behind_its_libraries(void **state) {
        struct elf_file elf = make_elf((struct elf_parts){ .needed = { "liba.so" } });
        put_elf(*state, "lib/liba.so", .needed = { "libb.so" });
        put_libraries(*state, "lib/libb.so");
        add_part(&elf, LOAD, PF_R, 0, MIB(1));
        add_part(&elf, MORE, PF_R | PF_X, MIB(1), MIB(2));
        put_outside(*state, "bin/a", MIB(3), &elf, sizeof elf);
        assert_guess(*state, "'Cmd':['a']",
                     "bin/a[0+524288] lib/liba.so lib/libb.so bin/a[524288+524288] bin/a[1048576+2097152]");
}

static void large_librarys_code_is_named_before_the_programs(void **state) {
        struct image *image = *state;
        struct elf_file *elf = calloc(1, MIB(2));
        *elf = make_elf((struct elf_parts){ .needed = { "liba.so" } });
        add_part(elf, LOAD, PF_R, 0, KIB(4));
        add_part(elf, MORE, PF_R | PF_X, MIB(1), KIB(4));
        put_bytes(image, "bin/a", elf, MIB(2));
        *elf = make_elf((struct elf_parts){ 0 });
        add_part(elf, LOAD, PF_R, 0, KIB(4));
        add_part(elf, MORE, PF_R | PF_X, MIB(1), KIB(8));
        put_bytes(image, "lib/liba.so", elf, MIB(2));
        free(elf);
        assert_guess(image, "'Cmd':['a']",
                     "bin/a[0+4096] lib/liba.so[0+4096] lib/liba.so[1048576+8192] bin/a[1048576+4096] "
                     "bin/a[1052672+1044480] lib/liba.so[1056768+1040384]");
}

static void large_read_only_table_is_named_at_its_ends(void **state) {
        struct elf_file elf = make_elf((struct elf_parts){ .needed = { "liba.so" } });
        put_libraries(*state, "lib/liba.so");
        add_part(&elf, INTERPRETER, PF_R, MIB(1), MIB(30));
        put_outside(*state, "bin/a", MIB(40), &elf, sizeof elf);
        assert_guess(*state, "'Cmd':['a']", "bin/a[0+1056] lib/liba.so bin/a[1048576+262144] bin/a[32243712+262144]");
}

/* Of very much code, the later part is not named. */
static void huge_file_is_named_in_part_and_much_code_not(void **state) {
        struct elf_file elf = make_elf((struct elf_parts){ 0 });
        add_part(&elf, LOAD, PF_R | PF_X, MIB(1), MIB(199));
        add_part(&elf, INTERPRETER, PF_R | PF_W, MIB(200), MIB(20));
        add_part(&elf, MORE, PF_R | PF_W, MIB(220), MIB(20));
        put_outside(*state, "bin/a", MIB(300), &elf, sizeof elf);
        put_libraries(*state, "bin/b");
        assert_guess(*state, "'Cmd':['a;b']", "bin/a[288+256] bin/a[209715200+16777216] bin/a[1048576+16777216] bin/b");
}

/* ---- what is malformed ---- */

/* The program is data then, or has no libraries; nothing else comes of it. */
static void assert_no_library(struct image *image, const struct elf_file *elf, size_t size) {
        put_bytes(image, "bin/a", elf, size);
        assert_guess(image, "'Cmd':['a']", "bin/a");
}

static void file_cut_anywhere_is_passed_over(void **state) {
        struct elf_file elf = make_elf((struct elf_parts){ .interpreter = "/ld", .needed = { "liba.so" } });
        put_libraries(*state, "lib/liba.so", "ld");
        for (size_t size = 1; size <= offsetof(struct elf_file, strings); size++)
                assert_no_library(*state, &elf, size);
}

static void file_for_another_kind_of_machine_is_data(void **state) {
        struct elf_file elf = make_elf((struct elf_parts){ .needed = { "liba.so" } });
        put_libraries(*state, "lib/liba.so");
        elf.header.e_ident[EI_CLASS] = ELFCLASS32;
        assert_no_library(*state, &elf, sizeof elf);
        elf.header.e_ident[EI_CLASS] = ELFCLASS64;
        elf.header.e_ident[EI_DATA] = ELFDATA2MSB;
        assert_no_library(*state, &elf, sizeof elf);
}

static void numbers_that_point_outside_are_passed_over(void **state) {
        const uint64_t wrong[] = { sizeof(struct elf_file) - 1, sizeof(struct elf_file), UINT32_MAX, UINT64_MAX - 40,
                                   UINT64_MAX };
        put_libraries(*state, "lib/liba.so");
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
                const struct elf_file good = make_elf((struct elf_parts){ .needed = { "liba.so" } });
                struct elf_file elf = good;
                elf.header.e_phoff = wrong[i];
                assert_no_library(*state, &elf, sizeof elf);
                elf = good;
                elf.segments[DYNAMIC].p_offset = wrong[i];
                assert_no_library(*state, &elf, sizeof elf);
                elf = good;
                elf.segments[LOAD].p_offset = wrong[i];
                assert_no_library(*state, &elf, sizeof elf);
                elf = good;
                elf.segments[LOAD].p_vaddr = wrong[i];
                assert_no_library(*state, &elf, sizeof elf);
                elf = good;
                elf.dynamic[0].d_un.d_val = wrong[i]; /* the name */
                assert_no_library(*state, &elf, sizeof elf);
                elf = good;
                elf.dynamic[1].d_un.d_val = wrong[i]; /* all strings */
                assert_no_library(*state, &elf, sizeof elf);
        }
}

static void counts_that_are_too_large_are_refused_or_cut(void **state) {
        struct elf_file elf = make_elf((struct elf_parts){ .needed = { "liba.so" } });
        put_libraries(*state, "lib/liba.so");
        elf.header.e_phnum = UINT16_MAX;
        assert_no_library(*state, &elf, sizeof elf);
        elf.header.e_phnum = 0;
        assert_no_library(*state, &elf, sizeof elf);
        elf.header.e_phnum = ELF_SEGMENTS;
        elf.header.e_phentsize = 8;
        assert_no_library(*state, &elf, sizeof elf);
        elf.header.e_phentsize = sizeof(Elf64_Phdr);
        elf.segments[DYNAMIC].p_filesz = UINT64_MAX;
        assert_no_library(*state, &elf, sizeof elf);
        elf.segments[DYNAMIC].p_filesz = sizeof elf.dynamic;
        elf.segments[LOAD].p_filesz = UINT64_MAX;
        put_bytes(*state, "bin/a", &elf, sizeof elf);
        assert_guess(*state, "'Cmd':['a']", "bin/a lib/liba.so");
}

static void strings_without_an_end_are_passed_over(void **state) {
        struct elf_file elf =
                make_elf((struct elf_parts){ .interpreter = "/ld", .needed = { "liba.so" }, .run_path = "/run" });
        put_libraries(*state, "lib/liba.so", "ld", "run/liba.so");
        for (size_t i = 0; i < sizeof elf.strings; i++)
                elf.strings[i] = elf.strings[i] ? elf.strings[i] : '/';
        assert_no_library(*state, &elf, sizeof elf);
}

/* A directory of libraries that all need each other, and more of them than may be looked at. */
static void only_so_many_libraries_are_loaded(void **state) {
        struct image *image = *state;
        uint32_t count;
        for (unsigned i = 0; i < 5000; i++) {
                char path[32], next[32], skipped[32];
                snprintf(path, sizeof path, "lib/l%u", i);
                snprintf(next, sizeof next, "l%u", i + 1);
                snprintf(skipped, sizeof skipped, "l%u", i + 2);
                put_elf(image, path, .needed = { next, skipped, "l0" });
        }
        assert_int_equal(try_guess(image, "'Cmd':['/lib/l0']"), 0);
        zp_profile_entries(image->profile, &count);
        assert_int_equal(count, 4096);
}

static void long_list_of_needed_libraries_is_cut(void **state) {
        struct elf_file elf = make_elf((struct elf_parts){ .needed = { "liba.so" } });
        struct {
                struct elf_file elf;
                Elf64_Dyn dynamic[100000];
        } *large = calloc(1, sizeof *large);
        elf.segments[DYNAMIC].p_offset = sizeof elf;
        elf.segments[DYNAMIC].p_filesz = sizeof large->dynamic;
        large->elf = elf;
        large->dynamic[0] = elf.dynamic[1];
        for (size_t i = 1; i < 100000; i++)
                large->dynamic[i] = elf.dynamic[0];
        put_libraries(*state, "lib/liba.so");
        put_bytes(*state, "bin/a", large, sizeof *large);
        free(large);
        assert_guess(*state, "'Cmd':['a']", "bin/a[0+1056] bin/a[1056+524288] lib/liba.so bin/a[1056+1600000]");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                image_test(library_is_found_by_the_run_path),
                image_test(origin_is_where_the_file_lies_and_not_a_link_to_it),
                image_test(old_run_path_counts_when_there_is_no_new_one),
                image_test(environment_is_asked_between_old_and_new_run_paths),
                image_test(directories_are_read_from_the_loaders_settings),
                image_test(usual_directories_are_searched_last),
                image_test(libraries_of_libraries_are_loaded_each_once),
                image_test(interpreter_is_loaded_with_the_program),
                image_test(file_that_is_needed_and_no_library_is_not_named),
                image_test(library_is_for_the_programs_machine),
                image_test(library_that_cannot_be_read_is_named_when_it_is_small),
                image_test(file_up_to_1_mib_is_named_whole),
                image_test(large_file_is_named_by_its_segments),
                image_test(large_programs_code_is_named_behind_its_libraries),
                image_test(large_librarys_code_is_named_before_the_programs),
                image_test(large_read_only_table_is_named_at_its_ends),
                image_test(huge_file_is_named_in_part_and_much_code_not),
                image_test(file_cut_anywhere_is_passed_over),
                image_test(file_for_another_kind_of_machine_is_data),
                image_test(numbers_that_point_outside_are_passed_over),
                image_test(counts_that_are_too_large_are_refused_or_cut),
                image_test(strings_without_an_end_are_passed_over),
                image_test(only_so_many_libraries_are_loaded),
                image_test(long_list_of_needed_libraries_is_cut),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
