/* The two lines of a connection, as JSON. */
#pragma once
#include "authority/authority.h"

struct admin_request {
    json_t *document; /* owned; the others belong to it */
    const char *operation;
    json_t *arguments; /* an object */
    int64_t sudo_uid;  /* -1: not said */
};

/* ERR_USAGE. */
must_check enum error_code admin_request_parse(const struct buffer *line, struct admin_request *ret_request,
                                               struct error *reterr);
must_check enum error_code admin_request_format(const char *operation, json_t *arguments, int64_t sudo_uid,
                                                struct buffer *line, struct error *reterr);

/* error is NULL where there is none; result may be NULL. */
must_check enum error_code admin_answer_format(json_t *result, bool changed, const struct error *error,
                                               struct buffer *line, struct error *reterr);
/* The error that is told is returned like one of one's own; outputs are set then too. ERR_CORRUPT. */
must_check enum error_code admin_answer_parse(const struct buffer *line, json_t **ret_result,
                                              bool *ret_changed, struct error *reterr);
