/* What husk's verbs have in common: the options they take. Their table is in verbs.c. */
#pragma once
#include "command/run.h"

enum husk_option {
    OPTION_AT = OPTION_OWN,
    OPTION_VAULT,
    OPTION_KEYFILE,
    OPTION_PASSPHRASE_FILE,
    OPTION_RECOVERY_KEY_FILE,
    OPTION_RECOVERY_OUT,
    OPTION_WITH_KEYFILE,
    OPTION_WITH_PASSPHRASE_FILE,
    OPTION_WITH_RECOVERY_KEY_FILE,
    OPTION_ENABLE_FEATURE,
    OPTION_SKIP_FREE_SPACE,
    OPTION_ABORT,
    OPTION_ALL,
    OPTION_ACCEPT_CHANGES,
    OPTION_CONFIRM,
    OPTION_CERTIFICATE,
    OPTION_AUTHORITY,
    OPTION_ALLOW_BYPASS,
    OPTION_WAIT,
    OPTION_TOKEN,
    OPTION_TOKEN_FILE,
    OPTION_NAME,
    OPTION_FINISH,
    OPTION_ROOT,
    OPTION_COMMIT,
    OPTION_NO_RECOVERY,
    OPTION_SWAP,
    OPTION_BOOT,
    OPTION_NETWORK,
    OPTION_DHCP,
    OPTION_CONSOLE,
    OPTIONS
};

/* By number. */
extern const struct option_spec husk_options[OPTIONS];

/* Fills run->at with --at, resolved: absolute, without symlinks. ERR_DENIED where husk is not run by root. */
must_check enum error_code husk_prepare(struct run *run, struct error *reterr);
