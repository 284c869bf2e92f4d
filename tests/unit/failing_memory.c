/* The linker sends the allocations of everything it links statically through here (--wrap). */
#include <stdio.h>

#include "unit.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
char *__real_strdup(const char *text);
int __real_vasprintf(char **ret_text, const char *format, va_list arguments);
int __real___vasprintf_chk(char **ret_text, int flag, const char *format, va_list arguments);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
char *__wrap_strdup(const char *text);
int __wrap_vasprintf(char **ret_text, const char *format, va_list arguments);
int __wrap___vasprintf_chk(char **ret_text, int flag, const char *format, va_list arguments);

static unsigned wanted, seen;

void memory_fail_at(unsigned number)
{
    wanted = number;
    seen = 0;
}

bool memory_has_failed(void)
{
    return wanted && seen >= wanted;
}

static bool fails_now(void)
{
    return wanted && ++seen == wanted;
}

void *__wrap_malloc(size_t size)
{
    return fails_now() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails_now() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    return fails_now() ? NULL : __real_realloc(memory, size);
}

char *__wrap_strdup(const char *text)
{
    return fails_now() ? NULL : __real_strdup(text);
}

int __wrap_vasprintf(char **ret_text, const char *format, va_list arguments)
{
    return fails_now() ? -1 : __real_vasprintf(ret_text, format, arguments);
}

/* What vasprintf is called when the build checks buffers (_FORTIFY_SOURCE). */
int __wrap___vasprintf_chk(char **ret_text, int flag, const char *format, va_list arguments)
{
    return fails_now() ? -1 : __real___vasprintf_chk(ret_text, flag, format, arguments);
}
