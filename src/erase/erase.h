/*
 * Erasing a vault (design §10), resumable:
 *   erasing mark, durable → [authorities, later] → local keyslots destroyed → key evicted and checked →
 * report → erased mark From the mark on nothing opens the vault. Each step is repeated by the next run until
 * it holds.
 */
#pragma once
#include "base/report.h"
#include "vault/vault.h"

enum erase_verdict { ERASE_COMPLETE, ERASE_INCOMPLETE, ERASE_UNKNOWN };

struct erase_result {
    bool changed;
    enum erase_verdict key_destruction;  /* COMPLETE only when no key copy is known to be left anywhere */
    enum erase_verdict plaintext_before; /* never COMPLETE for a converted vault */
    struct buffer report_json;           /* husk.erase-report/1, unsigned */
};

/* vault is from vault_find_even_damaged, so that a damaged or half-made one can be erased too. at is the root
 * of the host, whose host.json names key files; it is forgotten there at the end. The lock must be held.
 * Findings name each key copy not reached (exported keyslots, key files, snapshots that may hold local
 * keyslots, memory of running programs while the key is only partly removed). ERR_INCOMPLETE when the host's
 * own part could not be done whole; ret_result is filled then too. The process should be locked in memory by
 * the caller before. */
must_check enum error_code erase_vault(struct vault *vault, const char *at, const struct clock *clock,
                                       const struct report *report, struct erase_result *ret_result,
                                       struct finding_list *findings, struct error *reterr);
void erase_result_done(struct erase_result *result);

/* "COMPLETE", "INCOMPLETE", "UNKNOWN". */
const char *erase_verdict_word(enum erase_verdict verdict);
