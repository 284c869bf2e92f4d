#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sodium.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <termios.h>

#include "base/interrupt.h"
#include "mapping.h"
#include "secret/secret.h"
#include "unit.h"

static int start(void **state)
{
    (void)state;
    return secret_start(NULL) == OK ? 0 : -1;
}

static void after_start_the_process_leaves_no_core_dump(void **state)
{
    (void)state;
    struct rlimit limit;
    assert_int_equal(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 0);
    assert_int_equal(getrlimit(RLIMIT_CORE, &limit), 0);
    assert_int_equal(limit.rlim_max, 0);
    assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &limit), 0);
    assert_int_equal(limit.rlim_cur, limit.rlim_max);
}

static void a_secret_is_zeroed_locked_and_kept_out_of_dumps(void **state)
{
    (void)state;
    if (!MLOCK_WORKS)
        skip();
    static const size_t lengths[] = {1, 32, 4096, 4097, 1 << 20};
    for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
        _cleanup_(secret_freep) struct secret *secret = NULL;
        assert_ok(secret_new(lengths[i], &secret, &error));
        assert_int_equal(secret->length, lengths[i]);
        assert_true(sodium_is_zero(secret->bytes, secret->length));
        assert_true(mapping_has(secret->bytes, MAPPING_LOCKED));
        assert_true(mapping_has(secret->bytes, MAPPING_NOT_DUMPED));
        assert_true(mapping_has(secret->bytes + lengths[i] - 1, MAPPING_LOCKED));
    }
}

static void a_secret_has_a_sensible_length(void **state)
{
    (void)state;
    struct secret *secret = NULL;
    assert_fails(ERR_FAILED, secret_new(0, &secret, &error));
    assert_fails(ERR_FAILED, secret_new(((size_t)1 << 20) + 1, &secret, &error));
    assert_fails(ERR_FAILED, secret_new(SIZE_MAX, &secret, &error));
    assert_null(secret);
}

/* In a child without the right to lock memory; its exit status says what happened. */
static int try_without_lockable_memory(void)
{
    const struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_MEMLOCK, &none) < 0)
        return 10;
    if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0) /* gives up CAP_IPC_LOCK */
        return 11;
    struct secret *secret = NULL;
    struct error error = ERROR_NONE;
    if (secret_new(4096, &secret, &error) != ERR_NO_MEMORY || secret)
        return 12;
    if (!strstr(error.message, "lock") || !strstr(error.remedy, "LimitMEMLOCK="))
        return 13;
    return 0;
}

static void a_secret_that_cannot_be_locked_is_refused_with_a_remedy(void **state)
{
    (void)state;
    if (!MLOCK_WORKS)
        skip();
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(try_without_lockable_memory());
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* Reading one byte behind a long secret ends the process; short ones are in test_packed.c. */
static void behind_a_secret_is_a_guard_page(void **state)
{
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL); /* also where a sanitizer has its own */
        struct secret *secret = NULL;
        if (secret_new(4096, &secret, NULL) != OK)
            _exit(10);
        _exit(*(volatile uint8_t *)(secret->bytes + 4096) ? 11 : 12);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSEGV);
}

static void random_secrets_differ_and_copies_do_not(void **state)
{
    (void)state;
    _cleanup_(secret_freep) struct secret *one = NULL, *other = NULL, *copy = NULL;
    assert_ok(secret_new_random(32, &one, &error));
    assert_ok(secret_new_random(32, &other, &error));
    assert_memory_not_equal(one->bytes, other->bytes, 32);
    assert_ok(secret_new_copy(one->bytes, 32, &copy, &error));
    assert_memory_equal(one->bytes, copy->bytes, 32);
    assert_ptr_not_equal(one->bytes, copy->bytes);
}

static void shortening_zeroes_what_is_cut_off(void **state)
{
    (void)state;
    _cleanup_(secret_freep) struct secret *secret = NULL;
    assert_ok(secret_new_copy("0123456789", 10, &secret, &error));
    secret_shorten(secret, 4);
    assert_int_equal(secret->length, 4);
    assert_memory_equal(secret->bytes, "0123\0\0\0\0\0\0", 10);
    secret_shorten(secret, 20); /* never longer */
    assert_int_equal(secret->length, 4);
    secret_shorten(secret, 0);
    assert_true(sodium_is_zero(secret->bytes, 10));
}

static void freeing_nothing_is_fine(void **state)
{
    (void)state;
    secret_free(NULL);
    struct secret *secret = NULL;
    secret_freep(&secret);
}

static void running_out_of_memory_leaves_no_half_secret(void **state)
{
    (void)state;
    struct secret *secret = NULL;
    enum error_code code = OK;
    with_every_allocation_failing(code = secret_new_random(32, &secret, NULL), {
        assert_int_equal(code, ERR_NO_MEMORY);
        assert_null(secret);
    });
    assert_int_equal(code, OK);
    secret_free(secret);
}

