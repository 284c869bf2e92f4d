/*
 * The administrators' socket: bytes as they come through it, to a real authority. What is no request is
 * refused as usage; every operation is answered, and its answer is read back as it was.
 */
#include <sys/socket.h>
#include <unistd.h>

#include "admin/admin.h"
#include "admin/answer.h"
#include "admin/line.h"
#include "authority_place.h"
#include "target.h"

enum { OPERATIONS_MAXIMUM = 6, SIZE_MAXIMUM = 8192 };

int LLVMFuzzerInitialize(int *argument_count, char ***arguments)
{
    (void)argument_count;
    (void)arguments;
    must_hold(secret_start(NULL) == OK);
    return 0;
}

/* Through a socket, and its writing side closed. */
static enum error_code read_through(const char *bytes, size_t length, struct buffer *read)
{
    struct line_files files = {.count = 0};
    int ends[2];
    must_hold(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    must_hold(send(ends[0], bytes, length, MSG_NOSIGNAL) == (ssize_t)length);
    must_hold(shutdown(ends[0], SHUT_WR) == 0);
    enum error_code code = line_read_with_files(ends[1], ADMIN_REQUEST_MAXIMUM, 0, read, &files, NULL);
    must_hold(code == OK || code == ERR_CORRUPT || code == ERR_UNREACHABLE);
    must_hold(code || !memchr(read->data ? read->data : "", '\n', read->length));
    must_hold(files.count == 0);
    close(ends[0]);
    close(ends[1]);
    return code;
}

static void answer(json_t *result, bool changed, enum error_code code, const struct error *error)
{
    struct buffer line = {.maximum = ADMIN_ANSWER_MAXIMUM};
    struct error told = ERROR_NONE;
    json_t *again = NULL;
    bool changed_again = false;
    must_hold(admin_answer_format(result, changed, code ? error : NULL, &line, NULL) == OK);
    must_hold(admin_answer_parse(&line, &again, &changed_again, &told) == code);
    must_hold(changed_again == changed && (result ? json_equal(result, again) : !again));
    must_hold(code == told.code);
    json_decref(again);
    buffer_done(&line);
}

static void operate(struct place_host *host, const struct buffer *line)
{
    struct admin_request request = {0};
    struct error error = ERROR_NONE;
    json_t *result = NULL;
    bool changed = false;
    enum error_code code = admin_request_parse(line, &request, &error);
    must_hold(code == OK || code == ERR_USAGE);
    if (!code) {
        place_fill_in(host, request.arguments);
        code = place_operate(request.operation, request.arguments, &result, &changed, &error);
    }
    must_hold(code == error.code && (code == OK || error.message[0]));
    must_hold(code != ERR_FAILED && code != ERR_NO_MEMORY);
    answer(result, changed, code, &error);
    json_decref(result);
    json_decref(request.document);
}

/* As an answer, to the client. */
static void read_answer(const char *bytes, size_t length)
{
    struct buffer line = {0};
    struct error error = ERROR_NONE;
    json_t *result = NULL;
    bool changed;
    must_hold(buffer_append(&line, bytes, length, NULL) == OK);
    enum error_code code = admin_answer_parse(&line, &result, &changed, &error);
    must_hold(code == error.code);
    json_decref(result);
    buffer_done(&line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct place_host host;
    static unsigned count;
    const char *at = (const char *)data, *end = at + size;
    if (size > SIZE_MAXIMUM)
        return -1;
    if (count++ % 16 == 0) {
        place_end(&host);
        place_begin(&host);
    }
    for (unsigned i = 0; i < OPERATIONS_MAXIMUM && at < end; i++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const size_t length = (size_t)((newline ? newline + 1 : end) - at);
        struct buffer line = {0};
        read_answer(at, length);
        if (read_through(at, length, &line) == OK)
            operate(&host, &line);
        buffer_done(&line);
        at += length;
    }
    return 0;
}
