/* SPDX-License-Identifier: Apache-2.0
 *
 * From an image's command to what its start reads: words, scripts, settings, the JVM's files, and the limits of all
 * that.
 */
#include "guess-fixture.h"

/* ---- words ---- */

static void words_of_entrypoint_and_command_are_programs(void **state) {
        put_elf(*state, "usr/bin/init");
        put_elf(*state, "usr/bin/server");
        put_elf(*state, "usr/bin/other");
        assert_guess(*state, "'Entrypoint':['init','--'],'Cmd':['server','-d']", "usr/bin/init usr/bin/server");
        assert_guess(*state, "'Entrypoint':null,'Cmd':['server']", "usr/bin/server");
}

static void program_is_the_first_in_the_path_that_can_be_executed(void **state) {
        put_text(*state, "opt/a/run", "\n")->mode = S_IFREG | 0644;
        add(((struct image *) *state)->tree, "opt/b/run", S_IFDIR | 0755);
        put_files(*state, "opt/c/run", "opt/d/run", "usr/bin/run");
        assert_guess(*state, "'Env':['PATHS=/opt/d','PATH=/opt/a:/opt/b::/none:/opt/c/:/opt/d'],'Cmd':['run']",
                     "opt/c/run");
        assert_guess(*state, "'Env':['PATH='],'Cmd':['run']", "");
        assert_guess(*state, "'Cmd':['run']", "usr/bin/run");
}

static void relative_words_lie_in_the_working_directory(void **state) {
        put_files(*state, "bin/node", "app/run", "app/bin/run", "app/server.js", "app/node", "server.js");
        assert_guess(*state, "'WorkingDir':'/app','Cmd':['./run','bin/run']", "app/run app/bin/run");
        assert_guess(*state, "'WorkingDir':'/app','Cmd':['node','server.js','node']", "bin/node app/server.js");
        assert_guess(*state, "'WorkingDir':'/app','Cmd':['sh','-c','exec node server.js']", "bin/node app/server.js");
        assert_guess(*state, "'WorkingDir':'/none','Cmd':['node','server.js']", "bin/node server.js");
        assert_guess(*state, "'WorkingDir':'/app/bin','Cmd':['../run','../../server.js']", "app/run server.js");
}

static void shell_text_is_taken_apart(void **state) {
        put_files(*state, "bin/sh", "bin/nginx", "bin/other", "bin/a", "bin/b", "bin/c", "bin/d", "etc/x.conf");
        assert_guess(*state, "'Cmd':['sh','-c','nginx -g x && other;a|b $(c) `d` # sh']",
                     "bin/sh bin/nginx bin/other bin/a bin/b bin/c bin/d");
        assert_guess(*state, "'Cmd':['nginx','--config=/etc/x.conf']", "bin/nginx etc/x.conf");
        assert_guess(*state, "'Cmd':['exec nginx >/etc/x.conf\\n# a\\nb']", "bin/nginx etc/x.conf bin/b");
}

static void builtins_of_a_shell_are_not_programs(void **state) {
        put_files(*state, "usr/bin/echo", "usr/bin/test", "usr/bin/[", "usr/bin/true", "usr/bin/cat");
        assert_guess(*state, "'Cmd':['[ -f x ] && test x; echo true | cat']", "usr/bin/cat");
}

static void links_are_followed_within_the_image(void **state) {
        struct image *image = *state;
        put_files(image, "opt/real/server", "opt/etc/server/main.conf");
        add_link(image->tree, "usr/bin/server", "../../../../opt/current/server");
        add_link(image->tree, "opt/current", "/opt/real");
        add_link(image->tree, "etc/server", "/opt/etc/server");
        add_link(image->tree, "usr/bin/round", "round");
        add_link(image->tree, "usr/bin/nowhere", "/none");
        assert_guess(image, "'Cmd':['round','nowhere','server']", "opt/real/server opt/etc/server/main.conf");
}

static void variables_have_the_values_of_the_environment(void **state) {
        put_files(*state, "bin/sh", "bin/server", "opt/app/run", "opt/app/conf");
        assert_guess(*state,
                     "'Env':['HOME=/opt/app','SERVER=server'],"
                     "'Cmd':['sh','-c','$SERVER -c ${HOME}/conf; X=1 exec $HOME/run $NONE/none']",
                     "bin/sh bin/server opt/app/conf opt/app/run");
}

