/* What a vault may be opened with: given by the caller, or found through host.json. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "fscrypt/fscrypt.h"
#include "unlock/unlock.h"

enum error_code unlock_answers_add(struct unlock_answers *answers, enum keyslot_kind kind,
                                   struct secret *bytes, const char *source, struct error *reterr)
{
    struct unlock_answer *items = realloc(answers->items, (answers->count + 1) * sizeof(*items));
    if (items)
        answers->items = items;
    char *copy = items ? strdup(source) : NULL;
    if (!copy) {
        secret_free(bytes);
        return error_set(reterr, ERR_NO_MEMORY, 0, "no memory for what opens the vault");
    }
    items[answers->count++] = (struct unlock_answer){.kind = kind, .bytes = bytes, .source = copy};
    return OK;
}

void unlock_answers_done(struct unlock_answers *answers)
{
    for (size_t i = 0; i < answers->count; i++) {
        secret_free(answers->items[i].bytes);
        free(answers->items[i].source);
    }
    free(answers->items);
    *answers = (struct unlock_answers){0};
}

/* Of what a boot has before anything is open. */
static enum error_code check_plain(int fd, const char *path, struct error *reterr)
{
    enum fscrypt_policy_state state = FSCRYPT_PLAIN;
    struct fscrypt_identifier identifier;
    enum error_code code = fscrypt_get_policy(fd, &state, &identifier, reterr);
    return code || state == FSCRYPT_PLAIN
               ? code
               : error_set(reterr, ERR_LOCKED, 0, "the keyfile %s is encrypted itself: no boot can read it",
                           text_shown(path));
}

/* Symlinks and ".." stay below the host's root, as they would on the host itself. */
static enum error_code read_keyfile(int at_fd, const char *path, enum unlock_keyfiles which,
                                    struct secret **ret_secret, struct error *reterr)
{
    const bool of_boot = which == UNLOCK_KEYFILES_OF_BOOT;
    struct open_how how = {.flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
                           .resolve =
                               RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | (of_boot ? RESOLVE_NO_XDEV : 0)};
    _cleanup_(close_fdp) int fd = (int)syscall(SYS_openat2, at_fd, path, &how, sizeof(how));
    struct stat status;
    if (fd < 0 && errno == EXDEV)
        return error_set(reterr, ERR_NOT_FOUND, 0,
                         "the keyfile %s is not on the filesystem of the root: no boot has it mounted",
                         text_shown(path));
    if (fd < 0 || fstat(fd, &status) < 0)
        return error_set(reterr, errno == ENOENT ? ERR_NOT_FOUND : ERR_FAILED, errno,
                         "cannot open the keyfile %s", text_shown(path));
    if (!S_ISREG(status.st_mode))
        return error_set(reterr, ERR_USAGE, 0, "the keyfile %s is not a regular file", text_shown(path));
    enum error_code code = of_boot ? check_plain(fd, path, reterr) : OK;
    return code ? code
                : secret_read_fd(fd, KEYFILE_LEAST, KEYFILE_MOST, text_shown(path), ret_secret, reterr);
}

static enum error_code add_keyfile(struct unlock_answers *answers, int at_fd, const char *path,
                                   enum unlock_keyfiles which, struct finding_list *findings,
                                   struct error *reterr)
{
    struct secret *bytes = NULL;
    struct error why = ERROR_NONE;
    if (read_keyfile(at_fd, path, which, &bytes, &why)) {
        finding_add(findings, FINDING_TELLS,
                    why.code == ERR_NOT_FOUND ? "keyfile-missing" : "keyfile-unusable", text_shown(path),
                    "put the keyfile back, or unlock in another way", "%s", why.message);
        return OK;
    }
    return unlock_answers_add(answers, KEYSLOT_KEYFILE, bytes, text_shown(path), reterr);
}

enum error_code unlock_answers_add_host(struct unlock_answers *answers, const char *at,
                                        const struct vault *vault, enum unlock_keyfiles which,
                                        struct finding_list *findings, struct error *reterr)
{
    struct host_record record = {0};
    _cleanup_(close_fdp) int at_fd = open(at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (at_fd < 0)
        return error_set(reterr, errno == ENOENT ? ERR_NOT_FOUND : ERR_FAILED, errno, "cannot open %s",
                         text_shown(at));
    enum error_code code = host_read(at, &record, reterr);
    for (size_t i = 0; !code && i < record.keyfile_count; i++)
        if (!memcmp(&record.keyfiles[i].vault, &vault->id, sizeof(vault->id)))
            code = add_keyfile(answers, at_fd, record.keyfiles[i].path, which, findings, reterr);
    host_record_done(&record);
    return code;
}
