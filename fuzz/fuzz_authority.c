/*
 * What hosts say behind the seal, to a real authority: a line is a message, or with "operation" in it what an
 * administrator does in between. Whatever it is, there is one answer, of the form it has to have, and the
 * authority has no trouble of its own with it; what is erased opens no more; the ledger stays whole.
 */
#include "authority_place.h"
#include "target.h"

enum { LINES_MAXIMUM = 12, SIZE_MAXIMUM = 8192, VERIFY_EVERY = 64 };

int LLVMFuzzerInitialize(int *argument_count, char ***arguments)
{
    (void)argument_count;
    (void)arguments;
    must_hold(secret_start(NULL) == OK);
    return 0;
}

static void operate(struct place_host *host, json_t *object, const char *operation)
{
    json_t *arguments = json_object_get(object, "arguments"), *result = NULL;
    struct error error = ERROR_NONE;
    bool changed = false;
    if (!json_is_object(arguments))
        return;
    enum error_code code = place_operate(operation, arguments, &result, &changed, &error);
    must_hold(code == error.code && (code == OK || error.message[0]));
    must_hold(code != ERR_FAILED && code != ERR_NO_MEMORY);
    json_t *first = json_array_get(json_object_get(result, "orders"), 0);
    const char *order = json_string_value(first ? first : json_object_get(result, "order"));
    if (order)
        snprintf(host->order, sizeof(host->order), "%s", order);
    json_decref(result);
}

/* "erased" of a message or an error of that name: nothing of the host opens from then on. */
static void say(struct place_host *host, json_t *object, const char *text, size_t length, bool *is_erased)
{
    const char *type = json_string_value(json_object_get(object, "type"));
    const bool is_base = type && !strcmp(type, "enroll");
    struct buffer filled = {0};
    if (object)
        must_hold(json_format(object, &filled, NULL) == OK);
    json_t *answer =
        object ? place_say(host, filled.data, filled.length, !is_base) : place_say(host, text, length, true);
    const char *code = json_string_value(json_object_get(json_object_get(answer, "error"), "code"));
    json_t *result = json_object_get(answer, "result");
    if (*is_erased && type && !strcmp(type, "open"))
        must_hold(!json_object_get(result, "evaluated"));
    *is_erased |= type && !strcmp(type, "erase") && result && json_is_true(json_object_get(object, "final"));
    *is_erased |= code && !is_base && !strcmp(code, "erased") && type && !strcmp(type, "poll");
    json_decref(answer);
    buffer_done(&filled);
}

static void line(struct place_host *host, const char *text, size_t length, bool *is_erased)
{
    json_t *object = NULL;
    if (json_parse_object(text, length, "the line", &object, NULL) == OK)
        place_fill_in(host, object);
    const char *operation = json_string_value(json_object_get(object, "operation"));
    if (operation)
        operate(host, object, operation);
    else
        say(host, object, text, length, is_erased);
    json_decref(object);
}

static void verify(void)
{
    static unsigned count;
    json_t *arguments = json_object(), *result = NULL;
    bool changed;
    if (++count % VERIFY_EVERY == 0)
        must_hold(place_operate("ledger verify", arguments, &result, &changed, NULL) == OK);
    json_decref(arguments);
    json_decref(result);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct place_host host;
    const char *at = (const char *)data, *end = at + size;
    bool is_erased = false;
    if (size > SIZE_MAXIMUM)
        return -1;
    place_begin(&host);
    for (unsigned i = 0; i < LINES_MAXIMUM && at < end; i++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const size_t length = (size_t)((newline ? newline : end) - at);
        line(&host, at, length, &is_erased);
        at += length + 1;
    }
    verify();
    place_end(&host);
    return 0;
}
