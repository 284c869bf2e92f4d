#include "base/error.h"

#include <errno.h>
#include <stdarg.h>

#undef error_set /* these four are the analyzer's (error.h) */
#undef error_prefix
#undef error_subject
#undef error_remedy

/* One place says how each code leaves the program. */
static const struct {
    const char *word;
    int exit_status;
} codes[ERROR_CODES] = {
    [OK] = {"ok", 0},
    [ERR_FAILED] = {"failed", 1},
    [ERR_USAGE] = {"usage", 2},
    [ERR_NOT_FOUND] = {"not-found", 1},
    [ERR_EXISTS] = {"exists", 3},
    [ERR_BUSY] = {"busy", 3},
    [ERR_LOCKED] = {"locked", 3},
    [ERR_DENIED] = {"denied", 3},
    [ERR_UNSUPPORTED] = {"unsupported", 3},
    [ERR_TOO_NEW] = {"too-new", 3},
    [ERR_CORRUPT] = {"corrupt", 1},
    [ERR_WRONG_KEY] = {"wrong-key", 3},
    [ERR_CHANGED] = {"changed", 3},
    [ERR_NO_SPACE] = {"no-space", 1},
    [ERR_NO_MEMORY] = {"no-memory", 1},
    [ERR_INTERRUPTED] = {"interrupted", 1},
    [ERR_ERASED] = {"erased", 3},
    [ERR_PENDING] = {"pending", 4},
    [ERR_UNREACHABLE] = {"unreachable", 4},
    [ERR_INCOMPLETE] = {"incomplete", 5},
};

enum error_code error_set(struct error *reterr, enum error_code code, int os_errno, const char *format, ...)
{
    if (code == ERR_FAILED && (os_errno == ENOSPC || os_errno == EDQUOT))
        code = ERR_NO_SPACE;
    if (code == ERR_FAILED && os_errno == ENOMEM)
        code = ERR_NO_MEMORY;
    if (!reterr)
        return code;

    *reterr = (struct error){.code = code, .os_errno = os_errno};
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reterr->message, sizeof(reterr->message), format, arguments);
    va_end(arguments);
    if (os_errno) {
        size_t length = strlen(reterr->message);
        snprintf(reterr->message + length, sizeof(reterr->message) - length, ": %s", strerror(os_errno));
    }
    if (code == ERR_NO_SPACE)
        error_remedy(reterr, "free space on that filesystem, then run the same command again");
    if (os_errno == EROFS)
        error_remedy(reterr,
                     "the kernel makes a filesystem read-only when it finds it or its disk damaged (dmesg): "
                     "unmount it, run e2fsck on it, mount it, then run the same command again");
    return code;
}

enum error_code error_prefix(struct error *reterr, const char *format, ...)
{
    if (!reterr)
        return ERR_FAILED;
    char context[sizeof(reterr->message)];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(context, sizeof(context), format, arguments);
    va_end(arguments);

    char whole[sizeof(reterr->message) * 2 + 3];
    snprintf(whole, sizeof(whole), "%s: %s", context, reterr->message);
    size_t length = strnlen(whole, sizeof(reterr->message) - 1);
    memcpy(reterr->message, whole, length);
    reterr->message[length] = '\0';
    return reterr->code;
}

enum error_code error_subject(struct error *reterr, const char *format, ...)
{
    if (!reterr)
        return ERR_FAILED;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reterr->subject, sizeof(reterr->subject), format, arguments);
    va_end(arguments);
    return reterr->code;
}

enum error_code error_remedy(struct error *reterr, const char *format, ...)
{
    if (!reterr || reterr->remedy[0])
        return reterr ? reterr->code : ERR_FAILED;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reterr->remedy, sizeof(reterr->remedy), format, arguments);
    va_end(arguments);
    return reterr->code;
}

const char *error_word(enum error_code code)
{
    return code < ERROR_CODES ? codes[code].word : "failed";
}

enum error_code error_of_word(const char *word)
{
    for (int code = OK + 1; code < ERROR_CODES; code++)
        if (!strcmp(codes[code].word, word))
            return (enum error_code)code;
    return ERR_FAILED;
}

int error_exit_status(enum error_code code)
{
    return code < ERROR_CODES ? codes[code].exit_status : 1;
}
