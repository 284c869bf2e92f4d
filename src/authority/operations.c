#include "authority/operations.h"

#include <sys/stat.h>

#include "base/text.h"

static const struct {
    const char *words;
    operation_handler *handler; /* NULL: for later */
} operations[] = {
    {"token create", operation_token_create},
    {"token list", operation_token_list},
    {"token revoke", operation_token_revoke},
    {"host list", operation_host_list},
    {"host show", operation_host_show},
    {"host hold", operation_host_hold},
    {"host release", operation_host_release},
    {"host lock", operation_host_lock},
    {"host power-off", operation_host_power_off},
    {"host cancel", operation_host_cancel},
    {"host erase", operation_host_erase},
    {"host accept-restore", operation_host_accept_restore},
    {"host move", operation_host_move},
    {"host rename", operation_host_rename},
    {"group set", operation_group_set},
    {"group list", operation_group_list},
    {"group erase", operation_group_erase},
    {"group remove", operation_group_remove},
    {"request list", operation_request_list},
    {"request approve", operation_request_approve},
    {"request deny", operation_request_deny},
    {"ledger show", operation_ledger_show},
    {"ledger verify", operation_ledger_verify},
    {"ledger export", operation_ledger_export},
    {"keycopy list", operation_keycopy_list},
    {"keycopy destroyed", operation_keycopy_destroyed},
    {"descriptor prepare", operation_descriptor_prepare},
    {"descriptor install", operation_descriptor_install},
    {"metrics", operation_metrics},
    {"clock accept", operation_clock_accept},
    {"backup", operation_backup},
};

enum error_code operations_handle(struct clerk *clerk, struct job *job, struct error *reterr)
{
    for (size_t i = 0; i < ARRAY_SIZE(operations); i++) {
        if (strcmp(job->operation, operations[i].words) != 0)
            continue;
        return operations[i].handler
                   ? operations[i].handler(clerk, job, reterr)
                   : error_set(reterr, ERR_UNSUPPORTED, 0, "%s is not supported yet", operations[i].words);
    }
    return error_set(reterr, ERR_USAGE, 0, "there is no operation of that name");
}

enum error_code argument_text(const struct job *job, const char *name, const char **ret_text,
                              struct error *reterr)
{
    const char *text = json_string_value(json_object_get(job->arguments, name));
    if (!text)
        return error_set(reterr, ERR_USAGE, 0, "%s needs %s", job->operation, name);
    *ret_text = text;
    return OK;
}

enum error_code argument_integer(const struct job *job, const char *name, int64_t least, int64_t most,
                                 int64_t *ret_value, struct error *reterr)
{
    const json_t *value = json_object_get(job->arguments, name);
    if (!value)
        return OK;
    if (!json_is_integer(value) || json_integer_value(value) < least || json_integer_value(value) > most)
        return error_set(reterr, ERR_USAGE, 0, "%s: %s is from %lld to %lld", job->operation, name,
                         (long long)least, (long long)most);
    *ret_value = json_integer_value(value);
    return OK;
}

/* As people write it: in the largest unit that fits. */
static void format_seconds(int64_t seconds, char text[24])
{
    static const struct {
        int64_t seconds;
        char letter;
    } units[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
    size_t unit = seconds == 0 ? ARRAY_SIZE(units) - 1 : 0;
    while (seconds % units[unit].seconds != 0)
        unit++;
    snprintf(text, 24, "%lld%c", (long long)(seconds / units[unit].seconds), units[unit].letter);
}

enum error_code argument_seconds(const struct job *job, const char *name, int64_t least, int64_t most,
                                 int64_t *ret_value, struct error *reterr)
{
    char from[24], to[24];
    if (argument_integer(job, name, least, most, ret_value, NULL) == OK)
        return OK;
    format_seconds(least, from);
    format_seconds(most, to);
    return error_set(reterr, ERR_USAGE, 0, "%s: --%s is from %s to %s", job->operation, name, from, to);
}

enum error_code argument_id(const struct job *job, const char *name, size_t digits_least,
                            const char **ret_text, uint8_t *least, uint8_t *most, struct error *reterr)
{
    char digits[2 * MESSAGE_ID_SIZE + 1];
    uint8_t lowest[MESSAGE_ID_SIZE], highest[MESSAGE_ID_SIZE];
    const char *text = NULL;
    enum error_code code = argument_text(job, name, &text, reterr);
    if (code)
        return code;
    const size_t length = strlen(text);
    if (length < digits_least || length >= sizeof(digits))
        return error_set(reterr, ERR_USAGE, 0,
                         "the %s is named by its id, or by the first %zu digits of it or more", name,
                         digits_least);
    for (unsigned i = 0; !code && i < 2; i++) {
        memset(digits, i ? 'f' : '0', sizeof(digits) - 1);
        digits[sizeof(digits) - 1] = '\0';
        memcpy(digits, text, length);
        if (text_parse_hex(digits, i ? highest : lowest, MESSAGE_ID_SIZE, NULL))
            code = error_set(reterr, ERR_USAGE, 0, "%s is no id of a %s", text_shown(text), name);
    }
    if (code)
        return code;
    memcpy(least, lowest, sizeof(lowest));
    memcpy(most, highest, sizeof(highest));
    *ret_text = text;
    return OK;
}

void operation_actor(const struct job *job, char text[OPERATION_ACTOR_SIZE])
{
    snprintf(text, OPERATION_ACTOR_SIZE, "%s (uid %u)", job->actor->name, job->actor->uid);
}

enum error_code operation_check_files(const struct job *job, unsigned count, struct error *reterr)
{
    struct stat status;
    if (job->actor->file_count != count)
        return error_set(reterr, ERR_USAGE, 0, "%s needs %u file%s to write to", job->operation, count,
                         count == 1 ? "" : "s");
    for (unsigned i = 0; i < count; i++)
        if (fstat(job->actor->files[i], &status) < 0 || !S_ISREG(status.st_mode))
            return error_set(reterr, ERR_USAGE, 0, "%s writes to regular files", job->operation);
    return OK;
}

enum error_code operation_set_actor(const struct job *job, json_t *details, struct error *reterr)
{
    char text[OPERATION_ACTOR_SIZE];
    operation_actor(job, text);
    return json_set_new(details, "actor", json_string(text), reterr);
}
