/* SPDX-License-Identifier: Apache-2.0
 *
 * Which Python modules a start imports: by the command's code, its script, a module's name; and what those import.
 */
#include "guess-fixture.h"

#define LIBRARY "usr/lib/python3.11/"
#define PACKAGES LIBRARY "site-packages/"

static int python_setup(void **state) {
        int r = image_setup(state);
        if (r < 0)
                return r;
        struct image *image = *state;
        put_elf(image, "usr/bin/python3.11");
        add_link(image->tree, "usr/bin/python3", "python3.11");
        return 0;
}

#define python_test(name) cmocka_unit_test_setup_teardown(name, python_setup, image_teardown)

/* Modules of the library, named without what all names have. */
static void put_modules(struct image *image, const char *names) {
        for (size_t size; *names; names += size + (names[size] != '\0')) {
                char path[256];
                size = strcspn(names, " ");
                snprintf(path, sizeof path, LIBRARY "%.*s.py", (int) size, names);
                put_text(image, path, "#\n");
        }
}

static void put_module(struct image *image, const char *name, const char *text) {
        put_modules(image, name);
        zp_autofree char *path = zp_format(LIBRARY "%s.py", name);
        put_text(image, path, text);
}

/* A script imports these modules, in that order: each is named as put_modules takes it. */
static void assert_imports(struct image *image, const char *code, const char *names) {
        zp_autobuffer struct zp_buffer expected = { 0 };
        zp_buffer_text(&expected, "usr/bin/python3.11 srv/main.py");
        for (size_t size; *names; names += size + (names[size] != '\0')) {
                size = strcspn(names, " ");
                zp_buffer_text(&expected, " " LIBRARY);
                zp_buffer_append(&expected, names, size);
                zp_buffer_text(&expected, ".py");
        }
        put_text(image, "srv/main.py", code);
        assert_guess(image, "'Cmd':['python3','/srv/main.py']", expected.data);
}

/* ---- what is a statement ---- */

static void import_statements_are_followed(void **state) {
        put_modules(*state, "a/__init__ a/b d e f g/__init__ g/h i");
        assert_imports(*state, "import a.b as c, d; x", "a/__init__ a/b d");
        assert_imports(*state, "import d;import e ; import f\nimport i", "d e f i");
        assert_imports(*state, "import\td,\\\n  e", "d e");
        assert_imports(*state, "import d # , e\n# import f\nimport i\r\n", "d i");
        assert_imports(*state, "import none, e, a.none, none.b", "e a/__init__");
        assert_imports(*state, "from d import x; import e", "d e");
        assert_imports(*state, "from g import h as i, nothing, *", "g/__init__ g/h");
        assert_imports(*state, "from a.b import c\nfrom none import d", "a/__init__ a/b");
        assert_imports(*state, "from g import (nothing, # d\n\n  h,\n)\nimport e\n", "g/__init__ g/h e");
        assert_imports(*state, "from g import(h)\nfrom a import \\\n b", "g/__init__ g/h a/__init__ a/b");
}

static void what_only_looks_like_an_import_is_not_followed(void **state) {
        put_modules(*state, "a b");
        assert_imports(*state, "imports a\nimporta\nfroma import b\nimport = a\nx = 1; y\nprint('import a')", "");
        assert_imports(*state, "import\nfrom\nfrom a\nfrom import a\nimport ,b\nimport .a\nimport a..b", "a");
        assert_imports(*state, "import a.\nfrom b. import a\nimport", "a b");
        assert_imports(*state, "import (a)", "");
}

static void text_in_triple_quotes_is_not_code(void **state) {
        put_modules(*state, "a b c d");
        assert_imports(*state, "\"\"\"\nimport a\n\"\"\"\nimport b", "b");
        assert_imports(*state, "'''It says:\nimport a'''\nimport b", "b");
        assert_imports(*state, "'''one line'''\nimport b", "b");
        assert_imports(*state,
                       "x = \"\"\"\nThe ''' in a text\nimport a\n\"\"\"\nimport b\ny = ''' \"\"\" '''\nimport c",
                       "b c");
        assert_imports(*state, "import a # it's a '''\nimport b", "a b");
}

static void imports_in_functions_are_not_followed(void **state) {
        put_modules(*state, "a b c");
        put_module(*state, "m",
                   "import a\n"
                   "def f():\n    import b\n\n# comment\n    import b\n"
                   "async def g():\n    import b\n"
                   "class C:\n    def f(self):\n        import b\n"
                   "@decorated\ndef h():\n\timport b\n"
                   "import c");
        assert_imports(*state, "import m", "m a c");
        put_module(*state, "m", "def f(\n    x: int,\n) -> None:\n    import a\n\nimport b\n");
        assert_imports(*state, "import m", "m b");
        put_module(*state, "m", "def f():\r\n    x = 1\r\n\r\n    import a\r\nimport b\r\n");
        assert_imports(*state, "import m", "m b");
        put_module(*state, "m", "defaults = 1\nif defaults:\n    import a\n");
        assert_imports(*state, "import m", "m a");
}

