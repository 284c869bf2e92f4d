#include "keys.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"

const struct key_options keys_plain = {OPTION_KEYFILE, OPTION_PASSPHRASE_FILE, OPTION_RECOVERY_KEY_FILE};
const struct key_options keys_with = {OPTION_WITH_KEYFILE, OPTION_WITH_PASSPHRASE_FILE,
                                      OPTION_WITH_RECOVERY_KEY_FILE};

enum { ASK_TIMES = 3 };

const char *key_word(enum keyslot_kind kind)
{
    return kind == KEYSLOT_RECOVERY ? "recovery key" : keyslot_kind_word(kind);
}

static bool is_standard_input(const char *file)
{
    return !strcmp(file, "-");
}

#define file_shown(file) (is_standard_input(file) ? "standard input" : text_shown(file))

/* Standard input ends once it was read: only one option can have it. */
static enum error_code check_standard_input(const struct arguments *arguments, struct error *reterr)
{
    size_t uses = 0;
    for (size_t i = 0; i < arguments->given_count; i++) {
        unsigned id = arguments->given[i].id;
        if (!arguments->given[i].value || !is_standard_input(arguments->given[i].value))
            continue;
        if (id == OPTION_KEYFILE || id == OPTION_WITH_KEYFILE)
            return error_set(reterr, ERR_USAGE, 0, "a keyfile is a file that stays: --%s - is not possible",
                             husk_options[id].name);
        uses += id == OPTION_PASSPHRASE_FILE || id == OPTION_WITH_PASSPHRASE_FILE ||
                id == OPTION_RECOVERY_KEY_FILE || id == OPTION_WITH_RECOVERY_KEY_FILE;
    }
    if (uses > 1 && !isatty(STDIN_FILENO))
        return error_set(reterr, ERR_USAGE, 0, "standard input can answer only one option");
    return OK;
}

/* errno says why. */
static enum error_code cannot_open(const char *path, struct error *reterr)
{
    enum error_code code = errno == ENOENT ? ERR_NOT_FOUND : ERR_FAILED;
    error_set(reterr, code, errno, "cannot open %s", text_shown(path));
    error_subject(reterr, "%s", text_shown(path));
    return code;
}

static enum error_code read_file(const char *path, size_t least, size_t most, struct secret **ret_secret,
                                 struct error *reterr)
{
    if (is_standard_input(path))
        return secret_read_fd(STDIN_FILENO, least, most, "standard input", ret_secret, reterr);
    /* Looking leaves no trace where we may ask for that: on files of our own. */
    _cleanup_(close_fdp) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NOATIME);
    if (fd < 0 && errno == EPERM)
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return cannot_open(path, reterr);
    return secret_read_fd(fd, least, most, text_shown(path), ret_secret, reterr);
}

/* Of a passphrase or recovery key that is written down. */
static enum error_code explain_no_text(enum error_code code, struct error *reterr)
{
    if (code == ERR_NOT_FOUND)
        error_remedy(reterr, "name the file it is in, or give another key");
    return code;
}

static enum error_code read_text(const char *path, size_t least, size_t most, struct secret **ret_secret,
                                 struct error *reterr)
{
    return explain_no_text(read_file(path, least, most, ret_secret, reterr), reterr);
}

static void cut_newline(struct secret *secret)
{
    if (secret->length > 0 && secret->bytes[secret->length - 1] == '\n')
        secret_shorten(secret, secret->length - 1);
}

static enum error_code check_passphrase(const struct secret *passphrase, enum keys_use use,
                                        struct error *reterr)
{
    if (passphrase->length == 0)
        return error_set(reterr, ERR_USAGE, 0, "the passphrase is empty");
    if (use == KEYS_NEW && passphrase->length < PASSPHRASE_LEAST)
        return error_set(reterr, ERR_USAGE, 0, "a new passphrase has at least %d bytes", PASSPHRASE_LEAST);
    if (passphrase->length > PASSPHRASE_MOST)
        return error_set(reterr, ERR_USAGE, 0, "a passphrase has at most %d bytes", PASSPHRASE_MOST);
    return OK;
}

static enum error_code ask_new_passphrase(struct secret **ret_secret, struct error *reterr)
{
    for (int i = 0; i < ASK_TIMES; i++) {
        _cleanup_(secret_freep) struct secret *first = NULL, *second = NULL;
        enum error_code code = secret_ask("new passphrase: ", PASSPHRASE_MOST, &first, reterr);
        if (code)
            return code;
        struct error why = ERROR_NONE;
        if (check_passphrase(first, KEYS_NEW, &why)) {
            fprintf(stderr, "%s\n", why.message);
            continue;
        }
        code = secret_ask("the same again: ", PASSPHRASE_MOST, &second, reterr);
        if (code)
            return code;
        if (first->length == second->length &&
            sodium_memcmp(first->bytes, second->bytes, first->length) == 0) {
            *ret_secret = TAKE(first);
            return OK;
        }
        fprintf(stderr, "the two were not the same\n");
    }
    return error_set(reterr, ERR_USAGE, 0, "no new passphrase was given");
}

