#include "destroy/pattern.h"
#include "base/sure.h"

#include <sodium.h>

enum { STREAM_BLOCK_BYTES = 64 };

enum error_code pattern_init(struct pattern *pattern, struct error *reterr)
{
    if (sodium_init() < 0)
        return error_set(reterr, ERR_FAILED, 0, "cannot start libsodium");
    randombytes_buf(pattern->key, sizeof(pattern->key));
    return OK;
}

/* The block counter of the IETF variant has 32 bits, 256 GiB of stream; what is above goes into the nonce. */
static void apply(const struct pattern *pattern, uint64_t inode, uint64_t offset, uint8_t *bytes,
                  size_t length)
{
    uint64_t block = offset / STREAM_BLOCK_BYTES;
    uint32_t high = (uint32_t)(block >> 32);
    uint8_t nonce[crypto_stream_chacha20_ietf_NONCEBYTES];
    memcpy(nonce, &inode, sizeof(inode));
    memcpy(nonce + sizeof(inode), &high, sizeof(high));
    sure(crypto_stream_chacha20_ietf_xor_ic(bytes, bytes, length, nonce, (uint32_t)block, pattern->key));
}

void pattern_fill(const struct pattern *pattern, uint64_t inode, uint64_t offset, uint8_t *bytes,
                  size_t length)
{
    memset(bytes, 0, length);
    apply(pattern, inode, offset, bytes, length);
}

enum pattern_match pattern_compare(const struct pattern *pattern, uint64_t inode, uint64_t offset,
                                   uint8_t *bytes, size_t length)
{
    apply(pattern, inode, offset, bytes, length);
    /* All zero: the first is, and each is as the one before it. */
    bool zero = length == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0);
    return zero ? PATTERN_SAME : PATTERN_DIFFERENT;
}
