#include "filesystem/kept_namespaces.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/text.h"

uint64_t kept_namespace_inode(const struct mount_entry *entry, const char *kind)
{
    size_t length = strlen(kind);
    if (strcmp(entry->type, "nsfs") || strncmp(entry->root, kind, length) ||
        strncmp(entry->root + length, ":[", 2))
        return 0;
    return strtoull(entry->root + length + 2, NULL, 10);
}

void kept_namespace_free(struct kept_namespace *kept)
{
    if (!kept)
        return;
    free(kept->path);
    free(kept->mountinfo);
    close_fdp(&kept->root_fd);
    free(kept);
}

/* What the thread gets and gives. */
struct visit {
    int namespace_fd, proc_fd;
    struct buffer mountinfo;
    int root_fd;
    enum error_code code;
    struct error error;
};

static enum error_code look_around(struct visit *visit)
{
    /* Directories are shared between threads; a namespace can only be entered with one's own. */
    if (unshare(CLONE_FS) < 0 || setns(visit->namespace_fd, CLONE_NEWNS) < 0)
        return error_set(&visit->error, errno == ENOMEM ? ERR_NO_MEMORY : ERR_DENIED, errno,
                         "cannot enter a mount namespace");
    visit->root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (visit->root_fd < 0)
        return error_set(&visit->error, ERR_FAILED, errno, "cannot open the root of a mount namespace");
    return file_read(visit->proc_fd, "thread-self/mountinfo", BUFFER_DEFAULT_MAXIMUM, &visit->mountinfo,
                     &visit->error);
}

static void *run_visit(void *context)
{
    struct visit *visit = context;
    visit->code = look_around(visit);
    return NULL;
}

static enum error_code start_visit(struct visit *visit, struct error *reterr)
{
    pthread_t thread;
    int problem = pthread_create(&thread, NULL, run_visit, visit);
    if (problem)
        return error_set(reterr, ERR_FAILED, problem, "cannot start a thread");
    pthread_join(thread, NULL);
    if (visit->code && reterr)
        *reterr = visit->error;
    return visit->code;
}

static enum error_code make_kept(struct visit *visit, const char *path, uint64_t inode,
                                 struct kept_namespace **ret_kept, struct error *reterr)
{
    struct kept_namespace *kept = calloc(1, sizeof(*kept));
    char *copy = strdup(path);
    if (!kept || !copy) {
        free(kept);
        free(copy);
        return error_set(reterr, ERR_NO_MEMORY, 0, "no memory for the mount namespaces");
    }
    *kept = (struct kept_namespace){.path = copy,
                                    .inode = inode,
                                    .mountinfo = TAKE(visit->mountinfo.data),
                                    .mountinfo_length = visit->mountinfo.length,
                                    .root_fd = TAKE_FD(visit->root_fd)};
    visit->mountinfo = (struct buffer){0};
    *ret_kept = kept;
    return OK;
}

enum error_code kept_namespace_read(const struct mount_entry *entry, uint64_t inode,
                                    struct kept_namespace **ret_kept, struct error *reterr)
{
    _cleanup_(close_fdp) int namespace_fd = open(entry->mount_point, O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (namespace_fd < 0 || fstat(namespace_fd, &status) < 0 || status.st_ino != inode)
        return error_set(reterr, ERR_NOT_FOUND, 0, "no namespace at %s", text_shown(entry->mount_point));
    _cleanup_(close_fdp) int proc_fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (proc_fd < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot open /proc");
    struct visit visit = {.namespace_fd = namespace_fd, .proc_fd = proc_fd, .root_fd = -1};
    enum error_code code = start_visit(&visit, reterr);
    if (!code)
        code = make_kept(&visit, entry->mount_point, inode, ret_kept, reterr);
    buffer_done(&visit.mountinfo);
    close_fdp(&visit.root_fd);
    return code;
}
