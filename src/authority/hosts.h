/* Hosts and groups in the database. In the clerk's transaction, all of it. */
#pragma once
#include "authority/clerk.h"

#define HOST_NAME_SIZE 65

/* In SQL: it is not decided yet. As the index requests_open says it, so that it is found by that. */
#define REQUEST_IS_OPEN "state <= 1"
_Static_assert(POLICY_PENDING == 0 && POLICY_APPROVED == 1 && POLICY_GRANTED > 1, "REQUEST_IS_OPEN");

enum host_held { HOST_NOT_HELD, HOST_HELD, HOST_HELD_AFTER_RESTORE };

struct host {
    uint8_t id[MESSAGE_HOST_ID_SIZE];
    char name[HOST_NAME_SIZE];
    int64_t group_id;
    uint8_t identity[HPKE_KEY_SIZE];
    int64_t created_at_unix_s;
    bool is_confirmed;
    enum host_held held;
    bool is_erased;
    struct policy_lineage lineage;
    bool restore_accepted;
    bool has_live_boot;
    uint8_t live_boot[POLICY_TOKEN_SIZE];
};

/* 1 to 64 letters, digits, dots, underscores and dashes, and not what an id looks like. */
#define HOST_NAME_RULE                                                                                       \
    "a host's name is 1 to 64 letters, digits, \".\", \"_\" and \"-\", and not 32 hexadecimal digits, as "   \
    "an id is"
bool host_name_is_valid(const char *name);

/* ERR_NOT_FOUND. By its name the one that is not erased, or the newest of those that are. */
must_check enum error_code host_find(struct clerk *clerk, const uint8_t id[MESSAGE_HOST_ID_SIZE],
                                     struct host *ret_host, struct error *reterr);
must_check enum error_code host_find_by_name(struct clerk *clerk, const char *name, struct host *ret_host,
                                             struct error *reterr);
must_check enum error_code host_find_by_identity(struct clerk *clerk, const uint8_t identity[HPKE_KEY_SIZE],
                                                 struct host *ret_host, struct error *reterr);

/* A new one, not confirmed. */
must_check enum error_code host_insert(struct clerk *clerk, const struct host *host, struct error *reterr);

/* Write back what its messages and people can change: confirmed, held, lineage, restore_accepted, live boot;
 * and when it was last heard of. */
must_check enum error_code host_update(struct clerk *clerk, const struct host *host, struct error *reterr);

/* It belongs to that group from now on. What it asked for before and nobody decided is for people alone, all
 * of whom have to say so anew: no policy lets it in that was not there when it asked. Its scalars stay in the
 * buckets they are in. */
must_check enum error_code host_move(struct clerk *clerk, const struct host *host, int64_t group_id,
                                     struct error *reterr);

/* ERR_USAGE: it is no name; ERR_EXISTS: another host that is not erased has it. */
must_check enum error_code host_rename(struct clerk *clerk, const struct host *host, const char *name,
                                       struct error *reterr);

/* As policy sees it. */
struct policy_host host_for_policy(struct clerk *clerk, const struct host *host);

/* The lineage moves on, docs/protocol.md "Lineage": presented (NULL: none) is not stale. lineage->offered is
 * then what the host gets. True when something changed. */
bool lineage_advance(struct policy_lineage *lineage, const uint8_t *presented);

/* A stale lineage is the host's from now on. */
void lineage_accept(struct policy_lineage *lineage, const uint8_t *presented);

struct group {
    int64_t id;
    char name[HOST_NAME_SIZE];
    struct policy_group policy;
    json_t *document; /* as it is shown; owned; NULL from group_find */
};
void group_done(struct group *group);

/* ERR_NOT_FOUND. End with group_done. By its id without its document, which is what takes time to read. */
must_check enum error_code group_find(struct clerk *clerk, int64_t id, struct group *ret_group,
                                      struct error *reterr);
must_check enum error_code group_find_by_name(struct clerk *clerk, const char *name, struct group *ret_group,
                                              struct error *reterr);

/* Let go of what is kept between two of these. */
void group_forget(struct clerk *clerk);

/* Read a policy's document. ERR_USAGE names the member that is wrong. */
must_check enum error_code group_parse(json_t *document, struct policy_group *ret_policy,
                                       struct error *reterr);

/* The document of policy_default. NULL without memory. */
json_t *group_default_document(void);

/* Make a group, or give it another policy. */
must_check enum error_code group_write(struct clerk *clerk, const char *name, json_t *document,
                                       struct error *reterr);

/* One that has no hosts and no tokens that nobody used. Buckets that it leaves, with scalars of hosts that
 * were moved away, go to a group that one of those is in. */
must_check enum error_code group_remove(struct clerk *clerk, int64_t id, struct error *reterr);
