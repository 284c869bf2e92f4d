/*
 * Erasing a vault (design §10), resumable:
 *
 *     erasing mark, durable → authorities destroy their scalars → local keyslots destroyed → key evicted and
 *     checked → plaintext that a conversion left destroyed → report → erased mark → the authorities are told
 *
 * From the mark on husk does not open the vault from this disk; copies of it open until the authorities have
 * answered. Each step is repeated by the next run until it holds; of a vault that is erased the report is
 * told again.
 */
#pragma once
#include "base/report.h"
#include "client/client.h"
#include "vault/vault.h"

enum erase_verdict { ERASE_COMPLETE, ERASE_INCOMPLETE, ERASE_UNKNOWN };

struct erase_result {
    bool changed;
    enum erase_verdict key_destruction;  /* COMPLETE only when no key copy is known to be left anywhere */
    enum erase_verdict plaintext_before; /* never COMPLETE */
    struct buffer report_json;           /* husk.erase-report/1, unsigned */
};

/* vault is from vault_find_even_damaged, so that a damaged or half-made one can be erased too. client is
 * this host's side towards its authorities; NULL where that cannot be read: they count as not reached. An
 * authority that does not answer keeps the rest from nothing, and the whole from being complete. at is the
 * root of the host, whose host.json names key files; it is forgotten there at the end. The lock must be held.
 * Findings name each key copy not reached (exported keyslots, key files, snapshots that may hold local
 * keyslots, memory of running programs while the key is only partly removed). ERR_INCOMPLETE when the host's
 * own part could not be done whole; ret_result is filled then too. The process should be locked in memory by
 * the caller before. */
must_check enum error_code erase_vault(struct vault *vault, struct client *client, const char *at,
                                       const struct clock *clock, const struct report *report,
                                       struct erase_result *ret_result, struct finding_list *findings,
                                       struct error *reterr);
void erase_result_done(struct erase_result *result);

/* "COMPLETE", "INCOMPLETE", "UNKNOWN". */
const char *erase_verdict_word(enum erase_verdict verdict);

#define ERASE_AUTHORITY_WAITS                                                                                \
    "authority-waits" /* for an earlier boot of the host to be silent: a finding                             \
                       */

/* After every vault of a host: have all its authorities erase the host for good, answer their orders to
 * erase, and last of all destroy its identity. ERR_INCOMPLETE, with findings, while one does not answer: the
 * same call goes on. *ret_changed becomes true where something changed. Blocks. */
must_check enum error_code erase_host(struct client *client, const struct report *report, bool *ret_changed,
                                      struct finding_list *findings, struct error *reterr);

/* Whether an earlier call has come as far as an authority's answer: every vault was erased then. */
bool erase_host_has_begun(struct client *client);
