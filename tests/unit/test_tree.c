#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/file.h"
#include "tree/drop_behind.h"
#include "tree/links.h"
#include "tree/remove.h"
#include "tree/walk.h"
#include "unit.h"

/* A tree in a temporary directory; any filesystem will do for what is asked here. */
static char top[] = "/tmp/husk-test-tree-XXXXXX";
static int top_fd = -1;

static int make_top(void **state)
{
    (void)state;
    memcpy(top + strlen(top) - 6, "XXXXXX", 6);
    if (!mkdtemp(top))
        return -1;
    top_fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return top_fd < 0 ? -1 : 0;
}

static int remove_top(void **state)
{
    (void)state;
    close_fdp(&top_fd);
    return tree_remove(AT_FDCWD, top, NULL, NULL) ? -1 : 0;
}

static void touch(int directory_fd, const char *name)
{
    int fd = openat(directory_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
}

struct tally {
    atomic_uint entries, entered, left, wrong;
};

static enum error_code count_enter(struct tree_directory *directory, void *context, struct error *reterr)
{
    struct tally *tally = context;
    (void)reterr;
    directory->skip = !strcmp(directory->name, "skipped");
    atomic_fetch_add(&tally->entered, 1);
    return OK;
}

static enum error_code count_entry(struct tree_directory *directory, const char *name,
                                   const struct statx *status, void *context, struct error *reterr)
{
    struct tally *tally = context;
    (void)reterr;
    struct stat now;
    if (fstatat(directory->fd, name, &now, AT_SYMLINK_NOFOLLOW) < 0 || now.st_ino != status->stx_ino)
        atomic_fetch_add(&tally->wrong, 1);
    atomic_fetch_add(&tally->entries, 1);
    return OK;
}

static enum error_code count_leave(struct tree_directory *directory, void *context, struct error *reterr)
{
    struct tally *tally = context;
    (void)directory;
    (void)reterr;
    atomic_fetch_add(&tally->left, 1);
    return OK;
}

static struct tally walk(unsigned threads)
{
    struct tally tally = {0};
    const struct tree_visitor visitor = {
        .enter = count_enter, .entry = count_entry, .leave = count_leave, .context = &tally};
    assert_ok(tree_walk(top_fd, threads, &visitor, &error));
    return tally;
}

static void every_name_is_visited_once_by_any_number_of_threads(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        char name[16];
        snprintf(name, sizeof(name), "d%u", i);
        assert_int_equal(mkdirat(top_fd, name, 0700), 0);
        int fd = openat(top_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        for (unsigned j = 0; j < 300; j++) {
            snprintf(name, sizeof(name), "f%u", j);
            touch(fd, name);
        }
        close(fd);
    }
    for (unsigned threads = 1; threads <= 5; threads++) {
        struct tally tally = walk(threads);
        assert_int_equal(tally.entries, 20 * 300);
        assert_int_equal(tally.entered, 21);
        assert_int_equal(tally.left, 21);
        assert_int_equal(tally.wrong, 0);
    }
}

static void a_skipped_directory_is_not_looked_into(void **state)
{
    (void)state;
    assert_int_equal(mkdirat(top_fd, "skipped", 0700), 0);
    int fd = openat(top_fd, "skipped", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    touch(fd, "inside");
    close(fd);
    struct tally tally = walk(2);
    assert_int_equal(tally.entries, 0);
    assert_int_equal(tally.entered, 2);
    assert_int_equal(tally.left, 1);
}

static void a_symlink_is_an_entry_and_is_not_followed(void **state)
{
    (void)state;
    assert_int_equal(symlinkat("/usr", top_fd, "away"), 0);
    struct tally tally = walk(2);
    assert_int_equal(tally.entries, 1);
}

static enum error_code fail_on_third(struct tree_directory *directory, const char *name,
                                     const struct statx *status, void *context, struct error *reterr)
{
    struct tally *tally = context;
    (void)directory;
    (void)status;
    if (atomic_fetch_add(&tally->entries, 1) == 2)
        return error_set(reterr, ERR_DENIED, 0, "at %s", name);
    return OK;
}

static void the_first_error_ends_the_walk(void **state)
{
    (void)state;
    struct tally tally = {0};
    for (unsigned i = 0; i < 5000; i++) {
        char name[16];
        snprintf(name, sizeof(name), "%u", i);
        touch(top_fd, name);
    }
    const struct tree_visitor visitor = {.entry = fail_on_third, .leave = count_leave, .context = &tally};
    assert_fails(ERR_DENIED, tree_walk(top_fd, 4, &visitor, &error));
    assert_true(tally.entries < 5000);
    assert_int_equal(tally.left, 0);
}

static void a_tree_that_is_too_deep_is_refused_by_name(void **state)
{
    (void)state;
    int at = fcntl(top_fd, F_DUPFD_CLOEXEC, 0);
    for (unsigned i = 0; i <= TREE_DEPTH_MAXIMUM; i++) {
        assert_int_equal(mkdirat(at, "d", 0700), 0);
        int below = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        close(at);
        at = below;
        assert_true(at >= 0);
    }
    struct tally tally = {0};
    const struct tree_visitor visitor = {.enter = count_enter, .leave = count_leave, .context = &tally};
    assert_fails(ERR_UNSUPPORTED, tree_walk(top_fd, 2, &visitor, &error));
    assert_int_equal(unlinkat(at, "../d", AT_REMOVEDIR), 0); /* one level less is fine, and can be removed */
    close(at);
    tally = walk(2);
    assert_int_equal(tally.left, TREE_DEPTH_MAXIMUM + 1);
}

static enum error_code note_outside(const struct tree_directory *directory, const char *name,
                                    const struct statx *status, void *context, struct error *reterr)
{
    unsigned *count = context;
    (void)directory;
    (void)status;
    (void)reterr;
    assert_string_equal(name, "half");
    ++*count;
    return OK;
}

static void only_links_from_outside_the_tree_are_told(void **state)
{
    (void)state;
    unsigned count = 0;
    assert_int_equal(mkdirat(top_fd, "in", 0700), 0);
    touch(top_fd, "in/half");
    touch(top_fd, "in/whole");
    assert_int_equal(linkat(top_fd, "in/half", top_fd, "outside", 0), 0);
    assert_int_equal(linkat(top_fd, "in/whole", top_fd, "in/again", 0), 0);
    int in = openat(top_fd, "in", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_ok(tree_links_outside(in, note_outside, &count, &error));
    close(in);
    assert_int_equal(count, 1);
}

static void a_path_is_shown_escaped_and_whole(void **state)
{
    (void)state;
    struct tree_directory root = {.name = (char[]){""}}, below = {.parent = &root, .name = (char[]){"a\nb"}};
    assert_string_equal(tree_shown(&root, NULL), ".");
    assert_string_equal(tree_shown(&root, "x"), "x");
    assert_string_equal(tree_shown(&below, NULL), "a\\x0ab");
    assert_string_equal(tree_shown(&below, "c"), "a\\x0ab/c");
}

static void a_path_that_is_too_long_to_show_loses_its_beginning(void **state)
{
    (void)state;
    char name[] = "0123456789012345678901234567890123456789012345678901234567890123456789";
    struct tree_directory root = {.name = (char[]){""}}, levels[40];
    for (unsigned i = 0; i < 40; i++)
        levels[i] = (struct tree_directory){.parent = i ? &levels[i - 1] : &root, .name = name};
    const char *shown = tree_shown(&levels[39], "end");
    assert_true(strlen(shown) < TREE_PATH_SIZE);
    assert_memory_equal(shown, ".../", 4);
    assert_string_equal(shown + strlen(shown) - 4, "/end");
}

enum { WRITTEN_FILES = 3 * DROP_BEHIND_FILES, WRITTEN_BYTES = 64 << 10 };

/* The pages of a file in the page cache. */
static unsigned resident_pages(const char *name)
{
    unsigned char pages[WRITTEN_BYTES / 4096];
    unsigned resident = 0;
    _cleanup_(close_fdp) int fd = openat(top_fd, name, O_RDONLY | O_CLOEXEC);
    void *mapping = mmap(NULL, WRITTEN_BYTES, PROT_READ, MAP_SHARED, fd, 0);
    assert_true(mapping != MAP_FAILED);
    assert_int_equal(mincore(mapping, WRITTEN_BYTES, pages), 0);
    munmap(mapping, WRITTEN_BYTES);
    for (unsigned i = 0; i < sizeof(pages); i++)
        resident += pages[i] & 1;
    return resident;
}

static void files_that_were_written_are_let_go_of_and_closed(void **state)
{
    struct drop_behind behind = {0};
    static uint8_t bytes[WRITTEN_BYTES];
    char name[16];
    unsigned resident = 0;
    (void)state;
    for (unsigned i = 0; i < WRITTEN_FILES; i++) {
        snprintf(name, sizeof(name), "%u", i);
        int fd = openat(top_fd, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        assert_int_equal(file_pwrite_all(fd, bytes, sizeof(bytes), 0, NULL), OK);
        assert_int_equal(fsync(fd), 0);
        drop_behind_add(&behind, fd, sizeof(bytes));
    }
    assert_true(behind.count <= DROP_BEHIND_FILES);
    drop_behind_done(&behind);
    const int next = fcntl(top_fd, F_DUPFD_CLOEXEC, top_fd + 1);
    assert_int_equal(next, top_fd + 1);
    close(next);
    struct statfs filesystem;
    assert_int_equal(fstatfs(top_fd, &filesystem), 0);
    if (filesystem.f_type == TMPFS_MAGIC) /* its pages are the file */
        return;
    for (unsigned i = 0; i < WRITTEN_FILES; i++) {
        snprintf(name, sizeof(name), "%u", i);
        resident += resident_pages(name);
    }
    /* Some may be held by what else looks at memory. */
    assert_true(resident < WRITTEN_FILES * (WRITTEN_BYTES / 4096) / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_name_is_visited_once_by_any_number_of_threads, make_top,
                                        remove_top),
        cmocka_unit_test_setup_teardown(a_skipped_directory_is_not_looked_into, make_top, remove_top),
        cmocka_unit_test_setup_teardown(a_symlink_is_an_entry_and_is_not_followed, make_top, remove_top),
        cmocka_unit_test_setup_teardown(the_first_error_ends_the_walk, make_top, remove_top),
        cmocka_unit_test_setup_teardown(a_tree_that_is_too_deep_is_refused_by_name, make_top, remove_top),
        cmocka_unit_test_setup_teardown(only_links_from_outside_the_tree_are_told, make_top, remove_top),
        cmocka_unit_test_setup_teardown(files_that_were_written_are_let_go_of_and_closed, make_top,
                                        remove_top),
        cmocka_unit_test(a_path_is_shown_escaped_and_whole),
        cmocka_unit_test(a_path_that_is_too_long_to_show_loses_its_beginning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
