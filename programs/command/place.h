/*
 * Commands that are named to somebody work at the place this run was told to work at: where husk was given
 * --at DIR, "husk lock v" becomes "husk lock --at DIR v". So rooms name commands without knowing of places.
 */
#pragma once
#include "base/buffer.h"
#include "base/finding.h"

/* " --at DIR" for the shell, owned by the caller; NULL where memory ran out. */
char *place_words(const char *option, const char *directory);

/* Append text, with words (of place_words; NULL for none) behind the verb of each of the program's commands
 * in it. Left as it is: a command that has the option, and one for another place (program.elsewhere). */
must_check enum error_code place_in_text(const char *text, const char *words, struct buffer *buffer,
                                         struct error *reterr);

/* The same with the remedies of findings from number first on, and with that of an error. What there is no
 * memory or room for stays as it is. */
void place_in_findings(struct finding_list *findings, size_t first, const char *words);
void place_in_error(struct error *error, const char *words);
