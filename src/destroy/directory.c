#include "destroy/directory.h"

#include <errno.h>
#include <fcntl.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/text.h"
#include "destroy/open.h"

enum { OPEN_FLAGS = O_RDONLY | O_DIRECTORY | O_NOATIME, SHOWN_BYTES = 4096 };

enum error_code directory_new(struct directory *parent, const char *name, int fd,
                              struct directory **ret_directory, struct error *reterr)
{
    _cleanup_(close_fdp) int owned = fd;
    struct stat status;
    if (fstat(fd, &status) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot stat the directory %s", text_shown(name));
    struct directory *directory = calloc(1, sizeof(*directory));
    char *copy = strdup(name);
    if (!directory || !copy) {
        free(directory);
        free(copy);
        return error_set(reterr, ERR_NO_MEMORY, ENOMEM, "cannot enter %s", text_shown(name));
    }
    *directory = (struct directory){.parent = directory_get(parent),
                                    .name = copy,
                                    .references = 1,
                                    .fd = TAKE_FD(owned),
                                    .device = status.st_dev,
                                    .inode = status.st_ino};
    *ret_directory = directory;
    return OK;
}

enum error_code directory_enter(struct directory *parent, const char *name, struct directory **ret_directory,
                                struct error *reterr)
{
    int injected = fault("destroy.tree.enter");
    int fd = injected ? -1 : open_beneath(parent->fd, name, OPEN_FLAGS);
    if (injected)
        return error_set(reterr, ERR_FAILED, injected, "cannot open the directory %s", text_shown(name));
    if (fd < 0 && errno == ENOENT) {
        *ret_directory = NULL;
        return OK;
    }
    if (fd < 0 && errno == EXDEV)
        return error_set(reterr, ERR_DENIED, 0, "%s is a mount point", text_shown(name));
    if (fd < 0 && (errno == ENOTDIR || errno == ELOOP))
        return error_set(reterr, ERR_CHANGED, 0, "%s is no directory any more", text_shown(name));
    if (fd < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot open the directory %s", text_shown(name));
    struct directory *directory = NULL;
    enum error_code code = directory_new(parent, name, fd, &directory, reterr);
    if (code)
        return code;
    directory->cleared_flags = flags_clear(directory->fd);
    *ret_directory = directory;
    return OK;
}

enum error_code directory_reopen_parent(struct directory *directory, struct error *reterr)
{
    struct directory *parent = directory->parent;
    if (parent->fd >= 0)
        return OK;
    _cleanup_(close_fdp) int fd = open_beneath(directory->fd, "..", OPEN_FLAGS);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot go back up from %s", text_shown(directory->name));
    if (status.st_dev != parent->device || status.st_ino != parent->inode) {
        error_set(reterr, ERR_CHANGED, 0, "the directory %s was moved while the tree was being destroyed",
                  text_shown(directory->name));
        error_remedy(reterr, "stop what works there, then run the same command again");
        return ERR_CHANGED;
    }
    parent->fd = TAKE_FD(fd);
    return OK;
}

struct directory *directory_get(struct directory *directory)
{
    if (directory)
        directory->references++;
    return directory;
}

void directory_put(struct directory *directory)
{
    while (directory && --directory->references == 0) {
        struct directory *parent = directory->parent;
        close_fdp(&directory->fd);
        free(directory->name);
        free(directory->pending.bytes);
        free(directory);
        directory = parent;
    }
}

/* Put name in front of what already stands at the end of path; false when it does not fit. */
static bool put_before(char *path, size_t *start, const char *name)
{
    size_t length = strlen(name);
    size_t slash = path[*start] ? 1 : 0;
    if (length + slash > *start)
        return false;
    if (slash)
        path[--*start] = '/';
    *start -= length;
    memcpy(path + *start, name, length);
    return true;
}

enum error_code directory_show_path(const struct directory *directory, const char *name,
                                    struct buffer *buffer, struct error *reterr)
{
    char path[SHOWN_BYTES + 1];
    size_t start = SHOWN_BYTES;
    path[start] = '\0';
    bool fits = put_before(path, &start, name);
    for (; fits && directory && directory->parent; directory = directory->parent)
        fits = put_before(path, &start, directory->name);
    enum error_code code = fits ? OK : buffer_append(buffer, ".../", 4, reterr);
    return code ? code : text_escape(buffer, path + start, SHOWN_BYTES - start, reterr);
}

enum error_code name_stack_push(struct name_stack *stack, const char *name, struct error *reterr)
{
    size_t size = strlen(name) + 1;
    if (stack->length + size > stack->capacity) {
        size_t capacity = stack->capacity * 2 + size;
        char *bytes = realloc(stack->bytes, capacity);
        if (!bytes)
            return error_set(reterr, ERR_NO_MEMORY, ENOMEM, "cannot remember %s", text_shown(name));
        stack->bytes = bytes;
        stack->capacity = capacity;
    }
    memcpy(stack->bytes + stack->length, name, size);
    stack->length += size;
    return OK;
}

const char *name_stack_pop(struct name_stack *stack)
{
    if (stack->length == 0)
        return NULL;
    size_t start = stack->length - 1;
    while (start > 0 && stack->bytes[start - 1])
        start--;
    stack->length = start;
    return stack->bytes + start;
}