static void variable_that_is_not_set_has_its_default(void **state) {
        put_files(*state, "bin/sh", "bin/a", "bin/b", "opt/app/a", "opt/app/run", "srv/run", "srv/conf");
        assert_guess(*state, "'Cmd':['sh','-c','${SERVER:-a} --config ${CONF-/srv/conf}; ${HOME:-/srv}/run; ${X-b}']",
                     "bin/sh bin/a srv/conf srv/run bin/b");
        assert_guess(*state,
                     "'Env':['SERVER=b','HOME=/opt/app'],"
                     "'Cmd':['sh','-c','${SERVER:-a}; X=1 exec ${HOME-/srv}/run; Y=${HOME:-/srv}/a b']",
                     "bin/sh bin/b opt/app/run opt/app/a");
        assert_guess(*state, "'Env':['E='],'Cmd':['sh','-c','${E-a}; ${E:-b}']", "bin/sh bin/b");
        assert_guess(*state, "'Cmd':['sh','-c','${X:-a b}; ${X:-\\\"/srv/run\\\"}']", "bin/sh bin/a srv/run");
        assert_guess(*state, "'Env':['X=b'],'Cmd':['sh','-c','${X:+a}; ${X:?a}; ${:-a}; ${-a}; $X:-a; $X-a; ${X:-a']",
                     "bin/sh bin/b");
}

static void script_has_the_defaults_of_its_variables(void **state) {
        put_text(*state, "bin/start", "#!/bin/sh\nexec \"${SERVER:-server}\" -c \"${CONF:-/srv/conf}\"\n");
        put_files(*state, "bin/sh", "bin/server", "srv/conf");
        assert_guess(*state, "'Cmd':['start']", "bin/start bin/sh bin/server srv/conf");
}

static void value_that_is_set_before_a_command_may_be_a_path(void **state) {
        put_files(*state, "bin/sh", "bin/a", "bin/b", "opt/lib.so");
        assert_guess(*state, "'Cmd':['sh','-c','LD_PRELOAD=/opt/lib.so X=b Y= a']", "bin/sh opt/lib.so bin/a");
        assert_guess(*state, "'Env':['LD_PRELOAD=/opt/lib.so'],'Cmd':['a']", "opt/lib.so bin/a");
}

static void arguments_of_a_command_are_no_programs(void **state) {
        put_files(*state, "bin/sh", "bin/a", "bin/b", "bin/c", "usr/bin/env");
        assert_guess(*state, "'Cmd':['sh','-c','if a b; then exec c b; fi; env a b']",
                     "bin/sh bin/a bin/c usr/bin/env");
        assert_guess(*state, "'Entrypoint':['/usr/bin/env','--','a']", "usr/bin/env bin/a");
}

static void parts_of_a_directory_that_is_named_are_run(void **state) {
        put_files(*state, "bin/run-parts", "docker-entrypoint.d/20-b.sh", "docker-entrypoint.d/10-a.envsh", "srv/x");
        assert_guess(*state, "'Cmd':['run-parts','/docker-entrypoint.d/','/srv']",
                     "bin/run-parts docker-entrypoint.d/10-a.envsh docker-entrypoint.d/20-b.sh");
}

/* ---- scripts ---- */

static void script_is_read_with_what_runs_it(void **state) {
        put_elf(*state, "bin/dash");
        put_files(*state, "usr/bin/env", "usr/bin/perl");
        put_text(*state, "bin/a", "#!/bin/dash -e");
        put_text(*state, "bin/b", "#!/usr/bin/env -S perl -w\nuse strict;\n");
        assert_guess(*state, "'Cmd':['a','b']", "bin/a bin/dash bin/b usr/bin/env usr/bin/perl");
}

static void commands_of_shell_scripts_only_are_programs(void **state) {
        put_files(*state, "bin/sh", "bin/perl", "bin/id", "bin/server");
        put_text(*state, "bin/a", "#!/bin/sh\n# perl\nif [ \"$(id -u)\" = 0 ]; then\n\texec server \"$@\"\nfi\n");
        put_text(*state, "bin/b", "#!/bin/perl\nserver;\n");
        assert_guess(*state, "'Cmd':['a']", "bin/a bin/sh bin/id bin/server");
        assert_guess(*state, "'Cmd':['b']", "bin/b bin/perl");
}

