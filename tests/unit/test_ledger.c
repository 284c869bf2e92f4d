#include <sodium.h>

#include "base/text.h"
#include "ledger/ledger.h"
#include "secret/secret.h"
#include "unit.h"

enum { ENTRIES = 6, EPOCH = 3 };

/* A ledger in memory. */
struct book {
    char texts[ENTRIES + 1][32];
    struct ledger_entry entries[ENTRIES + 1];
    struct ledger_head heads[ENTRIES + 1]; /* after that many entries */
};

static void write_book(struct book *book)
{
    ledger_begin(EPOCH, &book->heads[0]);
    for (unsigned i = 0; i < ENTRIES; i++) {
        struct ledger_entry *entry = &book->entries[i];
        snprintf(book->texts[i], sizeof(book->texts[i]), "{\"entry\":%u}", i + 1);
        entry->bytes = book->texts[i];
        entry->length = strlen(book->texts[i]);
        assert_ok(ledger_append(&book->heads[i], entry->bytes, entry->length, &book->heads[i + 1], &error));
        entry->sequence = book->heads[i + 1].sequence;
        memcpy(entry->hash, book->heads[i + 1].hash, LEDGER_HASH_SIZE);
    }
}

static enum error_code verify(const struct ledger_entry *entries, size_t count,
                              const struct ledger_checkpoint *checkpoints, size_t checkpoint_count,
                              struct error *reterr)
{
    struct ledger_verifier verifier;
    enum error_code code = OK;
    ledger_verify_begin(&verifier, EPOCH, checkpoints, checkpoint_count);
    for (size_t i = 0; !code && i < count; i++)
        code = ledger_verify_entry(&verifier, &entries[i], reterr);
    return code ? code : ledger_verify_end(&verifier, reterr);
}

static int start(void **state)
{
    struct book *book = calloc(1, sizeof(*book));
    if (!book || secret_start(NULL) != OK)
        return -1;
    write_book(book);
    *state = book;
    return 0;
}

static int end(void **state)
{
    free(*state);
    return 0;
}

static void the_hash_is_the_one_the_header_describes(void **state)
{
    const struct book *book = *state;
    uint8_t bytes[256], hash[32];
    size_t length = 0;
    const uint8_t epoch[8] = {0, 0, 0, 0, 0, 0, 0, EPOCH}, sequence[8] = {0, 0, 0, 0, 0, 0, 0, 1};
    memcpy(bytes, "husk ledger epoch v1", 21);
    memcpy(bytes + 21, epoch, 8);
    crypto_hash_sha256(hash, bytes, 29);
    assert_memory_equal(hash, book->heads[0].hash, 32);
    memcpy(bytes, "husk ledger v1", length = 15);
    memcpy(bytes + length, hash, 32);
    memcpy(bytes + length + 32, sequence, 8);
    memcpy(bytes + length + 40, book->texts[0], strlen(book->texts[0]));
    crypto_hash_sha256(hash, bytes, length + 40 + strlen(book->texts[0]));
    assert_memory_equal(hash, book->heads[1].hash, 32);
}

static void a_whole_ledger_is_whole(void **state)
{
    const struct book *book = *state;
    assert_ok(verify(book->entries, ENTRIES, NULL, 0, &error));
    assert_ok(verify(book->entries, 0, NULL, 0, &error));
}

static void entries_have_a_length(void **state)
{
    const struct book *book = *state;
    struct ledger_head head;
    char *large = calloc(1, LEDGER_ENTRY_MAXIMUM + 1);
    assert_fails(ERR_USAGE, ledger_append(&book->heads[0], "", 0, &head, &error));
    assert_fails(ERR_USAGE, ledger_append(&book->heads[0], large, LEDGER_ENTRY_MAXIMUM + 1, &head, &error));
    assert_ok(ledger_append(&book->heads[0], large, LEDGER_ENTRY_MAXIMUM, &head, &error));
    free(large);
}

