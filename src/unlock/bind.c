/* Making an authority keyslot. */
#include <sodium.h>

#include "base/fault.h"
#include "unlock/unlock.h"

struct binding {
    struct keyslot keyslot; /* a draft */
    struct keyslot_question questions[2];
    uint8_t evaluated[2][OPRF_ELEMENT_SIZE];
};

static void binding_done(struct binding *binding)
{
    for (size_t i = 0; i < 2; i++)
        keyslot_question_done(&binding->questions[i]);
}

static enum error_code ask(struct client *client, struct client_pin *pin, const char *vault_name,
                           struct binding *binding, struct error *reterr)
{
    uint8_t blinded[2][OPRF_ELEMENT_SIZE];
    for (size_t i = 0; i < 2; i++) {
        enum error_code code = keyslot_blind(&binding->keyslot, &binding->questions[i], reterr);
        if (code)
            return code;
        memcpy(blinded[i], binding->questions[i].blinded, OPRF_ELEMENT_SIZE);
    }
    return client_bind(client, pin, binding->keyslot.id.bytes, binding->keyslot.vault.bytes, vault_name,
                       blinded, binding->evaluated, reterr);
}

/* An authority that answers at random would make a keyslot that never opens again. */
static enum error_code take_answer(const struct client_pin *pin, const struct binding *binding,
                                   struct secret **ret_answer, struct error *reterr)
{
    _cleanup_(secret_freep) struct secret *first = NULL, *second = NULL;
    enum error_code code = keyslot_unblind(&binding->keyslot, binding->questions[0].blind,
                                           binding->evaluated[0], &first, reterr);
    if (!code)
        code = keyslot_unblind(&binding->keyslot, binding->questions[1].blind, binding->evaluated[1], &second,
                               reterr);
    if (code)
        return error_prefix(reterr, "authority %.8s", client_id_shown(pin->id));
    if (sodium_memcmp(first->bytes, second->bytes, OPRF_OUTPUT_SIZE) != 0) {
        error_set(reterr, ERR_DENIED, 0,
                  "the authority %.8s answers the same question differently: its keyslot would not open",
                  client_id_shown(pin->id));
        return error_remedy(reterr, "do not use it; look into its log");
    }
    *ret_answer = TAKE(first);
    return OK;
}

bool unlock_unbind(struct client *client, struct client_pin *pin, const struct keyslot_id *id,
                   struct error *reterr)
{
    enum error_code code = client_unbind(client, pin, id->bytes, reterr);
    return !code || code == ERR_NOT_FOUND || code == ERR_ERASED;
}

enum error_code unlock_bind(struct client *client, struct client_pin *pin,
                            const struct filesystem *filesystem, const struct vault_id *vault,
                            const char *vault_name, const struct secret *vault_secret,
                            const struct clock *clock, struct keyslot *ret_keyslot, struct error *reterr)
{
    _cleanup_(binding_done) struct binding binding = {0};
    _cleanup_(secret_freep) struct secret *answer = NULL;
    struct authority_id authority;
    memcpy(authority.bytes, pin->id, sizeof(authority.bytes));
    enum error_code code = keyslot_draft(&authority, vault, clock, &binding.keyslot, reterr);
    if (!code)
        code = vault_note_binding(filesystem, &binding.keyslot.id, &authority, reterr);
    const bool asked = !code;
    if (!code)
        code = ask(client, pin, vault_name, &binding, reterr);
    if (!code)
        code = take_answer(pin, &binding, &answer, reterr);
    if (!code)
        code = keyslot_seal(&binding.keyslot, vault_secret, answer, reterr);
    if (!code) {
        *ret_keyslot = binding.keyslot;
        (void)fault("unlock.bound");
    } else if (asked && code != ERR_UNREACHABLE && code != ERR_INTERRUPTED &&
               unlock_unbind(client, pin, &binding.keyslot.id, NULL)) {
        (void)!vault_forget_binding(filesystem, &binding.keyslot.id, NULL);
    }
    return code;
}

void unlock_pins(const struct client *client, struct vault_pins *ret_pins)
{
    struct vault_pins pins = {.count = client->pin_count};
    for (size_t i = 0; i < client->pin_count; i++)
        memcpy(pins.ids[i].bytes, client->pins[i].id, sizeof(pins.ids[i].bytes));
    *ret_pins = pins;
}
