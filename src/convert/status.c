#include <fcntl.h>

#include "base/file.h"
#include "base/text.h"
#include "convert/journal.h"
#include "convert/progress.h"
#include "tree/mount.h"

enum error_code convert_get_status(const struct vault *vault, struct convert_status *ret_status,
                                   struct error *reterr)
{
    char path[VAULT_NAME_MAXIMUM + 64];
    _cleanup_(close_fdp) int work_fd = -1;
    _cleanup_(freep) char *directory = NULL;
    struct convert_journal journal = {0};
    struct error error = ERROR_NONE;
    snprintf(path, sizeof(path), HUSK_DIRECTORY "/" CONVERT_DIRECTORY "/%s", vault->name);
    struct convert_status status = {0};
    enum error_code code = tree_open_directory(vault->filesystem->root_fd, path, &work_fd, &error);
    if (!code)
        code = journal_read(work_fd, &journal, &error);
    if (code == ERR_NOT_FOUND) {
        *ret_status = status;
        return OK;
    }
    if (code) {
        if (reterr)
            *reterr = error;
        return code;
    }
    status.state = convert_state_word(journal.state);
    status.direction = journal.direction;
    status.waits = journal.waits && journal.state == CONVERT_SCRUBBING;
    status.may_abort = journal.state < CONVERT_EXCHANGING;
    progress_read(work_fd, &directory, &status.files_done, &status.files_total, &status.bytes_done,
                  &status.bytes_total);
    if (directory) {
        const char *mount = vault->filesystem->mount_point;
        if (asprintf(&status.directory, "%s/%s", strcmp(mount, "/") ? text_shown(mount) : "",
                     text_shown(directory)) < 0)
            status.directory = NULL;
    }
    journal_done(&journal);
    *ret_status = status;
    return OK;
}

void convert_status_done(struct convert_status *status)
{
    free(status->directory);
    *status = (struct convert_status){0};
}