static void every_removed_entry_is_found(void **state)
{
    const struct book *book = *state;
    for (size_t removed = 0; removed < ENTRIES - 1; removed++) {
        struct ledger_entry left[ENTRIES];
        size_t count = 0;
        for (size_t i = 0; i < ENTRIES; i++)
            if (i != removed)
                left[count++] = book->entries[i];
        assert_fails(ERR_CORRUPT, verify(left, count, NULL, 0, &error));
        /* Numbered anew, the chain is broken all the same. */
        for (size_t i = 0; i < count; i++)
            left[i].sequence = i + 1;
        assert_fails_saying(ERR_CORRUPT, "hash does not fit", verify(left, count, NULL, 0, &error));
    }
}

static void every_changed_bit_is_found(void **state)
{
    struct book *book = *state;
    for (size_t i = 0; i < ENTRIES; i++) {
        for (size_t bit = 0; bit < 8 * book->entries[i].length; bit++) {
            book->texts[i][bit / 8] ^= (char)(1U << bit % 8);
            assert_fails_saying(ERR_CORRUPT, "hash does not fit",
                                verify(book->entries, ENTRIES, NULL, 0, &error));
            book->texts[i][bit / 8] ^= (char)(1U << bit % 8);
        }
        for (size_t bit = 0; bit < 8 * LEDGER_HASH_SIZE; bit++) {
            book->entries[i].hash[bit / 8] ^= (uint8_t)(1U << bit % 8);
            assert_fails(ERR_CORRUPT, verify(book->entries, ENTRIES, NULL, 0, &error));
            book->entries[i].hash[bit / 8] ^= (uint8_t)(1U << bit % 8);
        }
        book->entries[i].length--;
        assert_fails(ERR_CORRUPT, verify(book->entries, ENTRIES, NULL, 0, &error));
        book->entries[i].length++;
    }
    assert_ok(verify(book->entries, ENTRIES, NULL, 0, &error));
}

static void entries_that_changed_places_are_found(void **state)
{
    const struct book *book = *state;
    for (size_t i = 0; i < ENTRIES; i++)
        for (size_t j = i + 1; j < ENTRIES; j++) {
            struct ledger_entry moved[ENTRIES];
            memcpy(moved, book->entries, sizeof(moved));
            moved[i] = book->entries[j];
            moved[j] = book->entries[i];
            assert_fails(ERR_CORRUPT, verify(moved, ENTRIES, NULL, 0, &error));
            moved[i].sequence = i + 1;
            moved[j].sequence = j + 1;
            assert_fails(ERR_CORRUPT, verify(moved, ENTRIES, NULL, 0, &error));
        }
}

static void an_entry_put_in_between_or_twice_is_found(void **state)
{
    const struct book *book = *state;
    for (size_t at = 0; at <= ENTRIES; at++) {
        struct ledger_entry more[ENTRIES + 1];
        memcpy(more, book->entries, at * sizeof(*more));
        memcpy(more + at + 1, book->entries + at, (ENTRIES - at) * sizeof(*more));
        more[at] = book->entries[at ? at - 1 : 0];
        assert_fails(ERR_CORRUPT, verify(more, ENTRIES + 1, NULL, 0, &error));
        for (size_t i = 0; i <= ENTRIES; i++)
            more[i].sequence = i + 1;
        assert_fails(ERR_CORRUPT, verify(more, ENTRIES + 1, NULL, 0, &error));
    }
}

static struct ledger_checkpoint checkpoint_at(const struct book *book, size_t count)
{
    return (struct ledger_checkpoint){.epoch = EPOCH, .head = book->heads[count]};
}

