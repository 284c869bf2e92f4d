/* Verbs that ask the huskd that is running, over its socket. */
#pragma once
#include "verb.h"
#include "json/json.h"

/*
 * Ask for the operation of the verb's name. Its arguments are the options that are given, by their long
 * names, and the operands by the names in operand_names (up to NULL). What comes back becomes the result of
 * the run; *ret_result is the same object and belongs to it.
 */
must_check enum error_code ask(struct run *run, const char *const *operand_names, json_t **ret_result,
                               struct error *reterr);

/* What comes with a list that people have to look after, as findings. */
void ask_tell_alarms(struct run *run, json_t *result);

/* What an erase of a host or group (what) did, and as findings what it did not reach. */
void ask_tell_erased(struct run *run, json_t *result, const char *what);

/* The same with these arguments, and files that the operation writes to; they stay the caller's. */
must_check enum error_code ask_with_files(struct run *run, const char *operation, json_t *arguments,
                                          const int *fds, unsigned count, json_t **ret_result,
                                          struct error *reterr);

/* The same with these arguments; operation need not be a verb. */
must_check enum error_code ask_with(struct run *run, const char *operation, json_t *arguments,
                                    json_t **ret_result, struct error *reterr);
