/* src/fscrypt against a real kernel and a real ext4. Needs root. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fscrypt.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "fscrypt/errors.h"
#include "fscrypt/fscrypt.h"
#include "loop_disk.h"
#include "unit.h"

static struct loop_disk disk;

static int start(void **state)
{
    (void)state;
    return secret_start(NULL) == OK && loop_disk_make(&disk, "encrypt", "") ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    loop_disk_remove(&disk);
    return 0;
}

/* A new key on the disk. */
static struct fscrypt_identifier add_key(struct secret **ret_key)
{
    struct fscrypt_identifier identifier = {0};
    assert_ok(secret_new_random(FSCRYPT_MASTER_KEY_SIZE, ret_key, &error));
    assert_ok(fscrypt_add_key(disk.root_fd, *ret_key, &identifier, &error));
    return identifier;
}

static int make_directory(const char *name)
{
    assert_true(mkdirat(disk.root_fd, name, 0700) == 0 || errno == EEXIST);
    int fd = openat(disk.root_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static void make_file(int directory_fd, const char *name, const char *content)
{
    _cleanup_(close_fdp) int fd = openat(directory_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, strlen(content)), strlen(content));
    assert_int_equal(fsync(fd), 0);
}

static enum fscrypt_key_state key_state(const struct fscrypt_identifier *identifier)
{
    enum fscrypt_key_state key_state = FSCRYPT_KEY_ABSENT;
    assert_ok(fscrypt_key_state(disk.root_fd, identifier, &key_state, &error));
    return key_state;
}

static enum fscrypt_removal remove_key(const struct fscrypt_identifier *identifier)
{
    enum fscrypt_removal removal = FSCRYPT_WAS_ABSENT;
    assert_ok(fscrypt_remove_key(disk.root_fd, identifier, &removal, &error));
    return removal;
}

static void a_key_is_there_from_adding_to_removing(void **state)
{
    (void)state;
    _cleanup_(secret_freep) struct secret *key = NULL;
    struct fscrypt_identifier unknown = {.bytes = "no such key"};
    assert_int_equal(key_state(&unknown), FSCRYPT_KEY_ABSENT);
    struct fscrypt_identifier identifier = add_key(&key);
    assert_int_equal(key_state(&identifier), FSCRYPT_KEY_PRESENT);
    assert_int_equal(remove_key(&identifier), FSCRYPT_REMOVED);
    assert_int_equal(key_state(&identifier), FSCRYPT_KEY_ABSENT);
    assert_int_equal(remove_key(&identifier), FSCRYPT_WAS_ABSENT);
}

static void the_same_key_always_has_the_same_identifier(void **state)
{
    (void)state;
    _cleanup_(secret_freep) struct secret *key = NULL, *other_key = NULL;
    struct fscrypt_identifier first = add_key(&key), second = {0};
    assert_ok(fscrypt_add_key(disk.root_fd, key, &second, &error)); /* adding twice is fine */
    assert_memory_equal(&first, &second, sizeof(first));
    struct fscrypt_identifier other = add_key(&other_key);
    assert_memory_not_equal(&first, &other, sizeof(first));
    remove_key(&first);
    remove_key(&other);
}

static void a_key_of_a_wrong_size_is_refused(void **state)
{
    (void)state;
    _cleanup_(secret_freep) struct secret *key = NULL;
    struct fscrypt_identifier identifier;
    assert_ok(secret_new_random(FSCRYPT_MASTER_KEY_SIZE - 1, &key, &error));
    assert_fails(ERR_USAGE, fscrypt_add_key(disk.root_fd, key, &identifier, &error));
}

static void a_policy_is_read_back_with_and_without_the_key(void **state)
{
    (void)state;
    _cleanup_(secret_freep) struct secret *key = NULL;
    struct fscrypt_identifier identifier = add_key(&key), read = {0};
    enum fscrypt_policy_state policy = FSCRYPT_FOREIGN_POLICY;
    {
        _cleanup_(close_fdp) int fd = make_directory("read-back");
        assert_ok(fscrypt_get_policy(fd, &policy, &read, &error));
        assert_int_equal(policy, FSCRYPT_PLAIN);
        assert_ok(fscrypt_set_policy(fd, &identifier, &error));
        assert_ok(fscrypt_set_policy(fd, &identifier, &error)); /* the same again is already so */
        make_file(fd, "file", "content");
        _cleanup_(close_fdp) int file = openat(fd, "file", O_RDONLY | O_CLOEXEC);
        assert_ok(fscrypt_get_policy(file, &policy, &read, &error));
        assert_int_equal(policy, FSCRYPT_HUSK_POLICY);
    }
    assert_int_equal(remove_key(&identifier), FSCRYPT_REMOVED);
    _cleanup_(close_fdp) int fd = make_directory("read-back");
    assert_ok(fscrypt_get_policy(fd, &policy, &read, &error));
    assert_int_equal(policy, FSCRYPT_HUSK_POLICY);
    assert_memory_equal(&read, &identifier, sizeof(read));
    assert_true(openat(fd, "file", O_RDONLY | O_CLOEXEC) < 0);
}

static void nonces_are_told_without_the_key_and_differ(void **state)
{
    (void)state;
    _cleanup_(secret_freep) struct secret *key = NULL;
    struct fscrypt_identifier identifier = add_key(&key);
    struct fscrypt_nonce first, second, again;
    {
        _cleanup_(close_fdp) int one = make_directory("nonce-1"), two = make_directory("nonce-2");
        assert_fails(ERR_NOT_FOUND, fscrypt_get_nonce(one, &first, &error));
        assert_ok(fscrypt_set_policy(one, &identifier, &error));
        assert_ok(fscrypt_set_policy(two, &identifier, &error));
        assert_ok(fscrypt_get_nonce(one, &first, &error));
        assert_ok(fscrypt_get_nonce(two, &second, &error));
        assert_memory_not_equal(&first, &second, sizeof(first));
    }
    remove_key(&identifier);
    _cleanup_(close_fdp) int one = make_directory("nonce-1");
    assert_ok(fscrypt_get_nonce(one, &again, &error));
    assert_memory_equal(&first, &again, sizeof(first));
}

static void a_directory_that_cannot_take_a_policy_says_why(void **state)
{
    (void)state;
    _cleanup_(secret_freep) struct secret *key = NULL, *other_key = NULL;
    struct fscrypt_identifier identifier = add_key(&key), other = add_key(&other_key);
    _cleanup_(close_fdp) int full = make_directory("full"), taken = make_directory("taken");
    make_file(full, "file", "content");
    assert_fails_saying(ERR_DENIED, "not empty", fscrypt_set_policy(full, &identifier, &error));
    assert_ok(fscrypt_set_policy(taken, &identifier, &error));
    assert_fails_saying(ERR_EXISTS, "another encryption policy", fscrypt_set_policy(taken, &other, &error));
    _cleanup_(close_fdp) int file = openat(full, "file", O_RDONLY | O_CLOEXEC);
    assert_fails_saying(ERR_UNSUPPORTED, "not a directory", fscrypt_set_policy(file, &identifier, &error));
    _cleanup_(close_fdp) int memory = open("/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_fails(ERR_UNSUPPORTED, fscrypt_set_policy(memory, &identifier, &error));
    struct error error = ERROR_NONE;
    assert_int_equal(fscrypt_set_policy(disk.root_fd, &identifier, &error), ERR_DENIED); /* not empty, too */
    assert_true(error.remedy[0]);
    remove_key(&identifier);
    remove_key(&other);
}

static void set_raw_policy(int fd, const struct fscrypt_policy_v2 *policy)
{
    assert_int_equal(ioctl(fd, FS_IOC_SET_ENCRYPTION_POLICY, policy), 0);
}

static void policies_of_another_form_are_foreign(void **state)
{
    (void)state;
    static const struct fscrypt_policy_v2 forms[] = {
        {.version = 2, .contents_encryption_mode = 1, .filenames_encryption_mode = 4, .flags = 2},
        {.version = 2, .contents_encryption_mode = 1, .filenames_encryption_mode = 4, .flags = 3 | 8},
    };
    _cleanup_(secret_freep) struct secret *key = NULL;
    struct fscrypt_identifier identifier = add_key(&key), read;
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        char name[32];
        snprintf(name, sizeof(name), "foreign-%zu", i);
        _cleanup_(close_fdp) int fd = make_directory(name);
        struct fscrypt_policy_v2 form = forms[i];
        memcpy(form.master_key_identifier, identifier.bytes, sizeof(identifier.bytes));
        if (form.flags & FSCRYPT_POLICY_FLAG_IV_INO_LBLK_64 &&
            ioctl(fd, FS_IOC_SET_ENCRYPTION_POLICY, &form) < 0) {
            assert_int_equal(errno, EINVAL); /* needs the feature stable_inodes */
            continue;
        }
        set_raw_policy(fd, &form);
        enum fscrypt_policy_state policy = FSCRYPT_PLAIN;
        assert_ok(fscrypt_get_policy(fd, &policy, &read, &error));
        assert_int_equal(policy, FSCRYPT_FOREIGN_POLICY);
    }
    _cleanup_(close_fdp) int fd = make_directory("foreign-v1");
    struct fscrypt_policy_v1 old = {.contents_encryption_mode = 1,
                                    .filenames_encryption_mode = 4,
                                    .flags = 3,
                                    .master_key_descriptor = "old"};
    assert_int_equal(ioctl(fd, FS_IOC_SET_ENCRYPTION_POLICY, &old), 0);
    enum fscrypt_policy_state policy = FSCRYPT_PLAIN;
    assert_ok(fscrypt_get_policy(fd, &policy, &read, &error));
    assert_int_equal(policy, FSCRYPT_FOREIGN_POLICY);
    remove_key(&identifier);
}

static void files_elsewhere_are_plain(void **state)
{
    (void)state;
    _cleanup_(close_fdp) int memory = open("/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum fscrypt_policy_state policy = FSCRYPT_FOREIGN_POLICY;
    struct fscrypt_identifier identifier;
    assert_ok(fscrypt_get_policy(memory, &policy, &identifier, &error));
    assert_int_equal(policy, FSCRYPT_PLAIN);
    assert_fails(ERR_UNSUPPORTED, fscrypt_get_nonce(memory, &(struct fscrypt_nonce){0}, &error));
}

static void a_key_in_use_goes_only_in_part_and_wholly_later(void **state)
{
    (void)state;
    _cleanup_(secret_freep) struct secret *key = NULL;
    struct fscrypt_identifier identifier = add_key(&key);
    {
        _cleanup_(close_fdp) int fd = make_directory("in-use");
        assert_ok(fscrypt_set_policy(fd, &identifier, &error));
        make_file(fd, "file", "content");
        _cleanup_(close_fdp) int file = openat(fd, "file", O_RDONLY | O_CLOEXEC);
        assert_int_equal(remove_key(&identifier), FSCRYPT_REMOVED_BUSY);
        assert_int_equal(key_state(&identifier), FSCRYPT_KEY_INCOMPLETELY_REMOVED);
        char byte;
        assert_int_equal(pread(file, &byte, 1, 0), 1); /* its own key is still there */
    }
    assert_int_equal(remove_key(&identifier), FSCRYPT_REMOVED);
    assert_int_equal(key_state(&identifier), FSCRYPT_KEY_ABSENT);
}

static void priming_reads_a_file_and_needs_the_key(void **state)
{
    (void)state;
    _cleanup_(secret_freep) struct secret *key = NULL;
    struct fscrypt_identifier identifier = add_key(&key);
    {
        _cleanup_(close_fdp) int fd = make_directory("prime");
        assert_ok(fscrypt_set_policy(fd, &identifier, &error));
        assert_ok(fscrypt_prime(fd, &error)); /* empty */
        assert_int_equal(mkdirat(fd, "sub", 0700), 0);
        assert_int_equal(mkfifoat(fd, "fifo", 0600), 0); /* must not be waited for */
        assert_int_equal(symlinkat("/etc/passwd", fd, "link"), 0);
        _cleanup_(close_fdp) int sub = openat(fd, "sub", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        make_file(sub, "file", "content");
        assert_ok(fscrypt_prime(fd, &error));
    }
    assert_int_equal(remove_key(&identifier), FSCRYPT_REMOVED);
    _cleanup_(close_fdp) int fd = make_directory("prime");
    assert_fails(ERR_LOCKED, fscrypt_prime(fd, &error));
}

static void priming_the_derivation_touches_no_other_key(void **state)
{
    (void)state;
    _cleanup_(secret_freep) struct secret *key = NULL;
    struct fscrypt_identifier identifier = add_key(&key);
    assert_ok(fscrypt_prime_derivation(disk.root_fd, &error));
    assert_int_equal(key_state(&identifier), FSCRYPT_KEY_PRESENT);
    assert_int_equal(remove_key(&identifier), FSCRYPT_REMOVED);
    assert_ok(fscrypt_prime_derivation(disk.root_fd, &error));
}

static void a_filesystem_without_the_feature_says_what_to_do(void **state)
{
    (void)state;
    struct loop_disk plain;
    assert_true(loop_disk_make(&plain, "^encrypt", ""));
    _cleanup_(secret_freep) struct secret *key = NULL;
    struct fscrypt_identifier identifier = {0};
    struct error adding = ERROR_NONE, setting = ERROR_NONE;
    enum fscrypt_policy_state policy = FSCRYPT_FOREIGN_POLICY;
    assert_ok(secret_new_random(FSCRYPT_MASTER_KEY_SIZE, &key, &error));
    enum error_code added = fscrypt_add_key(plain.root_fd, key, &identifier, &adding);
    enum error_code set = fscrypt_set_policy(plain.root_fd, &identifier, &setting);
    enum error_code got = fscrypt_get_policy(plain.root_fd, &policy, &identifier, NULL);
    loop_disk_remove(&plain); /* before anything can fail */
    assert_int_equal(added, ERR_UNSUPPORTED);
    assert_int_equal(set, ERR_UNSUPPORTED);
    assert_int_equal(got, OK);
    assert_int_equal(policy, FSCRYPT_PLAIN);
    assert_non_null(strstr(adding.message, "\"encrypt\" is not set"));
    assert_non_null(strstr(adding.remedy, "tune2fs -O encrypt"));
    assert_non_null(strstr(setting.remedy, "--enable-feature"));
}

static void unmounting_drops_the_keys(void **state)
{
    (void)state;
    _cleanup_(secret_freep) struct secret *key = NULL;
    struct fscrypt_identifier identifier = add_key(&key);
    assert_true(loop_disk_remount(&disk, ""));
    assert_int_equal(key_state(&identifier), FSCRYPT_KEY_ABSENT);
}

static void every_errno_has_its_words(void **state)
{
    (void)state;
    static const struct fscrypt_case special[] = {{EINVAL, ERR_EXISTS, "special", "do special things"}};
    struct error error = ERROR_NONE;
    assert_int_equal(fscrypt_error(&error, EINVAL, "cannot do it", special, 1), ERR_EXISTS);
    assert_string_equal(error.message, "cannot do it: special");
    assert_string_equal(error.remedy, "do special things");
    assert_int_equal(error.os_errno, EINVAL);
    assert_int_equal(fscrypt_error(&error, EKEYREJECTED, "cannot do it", special, 1), ERR_CORRUPT);
    assert_int_equal(fscrypt_error(&error, EDQUOT, "cannot do it", NULL, 0), ERR_NO_SPACE);
    assert_non_null(strstr(error.remedy, "kernel.keys"));
    assert_int_equal(fscrypt_error(&error, EXDEV, "cannot do it", special, 1), ERR_FAILED);
    assert_non_null(strstr(error.message, strerror(EXDEV)));
    assert_int_equal(fscrypt_error(NULL, ENOKEY, "cannot do it", NULL, 0), ERR_LOCKED);
}

#ifdef HUSK_FAULTS
/* True when doing ended with the crash that fault asks for. */
static bool crashes_at(const char *fault, void (*doing)(void))
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        setenv("HUSK_FAULT", fault, 1);
        doing();
        _exit(0);
    }
    int status = 0;
    return child > 0 && waitpid(child, &status, 0) == child && WIFSIGNALED(status) &&
           WTERMSIG(status) == SIGKILL;
}

/* What the children work on. */
static struct secret *crash_key;
static struct fscrypt_identifier crash_identifier;
static int crash_fd;

static void crash_adding(void)
{
    _exit(fscrypt_add_key(disk.root_fd, crash_key, &crash_identifier, NULL) != OK);
}

static void crash_setting(void)
{
    _exit(fscrypt_set_policy(crash_fd, &crash_identifier, NULL) != OK);
}

static void crash_removing(void)
{
    enum fscrypt_removal removal;
    _exit(fscrypt_remove_key(disk.root_fd, &crash_identifier, &removal, NULL) != OK);
}

static void a_crash_before_or_after_a_step_leaves_it_undone_or_done(void **state)
{
    (void)state;
    enum fscrypt_policy_state policy = FSCRYPT_FOREIGN_POLICY;
    struct fscrypt_identifier read;
    _cleanup_(close_fdp) int fd = make_directory("crash");
    crash_fd = fd;
    crash_identifier = add_key(&crash_key);
    assert_int_equal(remove_key(&crash_identifier), FSCRYPT_REMOVED);
    assert_true(crashes_at("fscrypt.add-key:crash", crash_adding));
    assert_int_equal(key_state(&crash_identifier), FSCRYPT_KEY_ABSENT);
    assert_true(crashes_at("fscrypt.add-key.after:crash", crash_adding));
    assert_int_equal(key_state(&crash_identifier), FSCRYPT_KEY_PRESENT);

    assert_true(crashes_at("fscrypt.set-policy:crash", crash_setting));
    assert_ok(fscrypt_get_policy(fd, &policy, &read, &error));
    assert_int_equal(policy, FSCRYPT_PLAIN);
    assert_true(crashes_at("fscrypt.set-policy.after:crash", crash_setting));
    assert_ok(fscrypt_get_policy(fd, &policy, &read, &error));
    assert_int_equal(policy, FSCRYPT_HUSK_POLICY);

    close_fdp(&fd);
    assert_true(crashes_at("fscrypt.remove-key:crash", crash_removing));
    assert_int_equal(key_state(&crash_identifier), FSCRYPT_KEY_PRESENT);
    assert_true(crashes_at("fscrypt.remove-key.after:crash", crash_removing));
    assert_int_equal(key_state(&crash_identifier), FSCRYPT_KEY_ABSENT);
    secret_free(crash_key);
}

static void an_error_at_a_step_is_told_and_changes_nothing(void **state)
{
    (void)state;
    _cleanup_(secret_freep) struct secret *key = NULL;
    struct fscrypt_identifier identifier = add_key(&key), read;
    _cleanup_(close_fdp) int fd = make_directory("error");
    enum fscrypt_removal removal;
    enum fscrypt_policy_state policy = FSCRYPT_FOREIGN_POLICY;
    setenv("HUSK_FAULT", "fscrypt.add-key:eio,fscrypt.set-policy:enospc,fscrypt.remove-key:eio", 1);
    assert_fails(ERR_FAILED, fscrypt_add_key(disk.root_fd, key, &read, &error));
    assert_fails(ERR_NO_SPACE, fscrypt_set_policy(fd, &identifier, &error));
    assert_fails(ERR_FAILED, fscrypt_remove_key(disk.root_fd, &identifier, &removal, &error));
    unsetenv("HUSK_FAULT");
    assert_int_equal(key_state(&identifier), FSCRYPT_KEY_PRESENT);
    assert_ok(fscrypt_get_policy(fd, &policy, &read, &error));
    assert_int_equal(policy, FSCRYPT_PLAIN);
    assert_int_equal(remove_key(&identifier), FSCRYPT_REMOVED);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_is_there_from_adding_to_removing),
        cmocka_unit_test(the_same_key_always_has_the_same_identifier),
        cmocka_unit_test(a_key_of_a_wrong_size_is_refused),
        cmocka_unit_test(a_policy_is_read_back_with_and_without_the_key),
        cmocka_unit_test(nonces_are_told_without_the_key_and_differ),
        cmocka_unit_test(a_directory_that_cannot_take_a_policy_says_why),
        cmocka_unit_test(policies_of_another_form_are_foreign),
        cmocka_unit_test(files_elsewhere_are_plain),
        cmocka_unit_test(a_key_in_use_goes_only_in_part_and_wholly_later),
        cmocka_unit_test(priming_reads_a_file_and_needs_the_key),
        cmocka_unit_test(priming_the_derivation_touches_no_other_key),
        cmocka_unit_test(a_filesystem_without_the_feature_says_what_to_do),
        cmocka_unit_test(unmounting_drops_the_keys),
        cmocka_unit_test(every_errno_has_its_words),
#ifdef HUSK_FAULTS
        cmocka_unit_test(a_crash_before_or_after_a_step_leaves_it_undone_or_done),
        cmocka_unit_test(an_error_at_a_step_is_told_and_changes_nothing),
#endif
    };
    return cmocka_run_group_tests(tests, start, stop);
}
