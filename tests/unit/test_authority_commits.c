/* Commits of which nobody knows whether they are on the disk: the log could not be synced, or the process
 * ended before it was. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "authority_scene.h"
#include "crypto/oprf.h"
#include "secret/secret.h"

/* The n-th sync of the log from now on fails, and all after it as long as syncs_fail. 0: none. */
static atomic_int failing_sync, syncs_seen;
static atomic_bool syncs_fail;

/* In SQLite's place. */
int fdatasync(int fd)
{
    char link[64], path[256];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    const ssize_t length = readlink(link, path, sizeof(path) - 1);
    path[length > 0 ? length : 0] = '\0';
    if (!strstr(path, "authority.db-wal"))
        return (int)syscall(SYS_fdatasync, fd);
    if (atomic_load(&syncs_fail) || atomic_fetch_add(&syncs_seen, 1) + 1 == atomic_load(&failing_sync)) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

static void fail_sync(int number)
{
    atomic_store(&failing_sync, number);
    atomic_store(&syncs_seen, 0);
}

/* In a process of its own, which ends as by a crash: the log stays as it is. */
static void crash_after(struct scene *scene, void (*act)(struct scene *scene))
{
    int status = 0;
    world_close(&scene->world);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        world_open(&scene->world);
        act(scene);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == 0);
    world_open(&scene->world);
}

static void poll_once(struct world_host *host)
{
    json_t *answer = host_send(host, poll_message(host, 0));
    assert_non_null(json_object_get(answer, "result"));
    json_decref(answer);
}

/* A second keyslot needs a second bucket, and with that another keyring. */
static void bind_unsynced(struct scene *scene)
{
    struct world_keyslot keyslot;
    host_heartbeat(&scene->host); /* the log is begun */
    fail_sync(1);
    assert_refused(host_send(&scene->host, bind_message(&keyslot)), "try-again");
    fail_sync(0);
    poll_once(&scene->host); /* a batch that writes nothing, and destroys what is left over */
    poll_once(&scene->host);
}

static void a_commit_that_could_not_be_synced_takes_no_keyring_away(void **state)
{
    struct scene *scene = *state;
    crash_after(scene, bind_unsynced);
    scene_opens(&scene->host, &scene->keyslot);
}

#ifdef HUSK_FAULTS
static enum error_code try_to_erase(struct scene *scene)
{
    json_t *result = NULL;
    bool changed;
    enum error_code code =
        world_try(&scene->world, 0, "host erase", json_pack("{s:s, s:s}", "host", "web1", "confirm", "web1"),
                  &result, &changed, NULL);
    json_decref(result);
    return code;
}

/* The second commit takes what is sealed anew; what seals it is written again by the next try. */
static void erase_unsynced(struct scene *scene)
{
    host_heartbeat(&scene->host);
    fail_sync(2);
    assert_int_equal(try_to_erase(scene), ERR_INCOMPLETE);
    fail_sync(0);
    setenv("HUSK_FAULT", ",,,,,,,,,authority.keyring.written:crash", 1);
    (void)try_to_erase(scene);
}

static void what_shares_a_bucket_with_the_erased_survives_a_commit_that_could_not_be_synced(void **state)
{
    struct scene *scene = *state;
    struct world_host second, third;
    struct world_keyslot of_second, of_third;
    scene_another(scene, &second, &of_second);
    host_make(&third, &scene->world, "web3");
    host_enroll(&third, "auto");
    host_bind(&third, &of_third); /* into the first bucket, which is the emptiest */
    crash_after(scene, erase_unsynced);
    scene_opens(&third, &of_third);
    scene_opens(&second, &of_second);
    assert_int_equal(try_to_erase(scene), OK);
    host_done(&second);
    host_done(&third);
}
#endif

static char *keyring_path(struct world *world, int generation)
{
    static char path[192];
    snprintf(path, sizeof(path), "%s/keyring.%d", world->directory, generation);
    return path;
}

static int generation_of(struct world *world)
{
    for (int generation = 1; generation < 100; generation++)
        if (access(keyring_path(world, generation), F_OK) == 0)
            return generation;
    return 0;
}

/* What a start finds in the log may be in memory alone: a power cut takes it back. */
static void a_start_destroys_no_keyring_before_the_log_is_on_the_disk(void **state)
{
    struct scene *scene = *state;
    world_close(&scene->world);
    const int generation = generation_of(&scene->world);
    const int fd = open(keyring_path(&scene->world, generation - 1), O_WRONLY | O_CREAT, 0600);
    assert_true(generation > 1 && fd >= 0 && write(fd, "earlier", 7) == 7);
    close(fd);
    atomic_store(&syncs_fail, true);
    world_open(&scene->world);
    assert_int_equal(access(keyring_path(&scene->world, generation - 1), F_OK), 0);
    poll_once(&scene->host);
    atomic_store(&syncs_fail, false);
    world_reopen(&scene->world);
    assert_int_equal(access(keyring_path(&scene->world, generation - 1), F_OK), -1);
    scene_opens(&scene->host, &scene->keyslot);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scene_test(a_commit_that_could_not_be_synced_takes_no_keyring_away),
#ifdef HUSK_FAULTS
        scene_test(what_shares_a_bucket_with_the_erased_survives_a_commit_that_could_not_be_synced),
#endif
        scene_test(a_start_destroys_no_keyring_before_the_log_is_on_the_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