static void a_ledger_that_was_cut_is_found_by_a_checkpoint_alone(void **state)
{
    const struct book *book = *state;
    for (size_t seen = 0; seen <= ENTRIES; seen++) {
        const struct ledger_checkpoint checkpoint = checkpoint_at(book, seen);
        for (size_t left = 0; left <= ENTRIES; left++) {
            assert_ok(verify(book->entries, left, NULL, 0, &error));
            if (left < seen)
                assert_fails_saying(ERR_CHANGED, "was cut",
                                    verify(book->entries, left, &checkpoint, 1, &error));
            else
                assert_ok(verify(book->entries, left, &checkpoint, 1, &error));
        }
    }
}

/* From entry `from` on everything is another story, with hashes that fit. */
static void write_anew(struct book *book, size_t from)
{
    for (size_t i = from; i < ENTRIES; i++) {
        book->texts[i][2] = 'X';
        assert_ok(ledger_append(&book->heads[i], book->texts[i], book->entries[i].length, &book->heads[i + 1],
                                &error));
        memcpy(book->entries[i].hash, book->heads[i + 1].hash, LEDGER_HASH_SIZE);
    }
}

static void a_ledger_that_was_written_anew_is_found_by_a_checkpoint_alone(void **state)
{
    struct book *book = *state;
    struct ledger_checkpoint checkpoints[ENTRIES + 1];
    for (size_t i = 0; i <= ENTRIES; i++)
        checkpoints[i] = checkpoint_at(book, i);
    write_anew(book, 3);
    assert_ok(verify(book->entries, ENTRIES, NULL, 0, &error));
    for (size_t i = 0; i <= ENTRIES; i++)
        if (i <= 3)
            assert_ok(verify(book->entries, ENTRIES, &checkpoints[i], 1, &error));
        else
            assert_fails_saying(ERR_CHANGED, "written anew",
                                verify(book->entries, ENTRIES, &checkpoints[i], 1, &error));
    assert_fails(ERR_CHANGED, verify(book->entries, ENTRIES, checkpoints, ENTRIES + 1, &error));
}

static void checkpoints_of_other_epochs_are_told_apart(void **state)
{
    const struct book *book = *state;
    struct ledger_checkpoint earlier = checkpoint_at(book, ENTRIES), later = checkpoint_at(book, 1);
    earlier.epoch--;
    earlier.head.sequence = 1000;
    later.epoch++;
    assert_ok(verify(book->entries, ENTRIES, &earlier, 1, &error));
    assert_fails_saying(ERR_CHANGED, "epoch", verify(book->entries, ENTRIES, &later, 1, &error));
    struct ledger_head other;
    ledger_begin(EPOCH + 1, &other);
    assert_memory_not_equal(other.hash, book->heads[0].hash, LEDGER_HASH_SIZE);
}

static void a_signed_checkpoint_comes_back_as_it_was_and_no_bit_of_it_can_change(void **state)
{
    const struct book *book = *state;
    struct secret *key = NULL, *other = NULL;
    uint8_t public_key[SIGN_PUBLIC_SIZE], other_public[SIGN_PUBLIC_SIZE];
    struct buffer wire = {0};
    struct ledger_checkpoint checkpoint = checkpoint_at(book, 4), read = {0};
    checkpoint.at_unix_s = 1770000000;
    assert_ok(sign_key_new(&key, public_key, &error));
    assert_ok(sign_key_new(&other, other_public, &error));
    assert_ok(ledger_checkpoint_sign(&checkpoint, key, &wire, &error));
    assert_ok(ledger_checkpoint_parse(wire.data, wire.length, public_key, &read, &error));
    assert_int_equal(read.epoch, EPOCH);
    assert_int_equal(read.head.sequence, 4);
    assert_memory_equal(read.head.hash, checkpoint.head.hash, LEDGER_HASH_SIZE);
    assert_int_equal(read.at_unix_s, checkpoint.at_unix_s);
    for (size_t bit = 0; bit < 8 * wire.length; bit++) {
        wire.data[bit / 8] ^= (char)(1U << bit % 8);
        assert_fails(ERR_CORRUPT, ledger_checkpoint_parse(wire.data, wire.length, public_key, &read, &error));
        wire.data[bit / 8] ^= (char)(1U << bit % 8);
    }
    for (size_t length = 0; length < wire.length; length++)
        assert_fails(ERR_CORRUPT, ledger_checkpoint_parse(wire.data, length, public_key, &read, &error));
    assert_fails(ERR_CORRUPT, ledger_checkpoint_parse(wire.data, wire.length, other_public, &read, &error));
    buffer_done(&wire);
    secret_free(key);
    secret_free(other);
}