static void scripts_that_run_each_other_end(void **state) {
        put_text(*state, "bin/self", "#!/bin/self");
        put_text(*state, "bin/a", "#!/bin/b.sh\na b.sh");
        put_text(*state, "bin/b.sh", "#!/bin/a\na b.sh");
        assert_guess(*state, "'Cmd':['self','a']", "bin/self bin/a bin/b.sh");
}

static void long_chain_of_scripts_is_followed_some_steps(void **state) {
        for (unsigned i = 0; i < 5000; i++) {
                char path[32], text[64];
                snprintf(path, sizeof path, "bin/s%u", i);
                snprintf(text, sizeof text, "#!/bin/s%u\nsh s%u", i + 1, i + 1);
                put_text(*state, path, text);
        }
        assert_guess(*state, "'Cmd':['s0']", "bin/s0 bin/s1 bin/s2 bin/s3");
}

/* ---- settings and data ---- */

static void settings_lie_in_etc_by_the_programs_name(void **state) {
        struct image *image = *state;
        put_files(image, "usr/sbin/nginx", "etc/nginx/nginx.conf", "etc/nginx/conf.d/b.conf", "etc/nginx/conf.d/a.conf",
                  "etc/nginx/conf.d/deep/c.conf", "etc/nginx/sites-available/x", "etc/other/other.conf", "data/nginx");
        put_outside(image, "etc/nginx/large.db", KIB(64) + 1, NULL, 0);
        add_link(image->tree, "etc/nginx/mime.types", "../mime.types");
        put_files(image, "etc/mime.types");
        assert_guess(image, "'Cmd':['nginx']",
                     "usr/sbin/nginx etc/nginx/conf.d/a.conf etc/nginx/conf.d/b.conf etc/mime.types "
                     "etc/nginx/nginx.conf");
        assert_guess(image, "'Cmd':['/data/nginx']", "data/nginx");
}

static void settings_are_some_and_not_all(void **state) {
        struct image *image = *state;
        uint32_t count;
        for (unsigned i = 0; i < 300; i++) {
                char path[64];
                snprintf(path, sizeof path, i % 2 ? "etc/server/%u" : "etc/server/d/%u", i);
                put_files(image, path);
        }
        put_files(image, "bin/server");
        assert_int_equal(try_guess(image, "'Cmd':['server']"), 0);
        zp_profile_entries(image->profile, &count);
        assert_int_equal(count, 1 + 64);
}

static void modules_that_settings_name_are_loaded(void **state) {
        put_files(*state, "bin/apache2", "usr/lib/text.so");
        put_libraries(*state, "usr/lib/apache2/mod_a.so", "usr/lib/apache2/mod_b.so", "usr/lib/libx.so");
        put_elf(*state, "usr/lib/apache2/mod_a.so", .needed = { "libx.so" });
        put_text(*state, "etc/apache2/mods-enabled/a.load", "LoadModule a_module /usr/lib/apache2/mod_a.so\n");
        put_text(*state, "etc/apache2/mods-available/b.load", "LoadModule b_module /usr/lib/apache2/mod_b.so\n");
        assert_guess(*state, "'Cmd':['apache2']",
                     "bin/apache2 etc/apache2/mods-enabled/a.load usr/lib/apache2/mod_a.so usr/lib/libx.so");
}

static void what_a_c_library_looks_into_is_named_with_a_program(void **state) {
        put_files(*state, "bin/a", "etc/passwd", "etc/group", "etc/nsswitch.conf", "etc/ld.so.cache", "etc/shadow");
        assert_guess(*state, "'Cmd':['a']", "etc/passwd etc/group etc/ld.so.cache etc/nsswitch.conf bin/a");
}

static void data_is_named_up_to_a_mebibyte_and_archives_beyond(void **state) {
        put_bytes(*state, "srv/empty", "", 0);
        put_outside(*state, "srv/data", MIB(5), NULL, 0)->mode = S_IFREG | 0644;
        put_outside(*state, "srv/small.jar", MIB(5), NULL, 0)->mode = S_IFREG | 0644;
        put_outside(*state, "srv/app.jar", MIB(50), NULL, 0)->mode = S_IFREG | 0644;
        assert_guess(*state, "'Cmd':['/srv/data','/srv/empty','/srv/small.jar','/srv/app.jar']",
                     "srv/data[0+1048576] srv/small.jar srv/app.jar[51380224+1048576] srv/app.jar[0+32505856]");
}

