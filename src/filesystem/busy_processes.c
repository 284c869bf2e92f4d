/* What processes use: descriptors, mappings, programs, working and root directories, of every thread. */
#include <dirent.h>
#include <errno.h>
#include <ext2fs/ext2_fs.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "base/file.h"
#include "filesystem/busy_set.h"

struct scan {
    struct busy_set *set;
    struct bound_sockets *sockets;
    char *map_buffer;
    char map_device[32]; /* " fe:00 ", as the maps write the device */
};

#define MAP_BUFFER_SIZE ((size_t)1 << 18)

/* One process while it is looked at. */
struct process {
    pid_t pid;
    pid_t thread; /* the task in hand: pid itself, or another thread */
    int fd;
    char name[PROCESS_NAME_SIZE]; /* read when first needed */
};

/* path is below the directory of the task in /proc. */
static enum error_code add_use(struct scan *scan, struct process *process, uint64_t inode, const char *kind,
                               const char *manner, const char *path, struct error *reterr)
{
    if (!process->name[0])
        process_name(process->fd, process->name);
    char what[PROCESS_NAME_SIZE + 128], whole[128];
    snprintf(what, sizeof(what), "%s (pid %d) %s", process->name, process->pid, manner);
    /* Threads have directories in /proc by their own number as well. */
    snprintf(whole, sizeof(whole), "/proc/%d/%s", process->thread, path);
    const struct busy_use use = {.inode = inode,
                                 .pid = process->pid,
                                 .kind = kind,
                                 .what = what,
                                 .path = *path ? whole : NULL,
                                 .remedy = busy_process_remedy};
    return busy_set_add(scan->set, &use, reterr);
}

/* A directory link or program of a task. The root of the filesystem itself is everybody's root. */
static enum error_code scan_link(struct scan *scan, struct process *process, int task_fd, const char *link,
                                 const char *manner, struct error *reterr)
{
    struct inode_key key;
    if (!process_link(task_fd, link, &key) || key.device != busy_set_device(scan->set) ||
        key.inode == EXT2_ROOT_INO)
        return OK;
    return add_use(scan, process, key.inode, "busy-process", manner, link, reterr);
}

static enum error_code scan_descriptor(struct scan *scan, struct process *process, int directory_fd,
                                       const char *name, struct error *reterr)
{
    struct inode_key key;
    if (!process_link(directory_fd, name, &key))
        return OK;
    if (key.device == busy_set_device(scan->set)) {
        char path[32];
        snprintf(path, sizeof(path), "fd/%.20s", name);
        return add_use(scan, process, key.inode, "busy-process", "has it open", path, reterr);
    }
    if (!S_ISSOCK(key.mode))
        return OK;
    struct bound_socket *socket = busy_sockets_find(scan->sockets, key.inode);
    if (!socket)
        return OK;
    socket->owner_known = true;
    return add_use(scan, process, socket->inode, "busy-socket", "has a socket bound to it", "", reterr);
}