static enum error_code read_passphrase(const char *path, enum keys_use use, struct secret **ret_secret,
                                       struct error *reterr)
{
    if (is_standard_input(path) && isatty(STDIN_FILENO))
        return use == KEYS_NEW ? ask_new_passphrase(ret_secret, reterr)
                               : secret_ask("passphrase: ", PASSPHRASE_MOST, ret_secret, reterr);
    _cleanup_(secret_freep) struct secret *passphrase = NULL;
    enum error_code code = read_text(path, 0, PASSPHRASE_MOST + 1, &passphrase, reterr);
    if (code)
        return code;
    cut_newline(passphrase);
    code = check_passphrase(passphrase, use, reterr);
    if (code)
        return error_prefix(reterr, "%s", file_shown(path));
    *ret_secret = TAKE(passphrase);
    return OK;
}

static enum error_code read_recovery_key(const char *path, enum keys_use use, struct secret **ret_secret,
                                         struct error *reterr)
{
    (void)use; /* a new one is never read */
    _cleanup_(secret_freep) struct secret *text = NULL;
    enum error_code code = is_standard_input(path) && isatty(STDIN_FILENO)
                               ? secret_ask("recovery key: ", RECOVERY_TEXT_SIZE, &text, reterr)
                               : read_text(path, 1, RECOVERY_TEXT_SIZE, &text, reterr);
    if (code)
        return code;
    cut_newline(text);
    code = recovery_key_parse(text, ret_secret, reterr);
    if (!code)
        return OK;
    error_remedy(reterr, "compare it with what was written down: thirteen groups of five letters and digits");
    return error_prefix(reterr, "%s", file_shown(path));
}

static enum error_code read_keyfile(const char *path, enum keys_use use, struct secret **ret_secret,
                                    struct error *reterr)
{
    enum error_code code = read_file(path, KEYFILE_LEAST, KEYFILE_MOST, ret_secret, reterr);
    if (code == ERR_NOT_FOUND && use == KEYS_NEW)
        error_remedy(reterr, "make it first: head -c 64 /dev/urandom > %s", text_shown(path));
    else if (code == ERR_NOT_FOUND)
        error_remedy(reterr, "put the keyfile back, or give another key");
    return code;
}

enum error_code keys_read(const struct run *run, const struct key_options *options, enum keys_use use,
                          struct unlock_answers *answers, struct error *reterr)
{
    const struct {
        unsigned id;
        enum keyslot_kind kind;
        enum error_code (*read)(const char *path, enum keys_use use, struct secret **ret_secret,
                                struct error *reterr);
    } sorts[] = {
        {options->keyfile, KEYSLOT_KEYFILE, read_keyfile},
        {options->passphrase, KEYSLOT_PASSPHRASE, read_passphrase},
        {options->recovery, KEYSLOT_RECOVERY, read_recovery_key},
    };
    enum error_code code = check_standard_input(&run->arguments, reterr);
    for (size_t i = 0; !code && i < run->arguments.given_count; i++) {
        const struct given_option *given = &run->arguments.given[i];
        for (size_t sort = 0; !code && sort < ARRAY_SIZE(sorts); sort++) {
            if (given->id != sorts[sort].id)
                continue;
            struct secret *secret = NULL;
            code = sorts[sort].read(given->value, use, &secret, reterr);
            if (!code)
                code = unlock_answers_add(answers, sorts[sort].kind, secret, given->value, reterr);
        }
    }
    return code;
}

/* A pipe is left to whoever reads it. */
static enum error_code check_keyfile(const char *path, enum keys_use use, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *secret = NULL;
    struct stat status;
    if (stat(path, &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode))
        return OK;
    return read_keyfile(path, use, &secret, reterr);
}

enum error_code keys_check_files(const struct run *run, const struct key_options *options, enum keys_use use,
                                 struct error *reterr)
{
    enum error_code code = check_standard_input(&run->arguments, reterr);
    for (size_t i = 0; !code && i < run->arguments.given_count; i++) {
        const struct given_option *given = &run->arguments.given[i];
        if (given->id == options->keyfile)
            code = check_keyfile(given->value, use, reterr);
        else if ((given->id == options->passphrase || given->id == options->recovery) &&
                 !is_standard_input(given->value) && access(given->value, R_OK) < 0)
            code = explain_no_text(cannot_open(given->value, reterr), reterr);
    }
    return code;
}
