/* What a host says of its boot. It is for people to compare, not for trust: a tampered boot can lie. */
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <sys/utsname.h>

#include "base/cleanup.h"
#include "base/sure.h"
#include "client/wire.h"

#define COMMAND_LINE_PATH "/proc/cmdline"

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

enum error_code client_facts(json_t *message, struct error *reterr)
{
    struct utsname names;
    _cleanup_(json_freep) json_t *facts = json_object();
    if (uname(&names) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot tell the kernel's release");
    enum error_code code = json_set_new(facts, "kernel", json_string(names.release), reterr);
    if (!code)
        code = add_command_line(facts, reterr);
    return code ? code : json_set_new(message, "facts", TAKE(facts), reterr);
}
