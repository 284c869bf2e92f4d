#include "verb.h"

#include "command/program.h"

extern const struct verb verb_agent, verb_boot, verb_check, verb_enroll, verb_erase, verb_help, verb_ticket,
    verb_keyslot_add, verb_keyslot_export, verb_keyslot_list, verb_keyslot_remove, verb_lock, verb_protect,
    verb_status, verb_unlock, verb_unprotect;

/* In the order help tells them. */
static const struct verb *const verbs[] = {
    &verb_check,
    &verb_protect,
    &verb_unprotect,
    &verb_unlock,
    &verb_lock,
    &verb_status,
    &verb_keyslot_list,
    &verb_keyslot_add,
    &verb_keyslot_remove,
    &verb_keyslot_export,
    &verb_enroll,
    &verb_ticket,
    &verb_agent,
    &verb_boot,
    &verb_erase,
    &verb_help,
    NULL,
};

static const struct verb_option common[] = {
    {OPTION_AT, ROLE_OPTIONAL, NULL},
    {OPTION_JSON, ROLE_OPTIONAL, NULL},
    {OPTION_HELP, ROLE_IN_OPERANDS, NULL},
    {.id = OPTION_END},
};

/* The names of the vaults of the host --at means. */
static const char completion_names[] =
    "    local i at=/ roots root mount type path\n"
    "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
    "        [[ ${COMP_WORDS[i]} == --at ]] && at=${COMP_WORDS[i + 1]}\n"
    "    done\n"
    "    at=${at%/}\n"
    "    roots=(\"$at\")\n"
    "    while read -r _ mount type _; do\n"
    "        printf -v mount %b \"$mount\"\n"
    "        [[ $type == ext4 && $mount == \"$at\"/?* ]] && roots+=(\"$mount\")\n"
    "    done < /proc/self/mounts\n"
    "    for root in \"${roots[@]}\"; do\n"
    "        for path in \"$root\"/.husk/vaults/*/vault.json; do\n"
    "            path=${path%/vault.json}\n"
    "            [[ -f $path/vault.json ]] && printf '%s\\n' \"${path##*/}\"\n"
    "        done\n"
    "    done\n";

const struct program program = {
    .name = "husk",
    .about = "encrypt directories of a running server in place, and destroy\n"
             "their key when they are given up.",
    .verbs = verbs,
    .options = husk_options,
    .option_count = OPTIONS,
    .common = common,
    .place = OPTION_AT,
    .elsewhere = "--commit", /* on the booted host */
    .all_the_same = "--confirm",
    .completion_names = completion_names,
    .prepare = husk_prepare,
};
