#include "fscrypt/errors.h"

#include <errno.h>

#include "base/cleanup.h"

#define CIPHER_REMEDY                                                                                        \
    "load the module of that cipher (modprobe hmac; modprobe sha512_generic; modprobe xts; modprobe cts; "   \
    "modprobe aes_generic); in an initramfs, rebuild it with husk's hook"
#define FEATURE_REMEDY                                                                                       \
    "set the feature (the same command with --enable-feature, or tune2fs -O encrypt DEVICE), and boot a "    \
    "kernel with "                                                                                           \
    "CONFIG_FS_ENCRYPTION=y"

static const struct fscrypt_case shared_cases[] = {
    {ENOTTY, ERR_UNSUPPORTED, "this filesystem or kernel does not know version 2 encryption policies",
     "use ext4 on Linux 5.7 or later"},
    {EOPNOTSUPP, ERR_UNSUPPORTED,
     "encryption is not available: the ext4 feature \"encrypt\" is not set, or the kernel was built without "
     "CONFIG_FS_ENCRYPTION",
     FEATURE_REMEDY},
    {ENOPKG, ERR_UNSUPPORTED, "the kernel has no AES-256-XTS or AES-256-CTS", CIPHER_REMEDY},
    {ENOKEY, ERR_LOCKED, "its key is not there", "unlock the vault first (husk unlock)"},
    {EACCES, ERR_DENIED, "not permitted", "run husk as root"},
    {EPERM, ERR_DENIED, "not permitted", "run husk as root"},
    {EROFS, ERR_UNSUPPORTED, "the filesystem is mounted read-only", "remount it writable"},
    {EDQUOT, ERR_NO_SPACE, "a quota is used up",
     "raise the limit: for keys kernel.keys.root_maxkeys (sysctl), else the quota of the filesystem"},
    {EKEYREJECTED, ERR_CORRUPT, "the kernel rejected the key", "check the machine: the key is not usable"},
    {EIO, ERR_FAILED, "input/output error", "look at dmesg and check the disk"},
    {EUCLEAN, ERR_CORRUPT, "the filesystem is damaged", "unmount it and run e2fsck -f"},
};

static const struct fscrypt_case *find(const struct fscrypt_case *cases, size_t case_count, int os_errno)
{
    for (size_t i = 0; i < case_count; i++)
        if (cases[i].os_errno == os_errno)
            return &cases[i];
    return NULL;
}

enum error_code fscrypt_error(struct error *reterr, int os_errno, const char *doing,
                              const struct fscrypt_case *cases, size_t case_count)
{
    const struct fscrypt_case *row = find(cases, case_count, os_errno);
    if (!row)
        row = find(shared_cases, ARRAY_SIZE(shared_cases), os_errno);
    if (!row)
        return error_set(reterr, ERR_FAILED, os_errno, "%s", doing);
    enum error_code code = error_set(reterr, row->code, 0, "%s: %s", doing, row->cause);
    if (reterr) {
        reterr->os_errno = os_errno;
        reterr->remedy[0] = '\0';
    }
    error_remedy(reterr, "%s", row->remedy);
    return code;
}
