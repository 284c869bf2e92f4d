#include "client/client.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/text.h"
#include "client/files.h"

#define HUSK_DIRECTORY_NAME ".husk"

const char *client_id_text(char out[CLIENT_ID_TEXT_SIZE], const uint8_t id[CLIENT_ID_SIZE])
{
    text_format_hex(out, id, CLIENT_ID_SIZE);
    return out;
}

static enum error_code check_owner(int fd, const char *at, struct error *reterr)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot stat %s", HUSK_DIRECTORY_NAME);
    if (status.st_uid == 0 && !(status.st_mode & 022))
        return OK;
    return error_set(reterr, ERR_CORRUPT, 0, "%s/%s can be changed by others than root", text_shown(at),
                     HUSK_DIRECTORY_NAME);
}

enum error_code client_open_husk(const char *at, enum client_directory how, struct client *client,
                                 struct error *reterr)
{
    _cleanup_(close_fdp) int at_fd = open(at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_(close_fdp) int fd = -1;
    struct stat status;
    if (at_fd < 0 || fstat(at_fd, &status) < 0)
        return error_set(reterr, errno == ENOENT ? ERR_NOT_FOUND : ERR_FAILED, errno, "cannot open %s",
                         text_shown(at));
    client->device = status.st_dev;
    client->inode = status.st_ino;
    enum error_code code = directory_open(at_fd, HUSK_DIRECTORY_NAME, &fd, reterr);
    if (code == ERR_NOT_FOUND && how == CLIENT_DIRECTORY_MAKE)
        code = directory_make(at_fd, HUSK_DIRECTORY_NAME, 0700, &fd, reterr);
    if (!code)
        code = check_owner(fd, at, reterr);
    if (!code)
        client->husk_fd = TAKE_FD(fd);
    return code;
}

enum error_code client_open_again(const char *at, struct client *before, struct client **ret_client,
                                  struct error *reterr)
{
    _cleanup_(client_closep) struct client *client = calloc(1, sizeof(*client));
    if (!client)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    client->husk_fd = client->runtime_fd = -1;
    client->names = json_object();
    if (!client->names)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    enum error_code code = client_open_husk(at, CLIENT_DIRECTORY_THERE, client, reterr);
    if (!code)
        code = client_pins_read(client, before, reterr);
    else if (code == ERR_NOT_FOUND)
        code = OK;
    if (!code)
        *ret_client = TAKE(client);
    return code;
}

enum error_code client_open(const char *at, struct client **ret_client, struct error *reterr)
{
    return client_open_again(at, NULL, ret_client, reterr);
}

void client_close(struct client *client)
{
    if (!client)
        return;
    close_fdp(&client->husk_fd);
    close_fdp(&client->runtime_fd);
    secret_free(client->identity);
    for (size_t i = 0; i < client->pin_count; i++)
        client_pin_done(&client->pins[i]);
    json_decref(client->facts);
    json_decref(client->names);
    free(client);
}

struct client_pin *client_find(struct client *client, const uint8_t id[CLIENT_ID_SIZE])
{
    for (size_t i = 0; i < client->pin_count; i++)
        if (!memcmp(client->pins[i].id, id, CLIENT_ID_SIZE))
            return &client->pins[i];
    return NULL;
}

enum error_code client_choose(struct client *client, const char *text, struct client_pin **ret_pin,
                              struct error *reterr)
{
    struct client_pin *found = NULL;
    size_t count = 0;
    if (text && strlen(text) < 4)
        return error_set(reterr, ERR_USAGE, 0, "an authority's id, or at least its first four digits");
    for (size_t i = 0; i < client->pin_count; i++) {
        if (text && strncmp(client_id_shown(client->pins[i].id), text, strlen(text)) != 0)
            continue;
        found = &client->pins[i];
        count++;
    }
    if (count == 1) {
        *ret_pin = found;
        return OK;
    }
    if (client->pin_count == 0) {
        error_set(reterr, ERR_NOT_FOUND, 0, "this host is enrolled at no authority");
        return error_remedy(reterr, "husk enroll URL --token-file F");
    }
    if (count == 0) {
        error_set(reterr, ERR_NOT_FOUND, 0, "this host is not enrolled at the authority %s",
                  text_shown(text ? text : ""));
        return error_remedy(reterr, "it is enrolled at %s", client_id_shown(client->pins[0].id));
    }
    error_set(reterr, ERR_USAGE, 0, "this host is enrolled at %zu authorities that this could mean", count);
    return error_remedy(reterr, "name one: --authority=%s", client_id_shown(found->id));
}

enum error_code client_keep_only(struct client *client, const char *text, struct error *reterr)
{
    struct client_pin *pin = NULL;
    enum error_code code = client_choose(client, text, &pin, reterr);
    if (code)
        return code;
    const struct client_pin kept = *pin;
    for (size_t i = 0; i < client->pin_count; i++)
        if (&client->pins[i] != pin)
            client_pin_done(&client->pins[i]);
    client->pins[0] = kept;
    client->pin_count = 1;
    return OK;
}
