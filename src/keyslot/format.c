#include "keyslot/format.h"
#include "base/sure.h"

#include <endian.h>
#include <sodium.h>

enum {
    AT_MAGIC = 0,
    AT_VERSION = 8,
    AT_SUITE = 12,
    AT_KIND = 16,
    AT_PASSES = 20,
    AT_MEMORY = 24,
    AT_ID = 32,
    AT_VAULT = 48,
    AT_SALT = 64,
    AT_CREATED = 96,
    AT_AUTHORITY = 104,
    AT_RESERVED = 120,
    AT_CHECKSUM = 200,
    RESERVED_SIZE = KEYSLOT_ASSOCIATED_SIZE - AT_RESERVED,
};
static const uint8_t magic[8] = {'H', 'U', 'S', 'K', 'S', 'L', 'O', 'T'};
enum { SUITE_1 = 1 };
#define CREATED_MOST INT64_C(253402300799) /* the end of the year 9999 */

_Static_assert(KEYSLOT_ASSOCIATED_SIZE + AEAD_NONCE_SIZE + KEYSLOT_CIPHERTEXT_SIZE == AT_CHECKSUM,
               "format 1");

static uint32_t get_u32(const uint8_t *bytes)
{
    uint32_t value;
    memcpy(&value, bytes, sizeof(value));
    return le32toh(value);
}

static uint64_t get_u64(const uint8_t *bytes)
{
    uint64_t value;
    memcpy(&value, bytes, sizeof(value));
    return le64toh(value);
}

static void put_u32(uint8_t *bytes, uint32_t value)
{
    value = htole32(value);
    memcpy(bytes, &value, sizeof(value));
}

static void put_u64(uint8_t *bytes, uint64_t value)
{
    value = htole64(value);
    memcpy(bytes, &value, sizeof(value));
}

static bool has_magic(const uint8_t *file)
{
    return !memcmp(file + AT_MAGIC, magic, sizeof(magic));
}

static bool has_version(const uint8_t *file)
{
    return get_u32(file + AT_VERSION) != 0;
}

static bool has_known_version(const uint8_t *file)
{
    return get_u32(file + AT_VERSION) <= KEYSLOT_FORMAT_VERSION;
}

static bool has_suite(const uint8_t *file)
{
    return get_u32(file + AT_SUITE) != 0;
}

static bool has_known_suite(const uint8_t *file)
{
    return get_u32(file + AT_SUITE) <= SUITE_1;
}

static bool has_kind(const uint8_t *file)
{
    return get_u32(file + AT_KIND) != 0;
}

static bool has_known_kind(const uint8_t *file)
{
    return get_u32(file + AT_KIND) <= KEYSLOT_RECOVERY;
}

static bool has_sound_argon2(const uint8_t *file)
{
    uint32_t passes = get_u32(file + AT_PASSES);
    uint64_t memory = get_u64(file + AT_MEMORY);
    if (get_u32(file + AT_KIND) != KEYSLOT_PASSPHRASE)
        return passes == 0 && memory == 0;
    return passes >= KDF_ARGON2_PASSES_LEAST && passes <= KDF_ARGON2_PASSES_MOST &&
           memory >= KDF_ARGON2_MEMORY_LEAST && memory <= KDF_ARGON2_MEMORY_MOST && memory % (1 << 20) == 0;
}

static bool has_sound_time(const uint8_t *file)
{
    return get_u64(file + AT_CREATED) <= CREATED_MOST;
}

static bool has_authority(const uint8_t *file)
{
    return (get_u32(file + AT_KIND) == KEYSLOT_AUTHORITY) !=
           (bool)sodium_is_zero(file + AT_AUTHORITY, sizeof(struct authority_id));
}

static bool has_zero_reserve(const uint8_t *file)
{
    return sodium_is_zero(file + AT_RESERVED, RESERVED_SIZE);
}

