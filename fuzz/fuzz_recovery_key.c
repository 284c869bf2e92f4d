/*
 * A recovery key as somebody typed it. What is read as a key, written again, is read as the same key. And a
 * key written, with one letter changed by the input, is read as that key or not at all.
 */
#include "keyslot/keyslot.h"
#include "target.h"

int LLVMFuzzerInitialize(int *argument_count, char ***arguments)
{
    (void)argument_count;
    (void)arguments;
    must_hold(secret_start(NULL) == OK);
    return 0;
}

static struct secret *written(const struct secret *key)
{
    struct secret *text = NULL;
    must_hold(recovery_key_format(key, &text, NULL) == OK);
    must_hold(text->length == 82 && text->bytes[text->length] == '\0');
    return text;
}

static void read_as_typed(const uint8_t *data, size_t size)
{
    _cleanup_(secret_freep) struct secret *typed = NULL, *key = NULL, *text = NULL, *again = NULL;
    struct error error = ERROR_NONE;
    must_hold(secret_new_copy(data, size, &typed, NULL) == OK);
    if (recovery_key_parse(typed, &key, &error)) {
        must_hold(!key && error.code == ERR_USAGE && error.message[0]);
        return;
    }
    must_hold(key->length == RECOVERY_KEY_SIZE);
    text = written(key);
    must_hold(recovery_key_parse(text, &again, NULL) == OK);
    must_hold(!memcmp(again->bytes, key->bytes, RECOVERY_KEY_SIZE));
}

static void mistype(const uint8_t *data)
{
    _cleanup_(secret_freep) struct secret *key = NULL, *text = NULL, *again = NULL;
    must_hold(secret_new_copy(data, RECOVERY_KEY_SIZE, &key, NULL) == OK);
    text = written(key);
    text->bytes[data[RECOVERY_KEY_SIZE] % text->length] = data[RECOVERY_KEY_SIZE + 1];
    if (recovery_key_parse(text, &again, NULL) == OK)
        must_hold(!memcmp(again->bytes, key->bytes, RECOVERY_KEY_SIZE));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > 256) /* longer ones only take longer */
        return 0;
    read_as_typed(data, size);
    if (size >= RECOVERY_KEY_SIZE + 2)
        mistype(data);
    return 0;
}
