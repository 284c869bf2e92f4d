/*
 * What went wrong, complete enough to show: what failed, on what, and what to do.
 *
 * Every function that can fail returns enum error_code (OK is 0) and takes `struct error *reterr` last. On
 * failure reterr holds the code, a message, and where one is known a subject and a remedy. Outputs
 * (`ret_...`) are untouched on failure. reterr may be NULL where the caller does not care for the words. One
 * table maps codes to exit status and wire word.
 */
#pragma once
#include <stdbool.h>

enum error_code {
    OK = 0,
    ERR_FAILED,      /* an operation failed: I/O error, a system call that should work */
    ERR_USAGE,       /* the arguments are wrong */
    ERR_NOT_FOUND,   /* no such vault, keyslot, directory */
    ERR_EXISTS,      /* there is already one */
    ERR_BUSY,        /* something still uses it */
    ERR_LOCKED,      /* the vault is not unlocked */
    ERR_DENIED,      /* not allowed, or refused by husk's own rules */
    ERR_UNSUPPORTED, /* this filesystem, kernel or file kind cannot do it */
    ERR_TOO_NEW,     /* written by a newer husk */
    ERR_CORRUPT,     /* bytes that should be whole are not */
    ERR_WRONG_KEY,   /* no keyslot opens with what was given */
    ERR_CHANGED,     /* something is not as it was recorded */
    ERR_NO_SPACE,    /* disk or quota full */
    ERR_NO_MEMORY,
    ERR_INTERRUPTED, /* the user asked to stop */
    ERR_ERASED,      /* the vault is erased or being erased: it opens no more */
    ERR_PENDING,     /* not decided yet: try again */
    ERR_UNREACHABLE, /* no answer: try again */
    ERR_INCOMPLETE,  /* done in part; the findings say what is missing */
    ERROR_CODES
};

struct error {
    enum error_code code;
    int os_errno;      /* 0, or the errno behind it */
    char subject[256]; /* path, vault or keyslot concerned, escaped for showing; may be empty */
    char message[768]; /* one line, starts lower case, no full stop at its end */
    char remedy[512];  /* what the user can do; may be empty */
};

#define ERROR_NONE ((struct error){0})
#define must_check __attribute__((warn_unused_result))

/* Fill reterr and return code. With os_errno not 0 the message gets ": strerror". ENOSPC and EDQUOT turn
 * ERR_FAILED into ERR_NO_SPACE, ENOMEM into ERR_NO_MEMORY. Read errno before calling anything else and pass
 * it here. */
enum error_code error_set(struct error *reterr, enum error_code code, int os_errno, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Put what was being done in front of the message: "CONTEXT: message". Returns the code that is there;
 * ERR_FAILED where reterr is NULL, as do the two below: which code it was is then not known, but never OK. */
enum error_code error_prefix(struct error *reterr, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Set the subject (raw bytes of a name are escaped by the caller with text_escape()). Returns the code that
 * is there. */
enum error_code error_subject(struct error *reterr, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Set the remedy, unless one is already there. Returns the code that is there. */
enum error_code error_remedy(struct error *reterr, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#ifdef __clang_analyzer__
/* The analyzer sees one file at a time; this tells it that none of these ever returns OK. */
#define error_set(...) (error_set(__VA_ARGS__) ?: ERR_FAILED)
#define error_prefix(...) (error_prefix(__VA_ARGS__) ?: ERR_FAILED)
#define error_subject(...) (error_subject(__VA_ARGS__) ?: ERR_FAILED)
#define error_remedy(...) (error_remedy(__VA_ARGS__) ?: ERR_FAILED)
#endif

/* The wire and JSON word of a code, e.g. "wrong-key". Static storage. */
const char *error_word(enum error_code code);

/* The code of a word; ERR_FAILED for a word that is none of an error. */
enum error_code error_of_word(const char *word);

/* The exit status of design §9 for a code: 0 to 5. */
int error_exit_status(enum error_code code);
