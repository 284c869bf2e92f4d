/* What huskd's verbs have in common: the options they take. Their table is in verbs.c. */
#pragma once
#include "command/run.h"

enum huskd_option {
    OPTION_DIR = OPTION_OWN,
    OPTION_ROOT_OUT,
    OPTION_ADDRESS,
    OPTION_HOLDER,
    OPTION_LISTEN,
    OPTION_TRUSTED_PROXY,
    OPTION_CONNECTIONS,
    OPTION_CONNECTIONS_PER_ADDRESS,
    OPTION_CONNECTION_RATE,
    OPTION_GROUP,
    OPTION_EXPIRES,
    OPTION_CODE,
    OPTION_RESTORED,
    OPTION_CONFIRM,
    OPTION_UNLOCK,
    OPTION_APPROVALS,
    OPTION_SOURCES,
    OPTION_WINDOW,
    OPTION_LIVENESS,
    OPTION_REQUEST_TTL,
    OPTION_TICKET_TTL,
    OPTION_HELD,
    OPTION_FROM,
    OPTION_COUNT,
    OPTION_CHECKPOINT,
    OPTION_ROOT,
    OPTION_OUT,
    OPTION_SAME_KEYS,
    OPTION_BACKUP_KEY_OUT,
    OPTION_ENVELOPE_OUT,
    OPTION_BULK,
    OPTION_ENVELOPE,
    OPTION_BACKUP_KEY,
    OPTION_RECORD,
    OPTION_KEEP,
    OPTIONS
};

/* By number. */
extern const struct option_spec huskd_options[OPTIONS];

/* How the value of an option goes into the arguments of an operation. Networks and a window can be "none". */
enum option_kind { KIND_TEXT, KIND_SECONDS, KIND_NUMBER, KIND_LIST, KIND_YES_NO, KIND_NETWORKS, KIND_WINDOW };
extern const enum option_kind huskd_option_kinds[OPTIONS];

/* The default of --dir. */
#define HUSKD_DIRECTORY "/var/lib/huskd"
/* The user and the group of a packaged huskd. */
#define HUSKD_USER "huskd"

/* Fills run->at with --dir, absolute. It need not be there. */
must_check enum error_code huskd_prepare(struct run *run, struct error *reterr);
