/* The parsers of src/filesystem: what the kernel and the NFS tools write, and what nobody should. */
#include <stdio.h>
#include <sys/sysmacros.h>

#include "base/buffer.h"
#include "filesystem/exports.h"
#include "filesystem/kernel_release.h"
#include "filesystem/mountinfo.h"
#include "filesystem/overlay.h"
#include "filesystem/processes.h"
#include "filesystem/sock_diag.h"
#include "filesystem/swaps.h"
#include "unit.h"

#define ROOT_MOUNT "26 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard,resuid=65534\n"
#define DATA_MOUNT "61 26 7:3 / /srv/my\\040data\\134x rw shared:7 master:2 - ext4 /dev/loop3 rw,usrquota\n"
#define BIND_MOUNT "8 61 7:3 /a\\012b /mnt rw - ext4 /dev/loop3 rw,usrquota\n"

static struct mount_table parse(const char *text)
{
    struct mount_table table = {0};
    assert_ok(mount_table_parse(text, strlen(text), &table, &error));
    return table;
}

static void a_mount_table_is_read_as_the_kernel_writes_it(void **state)
{
    (void)state;
    _cleanup_(mount_table_done) struct mount_table table = parse(ROOT_MOUNT DATA_MOUNT BIND_MOUNT);
    assert_int_equal(table.count, 3);
    assert_int_equal(table.items[0].id, 26);
    assert_int_equal(table.items[0].parent_id, 1);
    assert_true(table.items[0].device == makedev(254, 0));
    assert_string_equal(table.items[0].root, "/");
    assert_string_equal(table.items[0].mount_point, "/");
    assert_string_equal(table.items[0].type, "ext4");
    assert_string_equal(table.items[0].source, "/dev/vda");
    assert_string_equal(table.items[0].super_options, "rw,discard,resuid=65534");
}

static void any_number_of_optional_fields_is_passed_over(void **state)
{
    (void)state;
    _cleanup_(mount_table_done) struct mount_table table = parse(DATA_MOUNT);
    assert_string_equal(table.items[0].type, "ext4");
    assert_string_equal(table.items[0].source, "/dev/loop3");
}

static void escaped_bytes_in_mount_points_come_back(void **state)
{
    (void)state;
    _cleanup_(mount_table_done) struct mount_table table = parse(DATA_MOUNT BIND_MOUNT);
    assert_string_equal(table.items[0].mount_point, "/srv/my data\\x");
    assert_string_equal(table.items[1].root, "/a\nb");
}

static void an_empty_source_does_not_shift_the_fields(void **state)
{
    (void)state;
    _cleanup_(mount_table_done) struct mount_table table = parse("9 1 0:9 / /x rw - tmpfs  rw,size=1k\n");
    assert_string_equal(table.items[0].source, "");
    assert_string_equal(table.items[0].super_options, "rw,size=1k");
}

static void a_table_without_a_newline_at_its_end_is_whole(void **state)
{
    (void)state;
    _cleanup_(mount_table_done) struct mount_table table = parse("9 1 0:9 / /x rw - tmpfs none rw");
    assert_int_equal(table.count, 1);
    _cleanup_(mount_table_done) struct mount_table empty = parse("");
    assert_int_equal(empty.count, 0);
    assert_null(mount_table_find(&empty, 9));
}

static void mounts_are_found_by_their_id(void **state)
{
    (void)state;
    _cleanup_(mount_table_done) struct mount_table table = parse(ROOT_MOUNT DATA_MOUNT BIND_MOUNT);
    assert_ptr_equal(mount_table_find(&table, 26), &table.items[0]);
    assert_ptr_equal(mount_table_find(&table, 61), &table.items[1]);
    assert_ptr_equal(mount_table_find(&table, 8), &table.items[2]);
    assert_null(mount_table_find(&table, 1));
    assert_null(mount_table_find(&table, 62));
}