/* A descriptor from which length bytes 0, 1, 2 ... can be read. */
static int file_of(size_t length)
{
    int fd = memfd_create("secret", MFD_CLOEXEC);
    assert_true(fd >= 0);
    for (size_t i = 0; i < length; i++) {
        uint8_t byte = (uint8_t)(i * 7 + i / 256);
        assert_int_equal(write(fd, &byte, 1), 1);
    }
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static void a_file_is_read_whole(void **state)
{
    (void)state;
    static const size_t lengths[] = {1, 32, 4095, 4096, 4097, 8192, 20000};
    for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
        _cleanup_(close_fdp) int fd = file_of(lengths[i]);
        _cleanup_(secret_freep) struct secret *secret = NULL;
        assert_ok(secret_read_fd(fd, 1, 20000, "it", &secret, &error));
        assert_int_equal(secret->length, lengths[i]);
        for (size_t at = 0; at < lengths[i]; at++)
            assert_int_equal(secret->bytes[at], (uint8_t)(at * 7 + at / 256));
    }
}

static void a_file_that_is_too_short_or_too_long_is_refused(void **state)
{
    (void)state;
    static const struct {
        size_t length, minimum, maximum;
        const char *words;
    } cases[] = {
        {0, 1, 64, "too short"},
        {31, 32, 64, "too short: 31 bytes"},
        {65, 32, 64, "longer than 64 bytes"},
        {4097, 1, 4096, "longer than"},
        {9000, 1, 8999, "longer than"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(close_fdp) int fd = file_of(cases[i].length);
        struct secret *secret = NULL;
        assert_fails_saying(ERR_USAGE, cases[i].words,
                            secret_read_fd(fd, cases[i].minimum, cases[i].maximum, "it", &secret, &error));
        assert_null(secret);
    }
}

static void a_file_that_cannot_be_read_is_an_error(void **state)
{
    (void)state;
    struct secret *secret = NULL;
    _cleanup_(close_fdp) int directory_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_fails_saying(ERR_FAILED, "the directory",
                        secret_read_fd(directory_fd, 1, 10, "the directory", &secret, &error));
    assert_fails(ERR_FAILED, secret_read_fd(-1, 1, 10, "nothing", &secret, &error));
    assert_null(secret);
}

static void a_stream_that_comes_in_pieces_is_read_whole(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        for (int i = 0; i < 100; i++)
            if (write(ends[1], "abc", 3) != 3)
                _exit(1);
        _exit(0);
    }
    close(ends[1]);
    _cleanup_(secret_freep) struct secret *secret = NULL;
    assert_ok(secret_read_fd(ends[0], 1, 1000, "pipe", &secret, &error));
    close(ends[0]);
    assert_int_equal(secret->length, 300);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

/*
 * Questions on a real terminal: a child asks on the slave side of a pseudo terminal, as the leader of its own
 * session; what it got goes back through a pipe. The parent plays the user.
 */
struct dialogue {
    pid_t child;
    int master_fd;
    int slave_fd; /* so that the terminal's settings can be seen after the child is gone */
    int result_fd;
    struct termios before;
};

enum handlers { HANDLERS_DEFAULT, HANDLERS_INSTALLED, HANDLERS_IGNORE };

/* What the child writes into the pipe. */
struct outcome {
    enum error_code code;
    bool interrupt_requested;
    size_t length;
    char text[64];
};

static void ask_in_child(int slave_fd, int result_fd, enum handlers handlers, size_t maximum)
{
    setsid();
    if (ioctl(slave_fd, TIOCSCTTY, 0) < 0 || dup2(slave_fd, 0) < 0 || dup2(slave_fd, 2) < 0)
        _exit(1);
    if (handlers == HANDLERS_INSTALLED)
        interrupt_install();
    if (handlers == HANDLERS_IGNORE)
        interrupt_ignore();
    struct secret *secret = NULL;
    struct outcome outcome = {.code = secret_ask("Passphrase: ", maximum, &secret, NULL)};
    outcome.interrupt_requested = interrupt_requested();
    if (secret && secret->length < sizeof(outcome.text)) {
        outcome.length = secret->length;
        memcpy(outcome.text, secret->bytes, secret->length);
    }
    secret_free(secret);
    _exit(write(result_fd, &outcome, sizeof(outcome)) == sizeof(outcome) ? 0 : 1);
}

/* Reads what the terminal shows until it has shown words, which must happen within 20 seconds. */
static void expect_shown(struct dialogue *dialogue, const char *words, char *seen, size_t seen_size)
{
    size_t length = 0;
    seen[0] = '\0';
    while (!strstr(seen, words)) {
        struct pollfd ready = {dialogue->master_fd, POLLIN, 0};
        assert_int_equal(poll(&ready, 1, 20000), 1);
        ssize_t got = read(dialogue->master_fd, seen + length, seen_size - 1 - length);
        assert_true(got > 0);
        length += (size_t)got;
        seen[length] = '\0';
    }
}

static struct dialogue dialogue_open(enum handlers handlers, size_t maximum)
{
    struct dialogue dialogue;
    int ends[2];
    assert_int_equal(openpty(&dialogue.master_fd, &dialogue.slave_fd, NULL, NULL, NULL), 0);
    assert_int_equal(tcgetattr(dialogue.slave_fd, &dialogue.before), 0);
    assert_true(dialogue.before.c_lflag & ECHO);
    assert_int_equal(pipe(ends), 0);
    dialogue.child = fork();
    assert_true(dialogue.child >= 0);
    if (dialogue.child == 0) {
        close(dialogue.master_fd);
        ask_in_child(dialogue.slave_fd, ends[1], handlers, maximum);
    }
    close(ends[1]);
    dialogue.result_fd = ends[0];
    char seen[256];
    expect_shown(&dialogue, "Passphrase: ", seen, sizeof(seen));
    return dialogue;
}

static void type(const struct dialogue *dialogue, const char *keys)
{
    assert_int_equal(write(dialogue->master_fd, keys, strlen(keys)), (ssize_t)strlen(keys));
}

static bool echoes(const struct dialogue *dialogue)
{
    struct termios now;
    assert_int_equal(tcgetattr(dialogue->slave_fd, &now), 0);
    return now.c_lflag & ECHO;
}

/* Ends the dialogue: the terminal must be as it was. Returns the child's wait status. */
static int dialogue_close(struct dialogue *dialogue, struct outcome *ret_outcome)
{
    int status;
    *ret_outcome = (struct outcome){.code = ERROR_CODES};
    ssize_t got = read(dialogue->result_fd, ret_outcome, sizeof(*ret_outcome));
    assert_true(got == 0 || got == sizeof(*ret_outcome));
    assert_int_equal(waitpid(dialogue->child, &status, 0), dialogue->child);
    struct termios after;
    assert_int_equal(tcgetattr(dialogue->slave_fd, &after), 0);
    assert_int_equal(after.c_lflag, dialogue->before.c_lflag);
    close(dialogue->master_fd);
    close(dialogue->slave_fd);
    close(dialogue->result_fd);
    return status;
}

static void an_answer_is_read_and_not_shown(void **state)
{
    (void)state;
    struct dialogue dialogue = dialogue_open(HANDLERS_INSTALLED, 32);
    assert_false(echoes(&dialogue));
    type(&dialogue, "open sesame\n");
    char seen[256];
    expect_shown(&dialogue, "\n", seen, sizeof(seen));
    assert_null(strstr(seen, "sesame"));
    struct outcome outcome;
    assert_int_equal(dialogue_close(&dialogue, &outcome), 0);
    assert_int_equal(outcome.code, OK);
    assert_int_equal(outcome.length, 11);
    assert_memory_equal(outcome.text, "open sesame", 11);
}

static void an_answer_may_be_corrected_and_may_be_empty(void **state)
{
    (void)state;
    struct outcome outcome;
    struct dialogue dialogue = dialogue_open(HANDLERS_INSTALLED, 32);
    type(&dialogue, "opex\177n\n"); /* DEL takes back the x */
    assert_int_equal(dialogue_close(&dialogue, &outcome), 0);
    assert_int_equal(outcome.length, 4);
    assert_memory_equal(outcome.text, "open", 4);

    dialogue = dialogue_open(HANDLERS_INSTALLED, 32);
    type(&dialogue, "\n");
    assert_int_equal(dialogue_close(&dialogue, &outcome), 0);
    assert_int_equal(outcome.code, OK);
    assert_int_equal(outcome.length, 0);
}

static void an_answer_longer_than_allowed_is_refused(void **state)
{
    (void)state;
    struct outcome outcome;
    struct dialogue dialogue = dialogue_open(HANDLERS_INSTALLED, 8);
    type(&dialogue, "123456789\n");
    assert_int_equal(dialogue_close(&dialogue, &outcome), 0);
    assert_int_equal(outcome.code, ERR_USAGE);

    dialogue = dialogue_open(HANDLERS_INSTALLED, 8);
    type(&dialogue, "12345678\n");
    assert_int_equal(dialogue_close(&dialogue, &outcome), 0);
    assert_int_equal(outcome.code, OK);
    assert_int_equal(outcome.length, 8);
}

static void end_of_input_is_no_answer(void **state)
{
    (void)state;
    struct outcome outcome;
    struct dialogue dialogue = dialogue_open(HANDLERS_INSTALLED, 32);
    type(&dialogue, "\004"); /* ^D */
    assert_int_equal(dialogue_close(&dialogue, &outcome), 0);
    assert_int_equal(outcome.code, ERR_INTERRUPTED);
}

static void an_interrupt_reaches_the_program_s_own_handler(void **state)
{
    (void)state;
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        struct outcome outcome;
        struct dialogue dialogue = dialogue_open(HANDLERS_INSTALLED, 32);
        type(&dialogue, "half");
        if (numbers[i] == SIGINT)
            type(&dialogue, "\003"); /* ^C, as a user does */
        else
            assert_int_equal(kill(dialogue.child, numbers[i]), 0);
        assert_int_equal(dialogue_close(&dialogue, &outcome), 0);
        assert_int_equal(outcome.code, ERR_INTERRUPTED);
        assert_true(outcome.interrupt_requested);
    }
}

