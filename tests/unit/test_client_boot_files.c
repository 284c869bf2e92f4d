#include <fcntl.h>
#include <ftw.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "client/wire.h"
#include "unit.h"

#define KERNEL "vmlinuz-6.1.0"
#define IMAGE "initrd.img-6.1.0"
#define OLD "vmlinuz-5.10"
#define KEPT ".husk/boot-files.json"

/* A host's root: .husk and boot. */
struct world {
    char at[64];
    int fd;
    struct client *client;
};

static void write_file(const struct world *world, const char *name, const char *text)
{
    _cleanup_(close_fdp) int fd = openat(world->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static int make_world(struct world *world)
{
    snprintf(world->at, sizeof(world->at), "/dev/shm/husk-test-boot-XXXXXX");
    if (!mkdtemp(world->at))
        return -1;
    world->fd = open(world->at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(mkdirat(world->fd, ".husk", 0700), 0);
    assert_int_equal(mkdirat(world->fd, "boot", 0755), 0);
    write_file(world, "boot/" KERNEL, "a kernel");
    write_file(world, "boot/" IMAGE, "an image");
    write_file(world, "boot/" OLD, "an old one");
    write_file(world, "boot/config-6.1.0", "settings");
    assert_int_equal(symlinkat(KERNEL, world->fd, "boot/vmlinuz-link"), 0);
    assert_ok(client_open(world->at, &world->client, &error));
    return 0;
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status;
    (void)type;
    (void)walk;
    return remove(path);
}

/* One for each test, and once for all the time until what was just written can be kept. */
static struct world worlds[6];
static size_t used;

static int make_worlds(void **state)
{
    (void)state;
    if (secret_start(NULL))
        return -1;
    for (size_t i = 0; i < ARRAY_SIZE(worlds); i++)
        if (make_world(&worlds[i]))
            return -1;
    sleep(3);
    return 0;
}

static int take_world(void **state)
{
    assert_true(used < ARRAY_SIZE(worlds));
    *state = &worlds[used++];
    return 0;
}

static int end_worlds(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(worlds); i++) {
        client_close(worlds[i].client);
        close(worlds[i].fd);
        nftw(worlds[i].at, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    }
    return 0;
}

static void read_kept(const struct world *world, struct buffer *text)
{
    assert_ok(file_read(world->fd, KEPT, 65536, text, &error));
}

static bool is_hash_of(const struct world *world, const char *name, const char *text)
{
    uint8_t hash[CLIENT_HASH_SIZE], told[CLIENT_HASH_SIZE];
    crypto_generichash(hash, sizeof(hash), (const uint8_t *)text, strlen(text), NULL, 0);
    assert_true(client_boot_file_hash(world->client, name, told));
    return !memcmp(hash, told, sizeof(hash));
}

/* So that it can be seen where a hash is from: one digit of all that are kept is another. */
static void twist_kept(const struct world *world)
{
    _cleanup_(buffer_done) struct buffer text = {0};
    read_kept(world, &text);
    for (char *hash = strstr(text.data, "\"hash\":\""); hash; hash = strstr(hash, "\"hash\":\"")) {
        hash += strlen("\"hash\":\"");
        *hash = *hash == '0' ? '1' : '0';
    }
    write_file(world, KEPT, text.data);
}

static void nothing_is_kept_of_a_file_that_changed_just_now(void **state)
{
    const struct world *world = *state;
    write_file(world, "boot/" KERNEL, "a Kernel");
    client_boot_files_keep(world->client, NULL);
    assert_true(is_hash_of(world, KERNEL, "a Kernel"));
    _cleanup_(buffer_done) struct buffer text = {0};
    read_kept(world, &text);
    assert_null(strstr(text.data, KERNEL));
    assert_non_null(strstr(text.data, IMAGE));
}

static void a_hash_is_kept_and_taken_while_the_file_looks_the_same(void **state)
{
    const struct world *world = *state;
    client_boot_files_keep(world->client, NULL);
    assert_true(is_hash_of(world, KERNEL, "a kernel"));
    assert_true(is_hash_of(world, IMAGE, "an image"));
    twist_kept(world);
    assert_false(is_hash_of(world, KERNEL, "a kernel"));
    assert_false(is_hash_of(world, IMAGE, "an image"));

    /* Of the same length, at the same place, with the time of before: its ctime is another. */
    struct stat status;
    assert_int_equal(fstatat(world->fd, "boot/" IMAGE, &status, 0), 0);
    write_file(world, "boot/" IMAGE, "an Image");
    const struct timespec times[2] = {status.st_mtim, status.st_mtim};
    assert_int_equal(utimensat(world->fd, "boot/" IMAGE, times, 0), 0);
    assert_true(is_hash_of(world, IMAGE, "an Image"));
    assert_false(is_hash_of(world, KERNEL, "a kernel"));

    /* Another file under the name. */
    write_file(world, "boot/new", "a kernel");
    assert_int_equal(renameat(world->fd, "boot/new", world->fd, "boot/" KERNEL), 0);
    assert_true(is_hash_of(world, KERNEL, "a kernel"));
}

static void the_running_kernel_is_read_anyway_and_others_are_when_they_change(void **state)
{
    const struct world *world = *state;
    client_boot_files_keep(world->client, NULL);
    twist_kept(world);
    client_boot_files_keep(world->client, "-6.1.0");
    assert_true(is_hash_of(world, KERNEL, "a kernel"));
    assert_true(is_hash_of(world, IMAGE, "an image"));
    assert_false(is_hash_of(world, OLD, "an old one"));
    client_boot_files_keep(world->client, NULL);
    assert_false(is_hash_of(world, OLD, "an old one"));
}

static void what_is_gone_or_no_kernel_is_not_kept(void **state)
{
    const struct world *world = *state;
    _cleanup_(buffer_done) struct buffer before = {0}, after = {0};
    client_boot_files_keep(world->client, NULL);
    read_kept(world, &before);
    assert_null(strstr(before.data, "config"));
    assert_null(strstr(before.data, "link"));
    assert_non_null(strstr(before.data, KERNEL));
    assert_int_equal(unlinkat(world->fd, "boot/" KERNEL, 0), 0);
    client_boot_files_keep(world->client, NULL);
    read_kept(world, &after);
    assert_null(strstr(after.data, KERNEL));
    assert_non_null(strstr(after.data, IMAGE));
}

static void a_damaged_file_of_hashes_is_as_good_as_none(void **state)
{
    const struct world *world = *state;
    static const char *const texts[] = {
        "",
        "[]",
        "{\"version\":2,\"files\":{}}",
        "{\"version\":1}",
        "{\"version\":1,\"files\":[]}",
        "{\"version\":1,\"files\":{\"" KERNEL "\":7}}",
        "{\"version\":1,\"files\":{\"" KERNEL "\":{\"stat\":7,\"hash\":7}}}",
    };
    _cleanup_(buffer_done) struct buffer text = {0};
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        write_file(world, KEPT, texts[i]);
        assert_true(is_hash_of(world, KERNEL, "a kernel"));
    }
    client_boot_files_keep(world->client, NULL);
    read_kept(world, &text);
    assert_non_null(strstr(text.data, KERNEL));

    /* What looks right but has no hash of the right length. */
    char *hash = strstr(text.data, "\"hash\":\"");
    hash[strlen("\"hash\":\"")] = '"';
    write_file(world, KEPT, text.data);
    assert_true(is_hash_of(world, KERNEL, "a kernel"));
    assert_true(is_hash_of(world, IMAGE, "an image"));
}

static void what_cannot_be_kept_for_lack_of_memory_leaves_all_as_it_was(void **state)
{
    const struct world *world = *state;
    _cleanup_(buffer_done) struct buffer before = {0};
    client_boot_files_keep(world->client, NULL);
    read_kept(world, &before);
    with_every_allocation_failing(client_boot_files_keep(world->client, "-6.1.0"), {
        _cleanup_(buffer_done) struct buffer after = {0};
        read_kept(world, &after);
        assert_string_equal(before.data, after.data);
    });
}

#define test_case(function) cmocka_unit_test_setup(function, take_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test_case(nothing_is_kept_of_a_file_that_changed_just_now),
        test_case(a_hash_is_kept_and_taken_while_the_file_looks_the_same),
        test_case(the_running_kernel_is_read_anyway_and_others_are_when_they_change),
        test_case(what_is_gone_or_no_kernel_is_not_kept),
        test_case(a_damaged_file_of_hashes_is_as_good_as_none),
        test_case(what_cannot_be_kept_for_lack_of_memory_leaves_all_as_it_was),
    };
    return cmocka_run_group_tests(tests, make_worlds, end_worlds);
}