static void signed_text(const struct secret *key, const char *kind, const char *text, struct buffer *wire)
{
    uint8_t signature[SIGN_SIGNATURE_SIZE];
    buffer_done(wire);
    assert_ok(sign_bytes(key, kind, text, strlen(text), signature, &error));
    assert_ok(buffer_append(wire, signature, sizeof(signature), &error));
    assert_ok(buffer_append(wire, text, strlen(text), &error));
}

static void a_signed_text_that_is_no_checkpoint_is_refused(void **state)
{
    (void)state;
#define HASH "\"hash\":\"0000000000000000000000000000000000000000000000000000000000000000\""
    static const struct {
        const char *kind, *text;
        enum error_code code;
    } cases[] = {
        {"husk checkpoint v1", "{\"version\":1,\"epoch\":1,\"sequence\":0," HASH ",\"at\":5}", OK},
        {"husk erased v1", "{\"version\":1,\"epoch\":1,\"sequence\":0," HASH ",\"at\":5}", ERR_CORRUPT},
        {"husk checkpoint v1", "{\"version\":2,\"epoch\":1,\"sequence\":0," HASH ",\"at\":5}", ERR_TOO_NEW},
        {"husk checkpoint v1", "{\"version\":1,\"epoch\":0,\"sequence\":0," HASH ",\"at\":5}", ERR_CORRUPT},
        {"husk checkpoint v1", "{\"version\":1,\"epoch\":1,\"sequence\":-1," HASH ",\"at\":5}", ERR_CORRUPT},
        {"husk checkpoint v1", "{\"version\":1,\"epoch\":1,\"sequence\":0,\"hash\":\"00\",\"at\":5}",
         ERR_CORRUPT},
        {"husk checkpoint v1", "{\"version\":1,\"epoch\":1,\"sequence\":0," HASH "}", ERR_CORRUPT},
        {"husk checkpoint v1", "[]", ERR_CORRUPT},
    };
    struct secret *key = NULL;
    uint8_t public_key[SIGN_PUBLIC_SIZE];
    struct buffer wire = {0};
    struct ledger_checkpoint read;
    assert_ok(sign_key_new(&key, public_key, &error));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        signed_text(key, cases[i].kind, cases[i].text, &wire);
        struct error error = ERROR_NONE;
        if (ledger_checkpoint_parse(wire.data, wire.length, public_key, &read, &error) != cases[i].code)
            fail_msg("%s under %s: %s", cases[i].text, cases[i].kind, error.message);
    }
    buffer_done(&wire);
    secret_free(key);
}

#define case_(name) cmocka_unit_test_setup_teardown(name, start, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        case_(the_hash_is_the_one_the_header_describes),
        case_(a_whole_ledger_is_whole),
        case_(entries_have_a_length),
        case_(every_removed_entry_is_found),
        case_(every_changed_bit_is_found),
        case_(entries_that_changed_places_are_found),
        case_(an_entry_put_in_between_or_twice_is_found),
        case_(a_ledger_that_was_cut_is_found_by_a_checkpoint_alone),
        case_(a_ledger_that_was_written_anew_is_found_by_a_checkpoint_alone),
        case_(checkpoints_of_other_epochs_are_told_apart),
        case_(a_signed_checkpoint_comes_back_as_it_was_and_no_bit_of_it_can_change),
        case_(a_signed_text_that_is_no_checkpoint_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
