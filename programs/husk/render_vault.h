/* What is known of a vault, as text and as JSON. JSON is NULL where memory ran out. */
#pragma once
#include "convert/convert.h"
#include "verb.h"

#define KEYSLOT_ID_TEXT_SIZE 33
const char *keyslot_id_text(char out[KEYSLOT_ID_TEXT_SIZE], const struct keyslot_id *id);
#define keyslot_id_shown(id) keyslot_id_text((char[KEYSLOT_ID_TEXT_SIZE]){0}, (id))

/* What the vault remembers of a keyslot, or NULL. Valid as long as the vault's list of them. */
const struct vault_key_copy *vault_key_copy_of(const struct vault *vault, const struct keyslot_id *id);

/* The keyslots of a vault: [{"id","kind","created","exported"}]. Those that cannot be read have kind
 * "unreadable", those that the manifest does not name are a finding. As text one line each. */
must_check enum error_code vault_show_keyslots(struct run *run, const struct vault *vault, const char *indent,
                                               json_t **ret_keyslots, struct error *reterr);

/* One vault of husk.status/1. */
must_check enum error_code vault_show(struct run *run, const struct vault *vault, json_t **ret_vault,
                                      struct error *reterr);

/* Tell of a conversion that is in the middle: what is locked, or open, is only what is encrypted, and
 * directories in it have a plaintext side. */
void vault_tell_conversion(struct run *run, const struct vault *vault);

/* The steps of destroying a keyslot: [{"step","outcome"}], and a line of text. */
json_t *destroy_show(struct run *run, const struct destroy_result *result);
