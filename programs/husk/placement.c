#include "placement.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/text.h"

/* The directory of path, opened, and path resolved: the file itself where it is there, so that a symlink
 * counts where it leads. */
static enum error_code open_directory_of(const char *path, char **ret_real, int *ret_fd, struct error *reterr)
{
    _cleanup_(freep) char *real = realpath(path, NULL);
    if (!real && errno == ENOENT) {
        _cleanup_(freep) char *copy = strdup(path);
        char *slash = copy ? strrchr(copy, '/') : NULL;
        const char *name = slash ? slash + 1 : path;
        if (slash)
            slash[slash == copy] = '\0'; /* "/name" lies in "/" */
        _cleanup_(freep) char *directory = copy ? realpath(slash ? copy : ".", NULL) : NULL;
        if (directory && asprintf(&real, "%s/%s", strcmp(directory, "/") != 0 ? directory : "", name) < 0)
            real = NULL;
    }
    if (!real) {
        int os_errno = errno;
        error_set(reterr, os_errno == ENOENT ? ERR_NOT_FOUND : ERR_FAILED, os_errno,
                  "cannot find the directory of %s", text_shown(path));
        return error_remedy(reterr, "make that directory first, or name another file");
    }
    _cleanup_(freep) char *parent = strndup(real, (size_t)(strrchr(real, '/') - real) + 1);
    int fd = parent ? open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot open the directory of %s", text_shown(path));
    *ret_real = TAKE(real);
    *ret_fd = fd;
    return OK;
}

static bool is_at_or_below(const char *path, const char *directory)
{
    size_t length = strlen(directory);
    return length == 0 || (!strncmp(path, directory, length) && (path[length] == '/' || !path[length]));
}

static enum error_code is_encrypted_by(int fd, const struct fscrypt_identifier *identifier, bool *ret_yes,
                                       struct error *reterr)
{
    enum fscrypt_policy_state state;
    struct fscrypt_identifier found = {0};
    enum error_code code = fscrypt_get_policy(fd, &state, &found, reterr);
    if (!code)
        *ret_yes = state == FSCRYPT_HUSK_POLICY && !memcmp(&found, identifier, sizeof(found));
    return code;
}

static enum error_code place(const struct placement_rules *rules, int fd, enum placement *ret_placement,
                             struct error *reterr)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot stat a directory");
    if (status.st_dev != rules->filesystem->device) {
        *ret_placement = PLACEMENT_ELSEWHERE;
        return OK;
    }
    _cleanup_(buffer_done) struct buffer relative = {0};
    enum error_code code = filesystem_relative_path(fd, &relative, reterr);
    bool inside = false;
    if (!code && rules->identifier)
        code = is_encrypted_by(fd, rules->identifier, &inside, reterr);
    if (code)
        return code;
    for (size_t i = 0; i < rules->directory_count; i++)
        inside |= is_at_or_below(relative.data ? relative.data : "", rules->directories[i]);
    *ret_placement = inside ? PLACEMENT_INSIDE : PLACEMENT_SAME_FILESYSTEM;
    return OK;
}

enum error_code placement_find(const struct placement_rules *rules, const char *path,
                               enum placement *ret_placement, char **ret_real, struct error *reterr)
{
    _cleanup_(freep) char *real = NULL;
    _cleanup_(close_fdp) int fd = -1;
    enum error_code code = open_directory_of(path, &real, &fd, reterr);
    if (!code)
        code = place(rules, fd, ret_placement, reterr);
    if (code)
        return error_prefix(reterr, "%s", text_shown(path));
    *ret_real = TAKE(real);
    return OK;
}
