/* The file of a recovery key: F.new, then F (new_keys.h). */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/text.h"
#include "new_keys.h"

enum { ASK_TIMES = 3, END_LETTERS = 10 /* two groups */ };

/* The directory of an absolute path, and the names in it. */
struct place {
    int fd;
    const char *name; /* points into the path */
    char new_name[NAME_MAX + 1];
};

static void place_done(struct place *place)
{
    close_fdp(&place->fd);
}

static enum error_code place_open(const char *real, struct place *ret_place, struct error *reterr)
{
    struct place place = {.name = strrchr(real, '/') + 1};
    if ((size_t)snprintf(place.new_name, sizeof(place.new_name), "%s.new", place.name) >=
        sizeof(place.new_name))
        return error_set(reterr, ERR_USAGE, 0, "the name %s is too long", text_shown(place.name));
    _cleanup_(freep) char *directory = strndup(real, (size_t)(place.name - real));
    if (!directory)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    place.fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (place.fd < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot open the directory %s", text_shown(directory));
    *ret_place = place;
    return OK;
}

/* The text and a newline behind it. */
static enum error_code as_line(const struct secret *text, struct secret **ret_line, struct error *reterr)
{
    enum error_code code = secret_new(text->length + 1, ret_line, reterr);
    if (code)
        return code;
    memcpy((*ret_line)->bytes, text->bytes, text->length);
    (*ret_line)->bytes[text->length] = '\n';
    return OK;
}

static enum error_code read_key(int fd, const char *path, struct secret **ret_key, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *text = NULL;
    enum error_code code = secret_read_fd(fd, 1, RECOVERY_TEXT_SIZE, text_shown(path), &text, reterr);
    if (code)
        return code;
    if (text->bytes[text->length - 1] == '\n')
        secret_shorten(text, text->length - 1);
    return recovery_key_parse(text, ret_key, reterr);
}

/* From the disk where it has one, not from what the kernel keeps of it. */
static enum error_code read_back(const struct new_keys *keys, const struct place *place,
                                 const struct keyslot *slots, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *key = NULL, *vault_secret = NULL;
    int injected = fault("program.recovery-read");
    _cleanup_(close_fdp) int fd =
        injected ? -1 : openat(place->fd, place->new_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return error_set(reterr, ERR_FAILED, injected ? injected : errno, "cannot open %s",
                         text_shown(place->new_name));
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    enum error_code code = read_key(fd, place->new_name, &key, reterr);
    for (size_t i = 0; !code && i < new_keys_count(keys); i++)
        if (slots[i].kind == KEYSLOT_RECOVERY)
            code = keyslot_finish(&slots[i], key, &vault_secret, reterr);
    if (!code && vault_secret)
        return OK;
    error_set(reterr, ERR_CORRUPT, 0, "what was written to %s is not the recovery key when it is read back",
              text_shown(place->new_name));
    return error_remedy(reterr, "name a file on another disk: --recovery-out F");
}

enum error_code new_keys_write_recovery(struct new_keys *keys, const struct keyslot *slots,
                                        struct error *reterr)
{
    if (!keys->recovery_out)
        return OK;
    _cleanup_(place_done) struct place place = {.fd = -1};
    _cleanup_(secret_freep) struct secret *line = NULL;
    enum error_code code = place_open(keys->recovery_out, &place, reterr);
    if (!code)
        code = as_line(keys->recovery_text, &line, reterr);
    if (!code)
        code = file_write_durable(place.fd, place.new_name, 0600, line->bytes, line->length, reterr);
    if (code)
        return error_prefix(reterr, "the recovery key cannot be written");
    keys->recovery_is_written = true;
    return read_back(keys, &place, slots, reterr);
}

void new_keys_withdraw(struct new_keys *keys)
{
    _cleanup_(place_done) struct place place = {.fd = -1};
    if (!keys->recovery_is_written || place_open(keys->recovery_out, &place, NULL))
        return;
    unlinkat(place.fd, place.new_name, 0);
    keys->recovery_is_written = false;
}

static enum error_code give_name(const char *real, struct error *reterr)
{
    _cleanup_(place_done) struct place place = {.fd = -1};
    enum error_code code = place_open(real, &place, reterr);
    if (code)
        return code;
    int injected = fault("program.recovery-out");
    if (injected || renameat2(place.fd, place.new_name, place.fd, place.name, RENAME_NOREPLACE) < 0) {
        error_set(reterr, ERR_FAILED, injected ? injected : errno, "cannot rename %s.new to %s",
                  text_shown(real), text_shown(place.name));
        return error_remedy(reterr, "the recovery key is in %s.new: keep that file", text_shown(real));
    }
    return file_sync(place.fd, text_shown(real), reterr);
}

static enum error_code show_on_terminal(struct run *run, const struct secret *text, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *line = NULL;
    enum error_code code = as_line(text, &line, reterr);
    if (code)
        return code;
    run_text(run, "\nrecovery key, shown this once. Write it down and keep it off this server:\n\n    ");
    run_flush(run);
    code = file_write_all(STDOUT_FILENO, line->bytes, line->length, reterr);
    run_text(run, "\n");
    run_flush(run);
    return code;
}

/* Letters alone, so that it does not matter how somebody parts them. Those that look alike stand for one. */
static enum error_code only_letters(const struct secret *text, struct secret **ret_letters,
                                    struct error *reterr)
{
    size_t length = 0;
    enum error_code code = secret_new(text->length + 1, ret_letters, reterr);
    if (code)
        return code;
    for (size_t i = 0; i < text->length; i++) {
        const int letter = toupper(text->bytes[i]);
        if (isalnum(letter))
            (*ret_letters)->bytes[length++] = (uint8_t)(letter == 'O'                    ? '0'
                                                        : letter == 'I' || letter == 'L' ? '1'
                                                                                         : letter);
    }
    secret_shorten(*ret_letters, length);
    return OK;
}

static enum error_code ask_end(const struct secret *letters, bool *ret_right, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *typed = NULL, *typed_letters = NULL;
    enum error_code code = secret_ask(
        "its last two groups, as you have written them down: ", RECOVERY_TEXT_SIZE, &typed, reterr);
    if (!code)
        code = only_letters(typed, &typed_letters, reterr);
    if (code)
        return code;
    const size_t length = typed_letters->length;
    *ret_right = length >= END_LETTERS && length <= letters->length &&
                 !sodium_memcmp(typed_letters->bytes, letters->bytes + letters->length - length, length);
    return OK;
}

enum error_code new_keys_ask_back(struct run *run, struct new_keys *keys, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *letters = NULL;
    bool is_right = false;
    if (!keys->recovery_text || keys->recovery_out)
        return OK;
    enum error_code code = show_on_terminal(run, keys->recovery_text, reterr);
    if (!code)
        code = only_letters(keys->recovery_text, &letters, reterr);
    for (int i = 0; !code && !is_right && i < ASK_TIMES; i++) {
        code = ask_end(letters, &is_right, reterr);
        if (!code && !is_right)
            fprintf(stderr, "that is not how it ends\n");
    }
    if (code)
        return code;
    if (!is_right) {
        error_set(reterr, ERR_USAGE, 0, "the recovery key was not typed back");
        return error_remedy(reterr, "the same command draws and shows another one; or --recovery-out F");
    }
    secret_free(TAKE(keys->recovery_text));
    return OK;
}

enum error_code new_keys_publish(struct run *run, struct new_keys *keys, const struct vault_id *vault,
                                 struct error *reterr)
{
    enum error_code code = OK;
    if (keys->recovery_is_written)
        code = give_name(keys->recovery_out, reterr);
    else if (keys->recovery_text)
        code = show_on_terminal(run, keys->recovery_text, reterr);
    if (!code && keys->recovery_is_written) {
        keys->recovery_is_written = false;
        report_truth(&run->report, "the recovery key is in %s", text_shown(keys->recovery_out));
    }
    for (size_t i = 0; !code && i < keys->answers.count; i++)
        if (keys->keyfile_paths[i])
            new_keys_record_keyfile(run, vault, keys->keyfile_paths[i]);
    return code;
}

/* Whether the file holds a recovery key that opens the vault. A file that is not there or holds something
 * else does not. */
static enum error_code opens(const struct vault *vault, const char *path, bool *ret_opens,
                             struct error *reterr)
{
    *ret_opens = false;
    _cleanup_(close_fdp) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return OK;
    if (fd < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot open %s", text_shown(path));
    _cleanup_(secret_freep) struct secret *vault_secret = NULL;
    struct secret *key = NULL;
    if (read_key(fd, path, &key, NULL))
        return OK;
    _cleanup_(unlock_answers_done) struct unlock_answers answers = {0};
    _cleanup_(finding_list_done) struct finding_list findings = {0};
    enum error_code code = unlock_answers_add(&answers, KEYSLOT_RECOVERY, key, path, reterr);
    if (code)
        return code;
    *ret_opens = !unlock_open(vault, &answers, &vault_secret, NULL, &findings, NULL);
    return OK;
}

enum error_code new_keys_find_recovery(struct run *run, const struct vault *vault, const char *file,
                                       bool *ret_kept, struct error *reterr)
{
    bool kept = false;
    enum error_code code = opens(vault, file, &kept, reterr);
    if (!code && !kept && access(file, F_OK) < 0) {
        _cleanup_(freep) char *new_file = NULL;
        if (asprintf(&new_file, "%s.new", file) < 0) {
            new_file = NULL;
            return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
        }
        code = opens(vault, new_file, &kept, reterr);
        _cleanup_(freep) char *real_new = !code && kept ? realpath(new_file, NULL) : NULL;
        if (real_new) {
            real_new[strlen(real_new) - strlen(".new")] = '\0';
            code = give_name(real_new, reterr);
            if (!code)
                report_truth(&run->report, "the recovery key is in %s", text_shown(real_new));
        }
    }
    if (!code)
        *ret_kept = kept;
    return code;
}