static void imports_in_functions_under_conditions_are_not_followed(void **state) {
        put_modules(*state, "a b c d e");
        put_module(*state, "m",
                   "if x:\n"
                   "    import a\n"
                   "    def f(\n"
                   "        y,\n"
                   "    ):\n"
                   "        import b\n"
                   "\n"
                   "        if y:\n"
                   "            import b\n"
                   "        import b\n"
                   "    import c\n"
                   "    class C:\n"
                   "        import b\n"
                   "else:\n"
                   "    async def g():\n"
                   "        import b\n"
                   "    import d\n"
                   "import e\n");
        assert_imports(*state, "import m", "m a c d e");
}

static void imports_in_functions_of_a_program_are_followed(void **state) {
        put_modules(*state, "a b");
        assert_imports(*state, "def main():\n    import a\n\nclass C:\n    from b import x\nmain()", "a b");
}

static void imports_for_type_checkers_are_not_followed(void **state) {
        put_modules(*state, "a b c typing");
        assert_imports(*state,
                       "from typing import TYPE_CHECKING, Any\nif TYPE_CHECKING:\n    import a\nelse:\n    import b\n",
                       "typing b");
        assert_imports(*state, "import typing\nif typing.TYPE_CHECKING:\n    import a\nimport b", "typing b");
        assert_imports(*state,
                       "if not TYPE_CHECKING:\n    import a\n    if TYPE_CHECKING:\n        import b\n    import c",
                       "a c");
}

static void imports_under_conditions_are_followed(void **state) {
        put_modules(*state, "a b c d e");
        assert_imports(*state,
                       "try:\n    import a\nfinally:\n\timport b\n"
                       "if sys.platform == 'linux':\n    from c import x\nelse:\n    import d\n"
                       "with x:\n    import e\n",
                       "a b c d e");
}

static void imports_on_other_systems_are_not_followed(void **state) {
        static const char *const others[] = { "os.name == 'nt'",
                                              "os.name == \"nt\"",
                                              "sys.platform == 'win32'",
                                              "sys.platform == \"win32\"",
                                              "sys.platform == 'darwin'",
                                              "WIN",
                                              "sys.platform == \"darwin\"",
                                              "sys.platform.startswith('win')",
                                              "sys.platform.startswith(\"win\")" };
        static const char *const ours[] = { "os.name != 'nt'",
                                            "not sys.platform.startswith(\"win\")",
                                            "x or os.name == 'nt'",
                                            "sys.platform in ('linux', 'darwin')",
                                            "os.name in ('posix', 'nt')",
                                            "x.startswith('winter')",
                                            "x" };
        put_modules(*state, "a b c d");
        for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
                zp_autofree char *text = zp_format("if %s:\n    import a\nimport b", others[i]);
                assert_imports(*state, text, "b");
        }
        for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
                zp_autofree char *text = zp_format("if %s:  # not 'darwin'\n    import a\nimport b", ours[i]);
                assert_imports(*state, text, "a b");
        }
        assert_imports(*state,
                       "if os.name == 'nt':  # do not #\n    import a\nelif x:\n    import b\nelse:\n    import c",
                       "b c");
        assert_imports(*state, "if x:\n    import b\nelif sys.platform == \"win32\":\n    import a\nimport c", "b c");
        assert_imports(*state, "if x == '#' and os.name == 'nt':\n    import a", "");
}

static void main_part_of_a_module_is_not_followed(void **state) {
        put_modules(*state, "a b c");
        put_module(*state, "m",
                   "if __name__ == '__main__':\n    import a\nimport b\nif __name__ == 'm':\n    import c");
        assert_imports(*state, "import m", "m b c");
        assert_imports(*state, "if __name__ == '__main__':\n    import a\n", "a");
}

static void what_is_imported_instead_is_followed_when_the_first_is_not_found(void **state) {
        put_modules(*state, "a b c d");
        assert_imports(*state, "try:\n    import a\nexcept ImportError:\n    import b\nelse:\n    import c", "a c");
        assert_imports(*state, "try:\n    from a import x\nexcept ImportError:\n    import b", "a");
        assert_imports(*state, "try:\n    from none import x\nexcept ImportError:\n    import b", "b");
        assert_imports(*state, "try:\n    import a, none\nexcept:\n    import b", "a b");
        assert_imports(*state, "import a\ntry:\n    x\nexcept NameError:\n    import b", "a b");
        assert_imports(*state, "import none\ntry:\n    import a\nexcept X:\n    import b", "a");
        assert_imports(*state,
                       "try:\n    import a\nexcept X:\n    try:\n        import none\n    except Y:\n        import b\n"
                       "except Z:\n    import c\nimport d",
                       "a d");
        assert_imports(*state,
                       "try:\n    try:\n        import a\n    except Y:\n        import b\n"
                       "except X:\n    import c\nimport d",
                       "a c d");
}

