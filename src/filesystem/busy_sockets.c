/* Unix sockets bound to a name on the filesystem, in every network namespace: a twin of the name would be a
 * socket nobody listens on. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>

#include "base/file.h"
#include "filesystem/busy_set.h"
#include "filesystem/kept_namespaces.h"
#include "filesystem/sock_diag.h"

#define SOCKETS_MAXIMUM ((size_t)1 << 17)
#define PROC_NET_UNIX_MAXIMUM ((size_t)16 << 20)

/* One query of all network namespaces. It runs in a thread of its own, as entering a namespace is per thread.
 */
struct query {
    dev_t device;
    struct bound_sockets sockets;
    uint64_t *namespaces; /* owned; those asked already */
    size_t namespace_count;
    int root_fd; /* where the paths of a namespace are looked up */
    enum error_code code;
    struct error error;
};

static enum error_code add_socket(uint64_t socket_inode, uint64_t inode, void *context, struct error *reterr)
{
    struct bound_sockets *sockets = &((struct query *)context)->sockets;
    if (sockets->count == SOCKETS_MAXIMUM)
        return error_set(reterr, ERR_BUSY, 0, "more than %zu sockets are bound in this filesystem",
                         SOCKETS_MAXIMUM);
    if (sockets->count == sockets->capacity) {
        size_t capacity = sockets->capacity ? sockets->capacity * 2 : 32;
        struct bound_socket *items = reallocarray(sockets->items, capacity, sizeof(*items));
        if (!items)
            return error_set(reterr, ERR_NO_MEMORY, 0, "no memory for the sockets");
        sockets->items = items;
        sockets->capacity = capacity;
    }
    sockets->items[sockets->count++] = (struct bound_socket){.socket_inode = socket_inode, .inode = inode};
    return OK;
}

/* Without the kernel's own list of inodes: look the path up where a process of the namespace has its root. */
static enum error_code add_path(uint64_t socket_inode, const char *path, void *context, struct error *reterr)
{
    struct query *query = context;
    struct inode_key key;
    const char *relative = path + strspn(path, "/");
    if (!process_link(query->root_fd, relative, &key) || key.device != query->device || !S_ISSOCK(key.mode))
        return OK;
    return add_socket(socket_inode, key.inode, query, reterr);
}

/* Ask in the network namespace the thread is in. root is a path below directory_fd. */
static enum error_code ask_here(struct query *query, int directory_fd, const char *root)
{
    struct error *error = &query->error;
    enum error_code code = sock_diag_each(query->device, add_socket, query, error);
    if (code != ERR_UNSUPPORTED)
        return code;
    _cleanup_(close_fdp) int root_fd = openat(directory_fd, root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    _cleanup_(buffer_done) struct buffer text = {0};
    query->root_fd = root_fd;
    code = file_read(AT_FDCWD, "/proc/thread-self/net/unix", PROC_NET_UNIX_MAXIMUM, &text, error);
    return code || root_fd < 0 ? code : unix_sockets_parse(text.data, add_path, query, error);
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
    return ask_here(query, process_fd, "root");
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
            code = ask_here(query, AT_FDCWD, "/");
    }
    mount_table_done(&table);
    return code;
}

static void *ask_all(void *context)
{
    struct query *query = context;
    struct inode_key own;
    query->code = ask_here(query, AT_FDCWD, "/"); /* before any other namespace is entered */
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
