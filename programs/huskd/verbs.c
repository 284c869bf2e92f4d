#include "verb.h"

#include "command/program.h"

extern const struct verb verb_init, verb_serve, verb_token_create, verb_token_list, verb_token_revoke,
    verb_host_list, verb_host_show, verb_host_hold, verb_host_release, verb_host_lock, verb_host_power_off,
    verb_host_cancel, verb_host_erase, verb_host_accept_restore, verb_group_set, verb_group_list,
    verb_group_erase, verb_group_remove, verb_host_move, verb_host_rename, verb_request_list,
    verb_request_approve, verb_request_deny, verb_ledger_show, verb_ledger_verify, verb_ledger_export,
    verb_keycopy_list, verb_keycopy_destroyed, verb_metrics, verb_restore, verb_clock_accept,
    verb_descriptor_prepare, verb_descriptor_sign, verb_descriptor_install, verb_backup, verb_help;

/* In the order help tells them. */
static const struct verb *const verbs[] = {
    &verb_init,
    &verb_serve,
    &verb_token_create,
    &verb_token_list,
    &verb_token_revoke,
    &verb_host_list,
    &verb_host_show,
    &verb_host_hold,
    &verb_host_release,
    &verb_host_lock,
    &verb_host_power_off,
    &verb_host_cancel,
    &verb_host_erase,
    &verb_host_accept_restore,
    &verb_host_move,
    &verb_host_rename,
    &verb_group_set,
    &verb_group_list,
    &verb_group_erase,
    &verb_group_remove,
    &verb_request_list,
    &verb_request_approve,
    &verb_request_deny,
    &verb_ledger_show,
    &verb_ledger_verify,
    &verb_ledger_export,
    &verb_keycopy_list,
    &verb_keycopy_destroyed,
    &verb_descriptor_prepare,
    &verb_descriptor_sign,
    &verb_descriptor_install,
    &verb_backup,
    &verb_restore,
    &verb_clock_accept,
    &verb_metrics,
    &verb_help,
    NULL,
};

static const struct verb_option common[] = {
    {OPTION_DIR, ROLE_OPTIONAL, NULL},
    {OPTION_JSON, ROLE_OPTIONAL, NULL},
    {OPTION_HELP, ROLE_IN_OPERANDS, NULL},
    {.id = OPTION_END},
};

const struct program program = {
    .name = "huskd",
    .about = "the authority that lets hosts open their vaults, or refuses, and\n"
             "destroys for ever what opens them.",
    .verbs = verbs,
    .options = huskd_options,
    .option_count = OPTIONS,
    .common = common,
    .place = OPTION_DIR,
    .completion_names = "    :\n",
    .prepare = huskd_prepare,
};
