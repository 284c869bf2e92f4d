/*
 * Orders to running hosts, in the database. In the clerk's transaction, all of it.
 *
 *     waiting → given (with a heartbeat, or a poll that is woken) → done (the host says so)
 *        │        │                                         └ erase, not done whole: given again
 *        └────────┴→ cancelled, but for an erase: given no more; a host that took it before carries it out
 *
 * An order is given with every heartbeat until it is done, and once to every boot by a poll.
 */
#pragma once
#include "authority/hosts.h"
#include "message/statement.h"

/* Make an order, write it into the ledger, wake the host. *ret_id is its id. */
must_check enum error_code order_insert(struct clerk *clerk, const struct host *host,
                                        enum order_action action, const char *actor,
                                        uint8_t ret_id[STATEMENT_ID_SIZE], struct error *reterr);

/* The host's order of that action that is not done. ERR_NOT_FOUND. */
must_check enum error_code order_find_open(struct clerk *clerk, const struct host *host,
                                           enum order_action action, uint8_t ret_id[STATEMENT_ID_SIZE],
                                           struct error *reterr);

/* Whether there is an order this boot did not get yet. */
must_check enum error_code orders_are_new(struct clerk *clerk, const struct host *host,
                                          const uint8_t boot[POLICY_TOKEN_SIZE], bool *ret_are_new,
                                          struct error *reterr);

/* "orders" of a result: all that are not done, signed, in the order they were made; the first 32. They are
 * given to boot then; NULL: told to who asked for something else, and given to nobody. */
must_check enum error_code orders_give(struct clerk *clerk, const struct host *host, const uint8_t *boot,
                                       json_t *result, struct error *reterr);

enum order_end { ORDER_OPEN, ORDER_IS_DONE, ORDER_IS_CANCELLED };

/* What the host says became of it. *ret_changed: it is not what it said before. */
enum order_progress { ORDER_REPORTED, ORDER_DONE };
must_check enum error_code order_report(struct clerk *clerk, const struct host *host,
                                        const uint8_t id[STATEMENT_ID_SIZE], enum order_progress progress,
                                        const char *outcome, const char *report, bool *ret_changed,
                                        struct error *reterr);
/* Given no more. One that is done or cancelled stays what it is. */
must_check enum error_code order_cancel(struct clerk *clerk, const struct host *host,
                                        const uint8_t id[STATEMENT_ID_SIZE], struct error *reterr);

/* ERR_NOT_FOUND. */
must_check enum error_code order_get_action(struct clerk *clerk, const struct host *host,
                                            const uint8_t id[STATEMENT_ID_SIZE],
                                            enum order_action *ret_action, struct error *reterr);

/* Every order to a host, the newest first, for people. */
must_check enum error_code orders_show(struct clerk *clerk, const struct host *host, json_t **ret_array,
                                       struct error *reterr);
