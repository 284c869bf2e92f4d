#include "filesystem/sock_diag.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>

#include "base/cleanup.h"
#include "base/fault.h"

struct dump {
    dev_t device;
    enum error_code (*each)(uint64_t socket_inode, uint64_t inode, void *context, struct error *reterr);
    void *context;
};

/* The kernel gives its own form of a device number: the major one above 20 bits. */
static bool is_on_device(const struct unix_diag_vfs *vfs, dev_t device)
{
    return vfs->udiag_vfs_dev >> 20 == major(device) && (vfs->udiag_vfs_dev & 0xfffff) == minor(device);
}

/* One socket: a fixed part, then attributes, of which only the name's inode matters. */
static enum error_code read_message(const struct dump *dump, const char *bytes, size_t length,
                                    struct error *reterr)
{
    struct unix_diag_msg message;
    if (length < sizeof(message))
        return OK;
    memcpy(&message, bytes, sizeof(message));
    size_t at = sizeof(message);
    while (at + sizeof(struct nlattr) <= length) {
        struct nlattr attribute;
        struct unix_diag_vfs vfs;
        memcpy(&attribute, bytes + at, sizeof(attribute));
        if (attribute.nla_len < sizeof(attribute) || attribute.nla_len > length - at)
            break;
        if (attribute.nla_type == UNIX_DIAG_VFS && attribute.nla_len >= NLA_HDRLEN + sizeof(vfs)) {
            memcpy(&vfs, bytes + at + NLA_HDRLEN, sizeof(vfs));
            return is_on_device(&vfs, dump->device)
                       ? dump->each(message.udiag_ino, vfs.udiag_vfs_ino, dump->context, reterr)
                       : OK;
        }
        at += NLA_ALIGN(attribute.nla_len);
    }
    return OK;
}

static enum error_code unsupported(struct error *reterr, int os_errno)
{
    return error_set(reterr, ERR_UNSUPPORTED, os_errno, "the kernel does not list unix sockets");
}

/* The messages of one datagram; *ret_done is set by the last one of the dump. */
static enum error_code read_messages(const struct dump *dump, const char *block, size_t length,
                                     bool *ret_done, struct error *reterr)
{
    enum error_code code = OK;
    for (size_t at = 0; at + NLMSG_HDRLEN <= length && !code;) {
        struct nlmsghdr header;
        memcpy(&header, block + at, sizeof(header));
        if (header.nlmsg_len < NLMSG_HDRLEN || header.nlmsg_len > length - at)
            break;
        const char *body = block + at + NLMSG_HDRLEN;
        size_t body_length = header.nlmsg_len - NLMSG_HDRLEN;
        struct nlmsgerr failure;
        if (header.nlmsg_type == NLMSG_ERROR && body_length >= sizeof(failure)) {
            memcpy(&failure, body, sizeof(failure));
            return unsupported(reterr, -failure.error);
        }
        if (header.nlmsg_type == NLMSG_DONE)
            *ret_done = true;
        else if (header.nlmsg_type == SOCK_DIAG_BY_FAMILY)
            code = read_message(dump, body, body_length, reterr);
        at += NLMSG_ALIGN(header.nlmsg_len);
    }
    return code;
}

enum error_code sock_diag_each(dev_t device,
                               enum error_code (*each)(uint64_t socket_inode, uint64_t inode, void *context,
                                                       struct error *reterr),
                               void *context, struct error *reterr)
{
    const struct dump dump = {.device = device, .each = each, .context = context};
    struct {
        struct nlmsghdr header;
        struct unix_diag_req body;
    } request = {.header = {.nlmsg_len = sizeof(request),
                            .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                            .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
                 .body = {.sdiag_family = AF_UNIX, .udiag_states = ~0U, .udiag_show = UDIAG_SHOW_VFS}};
    if (fault("filesystem.sock-diag"))
        return unsupported(reterr, ENOENT);
    _cleanup_(close_fdp) int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    if (fd < 0 || send(fd, &request, sizeof(request), 0) != (ssize_t)sizeof(request))
        return unsupported(reterr, errno);
    enum error_code code = OK;
    for (bool done = false; !done && !code;) {
        char block[32768];
        ssize_t got = recv(fd, block, sizeof(block), 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return error_set(reterr, ERR_FAILED, got < 0 ? errno : 0, "cannot read the list of unix sockets");
        code = read_messages(&dump, block, (size_t)got, &done, reterr);
    }
    return code;
}

/* "0000000000000000: 00000002 00000000 00010000 0001 01 12345 /run/x": the path is the last field, and may
 * hold blanks. A path with a newline in it cannot be told from two lines. */
enum error_code unix_sockets_parse(const char *text,
                                   enum error_code (*each)(uint64_t socket_inode, const char *path,
                                                           void *context, struct error *reterr),
                                   void *context, struct error *reterr)
{
    enum error_code code = OK;
    while (*text && !code) {
        size_t length = strcspn(text, "\n");
        const char *field = text;
        for (int i = 0; i < 6; i++) {
            field += strspn(field, " ");
            field += strcspn(field, " \n");
        }
        char *end;
        uint64_t socket_inode = strtoull(field, &end, 10);
        size_t used = (size_t)(end - text);
        if (end != field && used + 1 < length && end[0] == ' ' && end[1] == '/') {
            _cleanup_(freep) char *path = strndup(end + 1, length - used - 1);
            code = path ? each(socket_inode, path, context, reterr)
                        : error_set(reterr, ERR_NO_MEMORY, 0, "no memory for the sockets");
        }
        text += length + (text[length] == '\n');
    }
    return code;
}
