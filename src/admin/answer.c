#include "admin/answer.h"

#include "base/cleanup.h"
#include "base/text.h"

enum error_code admin_request_parse(const struct buffer *line, struct admin_request *ret_request,
                                    struct error *reterr)
{
    _cleanup_(json_freep) json_t *document = NULL;
    struct admin_request request = {.sudo_uid = -1};
    enum error_code code =
        json_parse_object(line->data ? line->data : "", line->length, "the request", &document, reterr);
    if (!code)
        code = json_get_string(document, "operation", &request.operation, reterr);
    if (!code)
        code = json_get_object(document, "arguments", &request.arguments, reterr);
    if (!code && json_object_get(document, "sudo_uid"))
        code = json_get_integer(document, "sudo_uid", 0, UINT32_MAX - 1, &request.sudo_uid, reterr);
    if (code == ERR_CORRUPT && reterr)
        reterr->code = code = ERR_USAGE;
    if (code)
        return code;
    request.document = TAKE(document);
    *ret_request = request;
    return OK;
}

enum error_code admin_request_format(const char *operation, json_t *arguments, int64_t sudo_uid,
                                     struct buffer *line, struct error *reterr)
{
    _cleanup_(json_freep) json_t *document =
        json_pack("{s:s, s:O}", "operation", operation, "arguments", arguments);
    if (!document)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    enum error_code code = OK;
    if (sudo_uid >= 0)
        code = json_set_new(document, "sudo_uid", json_integer(sudo_uid), reterr);
    return code ? code : json_format(document, line, reterr);
}

/* A message may be cut in the middle of a letter, or hold what is no UTF-8. */
static json_t *text_member(const char *text)
{
    json_t *value = json_string(text);
    if (value)
        return value;
    _cleanup_(buffer_done) struct buffer escaped = {0};
    if (text_escape(&escaped, text, strlen(text), NULL))
        return NULL;
    return json_string(escaped.data ? escaped.data : "");
}

enum error_code admin_answer_format(json_t *result, bool changed, const struct error *error,
                                    struct buffer *line, struct error *reterr)
{
    _cleanup_(json_freep) json_t *document = json_object();
    json_t *told = error ? json_pack("{s:s, s:o, s:o, s:o}", "code", error_word(error->code), "subject",
                                     text_member(error->subject), "message", text_member(error->message),
                                     "remedy", text_member(error->remedy))
                         : json_null();
    enum error_code code =
        json_set_new(document, "result", result ? json_incref(result) : json_null(), reterr);
    if (!code)
        code = json_set_new(document, "changed", json_boolean(changed), reterr);
    if (code) {
        json_decref(told);
        return code;
    }
    code = json_set_new(document, "error", told, reterr);
    return code ? code : json_format(document, line, reterr);
}

static enum error_code take_error(json_t *told, struct error *reterr)
{
    const char *word, *subject, *message, *remedy;
    enum error_code code = json_get_string(told, "code", &word, reterr);
    if (!code)
        code = json_get_string(told, "subject", &subject, reterr);
    if (!code)
        code = json_get_string(told, "message", &message, reterr);
    if (!code)
        code = json_get_string(told, "remedy", &remedy, reterr);
    if (code)
        return code;
    error_set(reterr, error_of_word(word), 0, "%s", message);
    error_subject(reterr, "%s", subject);
    if (*remedy)
        error_remedy(reterr, "%s", remedy);
    return error_of_word(word);
}

enum error_code admin_answer_parse(const struct buffer *line, json_t **ret_result, bool *ret_changed,
                                   struct error *reterr)
{
    _cleanup_(json_freep) json_t *document = NULL;
    bool changed = false;
    enum error_code code =
        json_parse_object(line->data ? line->data : "", line->length, "the answer", &document, reterr);
    if (!code)
        code = json_get_boolean(document, "changed", &changed, reterr);
    if (code)
        return code;
    json_t *result = json_object_get(document, "result"), *told = json_object_get(document, "error");
    if ((!json_is_object(result) && !json_is_null(result)) || (!json_is_object(told) && !json_is_null(told)))
        return error_set(reterr, ERR_CORRUPT, 0, "the answer has not the form it should have");
    *ret_result = json_is_object(result) ? json_incref(result) : NULL;
    *ret_changed = changed;
    return json_is_object(told) ? take_error(told, reterr) : OK;
}
