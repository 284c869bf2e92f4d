/* What a host says of its boot. It is for people to compare, not for trust: a tampered boot can lie. */
#include <errno.h>
#include <fcntl.h>
#include <sys/utsname.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/sure.h"
#include "client/wire.h"

#define COMMAND_LINE_PATH "/proc/cmdline"

/* The files a boot loader loads, in /boot of the host: those of the kernel that runs. In an initramfs /boot
 * is there only where it is no mount of its own. */
static const struct {
    const char *member, *prefix;
} files[] = {
    {"kernel_hash", CLIENT_KERNEL_PREFIX},
    {"initramfs_hash", CLIENT_INITRAMFS_PREFIX},
};

static enum error_code add_command_line(json_t *facts, struct error *reterr)
{
    uint8_t text[4096], hash[crypto_hash_sha256_BYTES];
    _cleanup_(close_fdp) int fd = open(COMMAND_LINE_PATH, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof(text));
    if (length < 0) /* a container may hide it */
        return OK;
    sure(crypto_hash_sha256(hash, text, (unsigned long long)length));
    return json_set_hex(facts, "cmdline_hash", hash, sizeof(hash), reterr);
}

static enum error_code add_files(const struct client *client, const char *release, json_t *facts,
                                 struct error *reterr)
{
    uint8_t hash[CLIENT_HASH_SIZE];
    enum error_code code = OK;
    for (size_t i = 0; !code && i < ARRAY_SIZE(files); i++) {
        _cleanup_(buffer_done) struct buffer name = {0};
        code = buffer_printf(&name, reterr, "%s%s", files[i].prefix, release);
        if (!code && client_boot_file_hash(client, name.data, hash))
            code = json_set_hex(facts, files[i].member, hash, sizeof(hash), reterr);
    }
    return code;
}

static enum error_code look(const struct client *client, json_t **ret_facts, struct error *reterr)
{
    struct utsname names;
    _cleanup_(json_freep) json_t *facts = json_object();
    if (uname(&names) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot tell the kernel's release");
    enum error_code code = json_set_new(facts, "kernel", json_string(names.release), reterr);
    if (!code)
        code = add_command_line(facts, reterr);
    if (!code)
        code = add_files(client, names.release, facts, reterr);
    if (!code)
        *ret_facts = TAKE(facts);
    return code;
}

enum error_code client_facts(struct client *client, json_t *message, struct error *reterr)
{
    enum error_code code = client->facts ? OK : look(client, &client->facts, reterr);
    return code ? code : json_set_new(message, "facts", json_incref(client->facts), reterr);
}

void client_facts_anew(struct client *client)
{
    struct utsname names;
    json_decref(TAKE(client->facts));
    client_boot_files_keep(client, uname(&names) < 0 ? NULL : names.release);
}
