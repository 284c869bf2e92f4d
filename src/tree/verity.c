#include "tree/verity.h"

#include <errno.h>
#include <linux/fsverity.h>
#include <stdint.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"

enum { SIGNATURE_MAXIMUM = 16128 };

union digest {
    struct fsverity_digest head;
    uint8_t room[sizeof(struct fsverity_digest) + 64];
};

static enum error_code measure(int fd, union digest *ret_digest, struct error *reterr)
{
    memset(ret_digest, 0, sizeof(*ret_digest));
    ret_digest->head.digest_size = 64;
    if (ioctl(fd, FS_IOC_MEASURE_VERITY, &ret_digest->head) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot read the fs-verity digest");
    return OK;
}

/* Read metadata of one type from the start; *ret_length may be 0 (no signature). */
static enum error_code read_metadata(int fd, uint64_t type, void *bytes, size_t size, size_t *ret_length,
                                     struct error *reterr)
{
    struct fsverity_read_metadata_arg request = {
        .metadata_type = type, .length = size, .buf_ptr = (uint64_t)(uintptr_t)bytes};
    int length = ioctl(fd, FS_IOC_READ_VERITY_METADATA, &request);
    if (length < 0 && errno == ENODATA)
        length = 0;
    if (length < 0) {
        error_set(reterr, ERR_UNSUPPORTED, errno, "cannot read the fs-verity parameters");
        error_remedy(reterr, "Linux 5.12 or newer can; or remove fs-verity by copying the file");
        return ERR_UNSUPPORTED;
    }
    *ret_length = (size_t)length;
    return OK;
}

enum error_code verity_copy(int source, int twin, struct error *reterr)
{
    struct fsverity_descriptor descriptor = {0};
    size_t length = 0, signature_length = 0;
    _cleanup_(freep) uint8_t *signature = malloc(SIGNATURE_MAXIMUM);
    if (!signature)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    enum error_code code = read_metadata(source, FS_VERITY_METADATA_TYPE_DESCRIPTOR, &descriptor,
                                         sizeof(descriptor), &length, reterr);
    if (!code)
        code = read_metadata(source, FS_VERITY_METADATA_TYPE_SIGNATURE, signature, SIGNATURE_MAXIMUM,
                             &signature_length, reterr);
    if (code)
        return code;
    if (length < sizeof(descriptor) || descriptor.salt_size > sizeof(descriptor.salt) ||
        descriptor.log_blocksize > 16)
        return error_set(reterr, ERR_UNSUPPORTED, 0, "fs-verity parameters of an unknown form");

    const struct fsverity_enable_arg request = {.version = 1,
                                                .hash_algorithm = descriptor.hash_algorithm,
                                                .block_size = 1U << descriptor.log_blocksize,
                                                .salt_size = descriptor.salt_size,
                                                .salt_ptr = (uint64_t)(uintptr_t)descriptor.salt,
                                                .sig_size = (uint32_t)signature_length,
                                                .sig_ptr = (uint64_t)(uintptr_t)signature};
    if (ioctl(twin, FS_IOC_ENABLE_VERITY, &request) < 0)
        return error_set(reterr, ERR_FAILED, errno, "cannot enable fs-verity");
    bool same = false;
    code = verity_compare(source, twin, &same, reterr);
    if (!code && !same)
        code = error_set(reterr, ERR_UNSUPPORTED, 0, "the fs-verity digest came out different");
    return code;
}

enum error_code verity_compare(int source, int twin, bool *ret_same, struct error *reterr)
{
    union digest one, other;
    enum error_code code = measure(source, &one, reterr);
    if (code)
        return code;
    if (measure(twin, &other, NULL)) {
        *ret_same = false;
        return OK;
    }
    *ret_same = !memcmp(&one, &other, sizeof(one));
    return OK;
}
