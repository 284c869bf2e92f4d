/*
 * Whether a request may open: a pure function of what is known of the host, its group's policy, the request,
 * its tickets, the approvals and the time. It reads nothing, keeps nothing and changes nothing: the authority
 * carries out what it says. Called anew whenever something changed, until the request is decided.
 *
 * What always holds: a host or group on hold, an erased host, a denied or expired request never opens. A
 * flagged request is never granted without people, whatever the group's policy says, nor is one of a boot of
 * which another was denied. An approval counts only for the flags its approver saw.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum policy_unlock { POLICY_AUTO, POLICY_TICKET, POLICY_APPROVE, POLICY_UNLOCKS };

/* "auto", "ticket", "approve". Static storage. */
const char *policy_unlock_word(enum policy_unlock unlock);
must_check enum error_code policy_unlock_parse(const char *word, enum policy_unlock *ret_unlock,
                                               struct error *reterr);

/* A network, in the form of an IPv6 one: IPv4 addresses are mapped (::ffff:0:0/96). */
struct policy_source {
    uint8_t address[16];
    unsigned prefix_bits; /* 0 to 128 */
};

/* "192.0.2.0/24", "2001:db8::/32", a single address. Bits behind the prefix must be zero. ERR_USAGE. */
must_check enum error_code policy_source_parse(const char *text, struct policy_source *ret_source,
                                               struct error *reterr);

/* False for an address that cannot be read. */
bool policy_source_contains(const struct policy_source *source, const char *address);

/* Days and times of the week, UTC. */
struct policy_window {
    uint8_t days;                    /* bit 0: Monday */
    uint16_t from_minute, to_minute; /* of the day; to before or at from reaches into the next day */
};

/* "08:00-18:00", "mon-fri 08:00-18:00", "sat,sun 22:00-04:00". ERR_USAGE. */
must_check enum error_code policy_window_parse(const char *text, struct policy_window *ret_window,
                                               struct error *reterr);
bool policy_window_contains(const struct policy_window *window, int64_t unix_s);

#define POLICY_SOURCES_MAXIMUM 32
#define POLICY_APPROVALS_MAXIMUM 8                           /* people a group can want */
#define POLICY_APPROVALS_READ (POLICY_APPROVALS_MAXIMUM + 1) /* and root, who counts alone only */

struct policy_group {
    enum policy_unlock unlock;
    unsigned approvals;                                   /* people, at least 1 */
    struct policy_source sources[POLICY_SOURCES_MAXIMUM]; /* none: from anywhere */
    unsigned source_count;
    bool has_window;
    struct policy_window window;
    int64_t liveness_s; /* 0: however long without heartbeat */
    int64_t request_ttl_s;
    int64_t ticket_ttl_s;
    bool held;
};

/* What a new group has: ticket, one approval, ten minutes for tickets, an hour for requests. */
extern const struct policy_group policy_default;

#define POLICY_TOKEN_SIZE 16 /* boot ids and lineage tokens */

enum policy_host_state { POLICY_HOST_ACTIVE, POLICY_HOST_HELD, POLICY_HOST_ERASED };

struct policy_lineage {
    bool has_current, has_offered;
    uint8_t current[POLICY_TOKEN_SIZE], offered[POLICY_TOKEN_SIZE];
};

enum policy_lineage_state {
    POLICY_LINEAGE_NEW,
    POLICY_LINEAGE_CURRENT,
    POLICY_LINEAGE_OFFERED,
    POLICY_LINEAGE_STALE
};

/* What a presented token (NULL: none) says, docs/protocol.md "Lineage". NEW: this host never stored one. */
enum policy_lineage_state policy_lineage_compare(const struct policy_lineage *lineage,
                                                 const uint8_t *presented);

struct policy_host {
    enum policy_host_state state;
    bool held_after_restore; /* why it is held */
    struct policy_lineage lineage;
    bool restore_accepted; /* the next stale lineage that is let in is the host's: people said so */
    bool was_seen;
    int64_t last_seen_unix_s; /* 0: not known when, which is too long ago for any liveness */
};

