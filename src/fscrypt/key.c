/* The master key in the kernel: add, remove, state. */
#include <errno.h>
#include <linux/fscrypt.h>
#include <sys/ioctl.h>

#include "base/fault.h"
#include "fscrypt/errors.h"
#include "fscrypt/fscrypt.h"

_Static_assert(sizeof(struct fscrypt_identifier) == FSCRYPT_KEY_IDENTIFIER_SIZE, "identifier size");

static const struct fscrypt_case add_cases[] = {
    {ENOENT, ERR_UNSUPPORTED, "the kernel has no cipher hmac(sha512), or cannot load it now",
     "load it (modprobe hmac; modprobe sha512_generic); in an initramfs, rebuild it with husk's hook"},
    {ENOPKG, ERR_UNSUPPORTED, "the kernel has no cipher hmac(sha512), or cannot load it now",
     "load it (modprobe hmac; modprobe sha512_generic); in an initramfs, rebuild it with husk's hook"},
    {EINVAL, ERR_UNSUPPORTED, "the kernel does not take keys of version 2 policies",
     "use Linux 5.7 or later"},
};

static struct fscrypt_key_specifier specify(const struct fscrypt_identifier *identifier)
{
    struct fscrypt_key_specifier specifier = {.type = FSCRYPT_KEY_SPEC_TYPE_IDENTIFIER};
    memcpy(specifier.u.identifier, identifier->bytes, sizeof(identifier->bytes));
    return specifier;
}

enum error_code fscrypt_add_key(int fd, const struct secret *master_key,
                                struct fscrypt_identifier *ret_identifier, struct error *reterr)
{
    if (master_key->length != FSCRYPT_MASTER_KEY_SIZE)
        return error_set(reterr, ERR_USAGE, 0, "a master key has %d bytes, not %zu", FSCRYPT_MASTER_KEY_SIZE,
                         master_key->length);
    _cleanup_(secret_freep) struct secret *buffer = NULL;
    enum error_code code =
        secret_new(sizeof(struct fscrypt_add_key_arg) + FSCRYPT_MASTER_KEY_SIZE, &buffer, reterr);
    if (code)
        return code;
    struct fscrypt_add_key_arg head = {.key_spec = {.type = FSCRYPT_KEY_SPEC_TYPE_IDENTIFIER},
                                       .raw_size = FSCRYPT_MASTER_KEY_SIZE};
    memcpy(buffer->bytes, &head, sizeof(head));
    memcpy(buffer->bytes + sizeof(head), master_key->bytes, FSCRYPT_MASTER_KEY_SIZE);
    int injected = fault("fscrypt.add-key");
    if (injected || ioctl(fd, FS_IOC_ADD_ENCRYPTION_KEY, buffer->bytes) < 0)
        return fscrypt_error(reterr, injected ? injected : errno, "cannot add the key", add_cases,
                             ARRAY_SIZE(add_cases));
    memcpy(&head, buffer->bytes, sizeof(head)); /* the key itself lies behind it */
    memcpy(ret_identifier->bytes, head.key_spec.u.identifier, sizeof(ret_identifier->bytes));
    (void)fault("fscrypt.add-key.after");
    return OK;
}

/* The kernel forgets the key first and then writes the filesystem out: of a disk that cannot be written to it
 * returns that error, with the key gone. False while it is still there. */
static bool is_gone_all_the_same(int fd, const struct fscrypt_identifier *identifier,
                                 enum fscrypt_removal *ret_removal)
{
    enum fscrypt_key_state state = FSCRYPT_KEY_PRESENT;
    if (fscrypt_key_state(fd, identifier, &state, NULL) || state == FSCRYPT_KEY_PRESENT)
        return false;
    *ret_removal = state == FSCRYPT_KEY_ABSENT ? FSCRYPT_REMOVED : FSCRYPT_REMOVED_BUSY;
    return true;
}

enum error_code fscrypt_remove_key(int fd, const struct fscrypt_identifier *identifier,
                                   enum fscrypt_removal *ret_removal, struct error *reterr)
{
    struct fscrypt_remove_key_arg argument = {.key_spec = specify(identifier)};
    int injected = fault("fscrypt.remove-key");
    int status = injected ? -1 : ioctl(fd, FS_IOC_REMOVE_ENCRYPTION_KEY_ALL_USERS, &argument);
    if (status < 0 && !injected && errno == EACCES) /* not root: our own claim to it, then */
        status = ioctl(fd, FS_IOC_REMOVE_ENCRYPTION_KEY, &argument);
    int os_errno = injected ? injected : errno;
    if (status < 0 && os_errno == ENOKEY) {
        *ret_removal = FSCRYPT_WAS_ABSENT;
        return OK;
    }
    if (status < 0 && !injected && is_gone_all_the_same(fd, identifier, ret_removal))
        return OK;
    if (status < 0)
        return fscrypt_error(reterr, os_errno, "cannot remove the key", NULL, 0);
    (void)fault("fscrypt.remove-key.after");
    if (argument.removal_status_flags & FSCRYPT_KEY_REMOVAL_STATUS_FLAG_OTHER_USERS) {
        error_set(reterr, ERR_DENIED, 0, "cannot remove the key: other users have added it as well");
        error_remedy(reterr, "run husk as root");
        return ERR_DENIED;
    }
    *ret_removal = argument.removal_status_flags & FSCRYPT_KEY_REMOVAL_STATUS_FLAG_FILES_BUSY
                       ? FSCRYPT_REMOVED_BUSY
                       : FSCRYPT_REMOVED;
    return OK;
}

enum error_code fscrypt_key_state(int fd, const struct fscrypt_identifier *identifier,
                                  enum fscrypt_key_state *ret_state, struct error *reterr)
{
    struct fscrypt_get_key_status_arg argument = {.key_spec = specify(identifier)};
    if (ioctl(fd, FS_IOC_GET_ENCRYPTION_KEY_STATUS, &argument) < 0)
        return fscrypt_error(reterr, errno, "cannot ask for the state of the key", NULL, 0);
    switch (argument.status) {
    case FSCRYPT_KEY_STATUS_ABSENT:
        *ret_state = FSCRYPT_KEY_ABSENT;
        return OK;
    case FSCRYPT_KEY_STATUS_PRESENT:
        *ret_state = FSCRYPT_KEY_PRESENT;
        return OK;
    case FSCRYPT_KEY_STATUS_INCOMPLETELY_REMOVED:
        *ret_state = FSCRYPT_KEY_INCOMPLETELY_REMOVED;
        return OK;
    default:
        return error_set(reterr, ERR_FAILED, 0, "the kernel gives the key a state %u that husk does not know",
                         argument.status);
    }
}