/* ---- Java ---- */

static void java_loads_its_machine_by_name(void **state) {
        struct image *image = *state;
        put_elf(image, "opt/jdk/bin/java", .needed = { "libjli.so" }, .run_path = "$ORIGIN/../lib");
        put_elf(image, "opt/jdk/lib/libjli.so");
        put_elf(image, "opt/jdk/lib/server/libjvm.so", .needed = { "libm.so.6" });
        put_elf(image, "usr/lib/libm.so.6");
        put_files(image, "opt/jdk/lib/jvm.cfg", "opt/jdk/lib/server/classes.jsa", "opt/jdk/lib/src.zip");
        put_outside(image, "opt/jdk/lib/modules", MIB(100), NULL, 0);
        add_link(image->tree, "usr/bin/java", "/opt/jdk/bin/java");
        assert_guess(image, "'Cmd':['java','-jar','x.jar']",
                     "opt/jdk/bin/java opt/jdk/lib/libjli.so opt/jdk/lib/jvm.cfg opt/jdk/lib/server/libjvm.so "
                     "usr/lib/libm.so.6 opt/jdk/lib/modules[0+1048576] opt/jdk/lib/server/classes.jsa");
}

static void class_path_is_read(void **state) {
        put_files(*state, "bin/java", "app/lib/b.jar", "app/lib/a.jar", "app/classes/x", "app/c.jar");
        assert_guess(*state, "'WorkingDir':'/app','Cmd':['java','-cp','/app/c.jar:lib/*:/app/classes','Main']",
                     "bin/java app/c.jar app/lib/a.jar app/lib/b.jar");
}

/* Each machine's library is the next machine. */
static void machine_that_is_a_machines_library_is_not_followed(void **state) {
        struct image *image = *state;
        for (unsigned i = 0; i < 5000; i++) {
                char path[32], target[32];
                snprintf(path, sizeof path, "j%u/bin/java", i);
                put_files(image, path);
                snprintf(path, sizeof path, "j%u/lib/libjava.so", i);
                snprintf(target, sizeof target, "/j%u/bin/java", i + 1);
                add_link(image->tree, path, target);
        }
        assert_guess(image, "'Cmd':['/j0/bin/java']", "j0/bin/java");
}

/* ---- limits, and what is malformed ---- */

static void image_without_a_command_has_nothing_named(void **state) {
        static const char *const configs[] = { "",          "'Cmd':null",           "'Cmd':[]",       "'Cmd':'server'",
                                               "'Cmd':[1]", "'Cmd':{'0':'server'}", "'Cmd':['','-']", "'Cmd':['none']",
                                               "'cmd':'x'", "'Entrypoint':[[]]" };
        put_files(*state, "bin/server");
        for (size_t i = 0; i < sizeof configs / sizeof *configs; i++)
                assert_guess(*state, configs[i], "");
}

static void members_of_other_types_are_passed_over(void **state) {
        put_files(*state, "usr/bin/server");
        assert_guess(*state,
                     "'Env':[1,null,'PATH',['PATH=/x']],'WorkingDir':7,'Entrypoint':'x','Cmd':[null,{},'server',true]",
                     "usr/bin/server");
        assert_guess(*state, "'Env':'PATH=/x','Cmd':['server']", "usr/bin/server");
}

static void config_that_is_no_json_is_refused(void **state) {
        struct image *image = *state;
        const struct zp_guess_image guessed = { .tree = image->tree, .read = read_outside, .context = image };
        struct zp_profile *profile = NULL;
        assert_int_equal(zp_guess(&guessed, "{", 1, &profile, &image->err), -EBADMSG);
        assert_null(profile);
}

static void same_image_gives_the_same_guess(void **state) {
        struct image *image = *state;
        struct zp_digest first, second;
        static const char config[] = "'Cmd':['sh','-c','server']";
        put_elf(image, "bin/sh", .needed = { "libc.so" });
        put_elf(image, "bin/server", .needed = { "liba.so", "libc.so" });
        put_libraries(image, "lib/libc.so", "usr/lib/liba.so");
        put_files(image, "etc/server/c", "etc/server/a", "etc/server/b");
        assert_int_equal(try_guess(image, config), 0);
        assert_int_equal(zp_profile_digest(image->profile, &first, NULL), 0);
        assert_int_equal(try_guess(image, config), 0);
        assert_int_equal(zp_profile_digest(image->profile, &second, NULL), 0);
        assert_memory_equal(&first, &second, sizeof first);
        assert_true(is_named(image, "usr/lib/liba.so"));
}

