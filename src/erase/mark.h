/*
 * The erasing mark and what is in it: how far an erase has come, so that the report of a resumed one tells of
 * what the earlier runs did.
 *   {"version":1,"started":SECONDS,"manifest":WORD,"authorities":[…authorities.h…],
 *    "keyslots":[{"file","id","kind","created","steps":{WORD:WORD},"destroyed":SECONDS}]}
 * A keyslot without steps: its destruction was begun by a run that was cut short.
 */
#pragma once
#include <jansson.h>

#include "erase/verdict.h"

struct erase_progress {
    int64_t started_unix_s;
    char manifest[32];   /* "authenticated", "not authenticated", "changed", "unreadable" */
    json_t *authorities; /* owned; an array */
    json_t *keyslots;    /* owned; an array, ready for the report */
    json_t *begun;       /* borrowed from it: of erase_progress_begin */
};

/* What the mark of an earlier run says; an empty progress where there is none or it cannot be read. */
must_check enum error_code erase_progress_read(const struct vault *vault, const struct clock *clock,
                                               struct erase_progress *ret_progress, struct error *reterr);
/* The same out of the report of an erase that is done, with what its verdicts allow. */
must_check enum error_code erase_progress_recall(const struct buffer *report,
                                                 struct erase_progress *ret_progress,
                                                 struct erase_facts *facts, struct error *reterr);
must_check enum error_code erase_progress_write(const struct vault *vault,
                                                const struct erase_progress *progress, struct error *reterr);
/* The same on a full filesystem: an empty mark, a second name of .husk/lock, for which the vault's directory
 * has room without another block or inode. Durable. */
must_check enum error_code erase_mark_without_room(const struct vault *vault, struct error *reterr);
/* And its end: the erasing mark itself is overwritten with the report and becomes the erased mark. A crash
 * leaves an erasing mark that cannot be read, which is one all the same. ERR_FAILED where it is too small,
 * too. Durable. */
must_check enum error_code erase_report_without_room(const struct vault *vault, const struct buffer *report,
                                                     struct error *reterr);
bool erase_wants_room(const struct error *error);
/* Note a keyslot file that is about to be destroyed, without steps; what an earlier run noted of it stays.
 * keyslot is NULL where the file cannot be read. Then, how it went, and when it was destroyed; 0: it was
 * not. */
must_check enum error_code erase_progress_begin(struct erase_progress *progress, const char *file_name,
                                                const struct keyslot *keyslot, struct error *reterr);
must_check enum error_code erase_progress_end(struct erase_progress *progress,
                                              const struct destroy_result *result, int64_t destroyed_unix_s,
                                              struct error *reterr);
void erase_progress_done(struct erase_progress *progress);

/* "done", "not supported", "failed", "not tried". */
const char *erase_outcome_word(enum destroy_outcome outcome);
