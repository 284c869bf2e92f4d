#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "authority/sql.h"
#include "base/buffer.h"
#include "base/file.h"
#include "unit.h"

enum { ROOM = 1 << 20, DATABASE_MAXIMUM = 16 << 20 };

struct scene {
    char directory[64];
    int fd;
    struct sql *sql;
};

static void path_of(const struct scene *scene, const char *name, char path[128])
{
    snprintf(path, 128, "%s/%s", scene->directory, name);
}

static int start(void **state)
{
    struct scene *scene = calloc(1, sizeof(*scene));
    char path[128];
    *state = scene;
    snprintf(scene->directory, sizeof(scene->directory), "/tmp/husk-test-sql-XXXXXX");
    if (!mkdtemp(scene->directory))
        return -1;
    scene->fd = open(scene->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    path_of(scene, "db", path);
    return sql_open(path, SQL_CREATE, &scene->sql, NULL) == OK ? 0 : -1;
}

static int end(void **state)
{
    static const char *const names[] = {"db", "db-wal", "db-shm", "copy", "copy-wal", "copy-shm"};
    struct scene *scene = *state;
    sql_close(scene->sql);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        unlinkat(scene->fd, names[i], 0);
    close(scene->fd);
    rmdir(scene->directory);
    free(scene);
    return 0;
}

static void insert(struct scene *scene, const char *text)
{
    assert_ok(sql_begin(scene->sql, &error));
    assert_ok(sql_run(scene->sql, &error, "INSERT INTO said VALUES (?)", "t", text));
    assert_ok(sql_commit(scene->sql, &error));
}

static off_t log_size(const struct scene *scene)
{
    struct stat status;
    assert_int_equal(fstatat(scene->fd, "db-wal", &status, 0), 0);
    return status.st_size;
}

static void copy(const struct scene *scene, const char *from, const char *to)
{
    struct buffer bytes = {0};
    assert_ok(file_read(scene->fd, from, DATABASE_MAXIMUM, &bytes, &error));
    assert_ok(file_write_durable(scene->fd, to, 0600, bytes.data, bytes.length, &error));
    buffer_done(&bytes);
}

/* As a crash leaves it. */
static int64_t count_in_copy(const struct scene *scene)
{
    char path[128];
    struct sql *sql = NULL;
    struct sql_rows rows;
    bool is_there = false;
    copy(scene, "db", "copy");
    copy(scene, "db-wal", "copy-wal");
    path_of(scene, "copy", path);
    assert_ok(sql_open(path, SQL_OPEN, &sql, &error));
    assert_ok(sql_select(sql, &rows, &error, "SELECT count(*) FROM said", ""));
    assert_ok(sql_next(&rows, &is_there, &error));
    const int64_t number = is_there ? sql_integer(&rows, 0) : -1;
    sql_done(&rows);
    sql_close(sql);
    return number;
}

static void commits_find_room_in_the_log(void **state)
{
    struct scene *scene = *state;
    assert_ok(sql_script(scene->sql, "CREATE TABLE said (text TEXT)", &error));
    insert(scene, "one");
    const off_t before = log_size(scene);
    sql_make_room(scene->sql);
    assert_int_equal(log_size(scene), before + ROOM);
    for (int i = 0; i < 20; i++)
        insert(scene, "more");
    sql_make_room(scene->sql);
    assert_int_equal(log_size(scene), before + ROOM);
    assert_int_equal(count_in_copy(scene), 21);
}

static void a_full_log_gets_room_again(void **state)
{
    struct scene *scene = *state;
    char text[60000];
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    assert_ok(sql_script(scene->sql, "CREATE TABLE said (text TEXT)", &error));
    for (int i = 0; i < 60; i++) {
        insert(scene, text);
        const off_t before = log_size(scene);
        sql_make_room(scene->sql);
        assert_true(log_size(scene) == before || log_size(scene) == before + ROOM);
    }
    assert_true(log_size(scene) > 60 * (off_t)sizeof(text));
    assert_int_equal(count_in_copy(scene), 60);
}

static void a_transaction_that_runs_is_left_alone(void **state)
{
    struct scene *scene = *state;
    assert_ok(sql_script(scene->sql, "CREATE TABLE said (text TEXT)", &error));
    assert_ok(sql_begin(scene->sql, &error));
    assert_ok(sql_run(scene->sql, &error, "INSERT INTO said VALUES (?)", "t", "one"));
    sql_make_room(scene->sql);
    assert_true(sql_has_transaction(scene->sql));
    assert_ok(sql_commit(scene->sql, &error));
    assert_int_equal(count_in_copy(scene), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(commits_find_room_in_the_log, start, end),
        cmocka_unit_test_setup_teardown(a_full_log_gets_room_again, start, end),
        cmocka_unit_test_setup_teardown(a_transaction_that_runs_is_left_alone, start, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