/* In this order: a check may rely on those above it. */
static const struct {
    bool (*holds)(const uint8_t *file);
    enum error_code code;
    const char *otherwise;
} checks[] = {
    {has_magic, ERR_CORRUPT, "it does not begin as a keyslot does"},
    {has_version, ERR_CORRUPT, "its format version is 0"},
    {has_known_version, ERR_TOO_NEW, "its format is of a newer husk"},
    {has_suite, ERR_CORRUPT, "its cipher suite is 0"},
    {has_known_suite, ERR_TOO_NEW, "its cipher suite is of a newer husk"},
    {has_kind, ERR_CORRUPT, "its kind is 0"},
    {has_known_kind, ERR_TOO_NEW, "its kind is of a newer husk"},
    {has_sound_argon2, ERR_CORRUPT, "its Argon2id parameters are not allowed"},
    {has_sound_time, ERR_CORRUPT, "its time of making is impossible"},
    {has_authority, ERR_CORRUPT, "it names no authority, or one although it is none's"},
    {has_zero_reserve, ERR_CORRUPT, "its reserved bytes are not zero"},
};

static enum error_code validate(const uint8_t *bytes, size_t length, struct error *reterr)
{
    if (length != KEYSLOT_FILE_SIZE)
        return error_set(reterr, ERR_CORRUPT, 0, "not a keyslot: %zu bytes instead of %d", length,
                         KEYSLOT_FILE_SIZE);
    for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
        if (checks[i].holds(bytes))
            continue;
        error_set(reterr, checks[i].code, 0, "damaged or foreign keyslot: %s", checks[i].otherwise);
        if (checks[i].code == ERR_TOO_NEW) {
            error_set(reterr, ERR_TOO_NEW, 0, "this husk cannot read the keyslot: %s", checks[i].otherwise);
            error_remedy(reterr, "use the husk that made it, or a newer one");
        }
        return checks[i].code;
    }
    return OK;
}

enum error_code keyslot_parse(const uint8_t *bytes, size_t length, struct keyslot *ret_keyslot,
                              struct error *reterr)
{
    enum error_code code = validate(bytes, length, reterr);
    if (code)
        return code;
    struct keyslot keyslot = {
        .kind = (enum keyslot_kind)get_u32(bytes + AT_KIND),
        .created_unix_s = (int64_t)get_u64(bytes + AT_CREATED),
        .argon2_passes = get_u32(bytes + AT_PASSES),
        .argon2_memory_bytes = get_u64(bytes + AT_MEMORY),
    };
    memcpy(keyslot.id.bytes, bytes + AT_ID, sizeof(keyslot.id.bytes));
    memcpy(keyslot.vault.bytes, bytes + AT_VAULT, sizeof(keyslot.vault.bytes));
    memcpy(keyslot.salt, bytes + AT_SALT, sizeof(keyslot.salt));
    memcpy(keyslot.authority.bytes, bytes + AT_AUTHORITY, sizeof(keyslot.authority.bytes));
    memcpy(keyslot.file, bytes, KEYSLOT_FILE_SIZE);
    *ret_keyslot = keyslot;
    return OK;
}

void keyslot_write_header(struct keyslot *keyslot)
{
    uint8_t *file = keyslot->file;
    randombytes_buf(file, KEYSLOT_FILE_SIZE);
    memcpy(file + AT_MAGIC, magic, sizeof(magic));
    put_u32(file + AT_VERSION, KEYSLOT_FORMAT_VERSION);
    put_u32(file + AT_SUITE, SUITE_1);
    put_u32(file + AT_KIND, keyslot->kind);
    put_u32(file + AT_PASSES, keyslot->argon2_passes);
    put_u64(file + AT_MEMORY, keyslot->argon2_memory_bytes);
    memcpy(file + AT_ID, keyslot->id.bytes, sizeof(keyslot->id.bytes));
    memcpy(file + AT_VAULT, keyslot->vault.bytes, sizeof(keyslot->vault.bytes));
    memcpy(file + AT_SALT, keyslot->salt, sizeof(keyslot->salt));
    put_u64(file + AT_CREATED, (uint64_t)keyslot->created_unix_s);
    memcpy(file + AT_AUTHORITY, keyslot->authority.bytes, sizeof(keyslot->authority.bytes));
    memset(file + AT_RESERVED, 0, RESERVED_SIZE);
}

void keyslot_write_checksum(struct keyslot *keyslot)
{
    sure(crypto_hash_sha256(keyslot->file + AT_CHECKSUM, keyslot->file, AT_CHECKSUM));
}

bool keyslot_is_whole(const struct keyslot *keyslot)
{
    uint8_t checksum[crypto_hash_sha256_BYTES];
    sure(crypto_hash_sha256(checksum, keyslot->file, AT_CHECKSUM));
    return !memcmp(checksum, keyslot->file + AT_CHECKSUM, sizeof(checksum));
}
