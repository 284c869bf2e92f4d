/* Encryption policies and nonces of files and directories. */
#include <errno.h>
#include <linux/fscrypt.h>
#include <sys/ioctl.h>

#include "base/fault.h"
#include "fscrypt/errors.h"
#include "fscrypt/fscrypt.h"

static const struct fscrypt_case set_cases[] = {
    {ENOTEMPTY, ERR_DENIED, "the directory is not empty",
     "the kernel takes a policy on empty directories only; husk protect converts a directory that has "
     "content"},
    {EEXIST, ERR_EXISTS, "the directory has another encryption policy already",
     "leave it as it is, or move its content to a plain directory and protect that"},
    {ENOTDIR, ERR_UNSUPPORTED, "it is not a directory", "give a directory"},
    {EPERM, ERR_UNSUPPORTED,
     "the kernel does not allow it here (the root directory and lost+found take none)",
     "protect directories below the root of the filesystem"},
    {EACCES, ERR_DENIED, "the directory belongs to somebody else", "run husk as root"},
    {ENOKEY, ERR_LOCKED, "the key is not on this filesystem", "unlock the vault first (husk unlock)"},
    {EINVAL, ERR_UNSUPPORTED,
     "the kernel refuses this policy here (a casefolded directory before Linux 5.13, or DAX)",
     "take the flag off the directory (chattr -F, chattr -x), or use a newer kernel"},
};

static struct fscrypt_policy_v2 make_policy(const struct fscrypt_identifier *identifier)
{
    struct fscrypt_policy_v2 policy = {.version = FSCRYPT_POLICY_V2,
                                       .contents_encryption_mode = FSCRYPT_MODE_AES_256_XTS,
                                       .filenames_encryption_mode = FSCRYPT_MODE_AES_256_CTS,
                                       .flags = FSCRYPT_POLICY_FLAGS_PAD_32};
    memcpy(policy.master_key_identifier, identifier->bytes, sizeof(identifier->bytes));
    return policy;
}

enum error_code fscrypt_set_policy(int directory_fd, const struct fscrypt_identifier *identifier,
                                   struct error *reterr)
{
    struct fscrypt_policy_v2 policy = make_policy(identifier);
    int injected = fault("fscrypt.set-policy");
    if (injected || ioctl(directory_fd, FS_IOC_SET_ENCRYPTION_POLICY, &policy) < 0)
        return fscrypt_error(reterr, injected ? injected : errno, "cannot set the encryption policy",
                             set_cases, ARRAY_SIZE(set_cases));
    (void)fault("fscrypt.set-policy.after");
    return OK;
}

/* Byte for byte what husk would set, reserved bytes (such as the data unit size of newer kernels) included.
 */
static enum fscrypt_policy_state classify(const struct fscrypt_policy_v2 *policy,
                                          struct fscrypt_identifier *ret_identifier)
{
    if (policy->version != FSCRYPT_POLICY_V2)
        return FSCRYPT_FOREIGN_POLICY;
    struct fscrypt_identifier identifier;
    memcpy(identifier.bytes, policy->master_key_identifier, sizeof(identifier.bytes));
    struct fscrypt_policy_v2 ours = make_policy(&identifier);
    if (memcmp(&ours, policy, sizeof(ours)))
        return FSCRYPT_FOREIGN_POLICY;
    *ret_identifier = identifier;
    return FSCRYPT_HUSK_POLICY;
}

enum error_code fscrypt_get_policy(int fd, enum fscrypt_policy_state *ret_state,
                                   struct fscrypt_identifier *ret_identifier, struct error *reterr)
{
    struct fscrypt_get_policy_ex_arg argument = {.policy_size = sizeof(argument.policy)};
    if (ioctl(fd, FS_IOC_GET_ENCRYPTION_POLICY_EX, &argument) == 0) {
        *ret_state = classify(&argument.policy.v2, ret_identifier);
        return OK;
    }
    switch (errno) {
    case ENODATA:    /* not encrypted */
    case EOPNOTSUPP: /* a filesystem without the feature has nothing encrypted */
    case ENOTTY:
        *ret_state = FSCRYPT_PLAIN;
        return OK;
    case EINVAL:    /* a policy the kernel does not understand */
    case EOVERFLOW: /* or one that is larger than husk knows */
        *ret_state = FSCRYPT_FOREIGN_POLICY;
        return OK;
    default:
        return fscrypt_error(reterr, errno, "cannot read the encryption policy", NULL, 0);
    }
}

enum error_code fscrypt_get_nonce(int fd, struct fscrypt_nonce *ret_nonce, struct error *reterr)
{
    static const struct fscrypt_case cases[] = {
        {ENODATA, ERR_NOT_FOUND, "it is not encrypted", ""},
        {ENOTTY, ERR_UNSUPPORTED, "this kernel cannot tell the nonce of a file", "use Linux 5.7 or later"},
    };
    struct fscrypt_nonce nonce;
    if (ioctl(fd, FS_IOC_GET_ENCRYPTION_NONCE, nonce.bytes) < 0)
        return fscrypt_error(reterr, errno, "cannot read the nonce", cases, ARRAY_SIZE(cases));
    *ret_nonce = nonce;
    return OK;
}
