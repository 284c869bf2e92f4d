/* Things as text for people and as JSON. Pure: text is appended to a buffer, JSON is returned (NULL where
 * memory ran out). */
#pragma once
#include <jansson.h>

#include "base/buffer.h"
#include "base/finding.h"

/* Those from number first on: what is in the way, then what is only to be known. */
must_check enum error_code render_findings_text(const struct finding_list *findings, size_t first,
                                                struct buffer *text, struct error *reterr);
json_t *render_findings_json(const struct finding_list *findings);
json_t *render_error_json(const struct error *error);
