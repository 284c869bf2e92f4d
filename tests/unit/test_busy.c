/* Who uses inodes of a filesystem, with real users of every kind a program can be. Needs root. The kinds that
 * take commands (containers, swap, loop devices) are in tests/cli/test_busy.py. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/clock.h"
#include "filesystem/filesystem.h"
#include "loop_disk.h"
#include "unit.h"
#include "user.h"

static struct loop_disk disk;
static struct filesystem *filesystem;

static int start(void **state)
{
    (void)state;
    if (!loop_disk_make(&disk, "encrypt", "") || mkdirat(disk.root_fd, "directory", 0755) < 0)
        return -1;
    int fd = openat(disk.root_fd, "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    bool written = fd >= 0 && write(fd, "content", 7) == 7;
    close(fd);
    return written && filesystem_of(disk.root_fd, &filesystem, NULL) == OK ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    filesystem_free(filesystem);
    loop_disk_remove(&disk);
    return 0;
}

/* How many uses name has whose words hold these; pid 0 counts any process. */
static size_t count_uses(const char *name, pid_t pid, const char *words)
{
    struct stat status;
    struct busy_set *set;
    size_t count = 0, found = 0;
    if (fstatat(disk.root_fd, name, &status, 0) < 0 || busy_set_new(filesystem->device, &set, NULL))
        return 0;
    const struct busy_use *uses = busy_set_find(set, status.st_ino, &count);
    for (size_t i = 0; i < count; i++) {
        if ((pid && uses[i].pid != pid) || !strstr(uses[i].what, words))
            continue;
        found++;
        struct stat opened;
        if (uses[i].path && (stat(uses[i].path, &opened) < 0 || opened.st_ino != status.st_ino)) {
            print_error("%s does not lead to %s\n", uses[i].path, name);
            found += 100; /* fails once the user has ended */
        }
    }
    busy_set_free(set);
    return found;
}

/* While doing() holds in a child, name is used in these words exactly once; before and after it is not. */
static void assert_found(void (*doing)(void), const char *name, const char *words)
{
    size_t before = count_uses(name, 0, "");
    struct user user = start_user(doing);
    size_t during = user.pid ? count_uses(name, user.pid, words) : 99;
    end_user(&user);
    size_t after = count_uses(name, 0, "");
    assert_int_equal(before, 0);
    assert_int_equal(during, 1);
    assert_int_equal(after, 0);
}

static int open_or_end(const char *name, int flags)
{
    int fd = openat(disk.root_fd, name, flags | O_CLOEXEC);
    if (fd < 0)
        _exit(1);
    return fd;
}

static void open_file(void)
{
    open_or_end("file", O_RDONLY);
    open_or_end("file", O_RDWR); /* twice is one use */
}

static void open_path(void)
{
    open_or_end("file", O_PATH);
}

static void map_and_close(void)
{
    int fd = open_or_end("file", O_RDONLY);
    if (mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED)
        _exit(1);
    close(fd);
}

static void work_in_directory(void)
{
    int fd = open_or_end("directory", O_RDONLY | O_DIRECTORY);
    if (fchdir(fd) < 0)
        _exit(1);
    close(fd);
}

static void take_as_root(void)
{
    int fd = open_or_end("directory", O_RDONLY | O_DIRECTORY);
    if (fchdir(fd) < 0 || chroot(".") < 0)
        _exit(1);
    close(fd);
    fd = open_or_end(".", O_RDONLY | O_DIRECTORY);
    if (fchdir(fd) < 0) /* so that only the root directory is left */
        _exit(1);
    close(fd);
}

static void an_open_file_is_found(void **state)
{
    (void)state;
    assert_found(open_file, "file", ") has it open");
}

static void a_descriptor_without_access_is_found(void **state)
{
    (void)state;
    assert_found(open_path, "file", ") has it open");
}

static void a_mapping_is_found_after_its_descriptor_was_closed(void **state)
{
    (void)state;
    assert_found(map_and_close, "file", ") has it mapped");
}

static void a_current_directory_is_found(void **state)
{
    (void)state;
    assert_found(work_in_directory, "directory", ") works in it");
}

static void a_root_directory_is_found(void **state)
{
    (void)state;
    assert_found(take_as_root, "directory", ") has it as its root directory");
}

static void *thread_opens_for_itself(void *context)
{
    (void)context;
    if (unshare(CLONE_FILES) < 0)
        _exit(1);
    open_or_end("file", O_RDONLY);
    user_ready();
    user_wait();
}

static void let_a_thread_open(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, thread_opens_for_itself, NULL))
        _exit(1);
    pause();
}

