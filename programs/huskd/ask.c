#include "ask.h"

#include "admin/admin.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "duration.h"

static enum error_code add_to_list(json_t *arguments, const char *name, const char *value,
                                   struct error *reterr)
{
    json_t *list = json_object_get(arguments, name);
    if (!list) {
        enum error_code code = json_set_new(arguments, name, json_array(), reterr);
        if (code)
            return code;
        list = json_object_get(arguments, name);
    }
    return json_array_append_new(list, json_text(value)) < 0
               ? error_set(reterr, ERR_NO_MEMORY, 0, "out of memory")
               : OK;
}

static enum error_code add_number(json_t *arguments, const char *name, const char *value, bool is_time,
                                  struct error *reterr)
{
    int64_t number = 0;
    uint64_t plain = 0;
    enum error_code code =
        is_time ? duration_parse(value, &number, reterr) : text_parse_u64(value, UINT32_MAX, &plain, reterr);
    if (code) {
        error_prefix(reterr, "--%s", name);
        return code;
    }
    return json_set_new(arguments, name, json_integer(is_time ? number : (int64_t)plain), reterr);
}

static enum error_code add_yes_no(json_t *arguments, const char *name, const char *value,
                                  struct error *reterr)
{
    if (strcmp(value, "yes") != 0 && strcmp(value, "no") != 0)
        return error_set(reterr, ERR_USAGE, 0, "--%s is yes or no", name);
    return json_set_new(arguments, name, json_boolean(!strcmp(value, "yes")), reterr);
}

static enum error_code add_option(json_t *arguments, const struct given_option *given, struct error *reterr)
{
    const char *name = huskd_options[given->id].name, *value = given->value;
    if (!value)
        return json_set_new(arguments, name, json_true(), reterr);
    const bool is_none = !strcmp(value, "none");
    switch (huskd_option_kinds[given->id]) {
    case KIND_NETWORKS:
        return is_none && !json_object_get(arguments, name)
                   ? json_set_new(arguments, name, json_array(), reterr)
                   : add_to_list(arguments, name, value, reterr);
    case KIND_LIST:
        return add_to_list(arguments, name, value, reterr);
    case KIND_NUMBER:
        return add_number(arguments, name, value, false, reterr);
    case KIND_SECONDS:
        return add_number(arguments, name, value, true, reterr);
    case KIND_YES_NO:
        return add_yes_no(arguments, name, value, reterr);
    case KIND_WINDOW:
        return json_set_new(arguments, name, json_text(is_none ? "" : value), reterr);
    case KIND_TEXT:
        break;
    }
    return json_set_new(arguments, name, json_text(value), reterr);
}

static enum error_code make_arguments(const struct run *run, const char *const *operand_names,
                                      json_t *arguments, struct error *reterr)
{
    enum error_code code = OK;
    for (size_t i = 0; !code && i < run->arguments.given_count; i++) {
        unsigned id = run->arguments.given[i].id;
        if (id != OPTION_DIR && id != OPTION_JSON && id != OPTION_HELP)
            code = add_option(arguments, &run->arguments.given[i], reterr);
    }
    for (size_t i = 0; !code && i < run->arguments.operand_count; i++)
        code = json_set_new(arguments, operand_names[i], json_text(run->arguments.operands[i]), reterr);
    return code;
}

static int64_t user_behind_sudo(void)
{
    const char *text = getenv("SUDO_UID");
    uint64_t uid;
    return text && !text_parse_u64(text, UINT32_MAX - 1, &uid, NULL) ? (int64_t)uid : -1;
}

static void tell(struct run *run, json_t *result, const char *member)
{
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(result, member), i, item)
    {
        const char *kind = json_string_value(json_object_get(item, "kind")),
                   *subject = json_string_value(json_object_get(item, "subject")),
                   *cause = json_string_value(json_object_get(item, "cause")),
                   *remedy = json_string_value(json_object_get(item, "remedy"));
        if (kind && cause && remedy)
            finding_add(&run->findings, FINDING_TELLS, kind, subject ? subject : "the authority", remedy,
                        "%s", cause);
    }
    json_object_del(result, member);
}

void ask_tell_alarms(struct run *run, json_t *result)
{
    tell(run, result, "alarms");
}

void ask_tell_erased(struct run *run, json_t *result, const char *what)
{
    const char *name = run->arguments.operands[0],
               *verdict = json_string_value(json_object_get(result, "key_destruction"));
    const long long keyslots = json_integer_value(json_object_get(result, "keyslots"));
    tell(run, result, "not_reached");
    report_truth(&run->report, "%s %s: the authority's part of %lld keyslot%s is destroyed", what,
                 text_shown(name), keyslots, keyslots == 1 ? "" : "s");
    report_truth(&run->report, "%s %s: key destruction %s; what is not reached is named", what,
                 text_shown(name), verdict ? verdict : "UNKNOWN");
}

enum error_code ask_with(struct run *run, const char *operation, json_t *arguments, json_t **ret_result,
                         struct error *reterr)
{
    return ask_with_files(run, operation, arguments, NULL, 0, ret_result, reterr);
}

enum error_code ask_with_files(struct run *run, const char *operation, json_t *arguments, const int *fds,
                               unsigned count, json_t **ret_result, struct error *reterr)
{
    json_t *result = NULL;
    enum error_code code = admin_ask_with_files(run->at, operation, arguments, user_behind_sudo(), fds, count,
                                                &result, &run->changed, reterr);
    run->changed &= run->verb->effect == VERB_ACTS;
    if (result) {
        json_object_update(run->result, result);
        json_decref(result);
    }
    if (!code)
        *ret_result = run->result;
    return code;
}

enum error_code ask(struct run *run, const char *const *operand_names, json_t **ret_result,
                    struct error *reterr)
{
    _cleanup_(json_freep) json_t *arguments = json_object();
    if (!arguments)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    enum error_code code = make_arguments(run, operand_names, arguments, reterr);
    return code ? code : ask_with(run, run->verb->name, arguments, ret_result, reterr);
}