/* It is there, whether or not what it needs is. */
static void what_is_imported_instead_of_ones_own_is_followed(void **state) {
        put_modules(*state, "p/__init__ p/a b");
        put_files(*state, LIBRARY "p/_c.cpython-311-x86_64-linux-gnu.so");
        put_module(*state, "p/m", "try:\n    from . import none\nexcept ImportError:\n    import b\n");
        assert_imports(*state, "import p.m", "p/__init__ p/m b");
        put_module(*state, "p/m", "try:\n    from . import a\nexcept ImportError:\n    import b\n");
        assert_imports(*state, "import p.m", "p/__init__ p/m p/a b");
        put_module(*state, "p/m", "try:\n    from p.a import x\nexcept ImportError:\n    import b\n");
        assert_imports(*state, "import p.m", "p/__init__ p/m p/a b");
        put_module(*state, "p/m", "try:\n    import p.a\nexcept ImportError:\n    import b\n");
        assert_imports(*state, "import p.m", "p/__init__ p/m p/a b");
        put_module(*state, "p/m", "try:\n    from ._c import x\nexcept ImportError:\n    import b\n");
        assert_guess(*state, "'Cmd':['python3','-c','import p.m']",
                     "usr/bin/python3.11 " LIBRARY "p/__init__.py " LIBRARY "p/m.py " LIBRARY
                     "p/_c.cpython-311-x86_64-linux-gnu.so");
}

/* ---- relative names ---- */

static void relative_imports_begin_at_the_package(void **state) {
        struct image *image = *state;
        put_modules(image, "p/b p/c p/q/__init__ p/q/d p/e p/f x b");
        put_module(image, "p/__init__", "from . import b\nfrom .c import name\nfrom .q import d\n");
        put_module(image, "p/q/d", "from ..e import x\nfrom .. import f\nfrom . import none");
        assert_imports(image, "import p", "p/__init__ p/b p/c p/q/__init__ p/q/d p/e p/f");
        put_module(image, "p/__init__", "from .q import (d, # comment\n e)\nfrom .q.d import (x)");
        put_module(image, "p/q/d", "#");
        assert_imports(image, "import p", "p/__init__ p/q/__init__ p/q/d");
}

static void relative_imports_end_at_the_root(void **state) {
        struct image *image = *state;
        char dots[3000];
        memset(dots, '.', sizeof dots);
        put_modules(image, "x");
        put_files(image, "x.py", "usr/x.py");
        zp_autofree char *code =
                zp_format("from %.*s import x\nfrom %.*sx import y\nfrom ...... import x", 3000, dots, 2999, dots);
        put_module(image, "p/__init__", code);
        assert_imports(image, "import p", "p/__init__");
        assert_guess(image, "'Cmd':['python3','-c','from . import x; from ..x import y']", "usr/bin/python3.11");
}

/* ---- what a name means ---- */

static void package_comes_before_extension_before_module(void **state) {
        struct image *image = *state;
        put_modules(image, "a/__init__ a b c d");
        put_libraries(image, LIBRARY "a.so", LIBRARY "lib-dynload/b.cpython-311-x86_64-linux-gnu.so",
                      LIBRARY "c.abi3.so", LIBRARY "d.cpython-310-x86_64-linux-gnu.so",
                      LIBRARY "e.cpython-311-aarch64-linux-gnu.so", LIBRARY "lib-dynload/f.so");
        put_text(image, "srv/main.py", "import a, c, d, e, f, b");
        assert_guess(image, "'Cmd':['python3','/srv/main.py']",
                     "usr/bin/python3.11 srv/main.py " LIBRARY "a/__init__.py " LIBRARY "c.abi3.so " LIBRARY
                     "d.py " LIBRARY "e.cpython-311-aarch64-linux-gnu.so " LIBRARY "lib-dynload/f.so " LIBRARY "b.py");
}

static void extension_is_loaded_with_its_libraries(void **state) {
        struct image *image = *state;
        put_elf(image, LIBRARY "lib-dynload/_z.cpython-311-x86_64-linux-gnu.so", .needed = { "libz.so.1" });
        put_libraries(image, "lib/libz.so.1");
        assert_guess(image, "'Cmd':['python3','-c','import _z']",
                     "usr/bin/python3.11 " LIBRARY "lib-dynload/_z.cpython-311-x86_64-linux-gnu.so lib/libz.so.1");
}