static enum error_code scan_descriptors(struct scan *scan, struct process *process, int task_fd,
                                        struct error *reterr)
{
    int fd = openat(task_fd, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    if (!stream) {
        int os_errno = errno;
        close_fdp(&fd);
        if (os_errno == EMFILE || os_errno == ENFILE || os_errno == ENOMEM)
            return error_set(reterr, ERR_FAILED, os_errno, "cannot look at the files of process %d",
                             process->pid);
        return OK;
    }
    enum error_code code = OK;
    const struct dirent *entry;
    while (!code && (entry = readdir(stream)))
        if (entry->d_name[0] != '.')
            code = scan_descriptor(scan, process, dirfd(stream), entry->d_name, reterr);
    closedir(stream);
    return code;
}

/* "7f0c-7f1c r-xp 00000000 fe:00 1234   /usr/bin/x": only lines with the device's number matter. */
static enum error_code scan_map_lines(struct scan *scan, struct process *process, char *text,
                                      struct error *reterr)
{
    size_t device_length = strlen(scan->map_device);
    enum error_code code = OK;
    for (char *line = text; line && *line && !code;) {
        char *end = strchr(line, '\n');
        if (end)
            *end = '\0';
        char *device = strchr(line, ' '); /* behind the addresses, then the permissions, then the offset */
        for (int i = 0; i < 2 && device; i++)
            device = strchr(device + 1, ' ');
        if (device && !strncmp(device, scan->map_device, device_length)) {
            uint64_t inode = strtoull(device + device_length, NULL, 10);
            char path[64];
            snprintf(path, sizeof(path), "map_files/%.*s", (int)strcspn(line, " "), line);
            code = add_use(scan, process, inode, "busy-process", "has it mapped", path, reterr);
        }
        line = end ? end + 1 : NULL;
    }
    return code;
}

/* Read in blocks; what is behind the last newline of a block is carried over to the next. */
static enum error_code scan_maps(struct scan *scan, struct process *process, int task_fd,
                                 struct error *reterr)
{
    _cleanup_(close_fdp) int fd = openat(task_fd, "maps", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return OK;
    size_t held = 0;
    enum error_code code = OK;
    while (!code) {
        ssize_t got = read(fd, scan->map_buffer + held, MAP_BUFFER_SIZE - 1 - held);
        if (got <= 0)
            break;
        size_t length = held + (size_t)got;
        char *last = memrchr(scan->map_buffer, '\n', length);
        held = length;
        if (!last && held < MAP_BUFFER_SIZE - 1)
            continue;
        if (!last) /* a line is never longer than a path and its octal escapes */
            break;
        *last = '\0';
        code = scan_map_lines(scan, process, scan->map_buffer, reterr);
        held = length - (size_t)(last + 1 - scan->map_buffer);
        memmove(scan->map_buffer, last + 1, held);
    }
    return code;
}

static enum error_code scan_task_files(struct scan *scan, struct process *process, int task_fd,
                                       struct error *reterr)
{
    enum error_code code = scan_descriptors(scan, process, task_fd, reterr);
    if (!code)
        code = scan_link(scan, process, task_fd, "cwd", "works in it (current directory)", reterr);
    if (!code)
        code = scan_link(scan, process, task_fd, "root", "has it as its root directory", reterr);
    return code;
}

/* False only where the kernel says that both threads share descriptors and directories. */
static bool may_differ(pid_t one, pid_t other)
{
    return syscall(SYS_kcmp, one, other, KCMP_FILES, 0, 0) != 0 ||
           syscall(SYS_kcmp, one, other, KCMP_FS, 0, 0) != 0;
}

/*
 * Threads usually share everything, but may have descriptors and directories of their own, and the first
 * thread of a process may have ended before the others.
 */
static enum error_code scan_threads(struct scan *scan, struct process *process, struct error *reterr)
{
    int list_fd = openat(process->fd, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = list_fd < 0 ? NULL : fdopendir(list_fd);
    if (!stream) {
        close_fdp(&list_fd);
        return OK;
    }
    enum error_code code = OK;
    pid_t scanned = process->pid;
    const struct dirent *entry;
    while (!code && (entry = readdir(stream))) {
        pid_t thread = process_number(entry->d_name);
        if (thread == 0 || thread == process->pid || !may_differ(scanned, thread))
            continue;
        _cleanup_(close_fdp) int fd = openat(dirfd(stream), entry->d_name, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
            continue;
        process->thread = thread;
        code = scan_task_files(scan, process, fd, reterr);
        if (!code && scanned == process->pid)
            code = scan_maps(scan, process, fd, reterr); /* those of a first thread that ended are gone */
        scanned = thread;
    }
    closedir(stream);
    return code;
}

static enum error_code scan_process(pid_t pid, int process_fd, void *context, struct error *reterr)
{
    struct scan *scan = context;
    struct process process = {.pid = pid, .thread = pid, .fd = process_fd};
    struct inode_key root;
    if (!process_link(process_fd, "root", &root) && process_is_hidden(errno))
        return OK; /* filesystem_check_mounts tells of it */
    enum error_code code = scan_task_files(scan, &process, process_fd, reterr);
    if (!code)
        code = scan_link(scan, &process, process_fd, "exe", "runs from it", reterr);
    if (!code)
        code = scan_maps(scan, &process, process_fd, reterr);
    if (!code)
        code = scan_threads(scan, &process, reterr);
    return code;
}

enum error_code busy_add_processes(struct busy_set *set, struct bound_sockets *sockets, struct error *reterr)
{
    _cleanup_(freep) char *map_buffer = malloc(MAP_BUFFER_SIZE);
    if (!map_buffer)
        return error_set(reterr, ERR_NO_MEMORY, 0, "no memory to look at processes");
    struct scan scan = {.set = set, .sockets = sockets, .map_buffer = map_buffer};
    dev_t device = busy_set_device(set);
    snprintf(scan.map_device, sizeof(scan.map_device), " %02x:%02x ", major(device), minor(device));
    return processes_each(scan_process, &scan, reterr);
}