static void not_more_than_96_mib_are_named(void **state) {
        struct image *image = *state;
        char config[512] = "'Cmd':['/a.jar'";
        for (char name[] = "a.jar"; name[0] < 'k'; name[0]++) {
                put_outside(image, name, MIB(30), NULL, 0)->mode = S_IFREG | 0644;
                snprintf(config + strlen(config), sizeof config - strlen(config), ",'/%s'", name);
        }
        strcat(config, "]");
        assert_guess(image, config, "a.jar b.jar c.jar d.jar[0+6291456]");
        assert_int_equal(named_bytes(image), MIB(96));
}

/* What the store does not have is no failure; a disk that fails is. */
static void program_that_cannot_be_read_is_named_when_it_is_small(void **state) {
        struct image *image = *state;
        struct elf_file elf = make_elf((struct elf_parts){ .needed = { "liba.so" } });
        put_libraries(image, "usr/lib/liba.so");
        put_outside(image, "bin/a", MIB(3), &elf, sizeof elf);
        assert_guess(image, "'Cmd':['a']", "bin/a[0+1056] usr/lib/liba.so bin/a[1056+3144672]");
        image->outside_result = -EIO;
        assert_int_equal(try_guess(image, "'Cmd':['a']"), -EIO);
        assert_null(image->profile);
        image->outside = NULL;
        assert_guess(image, "'Cmd':['a']", "bin/a");
        put_outside(image, "bin/a", MIB(9), NULL, 0);
        image->outside = NULL;
        assert_guess(image, "'Cmd':['a']", "");
}

static void interrupted_guess_fails(void **state) {
        struct image *image = *state;
        static const char *const configs[] = { "", "'Cmd':['none']", "'Cmd':['a']" };
        put_files(image, "bin/a");
        atomic_store(&image->cancel.requested, true);
        for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
                assert_int_equal(try_guess(image, configs[i]), -ECANCELED);
                assert_null(image->profile);
        }
}

static void repeat(struct zp_buffer *out, const char *text, unsigned times) {
        for (unsigned i = 0; i < times; i++)
                zp_buffer_text(out, text);
}

/* Each would take hours if it were searched to the end. */
static void search_of_many_words_in_many_directories_ends(void **state) {
        static const char *const lists[] = { ":", "a:", "/bin:" };
        for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
                zp_autobuffer struct zp_buffer config = { 0 };
                put_files(*state, "bin/a");
                zp_buffer_text(&config, "'Env':['PATH=/bin:");
                repeat(&config, lists[i], 300000);
                zp_buffer_text(&config, "'],'Cmd':['a ");
                repeat(&config, ";b", 300000);
                zp_buffer_text(&config, "']");
                assert_guess(*state, config.data, "bin/a");
        }
}

static void search_of_many_libraries_in_many_directories_ends(void **state) {
        struct image *image = *state;
        zp_autobuffer struct zp_buffer directories = { 0 }, config = { 0 };
        repeat(&directories, "/x\n", 20000);
        for (unsigned i = 0; i < 40; i++) {
                char path[64];
                snprintf(path, sizeof path, "etc/ld.so.conf.d/%u.conf", i);
                put_text(image, path, directories.data);
        }
        zp_buffer_text(&config, "'Cmd':['");
        for (unsigned i = 0; i < 1000; i++) {
                char path[32];
                snprintf(path, sizeof path, "bin/p%u", i);
                put_elf(image, path, .needed = { "a", "b", "c", "d", "e", "f", "g", "h" });
                snprintf(path, sizeof path, " p%u", i);
                zp_buffer_text(&config, path);
        }
        zp_buffer_text(&config, "']");
        assert_int_equal(try_guess(image, config.data), 0);
        assert_true(is_named(image, "bin/p0"));
}

static void search_of_many_variables_ends(void **state) {
        zp_autobuffer struct zp_buffer config = { 0 };
        zp_buffer_text(&config, "'Env':['A=1'");
        repeat(&config, ",'B=1'", 50000);
        zp_buffer_text(&config, ",'D=");
        repeat(&config, "dddddddddd", 300000);
        zp_buffer_text(&config, "'],'Cmd':['");
        repeat(&config, "$C $D ${D:-x} ", 300000);
        zp_buffer_text(&config, "']");
        assert_int_equal(try_guess(*state, config.data), 0);
}

