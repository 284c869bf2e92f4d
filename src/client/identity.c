/*
 * host.key: "HUSKHOST", format version 1 and suite 1 (X25519) as 32-bit little-endian integers, the private
 * key.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/file.h"
#include "client/files.h"

enum {
    AT_VERSION = 8,
    AT_SUITE = 12,
    AT_KEY = 16,
    FILE_SIZE = AT_KEY + HPKE_KEY_SIZE,
    IDENTITY_VERSION = 1,
    IDENTITY_SUITE = 1,
};
static const uint8_t magic[8] = {'H', 'U', 'S', 'K', 'H', 'O', 'S', 'T'};

static uint32_t get_u32(const uint8_t *bytes)
{
    uint32_t value;
    memcpy(&value, bytes, sizeof(value));
    return le32toh(value);
}

static enum error_code parse(const struct secret *file, struct secret **ret_identity, struct error *reterr)
{
    if (file->length != FILE_SIZE || memcmp(file->bytes, magic, sizeof(magic)) != 0)
        return error_set(reterr, ERR_CORRUPT, 0, "%s is not the identity of a host", CLIENT_IDENTITY_NAME);
    if (get_u32(file->bytes + AT_VERSION) != IDENTITY_VERSION ||
        get_u32(file->bytes + AT_SUITE) != IDENTITY_SUITE)
        return error_set(reterr, ERR_TOO_NEW, 0, "%s is of another husk", CLIENT_IDENTITY_NAME);
    return secret_new_copy(file->bytes + AT_KEY, HPKE_KEY_SIZE, ret_identity, reterr);
}

bool client_has_identity(const struct client *client)
{
    return faccessat(client->husk_fd, CLIENT_IDENTITY_NAME, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

enum error_code client_identity_read(struct client *client, struct error *reterr)
{
    _cleanup_(close_fdp) int fd = -1;
    _cleanup_(secret_freep) struct secret *file = NULL;
    if (client->identity)
        return OK;
    fd = openat(client->husk_fd, CLIENT_IDENTITY_NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return error_set(reterr, errno == ENOENT ? ERR_NOT_FOUND : ERR_FAILED, errno, "cannot open %s",
                         CLIENT_IDENTITY_NAME);
    enum error_code code = secret_read_fd(fd, 1, FILE_SIZE + 1, CLIENT_IDENTITY_NAME, &file, reterr);
    if (code == ERR_USAGE)
        code = error_set(reterr, ERR_CORRUPT, 0, "%s is not the identity of a host", CLIENT_IDENTITY_NAME);
    return code ? code : parse(file, &client->identity, reterr);
}

static enum error_code write_identity(struct client *client, const struct secret *identity,
                                      struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *file = NULL;
    const uint32_t version = htole32(IDENTITY_VERSION), suite = htole32(IDENTITY_SUITE);
    enum error_code code = secret_new(FILE_SIZE, &file, reterr);
    if (code)
        return code;
    memcpy(file->bytes, magic, sizeof(magic));
    memcpy(file->bytes + AT_VERSION, &version, sizeof(version));
    memcpy(file->bytes + AT_SUITE, &suite, sizeof(suite));
    memcpy(file->bytes + AT_KEY, identity->bytes, HPKE_KEY_SIZE);
    int injected = fault("client.identity.write");
    if (injected)
        return error_set(reterr, ERR_FAILED, injected, "cannot write %s", CLIENT_IDENTITY_NAME);
    code = file_write_durable(client->husk_fd, CLIENT_IDENTITY_NAME, 0600, file->bytes, file->length, reterr);
    if (!code)
        (void)fault("client.identity.written");
    return code;
}

enum error_code client_identity_make(struct client *client, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *identity = NULL;
    uint8_t public_key[HPKE_KEY_SIZE];
    enum error_code code = client_identity_read(client, reterr);
    if (code != ERR_NOT_FOUND)
        return code;
    code = hpke_key_new(&identity, public_key, reterr);
    if (!code)
        code = write_identity(client, identity, reterr);
    if (!code)
        client->identity = TAKE(identity);
    return code;
}
