#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/fault.h"
#include "base/file.h"
#include "temporary_directory.h"
#include "unit.h"

static void write_plain(const char *name, const char *text)
{
    _cleanup_(close_fdp) int fd = openat(directory_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_ok(file_write_all(fd, text, strlen(text), &error));
}

static void assert_content(const char *name, const char *expected)
{
    struct buffer buffer = {0};
    assert_ok(file_read(directory_fd, name, 1 << 20, &buffer, &error));
    assert_string_equal(buffer.data, expected);
    buffer_done(&buffer);
}

static bool is_there(const char *name)
{
    struct stat status;
    return fstatat(directory_fd, name, &status, AT_SYMLINK_NOFOLLOW) == 0;
}

static void a_file_is_read_whole_and_appended(void **state)
{
    (void)state;
    char large[10000];
    memset(large, 'x', sizeof(large) - 1);
    large[sizeof(large) - 1] = '\0';
    write_plain("large", large);
    write_plain("empty", "");
    struct buffer buffer = {0};
    assert_ok(buffer_append(&buffer, ">", 1, &error));
    assert_ok(file_read(directory_fd, "large", sizeof(large) - 1, &buffer, &error));
    assert_int_equal(buffer.length, sizeof(large));
    assert_string_equal(buffer.data + 1, large);
    buffer_done(&buffer);
    assert_ok(file_read(directory_fd, "empty", 0, &buffer, &error));
    assert_string_equal(buffer.data, "");
    buffer_done(&buffer);
}

static void what_is_not_a_small_regular_file_is_not_read(void **state)
{
    (void)state;
    write_plain("file", "0123456789");
    assert_int_equal(symlinkat("file", directory_fd, "link"), 0);
    assert_int_equal(mkdirat(directory_fd, "directory", 0700), 0);
    assert_int_equal(mkfifoat(directory_fd, "fifo", 0600), 0);
    struct buffer buffer = {0};
    assert_fails_saying(ERR_CORRUPT, "longer than 9", file_read(directory_fd, "file", 9, &buffer, &error));
    assert_fails(ERR_CORRUPT, file_read(directory_fd, "link", 100, &buffer, &error));
    assert_fails(ERR_CORRUPT, file_read(directory_fd, "directory", 100, &buffer, &error));
    assert_fails(ERR_CORRUPT, file_read(directory_fd, "fifo", 100, &buffer, &error)); /* does not block */
    assert_fails(ERR_NOT_FOUND, file_read(directory_fd, "nothing", 100, &buffer, &error));
    assert_fails(ERR_FAILED, file_read(directory_fd, "file/x", 100, &buffer, &error));
    buffer_done(&buffer);
}

static void a_durable_write_makes_and_replaces(void **state)
{
    (void)state;
    mode_t mask = umask(0077);
    assert_ok(file_write_durable(directory_fd, "file", 0640, "one", 3, &error));
    assert_content("file", "one");
    assert_ok(file_write_durable(directory_fd, "file", 0604, "two!", 4, &error));
    assert_content("file", "two!");
    umask(mask);
    struct stat status;
    assert_int_equal(fstatat(directory_fd, "file", &status, 0), 0);
    assert_int_equal(status.st_mode & 07777, 0604);
    assert_false(is_there(".file.new"));
}

static void a_durable_write_takes_the_place_of_what_a_crash_left(void **state)
{
    (void)state;
    write_plain(".file.new", "half");
    assert_ok(file_write_durable(directory_fd, "file", 0600, "whole", 5, &error));
    assert_content("file", "whole");
    /* A symlink put where the temporary file goes is not followed. */
    write_plain("victim", "untouched");
    assert_int_equal(symlinkat("victim", directory_fd, ".file.new"), 0);
    assert_ok(file_write_durable(directory_fd, "file", 0600, "again", 5, &error));
    assert_content("victim", "untouched");
    assert_content("file", "again");
}

static void a_durable_write_that_fails_leaves_the_old_file(void **state)
{
    (void)state;
    char name[NAME_MAX + 1];
    memset(name, 'n', NAME_MAX);
    name[NAME_MAX] = '\0';
    assert_fails(ERR_USAGE, file_write_durable(directory_fd, name, 0600, "x", 1, &error));
    assert_int_equal(mkdirat(directory_fd, "taken", 0700), 0);
    assert_fails(ERR_FAILED, file_write_durable(directory_fd, "taken", 0600, "x", 1, &error));
    assert_false(is_there(".taken.new"));
}

static void positioned_reads_and_writes_are_whole(void **state)
{
    (void)state;
    _cleanup_(close_fdp) int fd = openat(directory_fd, "file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    char bytes[6] = "";
    assert_ok(file_pwrite_all(fd, "abcdef", 6, 4, &error));
    assert_ok(file_pread_all(fd, bytes, 5, 3, &error));
    assert_memory_equal(bytes, "\0abcd", 5);
    assert_fails(ERR_CORRUPT, file_pread_all(fd, bytes, 5, 6, &error));
    assert_fails(ERR_FAILED, file_pread_all(-1, bytes, 5, 0, &error));
    assert_fails(ERR_FAILED, file_pwrite_all(-1, bytes, 5, 0, &error));
    assert_fails(ERR_FAILED, file_write_all(-1, bytes, 5, &error));
    assert_fails(ERR_FAILED, file_sync(-1, "it", &error));
}

static void a_directory_is_made_once_and_gets_its_mode(void **state)
{
    (void)state;
    mode_t mask = umask(0077);
    _cleanup_(close_fdp) int fd = -1, again_fd = -1;
    assert_ok(directory_make(directory_fd, "d", 0711, &fd, &error));
    struct stat status;
    assert_int_equal(fstat(fd, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0711);
    assert_ok(directory_make(directory_fd, "d", 0700, &again_fd, &error));
    assert_int_equal(fstat(fd, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0700);
    umask(mask);
}

static void what_is_not_a_directory_is_not_taken_for_one(void **state)
{
    (void)state;
    write_plain("file", "x");
    assert_int_equal(symlinkat(".", directory_fd, "link"), 0);
    int fd = -1;
    assert_fails(ERR_CORRUPT, directory_make(directory_fd, "file", 0700, &fd, &error));
    assert_fails(ERR_CORRUPT, directory_make(directory_fd, "link", 0700, &fd, &error));
    assert_fails(ERR_CORRUPT, directory_open(directory_fd, "file", &fd, &error));
    assert_fails(ERR_CORRUPT, directory_open(directory_fd, "link", &fd, &error));
    assert_fails(ERR_NOT_FOUND, directory_open(directory_fd, "nothing", &fd, &error));
    assert_int_equal(fd, -1);
}

struct listing {
    unsigned seen, stop_after;
};

static enum error_code count_entry(const char *name, void *context, struct error *reterr)
{
    struct listing *listing = context;
    assert_true(strcmp(name, ".") && strcmp(name, ".."));
    if (++listing->seen == listing->stop_after)
        return error_set(reterr, ERR_BUSY, 0, "stopped");
    return OK;
}

static void a_directory_is_listed_until_told_to_stop(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++)
        write_plain((const char[]){(char)('a' + i), 0}, "");
    struct listing all = {0}, some = {.stop_after = 2};
    assert_ok(directory_list(directory_fd, count_entry, &all, &error));
    assert_int_equal(all.seen, 5);
    assert_ok(directory_list(directory_fd, count_entry, &all, &error)); /* from its start again */
    assert_int_equal(all.seen, 10);
    assert_fails(ERR_BUSY, directory_list(directory_fd, count_entry, &some, &error));
    assert_int_equal(some.seen, 2);
    assert_fails(ERR_FAILED, directory_list(-1, count_entry, &all, &error));
}

static void removing_what_is_not_there_is_fine(void **state)
{
    (void)state;
    write_plain("file", "x");
    assert_ok(file_remove_durable(directory_fd, "file", 0, &error));
    assert_false(is_there("file"));
    assert_ok(file_remove_durable(directory_fd, "file", 0, &error));
    assert_int_equal(mkdirat(directory_fd, "d", 0700), 0);
    assert_fails(ERR_FAILED, file_remove_durable(directory_fd, "d", 0, &error));
    assert_ok(file_remove_durable(directory_fd, "d", AT_REMOVEDIR, &error));
}

#ifdef HUSK_FAULTS
static void every_injected_fault_of_a_durable_write_leaves_the_old_file(void **state)
{
    (void)state;
    static const struct {
        const char *fault;
        enum error_code code;
    } cases[] = {
        {"file.create:enospc", ERR_NO_SPACE}, {"file.write:enospc", ERR_NO_SPACE},
        {"file.write:eio", ERR_FAILED},       {"file.sync:eio", ERR_FAILED},
        {"file.rename:eio", ERR_FAILED},
    };
    assert_ok(file_write_durable(directory_fd, "file", 0600, "old", 3, &error));
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        /* Hits are counted per position in the variable: a position of its own for each case. */
        char wish[128] = "";
        for (size_t comma = 0; comma < i; comma++)
            wish[comma] = ',';
        snprintf(wish + i, sizeof(wish) - i, "%s", cases[i].fault);
        setenv("HUSK_FAULT", wish, 1);
        assert_fails(cases[i].code, file_write_durable(directory_fd, "file", 0600, "new", 3, &error));
        unsetenv("HUSK_FAULT");
        assert_content("file", "old");
        assert_false(is_there(".file.new"));
    }
}

/* Runs a durable write in a child with a fault wished for; returns its wait status. */
static int write_in_child(const char *wish)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        setenv("HUSK_FAULT", wish, 1);
        _exit(file_write_durable(directory_fd, "file", 0600, "new", 3, NULL) == OK ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, WUNTRACED), child);
    if (WIFSTOPPED(status)) {
        int last;
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, &last, 0), child);
    }
    return status;
}