static void *thread_works_elsewhere(void *context)
{
    (void)context;
    if (unshare(CLONE_FS) < 0)
        _exit(1);
    work_in_directory();
    user_ready();
    user_wait();
}

static void let_a_thread_work(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, thread_works_elsewhere, NULL))
        _exit(1);
    pause();
}

static void *thread_outlives(void *context)
{
    pthread_join(*(pthread_t *)context, NULL);
    int fd = open_or_end("file", O_RDONLY);
    if (mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED)
        _exit(1);
    user_ready();
    user_wait();
}

static void end_the_first_thread(void)
{
    static pthread_t first;
    pthread_t thread;
    first = pthread_self();
    if (pthread_create(&thread, NULL, thread_outlives, &first))
        _exit(1);
    pthread_exit(NULL);
}

static void a_thread_with_descriptors_of_its_own_is_found(void **state)
{
    (void)state;
    assert_found(let_a_thread_open, "file", ") has it open");
}

static void a_thread_with_a_directory_of_its_own_is_found(void **state)
{
    (void)state;
    assert_found(let_a_thread_work, "directory", ") works in it");
}

static void files_are_found_when_the_first_thread_has_ended(void **state)
{
    (void)state;
    assert_found(end_the_first_thread, "file", ") has it open");
    assert_found(end_the_first_thread, "file", ") has it mapped");
}

static void have_a_nasty_name(void)
{
    prctl(PR_SET_NAME, "a\x1b[2J\n\\b");
    open_or_end("file", O_RDONLY);
}

static void the_name_of_a_program_cannot_play_tricks(void **state)
{
    (void)state;
    assert_found(have_a_nasty_name, "file", "a\\x1b[2J\\x0a\\x5cb (pid ");
}

static void our_own_process_does_not_count(void **state)
{
    (void)state;
    _cleanup_(close_fdp) int fd = openat(disk.root_fd, "file", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(count_uses("file", 0, ""), 0);
}

static void open_as_child(void)
{
    open_or_end("file", O_RDONLY);
    for (int i = 0; i < 20; i++)
        if (fork() == 0)
            user_wait(); /* ends with the pipe, like its parent */
}

static void a_file_open_everywhere_is_told_a_few_times_only(void **state)
{
    (void)state;
    struct user user = start_user(open_as_child);
    size_t uses = count_uses("file", 0, ") has it open");
    end_user(&user);
    assert_int_equal(uses, 8);
}

static void other_filesystems_do_not_matter(void **state)
{
    (void)state;
    struct loop_disk other;
    assert_true(loop_disk_make(&other, "encrypt", ""));
    struct busy_set *set;
    struct stat status;
    size_t count = 99;
    assert_int_equal(fstat(other.root_fd, &status), 0);
    struct user user = start_user(open_file); /* inode numbers are the same on both */
    struct stat file;
    assert_int_equal(fstatat(disk.root_fd, "file", &file, 0), 0);
    enum error_code code = busy_set_new(status.st_dev, &set, NULL);
    if (!code) {
        busy_set_find(set, file.st_ino, &count);
        busy_set_free(set);
    }
    end_user(&user);
    loop_disk_remove(&other);
    assert_int_equal(code, OK);
    assert_int_equal(count, 0);
}

#define MANY_FILES 5000
#define MANY_FILES_MS 100
#define MEMORY_KIB (32 << 10)
#ifdef __has_feature
#if __has_feature(address_sanitizer) /* everything costs twice as much there */
#undef MANY_FILES_MS
#define MANY_FILES_MS 500
#undef MEMORY_KIB
#define MEMORY_KIB (256 << 10)
#endif
#endif

static void open_many_files(void)
{
    struct rlimit limit = {MANY_FILES + 100, MANY_FILES + 100};
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0 || (mkdirat(disk.root_fd, "many", 0755) < 0 && errno != EEXIST))
        _exit(1);
    for (int i = 0; i < MANY_FILES; i++) {
        char name[32];
        snprintf(name, sizeof(name), "many/%d", i);
        if (openat(disk.root_fd, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600) < 0)
            _exit(1);
    }
}

static int64_t cpu_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return time.tv_sec * CLOCK_NS_PER_S + time.tv_nsec;
}

/* Processor time, the least of three, as the wall clock of a busy machine says little. */
static int64_t time_busy_set(size_t *ret_count)
{
    int64_t least = INT64_MAX;
    for (int i = 0; i < 3; i++) {
        struct busy_set *set;
        int64_t begun = cpu_ns();
        assert_ok(busy_set_new(filesystem->device, &set, &error));
        int64_t taken = cpu_ns() - begun;
        busy_set_all(set, ret_count);
        busy_set_free(set);
        least = taken < least ? taken : least;
    }
    return least;
}

