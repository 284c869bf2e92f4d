#include "host_name.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

void host_name_at(const char *at, char name[HOST_NAME_MAX + 1])
{
    if (gethostname(name, HOST_NAME_MAX + 1) < 0)
        snprintf(name, HOST_NAME_MAX + 1, "localhost");
    name[HOST_NAME_MAX] = '\0';
    if (!strcmp(at, "/"))
        return;
    _cleanup_(buffer_done) struct buffer text = {0};
    _cleanup_(close_fdp) int at_fd = -1, etc_fd = -1;
    if (directory_open(AT_FDCWD, at, &at_fd, NULL) || directory_open(at_fd, "etc", &etc_fd, NULL) ||
        file_read(etc_fd, "hostname", HOST_NAME_MAX + 1, &text, NULL) || text.length == 0)
        return;
    size_t length = strcspn(text.data, " \t\r\n");
    if (length > 0)
        snprintf(name, HOST_NAME_MAX + 1, "%.*s", (int)length, text.data);
}