static void a_deadly_signal_still_ends_the_process_but_with_the_terminal_restored(void **state)
{
    (void)state;
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGALRM, SIGPIPE};
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        struct outcome outcome;
        struct dialogue dialogue = dialogue_open(HANDLERS_DEFAULT, 32);
        assert_false(echoes(&dialogue));
        assert_int_equal(kill(dialogue.child, numbers[i]), 0);
        int status = dialogue_close(&dialogue, &outcome);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), numbers[i]);
    }
}

static void an_ignored_signal_stays_ignored(void **state)
{
    (void)state;
    struct outcome outcome;
    struct dialogue dialogue = dialogue_open(HANDLERS_IGNORE, 32);
    assert_int_equal(kill(dialogue.child, SIGTERM), 0);
    assert_int_equal(kill(dialogue.child, SIGHUP), 0);
    type(&dialogue, "still here\n");
    assert_int_equal(dialogue_close(&dialogue, &outcome), 0);
    assert_int_equal(outcome.code, OK);
    assert_int_equal(outcome.length, 10);
}

/* The session's leader is in an orphaned process group, where SIGTSTP does nothing; SIGSTOP stands for it. */
static void a_stop_restores_the_terminal_and_asks_again(void **state)
{
    (void)state;
    struct outcome outcome;
    struct dialogue dialogue = dialogue_open(HANDLERS_DEFAULT, 32);
    assert_int_equal(kill(dialogue.child, SIGTSTP), 0);
    char seen[256];
    expect_shown(&dialogue, "Passphrase: ", seen, sizeof(seen));
    type(&dialogue, "again\n");
    assert_int_equal(dialogue_close(&dialogue, &outcome), 0);
    assert_int_equal(outcome.code, OK);
    assert_memory_equal(outcome.text, "again", 5);
}

