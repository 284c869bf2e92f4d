/* The administrators' socket with an authority of this test behind it: results, errors, who does not wait for
 * whom, what is no line. */
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin/admin.h"
#include "admin/answer.h"
#include "unit.h"

struct authority {
    int nothing;
};

static struct authority authority;

enum error_code authority_operate(struct authority *where, const char *operation, json_t *arguments,
                                  const struct authority_actor *actor, json_t **ret_result, bool *ret_changed,
                                  struct error *reterr)
{
    (void)where;
    if (!strcmp(operation, "fail")) {
        error_set(reterr, ERR_DENIED, 0, "no, because \xff");
        error_subject(reterr, "web1");
        error_remedy(reterr, "ask somebody else");
        return ERR_DENIED;
    }
    if (!strcmp(operation, "slow"))
        nanosleep(&(struct timespec){.tv_nsec = 300 * 1000000L}, NULL);
    *ret_result =
        json_pack("{s:s, s:O, s:i}", "operation", operation, "arguments", arguments, "uid", actor->uid);
    *ret_changed = true;
    return OK;
}

static char directory[] = "/tmp/husk-test-admin-XXXXXX";

static int make_directory(void **state)
{
    (void)state;
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
    (void)state;
    return rmdir(directory);
}

static void administrators_get_results_and_errors(void **state)
{
    (void)state;
    struct admin *admin = NULL;
    _cleanup_(json_freep) json_t *arguments = json_pack("{s:s}", "host", "web1");
    json_t *result = NULL;
    bool changed = false;
    assert_fails(ERR_UNREACHABLE, admin_ask(directory, "x", arguments, -1, &result, &changed, &error));
    assert_ok(admin_start(directory, "no-such-group", &authority, &admin, &error));
    struct stat status;
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", directory, ADMIN_SOCKET_NAME);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0660);

    assert_ok(admin_ask(directory, "host show", arguments, -1, &result, &changed, &error));
    assert_true(changed);
    assert_string_equal(json_string_value(json_object_get(result, "operation")), "host show");
    assert_int_equal(json_integer_value(json_object_get(result, "uid")), getuid());
    assert_true(json_equal(json_object_get(result, "arguments"), arguments));
    json_decref(result);
    result = NULL;

    struct error told = ERROR_NONE;
    assert_int_equal(admin_ask(directory, "fail", arguments, -1, &result, &changed, &told), ERR_DENIED);
    assert_null(result);
    assert_string_equal(told.message, "no, because \\xff");
    assert_string_equal(told.subject, "web1");
    assert_string_equal(told.remedy, "ask somebody else");
    admin_end(admin);
    assert_int_not_equal(stat(path, &status), 0);
    assert_fails(ERR_UNREACHABLE, admin_ask(directory, "x", arguments, -1, &result, &changed, &error));
}

static void *ask_slowly(void *context)
{
    (void)context;
    json_t *arguments = json_object(), *result = NULL;
    bool changed;
    bool good = admin_ask(directory, "slow", arguments, -1, &result, &changed, NULL) == OK;
    json_decref(arguments);
    json_decref(result);
    return good ? directory : NULL;
}

static void administrators_do_not_wait_for_each_other(void **state)
{
    (void)state;
    struct admin *admin = NULL;
    assert_ok(admin_start(directory, NULL, &authority, &admin, &error));
    int64_t begun_ns = clock_monotonic_ns();
    pthread_t threads[16];
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_slowly, NULL), 0);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
        void *good = NULL;
        pthread_join(threads[i], &good);
        assert_non_null(good);
    }
    assert_true(clock_monotonic_ns() - begun_ns < 16 * 300 * INT64_C(1000000) / 2);
    admin_end(admin);
}

static void what_comes_over_the_socket_is_checked(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",
        "{}",
        "[]",
        "x",
        "{\"operation\":1,\"arguments\":{}}",
        "{\"operation\":\"x\"}",
        "{\"operation\":\"x\",\"arguments\":[]}",
        "{\"operation\":\"x\",\"arguments\":{},\"sudo_uid\":-1}",
        "{\"operation\":\"x\",\"arguments\":{},\"arguments\":{}}",
        "{\"operation\":\"x\",\"arguments\":{}} x",
        "{\"operation\":\"\\u0000\",\"arguments\":{}}",
    };
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        _cleanup_(buffer_done) struct buffer line = {0};
        struct admin_request request;
        assert_ok(buffer_append(&line, wrong[i], strlen(wrong[i]), &error));
        assert_fails(ERR_USAGE, admin_request_parse(&line, &request, &error));
    }
    static const char *const answers[] = {
        "{}",
        "{\"result\":1,\"changed\":true,\"error\":null}",
        "{\"result\":null,\"changed\":1,\"error\":null}",
        "{\"result\":null,\"changed\":true,\"error\":{}}",
        "{\"result\":null,\"changed\":true}",
    };
    for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
        _cleanup_(buffer_done) struct buffer line = {0};
        json_t *result = NULL;
        bool changed;
        assert_ok(buffer_append(&line, answers[i], strlen(answers[i]), &error));
        assert_fails(ERR_CORRUPT, admin_answer_parse(&line, &result, &changed, &error));
        json_decref(result);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(administrators_get_results_and_errors),
        cmocka_unit_test(administrators_do_not_wait_for_each_other),
        cmocka_unit_test(what_comes_over_the_socket_is_checked),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