static void a_wished_for_fault_crashes_pauses_or_waits_for_its_turn(void **state)
{
    (void)state;
    int status = write_in_child("file.rename:crash");
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_false(is_there("file"));
    assert_true(is_there(".file.new"));
    assert_true(WIFSTOPPED(write_in_child("file.sync:pause")));
    status = write_in_child("file.sync:eio:2"); /* the second sync is the directory's */
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    assert_content("file", "new");
    status = write_in_child("file.sync:eio:3");
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    status = write_in_child("other:eio,file.create:enospc");
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    status = write_in_child("file.creat:enospc,file.create.x:enospc,file.create,:,,");
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void check_name(const char *name, void *context)
{
    char *last = context;
    assert_true(strcmp(last, name) < 0);
    snprintf(last, 64, "%s", name);
}

static void fault_points_are_listed_sorted_and_once(void **state)
{
    (void)state;
    char last[64] = "";
    fault_list(check_name, last);
    assert_true(last[0]);
}
#else
static void refuse_name(const char *name, void *context)
{
    (void)context;
    fail_msg("a fault point in a build for people: %s", name);
}

static void a_build_for_people_has_no_fault_points(void **state)
{
    (void)state;
    fault_list(refuse_name, NULL);
    setenv("HUSK_FAULT", "file.create:enospc", 1);
    assert_ok(file_write_durable(directory_fd, "file", 0600, "x", 1, &error));
    unsetenv("HUSK_FAULT");
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_directory(a_file_is_read_whole_and_appended),
        in_directory(what_is_not_a_small_regular_file_is_not_read),
        in_directory(a_durable_write_makes_and_replaces),
        in_directory(a_durable_write_takes_the_place_of_what_a_crash_left),
        in_directory(a_durable_write_that_fails_leaves_the_old_file),
        in_directory(positioned_reads_and_writes_are_whole),
        in_directory(a_directory_is_made_once_and_gets_its_mode),
        in_directory(what_is_not_a_directory_is_not_taken_for_one),
        in_directory(a_directory_is_listed_until_told_to_stop),
        in_directory(removing_what_is_not_there_is_fine),
#ifdef HUSK_FAULTS
        /* Hits are counted in the process, so the one that forks comes first. */
        in_directory(a_wished_for_fault_crashes_pauses_or_waits_for_its_turn),
        in_directory(every_injected_fault_of_a_durable_write_leaves_the_old_file),
        in_directory(fault_points_are_listed_sorted_and_once),
#else
        in_directory(a_build_for_people_has_no_fault_points),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
