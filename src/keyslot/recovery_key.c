/*
 * A recovery key as text: thirteen groups of five letters of Crockford's base32.
 *
 * 260 bits are written: the 256 of the key, most significant first, then four of BLAKE2b over a label and the
 * key. Each group carries 20 of them in four letters; its fifth letter makes
 *
 *     2 l1 + 3 l2 + 4 l3 + 5 l4 + l5 + 6 g = 0        in GF(32), polynomial x^5 + x^2 + 1
 *
 * where g is the number of the group, from 1. The factors differ and none is 0, so one wrong letter, two
 * letters swapped and two groups swapped always show, and the group that has the fault can be named.
 *
 * Letters are looked up by going through the whole alphabet, so that no memory access depends on the key.
 */
#include <sodium.h>

#include "keyslot/keyslot.h"

enum { GROUPS = 13, GROUP_LETTERS = 5, DATA_LETTERS = 4, LETTERS = GROUPS * GROUP_LETTERS };
enum { CHECK_BITS = 4 };
static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
static const char prefix[] = "husk";
static const char check_label[] = "husk recovery key v1";
enum { NO_LETTER = 0xff };

_Static_assert(GROUPS *DATA_LETTERS * 5 == RECOVERY_KEY_SIZE * 8 + CHECK_BITS, "every bit has a place");
_Static_assert(sizeof(prefix) + GROUPS * (GROUP_LETTERS + 1) <= RECOVERY_TEXT_SIZE, "the text has room");

static uint8_t multiply(uint8_t left, uint8_t right)
{
    unsigned product = 0;
    for (unsigned bit = 0; bit < 5; bit++)
        product ^= ((unsigned)left << bit) & (0u - ((unsigned)right >> bit & 1));
    for (unsigned bit = 9; bit-- > 5;) /* take off x^8 to x^5 */
        product ^= (0x25u << (bit - 5)) & (0u - (product >> bit & 1));
    return (uint8_t)product;
}

/* What the fifth letter of a group must be. */
static uint8_t check_letter(const uint8_t values[DATA_LETTERS], unsigned group)
{
    uint8_t sum = multiply(6, (uint8_t)(group + 1));
    for (unsigned i = 0; i < DATA_LETTERS; i++)
        sum ^= multiply((uint8_t)(i + 2), values[i]);
    return sum;
}

static enum error_code check_bits(const struct secret *key, uint8_t *ret_bits, struct error *reterr)
{
    uint8_t hash[crypto_generichash_BYTES];
    if (crypto_generichash(hash, sizeof(hash), key->bytes, key->length, (const uint8_t *)check_label,
                           strlen(check_label)) != 0)
        return error_set(reterr, ERR_FAILED, 0, "cannot compute a checksum");
    *ret_bits = hash[0] >> (8 - CHECK_BITS);
    sodium_memzero(hash, sizeof(hash));
    return OK;
}

static char letter_of(uint8_t value)
{
    unsigned letter = 0;
    for (unsigned i = 0; i < 32; i++)
        letter |= (unsigned char)alphabet[i] & (0u - (unsigned)(i == value));
    return (char)letter;
}

/* The value of a letter as people write it, or NO_LETTER. */
static uint8_t value_of(uint8_t letter)
{
    unsigned upper = letter - (0x20u & (0u - (unsigned)(letter >= 'a' && letter <= 'z')));
    unsigned value = NO_LETTER;
    for (unsigned i = 0; i < 32; i++)
        value ^= (NO_LETTER ^ i) & (0u - (unsigned)(upper == (unsigned char)alphabet[i]));
    value ^= (NO_LETTER ^ 0u) & (0u - (unsigned)(upper == 'O'));
    value ^= (NO_LETTER ^ 1u) & (0u - (unsigned)(upper == 'I' || upper == 'L'));
    return (uint8_t)value;
}

enum error_code recovery_key_new(struct secret **ret_key, struct error *reterr)
{
    return secret_new_random(RECOVERY_KEY_SIZE, ret_key, reterr);
}

