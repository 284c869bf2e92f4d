#include "erase/mark.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/text.h"
#include "json/json.h"

enum {
    MARK_VERSION = 1,
    MARK_MAXIMUM = 1 << 20,
    MARK_KEYSLOTS_MAXIMUM = 4096,
    MARK_AUTHORITIES_MAXIMUM = 64
};

const char *erase_outcome_word(enum destroy_outcome outcome)
{
    static const char *const words[] = {[DESTROY_NOT_TRIED] = "not tried",
                                        [DESTROY_DONE] = "done",
                                        [DESTROY_NOT_SUPPORTED] = "not supported",
                                        [DESTROY_FAILED] = "failed"};
    return words[outcome];
}

static enum error_code parse(const struct buffer *text, struct erase_progress *ret_progress,
                             struct error *reterr)
{
    _cleanup_(json_freep) json_t *file = NULL;
    json_t *keyslots = NULL, *authorities = NULL;
    const char *manifest = NULL;
    struct erase_progress progress = {0};
    enum error_code code = json_parse_object(text->data, text->length, VAULT_MARK_ERASING, &file, reterr);
    if (!code)
        code = json_check_version(file, MARK_VERSION, VAULT_MARK_ERASING, reterr);
    if (!code)
        code = json_get_integer(file, "started", 0, INT64_MAX, &progress.started_unix_s, reterr);
    if (!code)
        code = json_get_string(file, "manifest", &manifest, reterr);
    if (!code)
        code = json_get_array(file, "authorities", MARK_AUTHORITIES_MAXIMUM, &authorities, reterr);
    if (!code)
        code = json_get_array(file, "keyslots", MARK_KEYSLOTS_MAXIMUM, &keyslots, reterr);
    if (code)
        return code;
    text_show(progress.manifest, sizeof(progress.manifest), manifest);
    progress.authorities = json_incref(authorities);
    progress.keyslots = json_incref(keyslots);
    *ret_progress = progress;
    return OK;
}

/* Asked before the key goes: afterwards nobody can tell. */
static const char *judge_manifest(const struct vault *vault)
{
    if (vault->damage.code)
        return "unreadable";
    switch (vault_check_manifest(vault, NULL)) {
    case OK:
        return "authenticated";
    case ERR_CORRUPT:
        return "changed";
    default:
        return "not authenticated";
    }
}

enum error_code erase_progress_read(const struct vault *vault, const struct clock *clock,
                                    struct erase_progress *ret_progress, struct error *reterr)
{
    struct buffer text = {0};
    struct erase_progress progress = {0};
    enum error_code code = file_read(vault->fd, VAULT_MARK_ERASING, MARK_MAXIMUM, &text, NULL);
    if (!code)
        code = parse(&text, &progress, NULL);
    buffer_done(&text);
    if (code) { /* whatever is in the mark, that it is there is what counts */
        progress.started_unix_s = clock_unix_s(clock);
        snprintf(progress.manifest, sizeof(progress.manifest), "%s", judge_manifest(vault));
        progress.authorities = json_array();
        progress.keyslots = json_array();
        if (!progress.authorities || !progress.keyslots) {
            erase_progress_done(&progress);
            return error_set(reterr, ERR_NO_MEMORY, 0, "no memory for the erasing mark");
        }
    }
    *ret_progress = progress;
    return OK;
}

enum error_code erase_progress_recall(const struct buffer *report, struct erase_progress *ret_progress,
                                      struct erase_facts *facts, struct error *reterr)
{
    _cleanup_(json_freep) json_t *file = NULL;
    json_t *verdicts = NULL, *host = NULL, *keyslots = NULL, *authorities = NULL;
    const char *keys = NULL, *manifest = NULL;
    enum error_code code = json_parse_object(report->data, report->length, VAULT_MARK_ERASED, &file, NULL);
    if (!code)
        code = json_get_object(file, "verdicts", &verdicts, NULL);
    if (!code)
        code = json_get_string(verdicts, "key_destruction", &keys, NULL);
    if (!code)
        code = json_get_object(file, "reported_by_host", &host, NULL);
    if (!code)
        code = json_get_string(host, "manifest", &manifest, NULL);
    if (!code)
        code = json_get_array(host, "keyslots", MARK_KEYSLOTS_MAXIMUM, &keyslots, NULL);
    /* What cannot be read was not said, and nothing is better now than it was. */
    facts->copies_unknown |= code || strcmp(keys, erase_verdict_word(ERASE_COMPLETE)) != 0;
    if (!code)
        code = json_get_array(file, "done_by_authority", MARK_AUTHORITIES_MAXIMUM, &authorities, NULL);
    facts->copies_unknown |= code != OK;
    struct erase_progress progress = {.authorities = code ? json_array() : json_incref(authorities),
                                      .keyslots = code ? json_array() : json_incref(keyslots)};
    if (!progress.authorities || !progress.keyslots) {
        erase_progress_done(&progress);
        return error_set(reterr, ERR_NO_MEMORY, 0, "no memory for the report");
    }
    text_show(progress.manifest, sizeof(progress.manifest), code ? "unreadable" : manifest);
    *ret_progress = progress;
    return OK;
}