static void nothing_is_asked_where_standard_input_is_no_terminal(void **state)
{
    (void)state;
    int saved_fd = dup(0);
    _cleanup_(close_fdp) int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_equal(dup2(null_fd, 0), 0);
    struct secret *secret = NULL;
    assert_fails_saying(ERR_USAGE, "no terminal", secret_ask("? ", 32, &secret, &error));
    assert_null(secret);
    assert_int_equal(dup2(saved_fd, 0), 0);
    close(saved_fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(after_start_the_process_leaves_no_core_dump),
        cmocka_unit_test(a_secret_is_zeroed_locked_and_kept_out_of_dumps),
        cmocka_unit_test(a_secret_has_a_sensible_length),
        cmocka_unit_test(a_secret_that_cannot_be_locked_is_refused_with_a_remedy),
        cmocka_unit_test(behind_a_secret_is_a_guard_page),
        cmocka_unit_test(random_secrets_differ_and_copies_do_not),
        cmocka_unit_test(shortening_zeroes_what_is_cut_off),
        cmocka_unit_test(freeing_nothing_is_fine),
        cmocka_unit_test(running_out_of_memory_leaves_no_half_secret),
        cmocka_unit_test(a_file_is_read_whole),
        cmocka_unit_test(a_file_that_is_too_short_or_too_long_is_refused),
        cmocka_unit_test(a_file_that_cannot_be_read_is_an_error),
        cmocka_unit_test(a_stream_that_comes_in_pieces_is_read_whole),
        cmocka_unit_test(an_answer_is_read_and_not_shown),
        cmocka_unit_test(an_answer_may_be_corrected_and_may_be_empty),
        cmocka_unit_test(an_answer_longer_than_allowed_is_refused),
        cmocka_unit_test(end_of_input_is_no_answer),
        cmocka_unit_test(an_interrupt_reaches_the_program_s_own_handler),
        cmocka_unit_test(a_deadly_signal_still_ends_the_process_but_with_the_terminal_restored),
        cmocka_unit_test(an_ignored_signal_stays_ignored),
        cmocka_unit_test(a_stop_restores_the_terminal_and_asks_again),
        cmocka_unit_test(nothing_is_asked_where_standard_input_is_no_terminal),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