/* The 260 bits five at a time: values[i] of all letters that carry data. */
static uint8_t five_bits(const struct secret *padded, unsigned index)
{
    unsigned at = index * 5;
    unsigned pair = (unsigned)padded->bytes[at / 8] << 8;
    if (at / 8 + 1 < padded->length)
        pair |= padded->bytes[at / 8 + 1];
    return pair >> (11 - at % 8) & 31;
}

enum error_code recovery_key_format(const struct secret *key, struct secret **ret_text, struct error *reterr)
{
    if (key->length != RECOVERY_KEY_SIZE)
        return error_set(reterr, ERR_FAILED, 0, "a recovery key of %zu bytes", key->length);
    _cleanup_(secret_freep) struct secret *padded = NULL;
    _cleanup_(secret_freep) struct secret *text = NULL;
    uint8_t check = 0;
    enum error_code code = check_bits(key, &check, reterr);
    if (!code)
        code = secret_new(RECOVERY_KEY_SIZE + 1, &padded, reterr);
    if (!code)
        code = secret_new(RECOVERY_TEXT_SIZE, &text, reterr);
    if (code)
        return code;
    memcpy(padded->bytes, key->bytes, RECOVERY_KEY_SIZE);
    padded->bytes[RECOVERY_KEY_SIZE] = (uint8_t)(check << (8 - CHECK_BITS));

    uint8_t *out = text->bytes;
    memcpy(out, prefix, strlen(prefix));
    out += strlen(prefix);
    for (unsigned group = 0; group < GROUPS; group++) {
        uint8_t values[DATA_LETTERS];
        *out++ = '-';
        for (unsigned i = 0; i < DATA_LETTERS; i++) {
            values[i] = five_bits(padded, group * DATA_LETTERS + i);
            *out++ = (uint8_t)letter_of(values[i]);
        }
        *out++ = (uint8_t)letter_of(check_letter(values, group));
        sodium_memzero(values, sizeof(values));
    }
    secret_shorten(text, (size_t)(out - text->bytes)); /* what lies behind is zero, so it ends in NUL */
    *ret_text = TAKE(text);
    return OK;
}

/* Length of what stands between groups at the start of bytes: blanks and dashes, also the typographic ones
 * that word processors and phones put in their place (UTF-8); 0 where there is none. */
static size_t separator_length(const uint8_t *bytes, size_t available)
{
    if (strchr(" \t\r\n\v\f-", bytes[0]) && bytes[0])
        return 1;
    if (available >= 2 && !memcmp(bytes, "\xc2\xa0", 2)) /* no-break space */
        return 2;
    if (available >= 3 && !memcmp(bytes, "\xe2\x80", 2) && bytes[2] >= 0x90 && bytes[2] <= 0x95) /* dashes */
        return 3;
    if (available >= 3 && !memcmp(bytes, "\xe2\x88\x92", 3)) /* minus sign */
        return 3;
    return 0;
}

/* What reading a text collects. letters is a secret of LETTERS values. */
struct reading {
    struct secret *letters;
    size_t count;          /* letters seen, more than LETTERS too */
    size_t in_group;       /* letters since the last separator */
    size_t groups;         /* groups that a separator ended */
    size_t odd_group;      /* the first, from 1, that has not five letters; 0: none */
    size_t odd_group_size; /* what it has instead */
};

static void end_group(struct reading *reading)
{
    if (reading->in_group == 0)
        return;
    reading->groups++;
    if (reading->in_group != GROUP_LETTERS && !reading->odd_group) {
        reading->odd_group = reading->groups;
        reading->odd_group_size = reading->in_group;
    }
    reading->in_group = 0;
}

/* Where the first letter stands: behind separators and the word husk. */
static size_t skip_prefix(const struct secret *text)
{
    size_t at = 0, step;
    while (at < text->length && (step = separator_length(text->bytes + at, text->length - at)))
        at += step;
    for (size_t i = 0; i < strlen(prefix); i++)
        if (at + i >= text->length || (text->bytes[at + i] | 0x20) != prefix[i])
            return at;
    return at + strlen(prefix);
}