/* Of what only a module needs, most code is last, and all of what only that needs: it is there for its functions. */
static void modules_libraries_have_little_of_their_code_named(void **state) {
        struct image *image = *state;
        struct elf_file elf = make_elf((struct elf_parts){ 0 });
        elf.segments[LOAD].p_filesz = MIB(1);
        elf.segments[MORE] = (Elf64_Phdr){ .p_type = PT_LOAD,
                                           .p_flags = PF_R | PF_X,
                                           .p_offset = MIB(1),
                                           .p_vaddr = ELF_ADDRESS + MIB(1),
                                           .p_filesz = MIB(3) };
        put_elf(image, LIBRARY "m.so", .needed = { "liba.so" });
        put_outside(image, "lib/liba.so", MIB(4), &elf, sizeof elf);
        put_modules(image, "n");
        assert_guess(image, "'Cmd':['python3','-c','import m, n']",
                     "usr/bin/python3.11 " LIBRARY "m.so lib/liba.so[0+524288] lib/liba.so[524288+524288] "
                     "lib/liba.so[1048576+2097152] " LIBRARY "n.py");
        put_elf(image, LIBRARY "m.so", .needed = { "libb.so" });
        put_elf(image, "lib/libb.so", .needed = { "liba.so" });
        assert_guess(image, "'Cmd':['python3','-c','import m, n']",
                     "usr/bin/python3.11 " LIBRARY
                     "m.so lib/libb.so lib/liba.so[0+524288] lib/liba.so[524288+524288] " LIBRARY "n.py");
        put_elf(image, LIBRARY "o.so", .needed = { "liba.so" });
        assert_guess(image, "'Cmd':['python3','-c','import m, o, n, o']",
                     "usr/bin/python3.11 " LIBRARY
                     "m.so lib/libb.so lib/liba.so[0+524288] lib/liba.so[524288+524288] " LIBRARY
                     "o.so lib/liba.so[1048576+2097152] " LIBRARY "n.py");
        put_elf(image, "usr/bin/python3.11", .needed = { "libb.so" });
        assert_guess(image, "'Cmd':['python3','-c','import m, n']",
                     "usr/bin/python3.11 lib/libb.so lib/liba.so[0+524288] lib/liba.so[524288+524288] "
                     "lib/liba.so[1048576+3145728] " LIBRARY "m.so " LIBRARY "n.py");
}

static void large_module_has_its_first_code_named(void **state) {
        struct image *image = *state;
        struct elf_file elf = make_elf((struct elf_parts){ 0 });
        elf.segments[LOAD].p_filesz = KIB(4);
        for (unsigned i = INTERPRETER; i <= MORE; i++)
                elf.segments[i] = (Elf64_Phdr){ .p_type = PT_LOAD,
                                                .p_flags = PF_R | PF_X,
                                                .p_offset = MIB(1) + (i - INTERPRETER) * MIB(3),
                                                .p_vaddr = ELF_ADDRESS + MIB(1) + (i - INTERPRETER) * MIB(3),
                                                .p_filesz = MIB(3) };
        put_outside(image, LIBRARY "m.so", MIB(9), &elf, sizeof elf);
        put_modules(image, "n");
        assert_guess(image, "'Cmd':['python3','-c','import m, n']",
                     "usr/bin/python3.11 " LIBRARY "m.so[0+4096] " LIBRARY "m.so[1048576+3145728] " LIBRARY
                     "m.so[4194304+1048576] " LIBRARY "n.py");
}

static void bytecode_is_named_and_its_source_read(void **state) {
        struct image *image = *state;
        put_module(image, "a", "import p.b");
        put_modules(image, "p/__init__ p/b");
        put_files(image, LIBRARY "__pycache__/a.cpython-311.pyc", LIBRARY "__pycache__/a.cpython-310.pyc",
                  LIBRARY "__pycache__/a.cpython-311.opt-1.pyc", LIBRARY "p/__pycache__/__init__.cpython-311.pyc");
        assert_guess(image, "'Cmd':['python3','-c','import a']",
                     "usr/bin/python3.11 " LIBRARY "__pycache__/a.cpython-311.pyc " LIBRARY
                     "p/__pycache__/__init__.cpython-311.pyc " LIBRARY "p/b.py");
}

static void modules_that_import_each_other_are_read_once(void **state) {
        put_module(*state, "a", "import b, a");
        put_module(*state, "b", "import a\nimport c");
        put_module(*state, "c", "from a import b");
        assert_imports(*state, "import a", "a b c");
}

