/* The two headers on the wire, and whatever an authority or a host would open behind them: nothing that
 * nobody sealed ever opens. */
#include "message/message.h"
#include "target.h"

/* Both ends of one conversation. */
static struct {
    struct secret *message_key;
    uint8_t public_key[HPKE_KEY_SIZE];
    struct hpke_context *asked;
} ends;

int LLVMFuzzerInitialize(int *argument_count, char ***arguments)
{
    struct buffer wire = {0};
    json_t *object = json_pack("{s:s}", "type", "poll");
    (void)argument_count;
    (void)arguments;
    must_hold(secret_start(NULL) == OK);
    must_hold(hpke_key_new(&ends.message_key, ends.public_key, NULL) == OK);
    must_hold(message_seal(object, ends.public_key, NULL, NULL, &wire, &ends.asked, NULL) == OK);
    json_decref(object);
    buffer_done(&wire);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct message_header header;
    struct buffer plain = {0};
    json_t *object = NULL;
    struct hpke_context *context = NULL;
    enum answer_kind kind;
    if (message_parse_header(data, size, &header, NULL) == OK) {
        const struct hpke_sender sender = {ends.public_key, NULL};
        must_hold(message_open(data, size, (struct message_key){ends.message_key, ends.public_key},
                               header.mode == MESSAGE_AUTH ? &sender : NULL, &object, &context, NULL) != OK);
    }
    if (answer_open(data, size, ends.asked, &kind, &object, &plain, NULL) == OK)
        must_hold(kind != ANSWER_SEALED);
    buffer_done(&plain);
    return 0;
}
