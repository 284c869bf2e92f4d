#include "tree/handle.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* FILEID_INO32_GEN */
enum { HANDLE_TYPE = 1, HANDLE_SIZE = sizeof(struct tree_handle) };

union room {
    struct file_handle head;
    uint8_t bytes[sizeof(struct file_handle) + HANDLE_SIZE];
};

int tree_handle_get(int directory_fd, const char *name, struct tree_handle *ret_handle)
{
    union room room = {.head = {.handle_bytes = HANDLE_SIZE}};
    int mount_id;
    if (name_to_handle_at(directory_fd, name, &room.head, &mount_id, AT_EMPTY_PATH) < 0)
        return -1;
    if (room.head.handle_type != HANDLE_TYPE || room.head.handle_bytes != HANDLE_SIZE) {
        errno = EOPNOTSUPP;
        return -1;
    }
    memcpy(ret_handle, room.head.f_handle, HANDLE_SIZE);
    return 0;
}

int tree_handle_open(int mount_fd, struct tree_handle handle, int flags)
{
    union room room = {.head = {.handle_bytes = HANDLE_SIZE, .handle_type = HANDLE_TYPE}};
    memcpy(room.head.f_handle, &handle, HANDLE_SIZE);
    return open_by_handle_at(mount_fd, &room.head, flags);
}