/* Reasons for which a request is never granted without people. */
enum policy_flag {
    POLICY_STALE_LINEAGE = 1 << 0,      /* an old copy of the disk */
    POLICY_OTHER_BOOT_ANSWERS = 1 << 1, /* another boot runs: one of the two is a copy */
    POLICY_TICKET_REUSED = 1 << 2,      /* the ticket opened another boot already */
    POLICY_TWO_REQUESTS = 1 << 3,       /* two boots of one host ask at once */
    POLICY_CLOCK = 1 << 4,              /* the authority's clock went back */
    POLICY_MOVED = 1 << 5,              /* the host came into this group while the request waited */
};
#define POLICY_FLAGS 6
extern const char *const policy_flag_words[POLICY_FLAGS];   /* "stale-lineage" … */
extern const char *const policy_flag_reasons[POLICY_FLAGS]; /* for people */

struct policy_approval {
    unsigned uid;   /* of who approved */
    unsigned flags; /* of the request, as they were shown then */
    bool restored;  /* this copy is the host from now on, not only once */
};

enum policy_request_state {
    POLICY_PENDING,
    POLICY_APPROVED,
    POLICY_GRANTED,
    POLICY_DENIED,
    POLICY_EXPIRED,
    POLICY_REQUEST_STATES
};
extern const char *const policy_request_words[POLICY_REQUEST_STATES];

struct policy_request {
    enum policy_request_state state;
    uint8_t boot[POLICY_TOKEN_SIZE];
    bool has_lineage;
    uint8_t lineage[POLICY_TOKEN_SIZE];
    bool planned; /* says the host */
    char address[64];
    int64_t expires_at_unix_s;
    unsigned flags;       /* found before: they stay */
    bool boot_was_denied; /* another request of its boot */
    /* What is so right now. */
    bool other_boot_answers;
    bool other_boot_asks;
    bool clock_went_back;
    const struct policy_approval *approvals;
    size_t approval_count;
};

enum policy_ticket_purpose { POLICY_TICKET_REBOOT, POLICY_TICKET_FINISH };

struct policy_ticket {
    bool exists;
    enum policy_ticket_purpose purpose;
    int64_t expires_at_unix_s;
    uint8_t taken_by[POLICY_TOKEN_SIZE]; /* boot id of the host that asked for it */
    bool is_used;
    uint8_t used_by[POLICY_TOKEN_SIZE]; /* boot id it is bound to; a finishing ticket binds to none */
};

enum policy_verdict { POLICY_GRANT, POLICY_ASK, POLICY_DENY };
enum policy_denial {
    POLICY_NOT_DENIED,
    POLICY_HELD,
    POLICY_ERASED,
    POLICY_REQUEST_DENIED,
    POLICY_REQUEST_EXPIRED
};

#define POLICY_REASONS_MAXIMUM 12

struct policy_decision {
    enum policy_verdict verdict;
    enum policy_denial denial;                   /* with POLICY_DENY */
    unsigned flags;                              /* those of the request and those found now */
    bool uses_ticket;                            /* with POLICY_GRANT: bind the ticket to this boot */
    unsigned approvals;                          /* distinct people whose approval counts */
    bool is_restored;                            /* enough of them said so */
    const char *reasons[POLICY_REASONS_MAXIMUM]; /* for people; static storage */
    unsigned reason_count;
};

void policy_decide(const struct policy_host *host, const struct policy_group *group,
                   const struct policy_request *request, const struct policy_ticket *ticket,
                   int64_t now_unix_s, struct policy_decision *ret_decision);

/* How many people these approvals are for a request with these flags, where needed are needed. One uid is one
 * person. uid 0 can act as any other: alone it may decide what one person may, and beside others it is
 * nobody, whatever name stands behind it. */
unsigned policy_count_people(const struct policy_approval *approvals, size_t count, unsigned flags,
                             unsigned needed);

/* Whether so many people as are needed said that this copy is the host from now on. */
bool policy_is_restored(const struct policy_approval *approvals, size_t count, unsigned flags,
                        unsigned needed);
