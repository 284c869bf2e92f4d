/*
 * What every unit test includes: cmocka, and asserts that show the words of an error. Tests are named as
 * sentences.
 */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/error.h"

/* expression takes &error. */
#define assert_ok(expression)                                                                                \
    do {                                                                                                     \
        struct error error = ERROR_NONE;                                                                     \
        enum error_code code_ = (expression);                                                                \
        if (code_ != OK)                                                                                     \
            fail_msg("%s: %s (%s)", #expression, error_word(code_), error.message);                          \
    } while (0)

/* It fails with this code, says so in error too, and its message is not empty. */
#define assert_fails(expected, expression)                                                                   \
    do {                                                                                                     \
        struct error error = ERROR_NONE;                                                                     \
        enum error_code code_ = (expression);                                                                \
        if (code_ != (expected) || error.code != (expected) || !error.message[0])                            \
            fail_msg("%s: %s instead of %s (%s)", #expression, error_word(code_), error_word(expected),      \
                     error.message);                                                                         \
    } while (0)

/* The same, and the message holds words. */
#define assert_fails_saying(expected, words, expression)                                                     \
    do {                                                                                                     \
        struct error error = ERROR_NONE;                                                                     \
        enum error_code code_ = (expression);                                                                \
        if (code_ != (expected) || error.code != (expected) || !strstr(error.message, (words)))              \
            fail_msg("%s: %s instead of %s (\"%s\" does not say \"%s\")", #expression, error_word(code_),    \
                     error_word(expected), error.message, (words));                                          \
    } while (0)

/*
 * Allocations that fail (failing_memory.c): from now on the number-th call of malloc, calloc, realloc, strdup
 * or vasprintf returns NULL, counted from 1, and only that one. 0 lets all succeed. Reaches the rooms, and
 * libraries as far as they are linked statically.
 */
void memory_fail_at(unsigned number);
/* True when the wished-for failure has happened since memory_fail_at(). */
bool memory_has_failed(void);

/*
 * Run the statement again and again while its first, second, third ... allocation fails, until none is left
 * to fail. statement must not assert success; check says what must hold after each failing run.
 */
#define with_every_allocation_failing(statement, check)                                                      \
    for (unsigned number_ = 1; number_ < 10000; number_++) {                                                 \
        memory_fail_at(number_);                                                                             \
        statement;                                                                                           \
        bool failed_ = memory_has_failed();                                                                  \
        memory_fail_at(0);                                                                                   \
        if (!failed_)                                                                                        \
            break;                                                                                           \
        check;                                                                                               \
    }
