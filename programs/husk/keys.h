/*
 * Answers that open a vault: from the KEY options of the command line, from the key files the host records,
 * or asked for on the terminal. Where nothing can be asked, the error names the options that answer.
 */
#pragma once
#include "unlock/unlock.h"
#include "verb.h"

/* The three options that carry keys, by what they are for. */
struct key_options {
    unsigned keyfile, passphrase, recovery;
};
extern const struct key_options keys_plain; /* --keyfile ... */
extern const struct key_options keys_with;  /* --with-keyfile ... */

/* "keyfile", "passphrase", "recovery key": what opens a keyslot of that kind. Static storage. */
const char *key_word(enum keyslot_kind kind);

/* New: a key that is to become a keyslot. A passphrase asked for is asked for twice, and has to be long
 * enough. */
enum keys_use { KEYS_TO_OPEN, KEYS_NEW };

/* Read what the options name into answers. Nothing given is OK and adds nothing. ERR_USAGE for keys of the
 * wrong length, and for standard input used twice. */
must_check enum error_code keys_read(const struct run *run, const struct key_options *options,
                                     enum keys_use use, struct unlock_answers *answers, struct error *reterr);

/* Look at the files that the options name before anything long is begun: keyfiles are read, the others, which
 * may be read only once, have to be there. Errors as of keys_read. */
must_check enum error_code keys_check_files(const struct run *run, const struct key_options *options,
                                            enum keys_use use, struct error *reterr);

/*
 * The secret of a vault: by the answers where any are given; else by the key files the host records, then by
 * its authorities, which are asked once; else, or when those do not open it, asked for on the terminal, three
 * times at most. KEYS_NOT_RECORDED asks on the terminal alone, KEYS_UNATTENDED tries the recorded ones alone.
 * *ret_kind is the kind of keyslot that opened. ERR_WRONG_KEY, and what authorities say.
 */
enum keys_sources { KEYS_ANY_SOURCE, KEYS_NOT_RECORDED, KEYS_UNATTENDED };
must_check enum error_code keys_open(struct run *run, struct vault *vault, const struct key_options *options,
                                     const struct unlock_answers *answers, enum keys_sources sources,
                                     struct secret **ret_vault_secret, enum keyslot_kind *ret_kind,
                                     struct error *reterr);

/* Ask on the terminal, where there is one and a keyslot to ask for; else return what was tried before, or
 * name the options that answer. */
must_check enum error_code keys_ask(struct run *run, const struct vault *vault,
                                    const struct key_options *options, enum keys_sources sources,
                                    const struct error *tried, struct secret **ret_vault_secret,
                                    enum keyslot_kind *ret_kind, struct error *reterr);