static enum error_code read_letters(const struct secret *text, struct reading *reading, struct error *reterr)
{
    for (size_t at = skip_prefix(text); at < text->length;) {
        size_t separator = separator_length(text->bytes + at, text->length - at);
        if (separator) {
            end_group(reading);
            at += separator;
            continue;
        }
        uint8_t value = value_of(text->bytes[at++]);
        if (value == NO_LETTER)
            return error_set(reterr, ERR_USAGE, 0,
                             "not a recovery key: letter %zu (group %zu) is not one that recovery keys have",
                             reading->count + 1, reading->count / GROUP_LETTERS + 1);
        if (reading->count < LETTERS)
            reading->letters->bytes[reading->count] = value;
        reading->count++;
        reading->in_group++;
    }
    end_group(reading);
    if (reading->count == LETTERS)
        return OK;
    if (reading->groups > 1 && reading->odd_group && reading->odd_group <= GROUPS)
        return error_set(reterr, ERR_USAGE, 0, "the recovery key's group %zu has %zu letters instead of %d",
                         reading->odd_group, reading->odd_group_size, GROUP_LETTERS);
    return error_set(reterr, ERR_USAGE, 0, "the recovery key has %zu letters instead of %d", reading->count,
                     LETTERS);
}

/* Every group by its own check letter; the message names all that are wrong. */
static enum error_code check_groups(const struct secret *letters, struct error *reterr)
{
    char wrong[64] = "";
    size_t count = 0;
    for (unsigned group = 0; group < GROUPS; group++) {
        const uint8_t *values = letters->bytes + group * GROUP_LETTERS;
        if (check_letter(values, group) == values[DATA_LETTERS])
            continue;
        size_t used = strlen(wrong);
        snprintf(wrong + used, sizeof(wrong) - used, "%s%u", count++ ? ", " : "", group + 1);
    }
    if (count == 0)
        return OK;
    return error_set(reterr, ERR_USAGE, 0, "the recovery key is mistyped in group%s %s", count > 1 ? "s" : "",
                     wrong);
}

/* The data letters back to bytes; the last byte gets the checksum in its high bits. */
static void join_bits(const struct secret *letters, struct secret *padded)
{
    for (unsigned index = 0; index < GROUPS * DATA_LETTERS; index++) {
        unsigned value = letters->bytes[index / DATA_LETTERS * GROUP_LETTERS + index % DATA_LETTERS];
        unsigned at = index * 5, pair = value << (11 - at % 8);
        padded->bytes[at / 8] |= (uint8_t)(pair >> 8);
        if (at / 8 + 1 < padded->length)
            padded->bytes[at / 8 + 1] |= (uint8_t)pair;
    }
}

enum error_code recovery_key_parse(const struct secret *text, struct secret **ret_key, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *letters = NULL;
    _cleanup_(secret_freep) struct secret *key = NULL;
    enum error_code code = secret_new(LETTERS, &letters, reterr);
    if (!code)
        code = secret_new(RECOVERY_KEY_SIZE + 1, &key, reterr);
    struct reading reading = {.letters = letters};
    if (!code)
        code = read_letters(text, &reading, reterr);
    if (!code)
        code = check_groups(letters, reterr);
    if (code)
        return code;
    join_bits(letters, key);
    uint8_t written = key->bytes[RECOVERY_KEY_SIZE] >> (8 - CHECK_BITS), wanted = 0;
    secret_shorten(key, RECOVERY_KEY_SIZE);
    code = check_bits(key, &wanted, reterr);
    if (!code && written != wanted)
        code = error_set(reterr, ERR_USAGE, 0,
                         "the recovery key's checksum does not fit: more than one letter is wrong");
    if (!code)
        *ret_key = TAKE(key);
    return code;
}