/* A module's imports are there before the next line of whoever imports it. */
static void modules_are_named_in_the_order_of_their_execution(void **state) {
        put_modules(*state, "a/b c d e f");
        put_module(*state, "a/__init__", "import c\nfrom . import b\nimport d");
        put_module(*state, "c", "import e");
        assert_imports(*state, "import a, f", "a/__init__ c e a/b d f");
}

/* Where `first` and `second` are in the guess: one behind the other. */
static void assert_before(const struct image *image, const char *first, const char *second) {
        uint32_t count;
        zp_autofree char *a = zp_format(LIBRARY "%s.py", first), *b = zp_format(LIBRARY "%s.py", second);
        const uint32_t *before = zp_profile_find(image->profile, a, &count);
        const uint32_t *after = zp_profile_find(image->profile, b, &count);
        assert_non_null(before);
        assert_non_null(after);
        assert_true(*before < *after);
}

/* m0 imports m1 and then n0, and so on: as in Python, the last module's leaf comes first, until they lie too deep. */
static void modules_are_followed_however_deep_they_lie(void **state) {
        for (unsigned i = 0; i < 100; i++) {
                zp_autofree char *name = zp_format("m%u", i), *text = zp_format("import m%u, n%u", i + 1, i);
                zp_autofree char *leaf = zp_format("n%u", i);
                put_module(*state, name, text);
                put_modules(*state, leaf);
        }
        put_text(*state, "srv/main.py", "import m0");
        assert_int_equal(try_guess(*state, "'Cmd':['python3','/srv/main.py']"), 0);
        for (unsigned i = 0; i < 100; i++) {
                zp_autofree char *name = zp_format(LIBRARY "m%u.py", i), *leaf = zp_format(LIBRARY "n%u.py", i);
                assert_true(is_named(*state, name));
                assert_true(is_named(*state, leaf));
        }
        assert_before(*state, "m31", "n30");
        assert_before(*state, "n30", "n0");
        assert_before(*state, "n0", "m40"); /* which waited */
}

/* One module that imports more than may be named at all leaves something to those behind it. */
static void module_with_very_many_imports_leaves_room_for_others(void **state) {
        struct image *image = *state;
        zp_autobuffer struct zp_buffer heavy = { 0 };
        for (unsigned i = 0; i < 4200; i++) {
                zp_autofree char *name = zp_format("h%u", i), *line = zp_format("import h%u\n", i);
                put_modules(image, name);
                zp_buffer_text(&heavy, line);
        }
        put_module(image, "heavy", heavy.data);
        put_modules(image, "app");
        put_text(image, "srv/main.py", "import heavy\nimport app\n");
        assert_int_equal(try_guess(image, "'Cmd':['python3','/srv/main.py']"), 0);
        assert_before(image, "h0", "app");
        assert_before(image, "app", "h3000");
}

static void directory_without_a_module_holds_others(void **state) {
        put_modules(*state, "space/a space/inner/b");
        assert_imports(*state, "import space.a\nfrom space.inner import b", "space/a space/inner/b");
}

/* The import system looks in all directories for a module before it takes a directory that is none. */
static void module_comes_before_a_directory_of_that_name(void **state) {
        put_files(*state, "app/redis/dump.rdb", PACKAGES "redis/__init__.py", PACKAGES "redis/client.py");
        assert_guess(*state, "'WorkingDir':'/app','Cmd':['python3','-c','import redis; from redis import client']",
                     "usr/bin/python3.11 " PACKAGES "redis/__init__.py " PACKAGES "redis/client.py");
}

/* ---- where modules are ---- */

static void modules_are_searched_in_the_interpreters_order(void **state) {
        struct image *image = *state;
        static const char config[] =
                "'WorkingDir':'/app','Env':['PYTHONPATH=/one:/none::/two'],'Cmd':['python3','-c','import m']";
        static const char *const paths[] = { "app/m.py",
                                             "one/m.py",
                                             "two/m.py",
                                             LIBRARY "m.py",
                                             LIBRARY "lib-dynload/m.so",
                                             "usr/local/lib/python3.11/dist-packages/m.py",
                                             PACKAGES "m.py",
                                             "usr/lib/python3/dist-packages/m.py" };
        for (size_t i = sizeof paths / sizeof *paths; i-- > 0;) {
                zp_autofree char *expected = zp_format("usr/bin/python3.11 %s", paths[i]);
                if (strstr(paths[i], ".so"))
                        put_elf(image, paths[i]);
                else
                        put_files(image, paths[i]);
                assert_guess(image, config, expected);
        }
}