static void a_malformed_mount_line_is_told_with_its_number(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "\n",
        "26\n",
        "x 1 254:0 / / rw - ext4 /dev/vda rw\n",
        "26 1 2540 / / rw - ext4 /dev/vda rw\n",
        "26 1 254: / / rw - ext4 /dev/vda rw\n",
        "26 1 254:-1 / / rw - ext4 /dev/vda rw\n",
        "26 99999999999999999999 254:0 / / rw - ext4 /dev/vda rw\n",
        "26 1 254:0 / / rw shared:1 ext4 /dev/vda rw\n",
        "26 1 254:0 / / rw -\n",
        "26 1 254:0 / / rw - ext4 /dev/vda\n",
    };
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        char text[256];
        snprintf(text, sizeof(text), "%s%s", ROOT_MOUNT, lines[i]);
        struct mount_table table;
        assert_fails_saying(ERR_CORRUPT, "line 2", mount_table_parse(text, strlen(text), &table, &error));
    }
}

static void every_cut_of_a_mount_table_is_read_or_refused(void **state)
{
    (void)state;
    static const char text[] = ROOT_MOUNT DATA_MOUNT BIND_MOUNT;
    for (size_t length = 0; length < strlen(text); length++) {
        struct mount_table table = {0};
        if (mount_table_parse(text, length, &table, NULL) == OK)
            assert_true(table.count <= 3);
        mount_table_done(&table);
    }
}

static void only_whole_octal_escapes_are_replaced(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
    } cases[] = {
        {"plain", "plain"}, {"a\\040b", "a b"}, {"\\134040", "\\040"},      {"\\04", "\\04"},  {"\\", "\\"},
        {"\\9\\", "\\9\\"}, {"\\777", "\\777"}, {"\\303\\244", "\303\244"}, {"x\\011", "x\t"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char text[32];
        snprintf(text, sizeof(text), "%s", cases[i].from);
        mount_unescape(text);
        assert_string_equal(text, cases[i].to);
    }
}

static void an_option_is_found_by_its_whole_name(void **state)
{
    (void)state;
    static const char options[] = "rw,usrjquota=aquota.user,dax=always,data=ordered,last";
    size_t length;
    const char *value = mount_option_find(options, "usrjquota", &length);
    assert_non_null(value);
    assert_int_equal(length, strlen("aquota.user"));
    assert_memory_equal(value, "aquota.user", length);
    assert_non_null(mount_option_find(options, "rw", &length));
    assert_int_equal(length, 0);
    assert_non_null(mount_option_find(options, "last", &length));
    assert_int_equal(length, 0);
    assert_null(mount_option_find(options, "usrj", &length));
    assert_null(mount_option_find(options, "dat", &length));
    assert_null(mount_option_find(options, "ax", &length));
    assert_null(mount_option_find("", "rw", &length));
}

