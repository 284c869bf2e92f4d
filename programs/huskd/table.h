/* What an authority answers, as text for people. */
#pragma once
#include "verb.h"

/* One line per object of the array, one column per member (columns up to NULL), below a line with their
 * names. nothing is the line where the array is empty. */
must_check enum error_code table_show(struct run *run, const json_t *array, const char *const *columns,
                                      const char *nothing, struct error *reterr);

/* One line per member. */
must_check enum error_code object_show(struct run *run, json_t *object, struct error *reterr);
