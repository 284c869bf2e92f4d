#include "host_name.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "client/client.h"

bool host_name_on(int root_fd, char name[HOST_NAME_MAX + 1])
{
    _cleanup_(buffer_done) struct buffer text = {0};
    _cleanup_(close_fdp) int etc_fd = -1;
    if (directory_open(root_fd, "etc", &etc_fd, NULL) ||
        file_read(etc_fd, "hostname", HOST_NAME_MAX + 1, &text, NULL) || text.length == 0)
        return false;
    size_t length = strcspn(text.data, " \t\r\n");
    if (length == 0)
        return false;
    snprintf(name, HOST_NAME_MAX + 1, "%.*s", (int)length, text.data);
    return true;
}

static bool name_at_authority(const char *at, char name[HOST_NAME_MAX + 1])
{
    _cleanup_(client_closep) struct client *client = NULL;
    if (client_open(at, &client, NULL) || client->pin_count == 0)
        return false;
    snprintf(name, HOST_NAME_MAX + 1, "%s", client->pins[0].name);
    return true;
}

bool host_name_at(const char *at, char name[HOST_NAME_MAX + 1])
{
    _cleanup_(close_fdp) int at_fd = -1;
    if (gethostname(name, HOST_NAME_MAX + 1) < 0)
        snprintf(name, HOST_NAME_MAX + 1, "localhost");
    name[HOST_NAME_MAX] = '\0';
    return !strcmp(at, "/") || (!directory_open(AT_FDCWD, at, &at_fd, NULL) && host_name_on(at_fd, name)) ||
           name_at_authority(at, name);
}

bool host_is_called(const char *at, const char *name)
{
    _cleanup_(client_closep) struct client *client = NULL;
    if (client_open(at, &client, NULL))
        return false;
    for (size_t i = 0; i < client->pin_count; i++)
        if (!strcmp(client->pins[i].name, name))
            return true;
    return false;
}

void host_name_to_confirm(const char *at, char name[PATH_MAX])
{
    char host[HOST_NAME_MAX + 1];
    snprintf(name, PATH_MAX, "%s", host_name_at(at, host) ? host : at);
}

bool host_has_files(int root_fd)
{
    static const char *const names[] = {"host.json", "host.key"};
    _cleanup_(close_fdp) int husk_fd = -1;
    if (directory_open(root_fd, ".husk", &husk_fd, NULL))
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (faccessat(husk_fd, names[i], F_OK, AT_SYMLINK_NOFOLLOW) == 0)
            return true;
    return false;
}