enum error_code erase_progress_write(const struct vault *vault, const struct erase_progress *progress,
                                     struct error *reterr)
{
    struct buffer text = {0};
    _cleanup_(json_freep) json_t *file = json_object();
    enum error_code code = file ? OK : error_set(reterr, ERR_NO_MEMORY, 0, "no memory for the erasing mark");
    if (!code)
        code = json_set_new(file, "version", json_integer(MARK_VERSION), reterr);
    if (!code)
        code = json_set_new(file, "started", json_integer(progress->started_unix_s), reterr);
    if (!code)
        code = json_set_new(file, "manifest", json_string(progress->manifest), reterr);
    if (!code)
        code = json_set_new(file, "authorities", json_incref(progress->authorities), reterr);
    if (!code)
        code = json_set_new(file, "keyslots", json_incref(progress->keyslots), reterr);
    if (!code)
        code = json_format(file, &text, reterr);
    if (!code)
        code = file_write_durable(vault->fd, VAULT_MARK_ERASING, 0600, text.data, text.length, reterr);
    buffer_done(&text);
    return code;
}

bool erase_wants_room(const struct error *error)
{
    return error->os_errno == ENOSPC || error->os_errno == EDQUOT;
}

enum error_code erase_mark_without_room(const struct vault *vault, struct error *reterr)
{
    int injected = fault("erase.mark.link");
    if (injected || (linkat(vault->filesystem->root_fd, HUSK_DIRECTORY "/" VAULT_LOCK_NAME, vault->fd,
                            VAULT_MARK_ERASING, 0) < 0 &&
                     errno != EEXIST))
        return error_set(reterr, ERR_FAILED, injected ? injected : errno,
                         "cannot set the erasing mark on the full filesystem");
    return file_sync(vault->fd, VAULT_MARK_ERASING, reterr);
}

enum error_code erase_report_without_room(const struct vault *vault, const struct buffer *report,
                                          struct error *reterr)
{
    _cleanup_(close_fdp) int fd = openat(vault->fd, VAULT_MARK_ERASING, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot open the erasing mark");
    if (status.st_nlink > 1) /* it is the lock's file */
        return error_set(reterr, ERR_FAILED, ENOSPC, "cannot write the report");
    enum error_code code = file_pwrite_all(fd, report->data, report->length, 0, reterr);
    if (!code && ftruncate(fd, (off_t)report->length) < 0)
        code = error_set(reterr, ERR_FAILED, errno, "cannot write the report");
    if (!code)
        code = file_sync(fd, "the report", reterr);
    if (!code && renameat(vault->fd, VAULT_MARK_ERASING, vault->fd, VAULT_MARK_ERASED) < 0)
        code = error_set(reterr, ERR_FAILED, errno, "cannot set the erased mark");
    return code ? code : file_sync(vault->fd, VAULT_MARK_ERASED, reterr);
}

/* The item of that file, or NULL. */
static json_t *find_item(const struct erase_progress *progress, const json_t *file)
{
    size_t index;
    json_t *item;
    json_array_foreach(progress->keyslots, index, item)
    {
        if (json_equal(json_object_get(item, "file"), file))
            return item;
    }
    return NULL;
}

enum error_code erase_progress_begin(struct erase_progress *progress, const char *file_name,
                                     const struct keyslot *keyslot, struct error *reterr)
{
    _cleanup_(json_freep) json_t *item = json_object();
    enum error_code code = item ? json_set_bytes(item, "file", file_name, strlen(file_name), reterr)
                                : error_set(reterr, ERR_NO_MEMORY, 0, "no memory for the erasing mark");
    if (code)
        return code;
    progress->begun = find_item(progress, json_object_get(item, "file"));
    if (progress->begun)
        return OK;
    if (keyslot)
        code = json_set_hex(item, "id", keyslot->id.bytes, sizeof(keyslot->id.bytes), reterr);
    if (!code && keyslot)
        code = json_set_new(item, "kind", json_string(keyslot_kind_word(keyslot->kind)), reterr);
    if (!code && keyslot)
        code = json_set_new(item, "created", json_integer(keyslot->created_unix_s), reterr);
    if (!code)
        code = json_set_new(item, "steps", json_object(), reterr);
    if (!code && json_array_append(progress->keyslots, item) < 0)
        code = error_set(reterr, ERR_NO_MEMORY, 0, "no memory for the erasing mark");
    if (!code)
        progress->begun = item;
    return code;
}

enum error_code erase_progress_end(struct erase_progress *progress, const struct destroy_result *result,
                                   int64_t destroyed_unix_s, struct error *reterr)
{
    json_t *steps = json_object();
    enum error_code code = json_set_new(progress->begun, "steps", steps, reterr);
    for (enum destroy_step step = 0; step < DESTROY_STEPS && !code; step++)
        code = json_set_new(steps, destroy_step_word(step),
                            json_string(erase_outcome_word(result->outcome[step])), reterr);
    if (!code && destroyed_unix_s > 0)
        return json_set_new(progress->begun, "destroyed", json_integer(destroyed_unix_s), reterr);
    json_object_del(progress->begun, "destroyed");
    return code;
}

void erase_progress_done(struct erase_progress *progress)
{
    json_freep(&progress->authorities);
    json_freep(&progress->keyslots);
}
