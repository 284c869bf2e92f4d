/* src/filesystem against a real kernel: mounts, ext4 features, setting one, and inodes in use. Needs root. */
#include <errno.h>
#include <ext2fs/ext2_fs.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/file.h"
#include "filesystem/filesystem.h"
#include "filesystem/settle.h"
#include "loop_disk.h"
#include "unit.h"

static struct loop_disk disk;
static struct filesystem *filesystem;

static int start(void **state)
{
    (void)state;
    if (!loop_disk_make(&disk, "encrypt", "") || mkdirat(disk.root_fd, "srv", 0755) < 0 ||
        mkdirat(disk.root_fd, "srv/data", 0755) < 0 || mkdirat(disk.root_fd, "bind", 0755) < 0)
        return -1;
    return filesystem_of(disk.root_fd, &filesystem, NULL) == OK ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    filesystem_free(filesystem);
    loop_disk_remove(&disk);
    return 0;
}

static int open_directory(const char *name)
{
    int fd = openat(disk.root_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static void a_filesystem_is_seen_at_its_own_root(void **state)
{
    (void)state;
    _cleanup_(close_fdp) int fd = open_directory("srv/data");
    struct filesystem *found;
    assert_ok(filesystem_of(fd, &found, &error));
    assert_string_equal(found->mount_point, disk.mount_point);
    assert_string_equal(found->source, disk.device);
    assert_string_equal(found->type, "ext4");
    assert_false(found->read_only);
    struct stat status, root;
    assert_int_equal(fstat(fd, &status), 0);
    assert_int_equal(fstat(found->root_fd, &root), 0);
    assert_true(found->device == status.st_dev);
    assert_int_equal(root.st_ino, EXT2_ROOT_INO);
    static const uint8_t zero[16];
    assert_memory_not_equal(found->uuid, zero, sizeof(zero));
    filesystem_free(found);
}

/* Bind srv onto bind, do it, and unbind. */
static void with_bind(void (*doing)(int bound_fd))
{
    char from[256], to[256];
    snprintf(from, sizeof(from), "%s/srv", disk.mount_point);
    snprintf(to, sizeof(to), "%s/bind", disk.mount_point);
    assert_int_equal(mount(from, to, NULL, MS_BIND, NULL), 0);
    int fd = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    doing(fd);
    close(fd);
    umount2(to, MNT_DETACH);
}

static enum error_code bind_code;
static char bind_path[64], bind_mount_point[160];

static void look_through_bind(int bound_fd)
{
    _cleanup_(buffer_done) struct buffer path = {0};
    _cleanup_(close_fdp) int fd = openat(bound_fd, "data", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct filesystem *found = NULL;
    bind_code = filesystem_relative_path(fd, &path, NULL);
    if (!bind_code)
        bind_code = filesystem_of(fd, &found, NULL);
    if (bind_code)
        return;
    snprintf(bind_path, sizeof(bind_path), "%s", path.data);
    snprintf(bind_mount_point, sizeof(bind_mount_point), "%s", found->mount_point);
    filesystem_free(found);
}

static void a_bind_mount_does_not_matter_for_where_a_directory_is(void **state)
{
    (void)state;
    with_bind(look_through_bind);
    assert_int_equal(bind_code, OK);
    assert_string_equal(bind_path, "srv/data");
    assert_string_equal(bind_mount_point, disk.mount_point);
}

static void assert_relative_path(int fd, const char *expected)
{
    _cleanup_(buffer_done) struct buffer path = {0};
    assert_ok(filesystem_relative_path(fd, &path, &error));
    assert_string_equal(path.data, expected);
}

static void paths_inside_a_filesystem_are_found_from_its_root(void **state)
{
    (void)state;
    assert_relative_path(disk.root_fd, "");
    assert_int_equal(mkdirat(disk.root_fd, "srv/two words\n(deleted)", 0755), 0);
    _cleanup_(close_fdp) int fd = open_directory("srv/two words\n(deleted)");
    assert_relative_path(fd, "srv/two words\n(deleted)");
    /* A private clone of the mount, as walks use it, has no path in our namespace at all. */
    _cleanup_(close_fdp) int clone =
        (int)syscall(SYS_open_tree, disk.root_fd, "srv", 1 /* OPEN_TREE_CLONE */ | O_CLOEXEC);
    _cleanup_(close_fdp) int inside = openat(clone, "data", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(inside >= 0);
    assert_relative_path(inside, "srv/data");
}

static void a_removed_directory_has_no_path(void **state)
{
    (void)state;
    assert_int_equal(mkdirat(disk.root_fd, "srv/gone", 0755), 0);
    _cleanup_(close_fdp) int fd = open_directory("srv/gone");
    assert_int_equal(unlinkat(disk.root_fd, "srv/gone", AT_REMOVEDIR), 0);
    _cleanup_(buffer_done) struct buffer path = {0};
    assert_fails(ERR_NOT_FOUND, filesystem_relative_path(fd, &path, &error));
}

static size_t count_below(const char *directory, bool *ret_ours)
{
    struct filesystem_list list;
    assert_ok(filesystem_list_below(directory, &list, &error));
    size_t count = list.count;
    *ret_ours = false;
    for (size_t i = 0; i < list.count; i++)
        *ret_ours |= list.items[i]->device == filesystem->device;
    filesystem_list_done(&list);
    return count;
}

static void filesystems_below_a_directory_are_listed_once(void **state)
{
    (void)state;
    bool ours;
    assert_int_equal(count_below(disk.mount_point, &ours), 1);
    assert_true(ours);
    assert_int_equal(count_below(disk.directory, &ours), 1);
    assert_true(ours);
    assert_true(count_below("/", &ours) >= 1);
    assert_true(ours);
    char beside[256];
    snprintf(beside, sizeof(beside), "%s/srv", disk.mount_point);
    assert_int_equal(count_below(beside, &ours), 0);
}

static void facts_are_those_of_the_superblock(void **state)
{
    (void)state;
    struct ext4_facts facts;
    assert_ok(filesystem_ext4_facts(filesystem, &facts, &error));
    assert_true(facts.encrypt);
    assert_true(facts.has_journal);
    assert_int_equal(facts.journal_bytes, 4 << 20);
    assert_int_equal(facts.block_size, 4096);
    assert_true(facts.blocks_free > 1000 && facts.blocks_free < 16384);
    assert_true(facts.inodes_free > 1000);
    assert_false(facts.verity || facts.casefold || facts.quota || facts.project || facts.inline_data ||
                 facts.bigalloc || facts.dax_always || facts.quota_active);
}

static const struct finding *find_finding(const struct finding_list *findings, const char *kind)
{
    for (size_t i = 0; i < findings->count; i++)
        if (!strcmp(findings->items[i].kind, kind))
            return &findings->items[i];
    return NULL;
}

static void a_good_filesystem_can_carry_a_vault(void **state)
{
    (void)state;
    struct finding_list findings = {0};
    assert_ok(filesystem_check_vault(filesystem, &findings, &error));
    assert_int_equal(findings.count, 0);
}

static void what_is_no_ext4_is_refused_by_its_name(void **state)
{
    (void)state;
    _cleanup_(close_fdp) int fd = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct filesystem *found;
    struct ext4_facts facts;
    _cleanup_(finding_list_done) struct finding_list findings = {0};
    assert_ok(filesystem_of(fd, &found, &error));
    assert_string_equal(found->type, "proc");
    enum error_code code = filesystem_ext4_facts(found, &facts, NULL);
    assert_ok(filesystem_check_vault(found, &findings, &error));
    filesystem_free(found);
    assert_int_equal(code, ERR_UNSUPPORTED);
    assert_int_equal(finding_count_blocking(&findings), 1);
    assert_string_equal(findings.items[0].kind, "not-ext4");
    assert_non_null(strstr(findings.items[0].cause, "proc"));
}

static void a_read_only_mount_is_told(void **state)
{
    (void)state;
    struct filesystem *found = NULL;
    _cleanup_(finding_list_done) struct finding_list findings = {0};
    assert_int_equal(mount(NULL, disk.mount_point, NULL, MS_REMOUNT | MS_RDONLY, ""), 0);
    enum error_code code = filesystem_of(disk.root_fd, &found, NULL);
    if (!code)
        code = filesystem_check_vault(found, &findings, NULL);
    enum error_code enabled = code ? OK : filesystem_enable_encrypt(found, NULL);
    filesystem_free(found);
    assert_int_equal(mount(NULL, disk.mount_point, NULL, MS_REMOUNT, ""), 0);
    assert_int_equal(code, OK);
    assert_int_equal(enabled, OK); /* it is there already, and nothing has to be written */
    assert_non_null(find_finding(&findings, "read-only"));
}

/* What e2fsck makes of a copy of the disk as it is now: the mounted filesystem after a power cut. */
static bool feature_survives_a_power_cut(struct loop_disk *cut)
{
    char image[192], copy[192];
    snprintf(image, sizeof(image), "%s/image", cut->directory);
    snprintf(copy, sizeof(copy), "%s/copy", cut->directory);
    bool made = run_program("cp", image, copy, NULL);
    run_program("e2fsck", "-fy", copy, NULL); /* exits with 1, as it mends what the cut left */
    struct ext2_super_block superblock = {0};
    _cleanup_(close_fdp) int fd = open(copy, O_RDONLY | O_CLOEXEC);
    bool found = made && fd >= 0 && !file_pread_all(fd, &superblock, sizeof(superblock), 1024, NULL) &&
                 superblock.s_magic == EXT2_SUPER_MAGIC &&
                 superblock.s_feature_incompat & EXT4_FEATURE_INCOMPAT_ENCRYPT;
    unlink(copy);
    return found;
}

/* A transaction with the superblock in it: an orphan is added to its list. */
static void journal_the_superblock(struct loop_disk *cut)
{
    _cleanup_(close_fdp) int fd = openat(cut->root_fd, "orphan", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, "x", 1), 1);
    assert_int_equal(unlinkat(cut->root_fd, "orphan", 0), 0);
    assert_int_equal(syncfs(cut->root_fd), 0);
}

struct enabling {
    size_t findings_before, findings_after;
    bool explained, survives;
    enum error_code code;
    struct error error;
};

static struct enabling enable_on(struct loop_disk *cut, bool by_freezing)
{
    struct enabling result = {0};
    struct filesystem *found = NULL;
    _cleanup_(finding_list_done) struct finding_list before = {0}, after = {0};
    journal_the_superblock(cut);
    result.code = filesystem_of(cut->root_fd, &found, &result.error);
    if (!result.code)
        result.code = filesystem_check_vault(found, &before, &result.error);
    const struct finding *missing = find_finding(&before, "no-encrypt-feature");
    result.explained = missing && strstr(missing->remedy, "GRUB older than 2.04") &&
                       strstr(missing->remedy, "--enable-feature") && strstr(missing->remedy, cut->device);
    if (by_freezing && !result.code) {
        if (!run_program("tune2fs", "-O", "encrypt", cut->device, NULL))
            result.code = ERR_FAILED;
        else
            result.code = filesystem_settle_by_freezing(found, &result.error);
    } else if (!result.code) {
        result.code = filesystem_enable_encrypt(found, &result.error);
    }
    if (!result.code)
        result.code = filesystem_check_vault(found, &after, &result.error);
    result.findings_before = before.count;
    result.findings_after = after.count;
    result.survives = feature_survives_a_power_cut(cut);
    filesystem_free(found);
    return result;
}

static void setting_the_feature_works_at_once_and_survives_a_power_cut(void **state)
{
    (void)state;
    for (int by_freezing = 0; by_freezing < 2; by_freezing++) {
        struct loop_disk plain;
        assert_true(loop_disk_make(&plain, "^encrypt", ""));
        struct enabling result = enable_on(&plain, by_freezing);
        loop_disk_remove(&plain); /* before anything can fail */
        if (result.code)
            fail_msg("%s", result.error.message);
        assert_int_equal(result.findings_before, 1);
        assert_true(result.explained);
        assert_int_equal(result.findings_after, 0);
        assert_true(result.survives);
    }
}

static void the_words_of_tune2fs_are_told_when_it_fails(void **state)
{
    (void)state;
    struct loop_disk plain;
    struct filesystem *found = NULL;
    struct error error = ERROR_NONE;
    int on = 1, off = 0;
    assert_true(loop_disk_make(&plain, "^encrypt", ""));
    enum error_code code = filesystem_of(plain.root_fd, &found, &error);
    int device = open(plain.device, O_RDONLY | O_CLOEXEC);
    bool sealed = ioctl(device, BLKROSET, &on) == 0;
    if (!code && sealed)
        code = filesystem_enable_encrypt(found, &error);
    ioctl(device, BLKROSET, &off);
    close(device);
    filesystem_free(found);
    loop_disk_remove(&plain);
    assert_true(sealed);
    assert_int_equal(code, ERR_FAILED);
    assert_non_null(strstr(error.message, "did not set the ext4 feature"));
    assert_non_null(strstr(error.message, "while trying to open"));
    assert_null(strstr(error.message, "\n"));
}

#ifdef HUSK_FAULTS
static void an_error_while_the_feature_is_set_is_told_and_the_next_run_ends_it(void **state)
{
    (void)state;
    struct loop_disk plain;
    struct filesystem *found = NULL;
    struct ext4_facts before = {0}, between = {0};
    assert_true(loop_disk_make(&plain, "^encrypt", ""));
    enum error_code codes[3] = {OK, OK, filesystem_of(plain.root_fd, &found, NULL)};
    if (codes[2] == OK) {
        setenv("HUSK_FAULT", "filesystem.enable-encrypt:eio,filesystem.settle:eio", 1);
        codes[0] = filesystem_enable_encrypt(found, NULL);
        codes[2] = filesystem_ext4_facts(found, &before, NULL);
        codes[1] = filesystem_enable_encrypt(found, NULL);
        unsetenv("HUSK_FAULT");
        codes[2] |= filesystem_ext4_facts(found, &between, NULL);
        codes[2] |= filesystem_enable_encrypt(found, NULL);
    }
    bool survives = feature_survives_a_power_cut(&plain);
    filesystem_free(found);
    loop_disk_remove(&plain);
    assert_int_equal(codes[0], ERR_FAILED);
    assert_int_equal(codes[1], ERR_FAILED);
    assert_int_equal(codes[2], OK);
    assert_false(before.encrypt);
    assert_true(between.encrypt);
    assert_true(survives);
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_filesystem_is_seen_at_its_own_root),
        cmocka_unit_test(a_bind_mount_does_not_matter_for_where_a_directory_is),
        cmocka_unit_test(paths_inside_a_filesystem_are_found_from_its_root),
        cmocka_unit_test(a_removed_directory_has_no_path),
        cmocka_unit_test(filesystems_below_a_directory_are_listed_once),
        cmocka_unit_test(facts_are_those_of_the_superblock),
        cmocka_unit_test(a_good_filesystem_can_carry_a_vault),
        cmocka_unit_test(what_is_no_ext4_is_refused_by_its_name),
        cmocka_unit_test(a_read_only_mount_is_told),
        cmocka_unit_test(setting_the_feature_works_at_once_and_survives_a_power_cut),
        cmocka_unit_test(the_words_of_tune2fs_are_told_when_it_fails),
#ifdef HUSK_FAULTS
        cmocka_unit_test(an_error_while_the_feature_is_set_is_told_and_the_next_run_ends_it),
#endif
    };
    return cmocka_run_group_tests(tests, start, stop);
}