static void pythons_own_directories_are_searched_behind_any_number_of_others(void **state) {
        struct image *image = *state;
        zp_autobuffer struct zp_buffer config = { 0 };
        add_link(image->tree, "venv/bin/python", "/usr/bin/python3");
        put_text(image, "venv/pyvenv.cfg", "home = /usr/bin\n");
        put_files(image, "opt/other/x", "opt/modules/a.py", "venv/lib/python3.11/site-packages/b.py",
                  "usr/lib/python3/dist-packages/c.py");
        put_modules(image, "d");
        zp_buffer_text(&config, "'Env':['PYTHONPATH=/opt/modules");
        for (unsigned i = 0; i < 100; i++)
                zp_buffer_text(&config, ":/opt/other");
        zp_buffer_text(&config, "'],'Cmd':['/venv/bin/python','-c','import d, a, b, c']");
        assert_guess(image, config.data,
                     "usr/bin/python3.11 " LIBRARY "d.py opt/modules/a.py venv/lib/python3.11/site-packages/b.py "
                     "usr/lib/python3/dist-packages/c.py");
}

static void environments_modules_come_before_the_systems(void **state) {
        struct image *image = *state;
        add_link(image->tree, "venv/bin/python", "/usr/bin/python3");
        put_text(image, "venv/pyvenv.cfg", "home = /usr/bin\n");
        put_text(image, "venv/bin/serve", "#!/venv/bin/python\nimport a, m, b\n");
        put_files(image, "venv/lib/python3.11/site-packages/a.py", "venv/lib/python3.11/site-packages/m.py",
                  PACKAGES "a.py", PACKAGES "b.py");
        put_modules(image, "m");
        assert_guess(image, "'Env':['PATH=/venv/bin:/usr/bin'],'Cmd':['serve']",
                     "venv/bin/serve usr/bin/python3.11 venv/lib/python3.11/site-packages/a.py " LIBRARY
                     "m.py " PACKAGES "b.py");
        assert_guess(image, "'Cmd':['/venv/bin/python','-c','import a']",
                     "usr/bin/python3.11 venv/lib/python3.11/site-packages/a.py");
        assert_guess(image, "'Cmd':['python3','-c','import a']", "usr/bin/python3.11 " PACKAGES "a.py");
}

static void script_is_run_by_the_python_that_env_finds(void **state) {
        put_text(*state, "usr/bin/tool", "#!/usr/bin/env -S python3 -u\nimport m\n");
        put_files(*state, "usr/bin/env");
        put_modules(*state, "m");
        assert_guess(*state, "'Cmd':['tool']", "usr/bin/tool usr/bin/env usr/bin/python3.11 " LIBRARY "m.py");
        put_text(*state, "usr/bin/tool", "#!/usr/bin/env python3\nimport m\n");
        assert_guess(*state, "'Cmd':['tool']", "usr/bin/tool usr/bin/env usr/bin/python3.11 " LIBRARY "m.py");
}

static void script_is_found_in_the_working_directory(void **state) {
        put_text(*state, "app/main.py", "import m\n");
        put_modules(*state, "m");
        assert_guess(*state, "'WorkingDir':'/app','Cmd':['python3','-u','main.py']",
                     "usr/bin/python3.11 app/main.py " LIBRARY "m.py");
        assert_guess(*state, "'WorkingDir':'/app','Cmd':['/bin/sh','-c','python3 main.py']",
                     "usr/bin/python3.11 app/main.py " LIBRARY "m.py");
}

static void modules_beside_a_script_are_found(void **state) {
        struct image *image = *state;
        put_text(image, "app/tool.py", "import helper");
        put_text(image, "app/helper.py", "import m");
        put_modules(image, "m");
        assert_guess(image, "'Cmd':['python3','/app/tool.py']",
                     "usr/bin/python3.11 app/tool.py app/helper.py " LIBRARY "m.py");
}

static void version_is_taken_from_the_library_when_the_program_has_none(void **state) {
        struct image *image = *state;
        put_elf(image, "opt/py/bin/python");
        add_link(image->tree, "opt/py/lib/python3.8", "python3.12");
        put_files(image, "opt/py/lib/python3/x", "opt/py/lib/python3.12/m.py",
                  "opt/py/lib/python3.12/__pycache__/m.cpython-312.pyc");
        assert_guess(image, "'Cmd':['/opt/py/bin/python','-c','import m']",
                     "opt/py/bin/python opt/py/lib/python3.12/__pycache__/m.cpython-312.pyc");
}

