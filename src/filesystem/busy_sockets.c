/* Unix sockets bound to a name on the filesystem, in every network namespace: a twin of the name would be a
 * socket nobody listens on. */
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>

#include "base/cleanup.h"
#include "filesystem/busy_set.h"
#include "filesystem/kept_namespaces.h"

#define SOCKETS_MAXIMUM ((size_t)1 << 17)

/* One query of all network namespaces. It runs in a thread of its own, as entering a namespace is per thread.
 */
struct query {
    dev_t device;
    struct bound_sockets sockets;
    uint64_t *namespaces; /* owned; those asked already */
    size_t namespace_count;
    enum error_code code;
    struct error error;
};

static enum error_code add_socket(struct query *query, uint64_t socket_inode, uint64_t inode)
{
    struct bound_sockets *sockets = &query->sockets;
    if (sockets->count == SOCKETS_MAXIMUM)
        return error_set(&query->error, ERR_BUSY, 0, "more than %zu sockets are bound in this filesystem",
                         SOCKETS_MAXIMUM);
    if (sockets->count == sockets->capacity) {
        size_t capacity = sockets->capacity ? sockets->capacity * 2 : 32;
        struct bound_socket *items = reallocarray(sockets->items, capacity, sizeof(*items));
        if (!items)
            return error_set(&query->error, ERR_NO_MEMORY, 0, "no memory for the sockets");
        sockets->items = items;
        sockets->capacity = capacity;
    }
    sockets->items[sockets->count++] = (struct bound_socket){.socket_inode = socket_inode, .inode = inode};
    return OK;
}

/* The kernel gives its own form of a device number: the major one above 20 bits. */
static bool is_on_device(const struct unix_diag_vfs *vfs, dev_t device)
{
    return vfs->udiag_vfs_dev >> 20 == major(device) && (vfs->udiag_vfs_dev & 0xfffff) == minor(device);
}

static enum error_code read_message(struct query *query, const struct nlmsghdr *header)
{
    const struct unix_diag_msg *message = NLMSG_DATA(header);
    if (header->nlmsg_len < NLMSG_LENGTH(sizeof(*message)))
        return OK;
    size_t left = header->nlmsg_len - NLMSG_LENGTH(sizeof(*message));
    const char *at = (const char *)(message + 1);
    while (left >= sizeof(struct nlattr)) {
        struct nlattr attribute;
        memcpy(&attribute, at, sizeof(attribute));
        if (attribute.nla_len < sizeof(attribute) || attribute.nla_len > left)
            break;
        struct unix_diag_vfs vfs;
        if (attribute.nla_type == UNIX_DIAG_VFS && attribute.nla_len >= NLA_HDRLEN + sizeof(vfs)) {
            memcpy(&vfs, at + NLA_HDRLEN, sizeof(vfs));
            if (is_on_device(&vfs, query->device))
                return add_socket(query, message->udiag_ino, vfs.udiag_vfs_ino);
        }
        size_t step = NLA_ALIGN(attribute.nla_len);
        if (step > left)
            break;
        at += step;
        left -= step;
    }
    return OK;
}

/* OK with *ret_done set when the dump is complete. */
static enum error_code read_messages(struct query *query, char *block, size_t length, bool *ret_done)
{
    enum error_code code = OK;
    struct nlmsghdr *header = (struct nlmsghdr *)(void *)block;
    for (; NLMSG_OK(header, length) && !code; header = NLMSG_NEXT(header, length)) {
        if (header->nlmsg_type == NLMSG_DONE)
            *ret_done = true;
        else if (header->nlmsg_type == NLMSG_ERROR)
            return error_set(&query->error, ERR_UNSUPPORTED,
                             -((const struct nlmsgerr *)NLMSG_DATA(header))->error,
                             "the kernel does not list unix sockets");
        else if (header->nlmsg_type == SOCK_DIAG_BY_FAMILY)
            code = read_message(query, header);
    }
    return code;
}

