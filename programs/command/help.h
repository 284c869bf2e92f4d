/* Texts made from the table of verbs. */
#pragma once
#include <jansson.h>

#include "base/buffer.h"
#include "verb.h"

/* "husk check PATH... [--vault NAME] [--at DIR] [--json]", one line. */
must_check enum error_code help_synopsis(const struct verb *verb, struct buffer *text, struct error *reterr);
/* All about one verb, and about the program. */
must_check enum error_code help_verb(const struct verb *verb, struct buffer *text, struct error *reterr);
must_check enum error_code help_overview(struct buffer *text, struct error *reterr);
/* One verb for PROGRAM.help/1; NULL when memory ran out. */
json_t *help_json(const struct verb *verb);
/* The script for bash's completion. */
must_check enum error_code help_completion(struct buffer *text, struct error *reterr);
