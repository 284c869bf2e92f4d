#include "verb.h"

const struct option_spec huskd_options[OPTIONS] = {
    OPTION_SPECS_SHARED,
    [OPTION_DIR] = {"dir", "DIR", OPTION_ONCE, "the authority's directory (default " HUSKD_DIRECTORY ")"},
    [OPTION_ROOT_OUT] =
        {"root-out", "F", OPTION_ONCE,
         "write the private key of the authority root to the new file F: the only copy, to be "
         "kept offline"},
    [OPTION_ADDRESS] = {"address", "URL", OPTION_REPEATS,
                        "where hosts reach this authority, http://HOST[:PORT][/PATH]; without PORT port 80"},
    [OPTION_HOLDER] = {"holder", "F", OPTION_ONCE,
                       "the file on another medium that seals the keyring and changes with it; a number is "
                       "added to its name"},
    [OPTION_LISTEN] = {"listen", "ADDR:PORT", OPTION_REPEATS,
                       "where to take messages; without it the sockets systemd hands over, else port 4875 "
                       "of every address"},
    [OPTION_TRUSTED_PROXY] = {"trusted-proxy", "CIDR", OPTION_REPEATS,
                              "a proxy in front: the address it forwards counts, and it has no limit of "
                              "connections"},
    [OPTION_CONNECTIONS] = {"connections", "N", OPTION_ONCE, "at most so many at a time (default 20000)"},
    [OPTION_CONNECTIONS_PER_ADDRESS] = {"connections-per-address", "N", OPTION_ONCE,
                                        "at most so many of one address (default 12000)"},
    [OPTION_CONNECTION_RATE] = {"connection-rate", "N", OPTION_ONCE,
                                "at most so many new ones a second of one address, ten seconds' worth at "
                                "once; and so many messages in vain, twenty seconds' worth (default 1000)"},
    [OPTION_GROUP] = {"group", "G", OPTION_ONCE, "the group of hosts"},
    [OPTION_EXPIRES] = {"expires", "TIME", OPTION_ONCE, "how long it may be used, as 30m, 1h, 2d"},
    [OPTION_CODE] = {"code", "C", OPTION_ONCE, "the four digits the host's console shows"},
    [OPTION_CONFIRM] = {"confirm", "NAME", OPTION_ONCE,
                        "the name again, so that nothing happens by accident"},
    [OPTION_UNLOCK] = {"unlock", "HOW", OPTION_ONCE,
                       "auto: hosts open by themselves; ticket: after an orderly reboot; approve: never "
                       "without a person"},
    [OPTION_APPROVALS] = {"approvals", "N", OPTION_ONCE, "how many people have to agree"},
    [OPTION_SOURCES] = {"sources", "CIDR", OPTION_REPEATS,
                        "opening is automatic only from these networks; none: from anywhere"},
    [OPTION_WINDOW] =
        {"window", "WHEN", OPTION_ONCE,
         "opening is automatic only at this time, UTC, as \"mon-fri 08:00-18:00\"; none: always"},
    [OPTION_LIVENESS] = {"liveness", "TIME", OPTION_ONCE,
                         "without a heartbeat for so long, auto asks a person too"},
    [OPTION_REQUEST_TTL] = {"request-ttl", "TIME", OPTION_ONCE, "how long a request waits for its decision"},
    [OPTION_TICKET_TTL] = {"ticket-ttl", "TIME", OPTION_ONCE, "how long a ticket for a reboot is good"},
    [OPTION_HELD] = {"held", "YES|NO", OPTION_ONCE, "yes: nothing of the group opens until it is no again"},
    [OPTION_RESTORED] = {"restored", NULL, OPTION_ONCE,
                         "this copy of the disk is the host from now on, not only once"},
    [OPTION_FROM] = {"from", "N", OPTION_ONCE, "from entry N on (default: the last ones)"},
    [OPTION_COUNT] = {"count", "N", OPTION_ONCE, "at most N entries (default 1000)"},
    [OPTION_CHECKPOINT] = {"checkpoint", "HEX", OPTION_REPEATS,
                           "a checkpoint that a host kept: the ledger has to hold what it saw"},
    [OPTION_ROOT] = {"root", "F", OPTION_ONCE, "the private key of the authority root, made by huskd init"},
    [OPTION_OUT] = {"out", "F", OPTION_ONCE, "write it to the new file F"},
    [OPTION_SAME_KEYS] = {"same-keys", NULL, OPTION_ONCE, "the keys of now: only addresses change"},
    [OPTION_BACKUP_KEY_OUT] = {"backup-key-out", "F", OPTION_ONCE,
                               "make the key that backups are sealed to, and write its private half to the "
                               "new file F: the only copy, to be kept offline"},
    [OPTION_ENVELOPE_OUT] = {"envelope-out", "F", OPTION_ONCE,
                             "write the envelope, the key copy, to the new file F"},
    [OPTION_BULK] = {"bulk", "F", OPTION_ONCE, "the bulk of the backup"},
    [OPTION_ENVELOPE] = {"envelope", "F", OPTION_ONCE, "its envelope"},
    [OPTION_BACKUP_KEY] = {"backup-key", "F", OPTION_ONCE, "the private backup key that was kept offline"},
    [OPTION_RECORD] = {"record", "F", OPTION_REPEATS,
                       "what was erased since: an export of the ledger, or signed erased answers"},
    [OPTION_KEEP] =
        {"keep", "TIME", OPTION_ONCE,
         "how long messages to the key of now are still read, as 12h, 2d; 0s: not at all (default 7d)"},
};

const enum option_kind huskd_option_kinds[OPTIONS] = {
    [OPTION_EXPIRES] = KIND_SECONDS,    [OPTION_APPROVALS] = KIND_NUMBER, [OPTION_SOURCES] = KIND_NETWORKS,
    [OPTION_WINDOW] = KIND_WINDOW,      [OPTION_LIVENESS] = KIND_SECONDS, [OPTION_REQUEST_TTL] = KIND_SECONDS,
    [OPTION_TICKET_TTL] = KIND_SECONDS, [OPTION_HELD] = KIND_YES_NO,      [OPTION_FROM] = KIND_NUMBER,
    [OPTION_COUNT] = KIND_NUMBER,       [OPTION_CHECKPOINT] = KIND_LIST,  [OPTION_ADDRESS] = KIND_LIST,
    [OPTION_KEEP] = KIND_SECONDS,
};
