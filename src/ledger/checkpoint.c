#include "ledger/ledger.h"
#include "json/json.h"

#define CHECKPOINT_KIND "husk checkpoint v1"
enum { CHECKPOINT_VERSION = 1 };

static enum error_code format(const struct ledger_checkpoint *checkpoint, struct buffer *text,
                              struct error *reterr)
{
    _cleanup_(json_freep) json_t *object = json_object();
    if (!object)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    enum error_code code = json_set_new(object, "version", json_integer(CHECKPOINT_VERSION), reterr);
    if (!code)
        code = json_set_new(object, "epoch", json_integer((json_int_t)checkpoint->epoch), reterr);
    if (!code)
        code = json_set_new(object, "sequence", json_integer((json_int_t)checkpoint->head.sequence), reterr);
    if (!code)
        code = json_set_hex(object, "hash", checkpoint->head.hash, LEDGER_HASH_SIZE, reterr);
    if (!code)
        code = json_set_new(object, "at", json_integer(checkpoint->at_unix_s), reterr);
    return code ? code : json_format(object, text, reterr);
}

enum error_code ledger_checkpoint_sign(const struct ledger_checkpoint *checkpoint,
                                       const struct secret *signing_key, struct buffer *wire,
                                       struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer text = {0};
    enum error_code code = format(checkpoint, &text, reterr);
    return code ? code : sign_append(signing_key, CHECKPOINT_KIND, text.data, text.length, wire, reterr);
}

static enum error_code parse_text(const char *text, size_t length, struct ledger_checkpoint *ret_checkpoint,
                                  struct error *reterr)
{
    _cleanup_(json_freep) json_t *object = NULL;
    struct ledger_checkpoint checkpoint = {0};
    int64_t epoch = 0, sequence = 0;
    enum error_code code = json_parse_object(text, length, "the checkpoint", &object, reterr);
    if (!code)
        code = json_check_version(object, CHECKPOINT_VERSION, "the checkpoint", reterr);
    if (!code)
        code = json_get_integer(object, "epoch", 1, INT64_MAX, &epoch, reterr);
    if (!code)
        code = json_get_integer(object, "sequence", 0, INT64_MAX, &sequence, reterr);
    if (!code)
        code = json_get_hex(object, "hash", checkpoint.head.hash, LEDGER_HASH_SIZE, reterr);
    if (!code)
        code = json_get_integer(object, "at", INT64_MIN, INT64_MAX, &checkpoint.at_unix_s, reterr);
    if (code)
        return code;
    checkpoint.epoch = (uint64_t)epoch;
    checkpoint.head.sequence = (uint64_t)sequence;
    *ret_checkpoint = checkpoint;
    return OK;
}

enum error_code ledger_checkpoint_read(const void *wire, size_t length,
                                       struct ledger_checkpoint *ret_checkpoint, struct error *reterr)
{
    if (length <= SIGN_SIGNATURE_SIZE || length > LEDGER_CHECKPOINT_MAXIMUM)
        return error_set(reterr, ERR_CORRUPT, 0, "a checkpoint of %zu bytes", length);
    return parse_text((const char *)wire + SIGN_SIGNATURE_SIZE, length - SIGN_SIGNATURE_SIZE, ret_checkpoint,
                      reterr);
}

enum error_code ledger_checkpoint_parse(const void *wire, size_t length,
                                        const uint8_t signing_key[SIGN_PUBLIC_SIZE],
                                        struct ledger_checkpoint *ret_checkpoint, struct error *reterr)
{
    const char *text = NULL;
    size_t text_length = 0;
    if (length > LEDGER_CHECKPOINT_MAXIMUM)
        return error_set(reterr, ERR_CORRUPT, 0, "a checkpoint of %zu bytes", length);
    enum error_code code = sign_open(signing_key, CHECKPOINT_KIND, wire, length, &text, &text_length, reterr);
    return code ? code : parse_text(text, text_length, ret_checkpoint, reterr);
}
