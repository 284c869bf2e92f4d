/*
 * The part of an erase that happens off this machine: every authority that a keyslot of the vault is bound to
 * destroys its scalars, and says so signed. In the mark, one item per authority and vault:
 *   {"authority","vault","keyslots":[ID...],"answer":null}
 *   {..., "answer":{"order","sequence","at","keyslots":[ID...],"signed"}}
 * keyslots are those that have to be among the answer's. An item is durable before a keyslot is destroyed,
 * and its answer as soon as it is there.
 */
#pragma once
#include "client/client.h"
#include "erase/mark.h"
#include "erase/verdict.h"

/* Add the authorities that are not in the mark yet: of the keyslots on disk, of the manifest; and where
 * neither can be relied on, or an authority keyslot was removed earlier, every one this host trusts. client
 * may be NULL. */
must_check enum error_code erase_authorities_note(const struct vault *vault, const struct client *client,
                                                  struct erase_progress *progress, struct error *reterr);

/* Ask those that have not answered. One that does not, or whose answer is not to be believed, is a finding
 * and counted in facts; keyslots an answer does not name make that unknown. *ret_changed is whether one
 * answered. An answer that
 * cannot be noted is a finding: it is given again. ERR_NO_MEMORY. */
must_check enum error_code erase_authorities_ask(struct client *client, const struct vault *vault,
                                                 struct erase_progress *progress, const struct report *report,
                                                 struct erase_facts *facts, bool *ret_changed,
                                                 struct finding_list *findings, struct error *reterr);

/* Tell those that answered what this host did itself. One that cannot be told is a finding. */
void erase_authorities_tell(struct client *client, const struct erase_progress *progress,
                            const struct buffer *report_json, struct finding_list *findings);
