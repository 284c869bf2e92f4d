#include <errno.h>
#include <sys/socket.h>

#include "admin/admin.h"
#include "admin/answer.h"
#include "admin/line.h"
#include "base/cleanup.h"
#include "base/text.h"

static enum error_code reach(const char *directory, int *ret_fd, struct error *reterr)
{
    struct sockaddr_un address;
    enum error_code code = admin_address(directory, ADMIN_SOCKET_NAME, &address, reterr);
    if (code)
        return code;
    _cleanup_(close_fdp) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot make a socket");
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0) {
        *ret_fd = TAKE_FD(fd);
        return OK;
    }
    if (errno == EACCES || errno == EPERM) {
        error_set(reterr, ERR_DENIED, errno, "cannot open %s", text_shown(address.sun_path));
        error_remedy(reterr, "run it as root, or as a member of the socket's group");
        return ERR_DENIED;
    }
    error_set(reterr, ERR_UNREACHABLE, errno, "no huskd answers at %s", text_shown(address.sun_path));
    error_remedy(reterr,
                 "start it (systemctl start huskd, or huskd serve), or name its directory with --dir");
    return ERR_UNREACHABLE;
}

enum error_code admin_ask(const char *directory, const char *operation, json_t *arguments, int64_t sudo_uid,
                          json_t **ret_result, bool *ret_changed, struct error *reterr)
{
    return admin_ask_with_files(directory, operation, arguments, sudo_uid, NULL, 0, ret_result, ret_changed,
                                reterr);
}

enum error_code admin_ask_with_files(const char *directory, const char *operation, json_t *arguments,
                                     int64_t sudo_uid, const int *fds, unsigned count, json_t **ret_result,
                                     bool *ret_changed, struct error *reterr)
{
    struct line_files files = {.count = count < LINE_FILES_MAXIMUM ? count : LINE_FILES_MAXIMUM};
    for (unsigned i = 0; i < files.count; i++)
        files.fds[i] = fds[i];
    _cleanup_(buffer_done) struct buffer request = {0};
    _cleanup_(buffer_done) struct buffer answer = {.maximum = ADMIN_ANSWER_MAXIMUM};
    _cleanup_(close_fdp) int fd = -1;
    enum error_code code = admin_request_format(operation, arguments, sudo_uid, &request, reterr);
    if (!code && request.length + 1 > ADMIN_REQUEST_MAXIMUM)
        code = error_set(reterr, ERR_USAGE, 0, "this is more than can be asked at once");
    if (!code)
        code = reach(directory, &fd, reterr);
    if (code)
        return code;
    /* Turned away, it may have said so before it took the request. */
    struct error why = ERROR_NONE;
    enum error_code written = line_write_with_files(fd, &request, &files, 0, &why);
    code = line_read(fd, ADMIN_ANSWER_MAXIMUM, 0, &answer, reterr);
    if (code && written)
        code = error_set(reterr, why.code, why.os_errno, "huskd took no request");
    if (code) {
        error_prefix(reterr, "huskd gave no answer");
        error_remedy(reterr, "look whether it did what was asked, then try again");
        *ret_changed = written == OK;
        return code;
    }
    return admin_answer_parse(&answer, ret_result, ret_changed, reterr);
}