static void interpreter_without_a_library_imports_nothing(void **state) {
        put_elf(*state, "opt/py/bin/python");
        put_elf(*state, "python3.11");
        put_elf(*state, "opt/bin/python-config");
        put_files(*state, "opt/py/m.py", "m.py");
        assert_guess(
                *state,
                "'WorkingDir':'/opt/py','Cmd':['/opt/py/bin/python','/python3.11','/opt/bin/python-config','-m','m']",
                "opt/py/bin/python python3.11 opt/bin/python-config");
}

static void interpreter_starts_with_modules_of_its_own(void **state) {
        struct image *image = *state;
        put_modules(image, "os site encodings/__init__ encodings/utf_8 encodings/cp1252 unused");
        put_files(image, "usr/lib/locale/C.utf8/LC_CTYPE");
        assert_guess(image, "'Cmd':['python3']",
                     "usr/bin/python3.11 usr/lib/locale/C.utf8/LC_CTYPE " LIBRARY "encodings/__init__.py " LIBRARY
                     "encodings/utf_8.py");
}

/* The interpreter has it within itself, but not what it imports. */
static void frozen_modules_are_read_and_not_named(void **state) {
        struct image *image = *state;
        put_modules(image, "importlib/__init__ importlib/_abc");
        put_module(image, "importlib/util", "from ._abc import Loader\n");
        put_module(image, "stat", "import importlib.util\n");
        put_files(image, PACKAGES "stat.py", PACKAGES "p/__init__.py", PACKAGES "p/os.py");
        assert_imports(image, "import stat, p.os",
                       "importlib/__init__ importlib/_abc site-packages/p/__init__ site-packages/p/os");
        put_modules(image, "_collections_abc _sitebuiltins abc codecs genericpath io ntpath os posixpath runpy site "
                           "stat zipimport "
                           "importlib/_bootstrap importlib/_bootstrap_external importlib/machinery");
        assert_imports(
                image,
                "import _collections_abc, _sitebuiltins, abc, codecs, genericpath, io, ntpath, os, posixpath, runpy",
                "");
        assert_imports(
                image,
                "import site, zipimport, importlib._bootstrap, importlib._bootstrap_external, importlib.machinery",
                "importlib/__init__");
        put_files(image, PACKAGES "p/importlib/util.py", PACKAGES "p/importlib/__init__.py");
        assert_imports(image, "import p.importlib.util",
                       "site-packages/p/__init__ site-packages/p/importlib/__init__ site-packages/p/importlib/util");
        put_elf(image, "usr/bin/python3.10");
        put_files(image, "usr/lib/python3.10/stat.py");
        assert_guess(image, "'Cmd':['python3.10','-c','import stat']", "usr/bin/python3.10 usr/lib/python3.10/stat.py");
}

/* ---- what of the command is imported ---- */

static void code_of_the_command_is_read(void **state) {
        put_modules(*state, "a b");
        assert_guess(*state, "'Cmd':['python3','-c','import a\\nfrom b import x\\nx()']",
                     "usr/bin/python3.11 " LIBRARY "a.py " LIBRARY "b.py");
        assert_guess(*state, "'Cmd':['-c','import a']", "");
}

static void module_that_is_run_has_its_main_part_read(void **state) {
        put_modules(*state, "http/__init__ http/server socket pkg/__init__ single");
        put_module(*state, "http/server", "if __name__ == '__main__':\n    import socket");
        put_module(*state, "pkg/__main__", "def main():\n    import single\nif __name__ == '__main__':\n    main()");
        assert_guess(*state, "'Entrypoint':['python3','-m'],'Cmd':['http.server','8000']",
                     "usr/bin/python3.11 " LIBRARY "http/__init__.py " LIBRARY "http/server.py " LIBRARY "socket.py");
        assert_guess(*state, "'Cmd':['python3','-m','pkg']",
                     "usr/bin/python3.11 " LIBRARY "pkg/__init__.py " LIBRARY "pkg/__main__.py " LIBRARY "single.py");
        assert_guess(*state, "'Cmd':['python3','-m']", "usr/bin/python3.11");
}

static void server_imports_what_it_is_told_to_serve(void **state) {
        struct image *image = *state;
        put_text(image, "usr/bin/gunicorn", "#!/usr/bin/python3\nfrom gunicorn.app import run\nrun()\n");
        put_files(image, PACKAGES "gunicorn/__init__.py", PACKAGES "gunicorn/app.py");
        put_text(image, "app/web/__init__.py", "import m");
        put_files(image, "app/web/wsgi.py");
        put_modules(image, "m");
        assert_guess(image, "'WorkingDir':'/app','Cmd':['gunicorn','-b','0.0.0.0:80','web.wsgi:app']",
                     "usr/bin/gunicorn usr/bin/python3.11 " PACKAGES "gunicorn/__init__.py " PACKAGES
                     "gunicorn/app.py app/web/__init__.py " LIBRARY "m.py app/web/wsgi.py");
}

