/* The file of a recovery key: F.new, then F (new_keys.h). */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/text.h"
#include "new_keys.h"

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

enum error_code new_keys_write_recovery(struct new_keys *keys, struct error *reterr)
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
    return OK;
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
    _cleanup_(secret_freep) struct secret *text = NULL, *vault_secret = NULL;
    struct secret *key = NULL;
    if (secret_read_fd(fd, 1, RECOVERY_TEXT_SIZE, text_shown(path), &text, NULL))
        return OK;
    if (text->bytes[text->length - 1] == '\n')
        secret_shorten(text, text->length - 1);
    if (recovery_key_parse(text, &key, NULL))
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
