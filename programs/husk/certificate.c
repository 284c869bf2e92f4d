#include "certificate.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/text.h"
#include "placement.h"

enum { REPORTS_SIZE_MAXIMUM = 64 << 20 };

static enum error_code refuse(const char *path, int os_errno, struct error *reterr)
{
    error_set(reterr, os_errno == EEXIST ? ERR_EXISTS : ERR_FAILED, os_errno,
              "nothing is erased: cannot make %s", text_shown(path));
    return error_remedy(reterr, "name a new file for the report");
}

/* Whether this is a report about a vault that the command means. */
static bool is_meant(const struct run *run, const struct vault_list *list, const json_t *report)
{
    const json_t *about = json_object_get(report, "vault");
    const char *schema = json_string_value(json_object_get(report, "schema"));
    const char *id = json_string_value(json_object_get(about, "id"));
    const char *name = run->arguments.operand_count > 0 ? run->arguments.operands[0] : NULL;
    char known[2 * sizeof(struct vault_id) + 1];
    if (!schema || strcmp(schema, "husk.erase-report/1") || !id)
        return false;
    for (size_t i = 0; i < list->count; i++) {
        text_format_hex(known, list->items[i]->id.bytes, sizeof(list->items[i]->id.bytes));
        if (!strcmp(known, id) && (!name || !strcmp(name, list->items[i]->name)))
            return true;
    }
    return false;
}

/* An earlier run of the same command left it: empty, or with reports about these vaults and nothing else. */
static bool is_of_an_earlier_run(const struct run *run, const struct certificate *certificate)
{
    struct stat status;
    _cleanup_(vault_list_done) struct vault_list list = {0};
    _cleanup_(finding_list_done) struct finding_list findings = {0};
    if (fstat(certificate->fd, &status) < 0 || !S_ISREG(status.st_mode) || status.st_uid != geteuid() ||
        status.st_nlink != 1 || status.st_size > REPORTS_SIZE_MAXIMUM)
        return false;
    const size_t length = (size_t)status.st_size;
    _cleanup_(freep) char *text = malloc(length + 1);
    if (!text || file_pread_all(certificate->fd, text, length, 0, NULL) ||
        vault_list_even_damaged(run->at, &list, &findings, NULL))
        return false;
    for (char *line = text, *end; line < text + length; line = end + 1) {
        end = memchr(line, '\n', (size_t)(text + length - line));
        json_t *report = end ? json_loadb(line, (size_t)(end - line), 0, NULL) : NULL;
        bool meant = is_meant(run, &list, report);
        json_decref(report);
        if (!meant)
            return false;
    }
    return true;
}

/* Nor may it lie in a vault: it could not be written once that is erased. */
static enum error_code check_place(struct run *run, const struct certificate *certificate,
                                   struct error *reterr)
{
    _cleanup_(vault_list_done) struct vault_list list = {0};
    _cleanup_(finding_list_done) struct finding_list findings = {0};
    enum error_code code = vault_list_even_damaged(run->at, &list, &findings, reterr);
    for (size_t i = 0; !code && i < list.count; i++) {
        const struct placement_rules rules = {list.items[i]->filesystem, NULL, 0, &list.items[i]->identifier};
        _cleanup_(freep) char *real = NULL;
        enum placement placement;
        code = placement_find(&rules, certificate->shown, &placement, &real, reterr);
        if (code || placement != PLACEMENT_INSIDE)
            continue;
        code = ERR_DENIED;
        error_set(reterr, code, 0, "nothing is erased: the report %s would lie in vault %s", text_shown(real),
                  list.items[i]->name);
        error_remedy(reterr, "name a file outside the vaults");
    }
    return code;
}

static enum error_code open_file(const struct run *run, const char *path, struct certificate *certificate,
                                 struct error *reterr)
{
    const int flags = O_CLOEXEC | O_NOFOLLOW;
    certificate->fd =
        openat(certificate->directory_fd, certificate->name, O_WRONLY | O_CREAT | O_EXCL | flags, 0600);
    if (certificate->fd < 0 && errno == EEXIST) {
        certificate->was_there = true;
        certificate->fd = openat(certificate->directory_fd, certificate->name, O_RDWR | O_NONBLOCK | flags);
        if (certificate->fd < 0 || !is_of_an_earlier_run(run, certificate))
            return refuse(path, EEXIST, reterr);
    }
    return certificate->fd < 0 ? refuse(path, errno, reterr) : OK;
}

enum error_code certificate_open(struct run *run, struct certificate *certificate, struct error *reterr)
{
    const char *path = argument_value(&run->arguments, OPTION_CERTIFICATE);
    char link[32], real[PATH_MAX];
    if (!path)
        return OK;
    const char *slash = strrchr(path, '/');
    _cleanup_(freep) char *directory = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    if (!directory)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    certificate->name = slash ? slash + 1 : path;
    certificate->directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (certificate->directory_fd < 0)
        return refuse(path, errno, reterr);
    enum error_code code = open_file(run, path, certificate, reterr);
    if (code)
        return code;
    (void)fault("program.certificate");
    snprintf(link, sizeof(link), "/proc/self/fd/%d", certificate->fd);
    ssize_t length = readlink(link, real, sizeof(real) - 1);
    certificate->shown = length > 0 ? strndup(real, (size_t)length) : strdup(path);
    if (!certificate->shown)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    return check_place(run, certificate, reterr);
}

enum error_code certificate_write(struct certificate *certificate, const struct buffer *report,
                                  struct error *reterr)
{
    if (certificate->fd < 0 || report->length == 0)
        return OK;
    if (!certificate->is_begun && ftruncate(certificate->fd, 0) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot empty the file of the report");
    certificate->is_begun = true;
    enum error_code code = file_write_all(certificate->fd, report->data, report->length, reterr);
    if (!code)
        code = file_write_all(certificate->fd, "\n", 1, reterr);
    return code ? code : file_sync(certificate->fd, "the report", reterr);
}

/* What has its name by now may be something else, and stays. */
static void remove_file(const struct certificate *certificate)
{
    struct stat made, named;
    if (fstat(certificate->fd, &made) == 0 &&
        fstatat(certificate->directory_fd, certificate->name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
        made.st_dev == named.st_dev && made.st_ino == named.st_ino)
        unlinkat(certificate->directory_fd, certificate->name, 0);
}

void certificate_done(struct certificate *certificate)
{
    if (certificate->fd >= 0 && !certificate->was_there && !certificate->is_begun)
        remove_file(certificate);
    close_fdp(&certificate->fd);
    close_fdp(&certificate->directory_fd);
    free(certificate->shown);
}
