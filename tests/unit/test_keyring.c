#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "authority/keyring.h"
#include "secret/secret.h"
#include "unit.h"

struct scene {
    char directory[64];
    char holder[96];
    struct keyring_place place;
};

static int start(void **state)
{
    struct scene *scene = calloc(1, sizeof(*scene));
    if (!scene || secret_start(NULL) != OK)
        return -1;
    snprintf(scene->directory, sizeof(scene->directory), "/dev/shm/husk-keyring-XXXXXX");
    if (!mkdtemp(scene->directory))
        return -1;
    snprintf(scene->holder, sizeof(scene->holder), "%s/medium/holder", scene->directory);
    scene->place.directory_fd = open(scene->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *state = scene;
    return scene->place.directory_fd < 0 || mkdirat(scene->place.directory_fd, "medium", 0700) != 0;
}

static void empty(int fd)
{
    DIR *directory = fdopendir(dup(fd));
    rewinddir(directory);
    for (struct dirent *entry = readdir(directory); entry; entry = readdir(directory))
        unlinkat(fd, entry->d_name, 0);
    closedir(directory);
}

static int end(void **state)
{
    struct scene *scene = *state;
    int medium = openat(scene->place.directory_fd, "medium", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    empty(medium);
    close(medium);
    unlinkat(scene->place.directory_fd, "medium", AT_REMOVEDIR);
    empty(scene->place.directory_fd);
    close(scene->place.directory_fd);
    rmdir(scene->directory);
    free(scene);
    return 0;
}

static bool is_there(const struct scene *scene, const char *name)
{
    return faccessat(scene->place.directory_fd, name, F_OK, 0) == 0;
}

static void put_file(const struct scene *scene, const char *name)
{
    int fd = openat(scene->place.directory_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, name, strlen(name)), (ssize_t)strlen(name));
    close(fd);
}

static const uint8_t KEYSLOT[KEYRING_KEYSLOT_SIZE] = "keyslot number 1",
                     OTHER[KEYRING_KEYSLOT_SIZE] = "keyslot number 2";

static void assert_same_secret(const struct secret *left, const struct secret *right)
{
    assert_int_equal(left->length, right->length);
    assert_memory_equal(left->bytes, right->bytes, left->length);
}

static void a_keyring_comes_back_from_its_file(void **state)
{
    struct scene *scene = *state;
    for (unsigned with_holder = 0; with_holder < 2; with_holder++) {
        struct keyring *keyring = NULL, *read = NULL;
        scene->place.holder = with_holder ? scene->holder : NULL;
        assert_ok(keyring_new(&keyring, &error));
        for (unsigned id = 1; id <= 40; id++)
            assert_ok(keyring_add_bucket(keyring, id * 1000, &error));
        assert_ok(keyring_write(keyring, &scene->place, &error));
        assert_ok(keyring_read(&scene->place, 1, &read, &error));
        assert_int_equal(read->generation, 1);
        assert_same_secret(read->signing_key, keyring->signing_key);
        assert_same_secret(read->message_key, keyring->message_key);
        assert_same_secret(read->next_message_key, keyring->next_message_key);
        assert_null(read->previous_message_key);
        assert_null(read->prepared_message_key);
        assert_null(read->prepared_signing_key);
        assert_int_equal(read->bucket_count, 40);
        for (size_t i = 0; i < 40; i++) {
            assert_int_equal(read->buckets[i].id, keyring->buckets[i].id);
            assert_same_secret(read->buckets[i].key, keyring->buckets[i].key);
        }
        keyring_free(keyring);
        keyring_free(read);
    }
    assert_true(is_there(scene, "medium/holder.1"));
}

static void a_scalar_is_bound_to_its_bucket_and_keyslot(void **state)
{
    (void)state;
    struct keyring *keyring = NULL;
    struct secret *scalar = NULL, *opened = NULL;
    uint8_t sealed[KEYRING_SEALED_SIZE];
    assert_ok(keyring_new(&keyring, &error));
    assert_ok(keyring_add_bucket(keyring, 1, &error));
    assert_ok(keyring_add_bucket(keyring, 2, &error));
    assert_ok(oprf_key_new(&scalar, &error));
    assert_ok(keyring_seal(keyring, 1, KEYSLOT, scalar, sealed, &error));
    assert_ok(keyring_unseal(keyring, 1, KEYSLOT, sealed, &opened, &error));
    assert_same_secret(opened, scalar);
    secret_free(opened);
    assert_fails(ERR_CORRUPT, keyring_unseal(keyring, 1, OTHER, sealed, &opened, &error));
    assert_fails(ERR_CORRUPT, keyring_unseal(keyring, 2, KEYSLOT, sealed, &opened, &error));
    assert_fails(ERR_NOT_FOUND, keyring_unseal(keyring, 3, KEYSLOT, sealed, &opened, &error));
    for (size_t bit = 0; bit < 8 * sizeof(sealed); bit++) {
        sealed[bit / 8] ^= (uint8_t)(1U << bit % 8);
        assert_fails(ERR_CORRUPT, keyring_unseal(keyring, 1, KEYSLOT, sealed, &opened, &error));
        sealed[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    keyring_remove_bucket(keyring, 1);
    assert_fails(ERR_NOT_FOUND, keyring_unseal(keyring, 1, KEYSLOT, sealed, &opened, &error));
    secret_free(scalar);
    keyring_free(keyring);
}

static void a_bucket_that_is_there_keeps_its_key(void **state)
{
    (void)state;
    struct keyring *keyring = NULL;
    uint8_t before[AEAD_KEY_SIZE];
    assert_ok(keyring_new(&keyring, &error));
    assert_ok(keyring_add_bucket(keyring, 1, &error));
    memcpy(before, keyring->buckets[0].key->bytes, sizeof(before));
    assert_ok(keyring_add_bucket(keyring, 1, &error));
    assert_int_equal(keyring->bucket_count, 1);
    assert_memory_equal(keyring->buckets[0].key->bytes, before, sizeof(before));
    keyring_free(keyring);
}

static void a_copy_is_the_next_generation_with_the_same_keys_and_its_own_life(void **state)
{
    (void)state;
    struct keyring *keyring = NULL, *copy = NULL;
    assert_ok(keyring_new(&keyring, &error));
    assert_ok(keyring_add_bucket(keyring, 1, &error));
    assert_ok(keyring_copy(keyring, &copy, &error));
    assert_int_equal(copy->generation, 2);
    assert_same_secret(copy->buckets[0].key, keyring->buckets[0].key);
    keyring_remove_bucket(copy, 1);
    assert_int_equal(keyring->bucket_count, 1);
    keyring_free(keyring);
    assert_int_equal(copy->bucket_count, 0);
    keyring_free(copy);
}

static void only_other_generations_are_destroyed(void **state)
{
    struct scene *scene = *state;
    struct keyring *keyring = NULL, *next = NULL, *read = NULL;
    scene->place.holder = scene->holder;
    assert_ok(keyring_new(&keyring, &error));
    assert_ok(keyring_write(keyring, &scene->place, &error));
    assert_ok(keyring_copy(keyring, &next, &error));
    assert_ok(keyring_write(next, &scene->place, &error));
    put_file(scene, ".keyring.3.new");
    put_file(scene, "keyring.33");
    put_file(scene, "keyring.2x");
    put_file(scene, "keyring.");
    put_file(scene, "authority.db");
    put_file(scene, "medium/.holder.3.new");
    put_file(scene, "medium/holder");
    assert_ok(keyring_destroy_others(&scene->place, 2, &error));
    for (const char *const *gone = (const char *const[]){"keyring.1", "keyring.33", ".keyring.3.new",
                                                         "medium/holder.1", "medium/.holder.3.new", NULL};
         *gone; gone++)
        if (is_there(scene, *gone))
            fail_msg("%s is still there", *gone);
    for (const char *const *kept =
             (const char *const[]){"keyring.2", "keyring.2x", "keyring.", "authority.db", "medium/holder.2",
                                   "medium/holder", NULL};
         *kept; kept++)
        if (!is_there(scene, *kept))
            fail_msg("%s is gone", *kept);
    assert_ok(keyring_read(&scene->place, 2, &read, &error));
    assert_fails(ERR_NOT_FOUND, keyring_read(&scene->place, 1, &read, &error));
    keyring_free(read);
    keyring_free(keyring);
    keyring_free(next);
}

/* An image of the authority's disk with the holder of today opens no keyring of yesterday. */
static void every_generation_has_a_holder_of_its_own(void **state)
{
    struct scene *scene = *state;
    struct keyring *keyring = NULL, *next = NULL, *read = NULL;
    scene->place.holder = scene->holder;
    assert_ok(keyring_new(&keyring, &error));
    assert_ok(keyring_write(keyring, &scene->place, &error));
    assert_ok(keyring_copy(keyring, &next, &error));
    assert_ok(keyring_write(next, &scene->place, &error));
    assert_int_equal(
        renameat(scene->place.directory_fd, "medium/holder.2", scene->place.directory_fd, "medium/holder.1"),
        0);
    assert_fails_saying(ERR_WRONG_KEY, "holder", keyring_read(&scene->place, 1, &read, &error));
    assert_fails(ERR_NOT_FOUND, keyring_read(&scene->place, 2, &read, &error));
    keyring_free(keyring);
    keyring_free(next);
}

static void a_holder_is_given_when_and_only_when_there_is_one(void **state)
{
    struct scene *scene = *state;
    struct keyring *keyring = NULL, *read = NULL;
    assert_ok(keyring_new(&keyring, &error));
    assert_ok(keyring_write(keyring, &scene->place, &error));
    scene->place.holder = scene->holder;
    assert_fails(ERR_USAGE, keyring_read(&scene->place, 1, &read, &error));
    assert_ok(keyring_write(keyring, &scene->place, &error));
    scene->place.holder = NULL;
    assert_fails_saying(ERR_USAGE, "none is given", keyring_read(&scene->place, 1, &read, &error));
    scene->place.holder = "/nowhere/at/all";
    assert_fails(ERR_FAILED, keyring_read(&scene->place, 1, &read, &error));
    keyring_free(keyring);
}

static void no_bit_and_no_byte_of_the_file_can_change(void **state)
{
    struct scene *scene = *state;
    struct keyring *keyring = NULL, *read = NULL;
    uint8_t bytes[1024];
    assert_ok(keyring_new(&keyring, &error));
    assert_ok(keyring_add_bucket(keyring, 7, &error));
    assert_ok(keyring_write(keyring, &scene->place, &error));
    int fd = openat(scene->place.directory_fd, "keyring.1", O_RDWR | O_CLOEXEC);
    const ssize_t length = pread(fd, bytes, sizeof(bytes), 0);
    assert_true(length > 100 && length < (ssize_t)sizeof(bytes));
    for (ssize_t at = 0; at < length; at++) {
        bytes[at] ^= (uint8_t)(1U << at % 8);
        assert_int_equal(pwrite(fd, &bytes[at], 1, at), 1);
        struct error error = ERROR_NONE;
        assert_int_not_equal(keyring_read(&scene->place, 1, &read, &error), OK);
        assert_true(error.message[0]);
        bytes[at] ^= (uint8_t)(1U << at % 8);
        assert_int_equal(pwrite(fd, &bytes[at], 1, at), 1);
    }
    assert_ok(keyring_read(&scene->place, 1, &read, &error));
    keyring_free(read);
    for (ssize_t cut = length - 1; cut >= 0; cut -= 7) {
        assert_int_equal(ftruncate(fd, cut), 0);
        assert_fails(ERR_CORRUPT, keyring_read(&scene->place, 1, &read, &error));
    }
    close(fd);
    keyring_free(keyring);
}

#define case_(name) cmocka_unit_test_setup_teardown(name, start, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        case_(a_keyring_comes_back_from_its_file),
        case_(a_scalar_is_bound_to_its_bucket_and_keyslot),
        case_(a_bucket_that_is_there_keeps_its_key),
        case_(a_copy_is_the_next_generation_with_the_same_keys_and_its_own_life),
        case_(only_other_generations_are_destroyed),
        case_(every_generation_has_a_holder_of_its_own),
        case_(a_holder_is_given_when_and_only_when_there_is_one),
        case_(no_bit_and_no_byte_of_the_file_can_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