static void five_thousand_open_files_are_found_quickly(void **state)
{
    (void)state;
    size_t before, with;
    int64_t without_ns = time_busy_set(&before);
    struct user user = start_user(open_many_files);
    assert_true(user.pid);
    int64_t with_ns = time_busy_set(&with);
    end_user(&user);
    print_message("5,000 open files: %lld us more than %lld us\n", (long long)(with_ns - without_ns) / 1000,
                  (long long)without_ns / 1000);
    assert_true(with >= before + MANY_FILES);
    assert_true(with_ns - without_ns < MANY_FILES_MS * 1000000);
}

/* Each file is open in 31 programs, so that a set cannot keep all of it. */
static void share_many_files(void)
{
    open_many_files();
    for (int i = 0; i < 30; i++)
        if (fork() == 0)
            user_wait();
}

static void memory_stays_bounded_however_often_files_are_open(void **state)
{
    (void)state;
    struct rusage before, after;
    size_t count = 0;
    struct user user = start_user(share_many_files);
    assert_true(user.pid);
    getrusage(RUSAGE_SELF, &before);
    struct busy_set *set;
    enum error_code code = busy_set_new(filesystem->device, &set, NULL);
    getrusage(RUSAGE_SELF, &after);
    if (!code) {
        busy_set_all(set, &count);
        busy_set_free(set);
    }
    end_user(&user);
    print_message("%zu uses kept of %d: %ld KiB more\n", count, 31 * MANY_FILES,
                  after.ru_maxrss - before.ru_maxrss);
    assert_int_equal(code, OK);
    assert_in_range(count, MANY_FILES * 8, MANY_FILES * 8 + 16);
    assert_true(after.ru_maxrss - before.ru_maxrss < MEMORY_KIB);
}

#ifdef HUSK_FAULTS
static bool socket_is_busy(const char *name)
{
    struct stat status;
    struct busy_set *set;
    size_t count = 0;
    bool found = false;
    if (fstatat(disk.root_fd, name, &status, 0) < 0 || busy_set_new(filesystem->device, &set, NULL))
        return false;
    const struct busy_use *uses = busy_set_find(set, status.st_ino, &count);
    for (size_t i = 0; i < count; i++)
        found |= !strcmp(uses[i].kind, "busy-socket") && uses[i].pid;
    busy_set_free(set);
    return found;
}

static void bind_a_socket(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fchdir(disk.root_fd) < 0)
        _exit(1);
    /* An absolute path, as the kernel only remembers what was given to bind(). */
    int length = snprintf(address.sun_path, sizeof(address.sun_path), "%.80s/socket", disk.mount_point);
    if (fd < 0 || length != (int)strlen(disk.mount_point) + 7 ||
        bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || chdir("/") < 0)
        _exit(1);
}

static void bound_sockets_are_found_also_without_the_kernel_s_list(void **state)
{
    (void)state;
    struct user user = start_user(bind_a_socket);
    bool with = socket_is_busy("socket");
    setenv("HUSK_FAULT", "filesystem.sock-diag:eio", 1);
    bool without = socket_is_busy("socket");
    unsetenv("HUSK_FAULT");
    end_user(&user);
    bool after = socket_is_busy("socket");
    assert_int_equal(unlinkat(disk.root_fd, "socket", 0), 0);
    assert_true(with);
    assert_true(without);
    assert_false(after);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_open_file_is_found),
        cmocka_unit_test(a_descriptor_without_access_is_found),
        cmocka_unit_test(a_mapping_is_found_after_its_descriptor_was_closed),
        cmocka_unit_test(a_current_directory_is_found),
        cmocka_unit_test(a_root_directory_is_found),
        cmocka_unit_test(a_thread_with_descriptors_of_its_own_is_found),
        cmocka_unit_test(a_thread_with_a_directory_of_its_own_is_found),
        cmocka_unit_test(files_are_found_when_the_first_thread_has_ended),
        cmocka_unit_test(the_name_of_a_program_cannot_play_tricks),
        cmocka_unit_test(our_own_process_does_not_count),
        cmocka_unit_test(a_file_open_everywhere_is_told_a_few_times_only),
        cmocka_unit_test(other_filesystems_do_not_matter),
        cmocka_unit_test(five_thousand_open_files_are_found_quickly),
        cmocka_unit_test(memory_stays_bounded_however_often_files_are_open),
#ifdef HUSK_FAULTS
        cmocka_unit_test(bound_sockets_are_found_also_without_the_kernel_s_list),
#endif
    };
    return cmocka_run_group_tests(tests, start, stop);
}