static void search_of_defaults_within_defaults_ends(void **state) {
        zp_autobuffer struct zp_buffer config = { 0 };
        zp_buffer_text(&config, "'Cmd':['");
        repeat(&config, "${A:-", 600000);
        zp_buffer_text(&config, "','");
        zp_buffer_text(&config, "${A:-");
        repeat(&config, "xxxxxxxxxx", 300000);
        zp_buffer_text(&config, "']");
        assert_int_equal(try_guess(*state, config.data), 0);
}

/* Down and up again, far below the root. */
static void search_along_long_paths_ends(void **state) {
        struct image *image = *state;
        zp_autobuffer struct zp_buffer path = { 0 }, config = { 0 };
        repeat(&path, "d/", 1900);
        zp_buffer_text(&config, "'WorkingDir':'/");
        zp_buffer_text(&config, path.data);
        zp_buffer_text(&path, "file");
        add(image->tree, path.data, S_IFREG | 0644);
        zp_buffer_text(&config, "','Cmd':['");
        for (unsigned i = 0; i < 20000; i++) {
                repeat(&config, "../d/", 60);
                zp_buffer_text(&config, "x ");
        }
        zp_buffer_text(&config, "']");
        assert_int_equal(try_guess(image, config.data), 0);
}

static void search_of_large_directories_ends(void **state) {
        struct image *image = *state;
        zp_autobuffer struct zp_buffer config = { 0 };
        for (unsigned i = 0; i < 100000; i++) {
                char path[64];
                snprintf(path, sizeof path, "srv/x.d/%u-available", i);
                add(image->tree, path, S_IFDIR | 0755);
        }
        for (unsigned i = 0; i < 10000; i++) {
                char path[64];
                snprintf(path, sizeof path, "etc/server/%u", i);
                add_link(image->tree, path, "/srv/x.d");
        }
        put_files(image, "bin/server");
        zp_buffer_text(&config, "'Cmd':['server ");
        repeat(&config, "/srv/x.d ", 10000);
        zp_buffer_text(&config, "']");
        assert_int_equal(try_guess(image, config.data), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                image_test(words_of_entrypoint_and_command_are_programs),
                image_test(program_is_the_first_in_the_path_that_can_be_executed),
                image_test(relative_words_lie_in_the_working_directory),
                image_test(shell_text_is_taken_apart),
                image_test(builtins_of_a_shell_are_not_programs),
                image_test(links_are_followed_within_the_image),
                image_test(variables_have_the_values_of_the_environment),
                image_test(variable_that_is_not_set_has_its_default),
                image_test(script_has_the_defaults_of_its_variables),
                image_test(value_that_is_set_before_a_command_may_be_a_path),
                image_test(arguments_of_a_command_are_no_programs),
                image_test(parts_of_a_directory_that_is_named_are_run),
                image_test(script_is_read_with_what_runs_it),
                image_test(commands_of_shell_scripts_only_are_programs),
                image_test(scripts_that_run_each_other_end),
                image_test(long_chain_of_scripts_is_followed_some_steps),
                image_test(settings_lie_in_etc_by_the_programs_name),
                image_test(settings_are_some_and_not_all),
                image_test(modules_that_settings_name_are_loaded),
                image_test(what_a_c_library_looks_into_is_named_with_a_program),
                image_test(data_is_named_up_to_a_mebibyte_and_archives_beyond),
                image_test(java_loads_its_machine_by_name),
                image_test(class_path_is_read),
                image_test(machine_that_is_a_machines_library_is_not_followed),
                image_test(image_without_a_command_has_nothing_named),
                image_test(members_of_other_types_are_passed_over),
                image_test(config_that_is_no_json_is_refused),
                image_test(same_image_gives_the_same_guess),
                image_test(not_more_than_96_mib_are_named),
                image_test(program_that_cannot_be_read_is_named_when_it_is_small),
                image_test(interrupted_guess_fails),
                image_test(search_of_many_words_in_many_directories_ends),
                image_test(search_of_many_libraries_in_many_directories_ends),
                image_test(search_of_many_variables_ends),
                image_test(search_of_defaults_within_defaults_ends),
                image_test(search_along_long_paths_ends),
                image_test(search_of_large_directories_ends),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