static enum error_code ask_kernel(struct query *query)
{
    _cleanup_(close_fdp) int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    struct {
        struct nlmsghdr header;
        struct unix_diag_req body;
    } request = {.header = {.nlmsg_len = sizeof(request),
                            .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                            .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
                 .body = {.sdiag_family = AF_UNIX, .udiag_states = ~0U, .udiag_show = UDIAG_SHOW_VFS}};
    if (fd < 0 || send(fd, &request, sizeof(request), 0) != (ssize_t)sizeof(request))
        return error_set(&query->error, ERR_UNSUPPORTED, errno, "the kernel does not list unix sockets");
    enum error_code code = OK;
    for (bool done = false; !done && !code;) {
        _Alignas(struct nlmsghdr) char block[32768];
        ssize_t got = recv(fd, block, sizeof(block), 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return error_set(&query->error, ERR_FAILED, errno, "cannot read the list of unix sockets");
        code = read_messages(query, block, (size_t)got, &done);
    }
    return code;
}

static bool is_asked(struct query *query, uint64_t namespace_inode)
{
    for (size_t i = 0; i < query->namespace_count; i++)
        if (query->namespaces[i] == namespace_inode)
            return true;
    return false;
}

static enum error_code remember(struct query *query, uint64_t namespace_inode)
{
    uint64_t *namespaces = reallocarray(query->namespaces, query->namespace_count + 1, sizeof(*namespaces));
    if (!namespaces)
        return error_set(&query->error, ERR_NO_MEMORY, 0, "no memory for the network namespaces");
    query->namespaces = namespaces;
    namespaces[query->namespace_count++] = namespace_inode;
    return OK;
}

static enum error_code ask_process(pid_t pid, int process_fd, void *context, struct error *reterr)
{
    (void)pid, (void)reterr;
    struct query *query = context;
    struct inode_key key;
    if (!process_link(process_fd, "ns/net", &key) || is_asked(query, key.inode))
        return OK;
    enum error_code code = remember(query, key.inode);
    _cleanup_(close_fdp) int fd = openat(process_fd, "ns/net", O_RDONLY | O_CLOEXEC);
    if (code || fd < 0 || setns(fd, CLONE_NEWNET) < 0)
        return code;
    return ask_kernel(query);
}

/* "ip netns" keeps network namespaces by a mount. */
static enum error_code ask_kept(struct query *query)
{
    struct mount_table table;
    enum error_code code = mount_table_read("/proc/thread-self/mountinfo", &table, &query->error);
    if (code)
        return code;
    for (size_t i = 0; i < table.count && !code; i++) {
        uint64_t inode = kept_namespace_inode(&table.items[i], "net");
        if (inode == 0 || is_asked(query, inode))
            continue;
        code = remember(query, inode);
        _cleanup_(close_fdp) int fd = open(table.items[i].mount_point, O_RDONLY | O_CLOEXEC);
        if (!code && fd >= 0 && setns(fd, CLONE_NEWNET) == 0)
            code = ask_kernel(query);
    }
    mount_table_done(&table);
    return code;
}

static void *ask_all(void *context)
{
    struct query *query = context;
    struct inode_key own;
    query->code = ask_kernel(query); /* before any other namespace is entered */
    if (!query->code && process_link(AT_FDCWD, "/proc/self/ns/net", &own))
        query->code = remember(query, own.inode);
    if (!query->code)
        query->code = processes_each(ask_process, query, &query->error);
    if (!query->code)
        query->code = ask_kept(query);
    return NULL;
}

static int compare_sockets(const void *left, const void *right)
{
    const struct bound_socket *a = left, *b = right;
    return (a->socket_inode > b->socket_inode) - (a->socket_inode < b->socket_inode);
}

enum error_code busy_sockets_read(dev_t device, struct bound_sockets *ret_sockets, struct error *reterr)
{
    struct query query = {.device = device};
    pthread_t thread;
    int problem = pthread_create(&thread, NULL, ask_all, &query);
    if (problem)
        return error_set(reterr, ERR_FAILED, problem, "cannot start a thread");
    pthread_join(thread, NULL);
    free(query.namespaces);
    if (query.code) {
        busy_sockets_done(&query.sockets);
        if (reterr)
            *reterr = query.error;
        return query.code;
    }
    if (query.sockets.count)
        qsort(query.sockets.items, query.sockets.count, sizeof(*query.sockets.items), compare_sockets);
    *ret_sockets = query.sockets;
    return OK;
}

struct bound_socket *busy_sockets_find(struct bound_sockets *sockets, uint64_t socket_inode)
{
    const struct bound_socket key = {.socket_inode = socket_inode};
    if (sockets->count == 0)
        return NULL;
    return bsearch(&key, sockets->items, sockets->count, sizeof(key), compare_sockets);
}

enum error_code busy_sockets_add_unowned(struct busy_set *set, const struct bound_sockets *sockets,
                                         struct error *reterr)
{
    enum error_code code = OK;
    for (size_t i = 0; i < sockets->count && !code; i++) {
        const struct busy_use use = {.inode = sockets->items[i].inode,
                                     .kind = "busy-socket",
                                     .what = "a unix socket is bound to it",
                                     .remedy = busy_process_remedy};
        if (!sockets->items[i].owner_known)
            code = busy_set_add(set, &use, reterr);
    }
    return code;
}

void busy_sockets_done(struct bound_sockets *sockets)
{
    free(sockets->items);
    *sockets = (struct bound_sockets){0};
}