static void paths_below_are_told_from_names_that_only_begin_alike(void **state)
{
    (void)state;
    static const struct {
        const char *path, *directory, *below;
    } cases[] = {
        {"srv/data", "srv/data", ""},
        {"srv/data/a", "srv/data", "a"},
        {"srv/data/a/b", "srv", "data/a/b"},
        {"srv/database", "srv/data", NULL},
        {"srv", "srv/data", NULL},
        {"srv/data", "", "srv/data"},
        {"", "", ""},
        {"", "srv", NULL},
        {"/srv/data", "/srv", "data"},
        {"/srv", "/", "srv"},
        {"/", "/", ""},
        {"/", "/srv", NULL},
        {"/srv2", "/srv", NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const char *below = path_below(cases[i].path, cases[i].directory);
        if (!cases[i].below)
            assert_null(below);
        else
            assert_string_equal(below, cases[i].below);
    }
}

/* Collects what a parser calls back with, one per line. */
static enum error_code collect(const char *path, void *context, struct error *reterr)
{
    return buffer_printf(context, reterr, "%s|", path);
}

static void assert_exports(const char *text, const char *expected)
{
    _cleanup_(buffer_done) struct buffer found = {0};
    assert_ok(exports_parse(text, collect, &found, &error));
    assert_string_equal(found.data ? found.data : "", expected);
}

static void exports_are_read_in_all_three_forms(void **state)
{
    (void)state;
    assert_exports("# comment\n\n/srv/nfs 10.0.0.0/8(rw) *(ro)\n/home\n", "/srv/nfs|/home|");
    assert_exports("/srv/nfs\t10.0.0.0/8(rw,sync,wdelay)\n/srv/my\\040data\t*(ro)\n",
                   "/srv/nfs|/srv/my data|");
    assert_exports("# Version 1.1\n# Path Client(Flags) # IPs\n/srv/nfs\t10.0.0.1(rw)\n", "/srv/nfs|");
}

static void exports_may_be_quoted_continued_and_indented(void **state)
{
    (void)state;
    assert_exports("  \"/srv/two words\" *(ro)\n", "/srv/two words|");
    assert_exports("\"/srv/no end", "/srv/no end|");
    assert_exports("/srv/a \\\n  10.0.0.1(rw) \\\n  10.0.0.2(rw)\n/srv/b *(ro)\n", "/srv/a|/srv/b|");
    assert_exports("/srv/sp\\\nlit *(ro)", "/srv/split|");
    assert_exports("-async,rw\n*(ro)\nrelative *(ro)\n", "");
    assert_exports("", "");
    assert_exports("\\", "");
    assert_exports("/\n", "/|");
}

static void only_swap_files_count_as_such(void **state)
{
    (void)state;
    _cleanup_(buffer_done) struct buffer found = {0};
    assert_ok(swaps_parse("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
                          "/dev/vda2                               partition\t1048572\t\t0\t\t-2\n"
                          "/swapfile                               file\t\t1048572\t\t0\t\t-3\n"
                          "/srv/my\\040swap\\040(deleted) file 4 0 -4\n"
                          "/filed fileserver 4 0 -4\n"
                          "/short file",
                          collect, &found, &error));
    assert_string_equal(found.data, "/swapfile|/srv/my swap (deleted)|/short|");
}

static void assert_layers(const char *options, const char *expected)
{
    _cleanup_(buffer_done) struct buffer found = {0};
    assert_ok(overlay_layers_parse(options, collect, &found, &error));
    assert_string_equal(found.data ? found.data : "", expected);
}

static void layers_of_an_overlay_are_listed(void **state)
{
    (void)state;
    assert_layers("rw,lowerdir=/a:/b/c,upperdir=/u,workdir=/w,xino=off", "/a|/b/c|/u|/w|");
    assert_layers("ro,lowerdir=l/ABC:l/DEF", "l/ABC|l/DEF|");
    assert_layers("rw,lowerdir+=/a:b,lowerdir+=/c,datadir+=/d", "/a:b|/c|/d|");
    assert_layers("rw,lowerdir=/a::/data1::/data2", "/a|/data1|/data2|");
    assert_layers("rw,redirect_dir=on", "");
}

static void escapes_in_layers_come_back(void **state)
{
    (void)state;
    /* A colon in a name is \: for overlayfs, and mountinfo shows the backslash as \134 and a comma as \054.
     */
    assert_layers("rw,lowerdir=/a\\134:b:/c\\054d\\040e,upperdir=/u\\134:v", "/a:b|/c,d e|/u:v|");
    assert_layers("rw,lowerdir=/a\\134\\134b:\\134", "/a\\b|\\|");
}

static void only_numbers_are_process_directories(void **state)
{
    (void)state;
    assert_int_equal(process_number("1"), 1);
    assert_int_equal(process_number("4194304"), 4194304);
    assert_int_equal(process_number("self"), 0);
    assert_int_equal(process_number("12x"), 0);
    assert_int_equal(process_number(""), 0);
    assert_int_equal(process_number("99999999999"), 0);
}

static void kernels_before_5_7_will_not_do(void **state)
{
    (void)state;
    static const struct {
        const char *release;
        bool will_do;
    } cases[] = {
        {"4.15.0-213-generic", false},
        {"5.4.0-150-generic", false},
        {"5.6.19", false},
        {"5.7", true},
        {"5.7.0", true},
        {"5.10.0-28-amd64", true},
        {"6.1.0-18", true},
        {"10.0", true},
        {"3.10.0-1160.el7", false},
        {"unknown", false},
        {"", false},
        {"6", false},
        {"6.", false},
        {"99999999999999999999.1", false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        if (kernel_release_will_do(cases[i].release) != cases[i].will_do)
            fail_msg("%s", cases[i].release);
}

static enum error_code collect_socket(uint64_t socket_inode, const char *path, void *context,
                                      struct error *reterr)
{
    return buffer_printf(context, reterr, "%llu %s|", (unsigned long long)socket_inode, path);
}

static void sockets_with_a_path_are_listed(void **state)
{
    (void)state;
    _cleanup_(buffer_done) struct buffer found = {0};
    assert_ok(unix_sockets_parse("Num       RefCount Protocol Flags    Type St Inode Path\n"
                                 "0000000000000000: 00000002 00000000 00010000 0001 01    42 /run/a\n"
                                 "0000000000000000: 00000003 00000000 00000000 0001 03 12345\n"
                                 "0000000000000000: 00000002 00000000 00010000 0001 01 43 @abstract\n"
                                 "0000000000000000: 00000002 00000000 00010000 0001 01 44 relative\n"
                                 "0000000000000000: 00000002 00000000 00010000 0002 01 45 /run/two words\n"
                                 "0000000000000000: 00000002\n"
                                 "\n"
                                 "0000000000000000: 00000002 00000000 00010000 0001 01 46 /run/last",
                                 collect_socket, &found, &error));
    assert_string_equal(found.data, "42 /run/a|45 /run/two words|46 /run/last|");
}

static enum error_code parse_all(struct error *reterr)
{
    struct mount_table table = {0};
    static const char text[] = ROOT_MOUNT DATA_MOUNT;
    enum error_code code = mount_table_parse(text, strlen(text), &table, reterr);
    mount_table_done(&table);
    _cleanup_(buffer_done) struct buffer found = {0};
    if (!code)
        code = exports_parse("/a *(ro)\n", collect, &found, reterr);
    if (!code)
        code = swaps_parse("/a file 1 1 1\n", collect, &found, reterr);
    return code ? code : overlay_layers_parse("lowerdir=/a:/b", collect, &found, reterr);
}

static void running_out_of_memory_is_told(void **state)
{
    (void)state;
    enum error_code code = OK;
    with_every_allocation_failing(code = parse_all(NULL), assert_int_equal(code, ERR_NO_MEMORY));
    assert_int_equal(code, OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mount_table_is_read_as_the_kernel_writes_it),
        cmocka_unit_test(any_number_of_optional_fields_is_passed_over),
        cmocka_unit_test(escaped_bytes_in_mount_points_come_back),
        cmocka_unit_test(an_empty_source_does_not_shift_the_fields),
        cmocka_unit_test(a_table_without_a_newline_at_its_end_is_whole),
        cmocka_unit_test(mounts_are_found_by_their_id),
        cmocka_unit_test(a_malformed_mount_line_is_told_with_its_number),
        cmocka_unit_test(every_cut_of_a_mount_table_is_read_or_refused),
        cmocka_unit_test(only_whole_octal_escapes_are_replaced),
        cmocka_unit_test(an_option_is_found_by_its_whole_name),
        cmocka_unit_test(paths_below_are_told_from_names_that_only_begin_alike),
        cmocka_unit_test(exports_are_read_in_all_three_forms),
        cmocka_unit_test(exports_may_be_quoted_continued_and_indented),
        cmocka_unit_test(only_swap_files_count_as_such),
        cmocka_unit_test(layers_of_an_overlay_are_listed),
        cmocka_unit_test(escapes_in_layers_come_back),
        cmocka_unit_test(kernels_before_5_7_will_not_do),
        cmocka_unit_test(sockets_with_a_path_are_listed),
        cmocka_unit_test(only_numbers_are_process_directories),
        cmocka_unit_test(running_out_of_memory_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