/* What Docker makes of a command that is written without brackets. */
static void command_in_a_shells_text_is_read_too(void **state) {
        put_files(*state, "bin/sh", "app/web.py");
        put_modules(*state, "http/__init__ http/server");
        assert_guess(*state, "'Cmd':['/bin/sh','-c','exec python3 -m http.server']",
                     "bin/sh usr/bin/python3.11 " LIBRARY "http/__init__.py " LIBRARY "http/server.py");
        assert_guess(*state, "'WorkingDir':'/app','Cmd':['/bin/sh','-c','python3 serve --port 80:80 web:app']",
                     "bin/sh usr/bin/python3.11 app/web.py");
}

/* ---- limits ---- */

static void long_names_are_found_nowhere(void **state) {
        char name[20000];
        memset(name, 'n', sizeof name);
        put_modules(*state, "a nnnn");
        for (size_t size = 240; size < sizeof name; size = size < 600 ? size + 1 : size * 2) {
                zp_autofree char *code = zp_format("import %.*s, a.%.*s\nfrom %.*s import x", (int) size, name,
                                                   (int) size, name, (int) size, name);
                assert_imports(*state, code, "a");
        }
}

/* Each would take hours, or much memory, if it were searched to the end. */
static void search_of_many_names_in_many_directories_ends(void **state) {
        struct image *image = *state;
        zp_autobuffer struct zp_buffer code = { 0 }, config = { 0 };
        zp_buffer_text(&config, "'Env':['PYTHONPATH=");
        for (unsigned i = 0; i < 100000; i++)
                zp_buffer_text(&config, "/srv:");
        zp_buffer_text(&config, "'],'Cmd':['python3','/srv/main.py']");
        zp_buffer_text(&code, "import x");
        for (unsigned i = 0; i < 400000; i++)
                zp_buffer_text(&code, ",x");
        put_text(image, "srv/main.py", code.data);
        assert_int_equal(try_guess(image, config.data), 0);
        zp_buffer_clear(&code);
        zp_buffer_text(&code, "from x import x");
        for (unsigned i = 0; i < 60000; i++)
                zp_buffer_text(&code, ";from x import x");
        put_text(image, "srv/main.py", code.data);
        assert_int_equal(try_guess(image, config.data), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                python_test(import_statements_are_followed),
                python_test(what_only_looks_like_an_import_is_not_followed),
                python_test(text_in_triple_quotes_is_not_code),
                python_test(imports_in_functions_are_not_followed),
                python_test(imports_in_functions_under_conditions_are_not_followed),
                python_test(imports_in_functions_of_a_program_are_followed),
                python_test(imports_for_type_checkers_are_not_followed),
                python_test(imports_under_conditions_are_followed),
                python_test(imports_on_other_systems_are_not_followed),
                python_test(main_part_of_a_module_is_not_followed),
                python_test(what_is_imported_instead_is_followed_when_the_first_is_not_found),
                python_test(what_is_imported_instead_of_ones_own_is_followed),
                python_test(relative_imports_begin_at_the_package),
                python_test(relative_imports_end_at_the_root),
                python_test(package_comes_before_extension_before_module),
                python_test(extension_is_loaded_with_its_libraries),
                python_test(modules_libraries_have_little_of_their_code_named),
                python_test(large_module_has_its_first_code_named),
                python_test(bytecode_is_named_and_its_source_read),
                python_test(modules_that_import_each_other_are_read_once),
                python_test(modules_are_named_in_the_order_of_their_execution),
                python_test(modules_are_followed_however_deep_they_lie),
                python_test(module_with_very_many_imports_leaves_room_for_others),
                python_test(directory_without_a_module_holds_others),
                python_test(module_comes_before_a_directory_of_that_name),
                python_test(modules_are_searched_in_the_interpreters_order),
                python_test(pythons_own_directories_are_searched_behind_any_number_of_others),
                python_test(environments_modules_come_before_the_systems),
                python_test(script_is_run_by_the_python_that_env_finds),
                python_test(script_is_found_in_the_working_directory),
                python_test(modules_beside_a_script_are_found),
                python_test(version_is_taken_from_the_library_when_the_program_has_none),
                python_test(interpreter_without_a_library_imports_nothing),
                python_test(interpreter_starts_with_modules_of_its_own),
                python_test(frozen_modules_are_read_and_not_named),
                python_test(code_of_the_command_is_read),
                python_test(module_that_is_run_has_its_main_part_read),
                python_test(server_imports_what_it_is_told_to_serve),
                python_test(command_in_a_shells_text_is_read_too),
                python_test(long_names_are_found_nowhere),
                python_test(search_of_many_names_in_many_directories_ends),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
