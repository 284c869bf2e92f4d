/*
 * What each operation of an administrator does: authority.h lists their words and arguments. operations.c
 * holds the table; a handler sets job->result and job->changed.
 */
#pragma once
#include "authority/requests.h"

must_check enum error_code operations_handle(struct clerk *clerk, struct job *job, struct error *reterr);

typedef enum error_code operation_handler(struct clerk *clerk, struct job *job, struct error *reterr);
operation_handler operation_token_create, operation_token_list, operation_token_revoke;
operation_handler operation_host_list, operation_host_show, operation_host_hold, operation_host_release,
    operation_host_lock, operation_host_power_off, operation_host_cancel, operation_host_erase,
    operation_host_accept_restore, operation_host_move, operation_host_rename;
operation_handler operation_clock_accept;
operation_handler operation_descriptor_prepare, operation_descriptor_install, operation_backup;
operation_handler operation_keycopy_list, operation_keycopy_destroyed;
operation_handler operation_group_set, operation_group_list, operation_group_erase, operation_group_remove;
operation_handler operation_request_list, operation_request_approve, operation_request_deny;
operation_handler operation_ledger_show, operation_ledger_verify, operation_ledger_export, operation_metrics;

/* An argument. ERR_USAGE when it is missing or of another type. */
must_check enum error_code argument_text(const struct job *job, const char *name, const char **ret_text,
                                         struct error *reterr);
/* An integer from least to most; where it is not given *ret_value stays. */
must_check enum error_code argument_integer(const struct job *job, const char *name, int64_t least,
                                            int64_t most, int64_t *ret_value, struct error *reterr);

/* The same of a length of time. */
must_check enum error_code argument_seconds(const struct job *job, const char *name, int64_t least,
                                            int64_t most, int64_t *ret_value, struct error *reterr);

/* The digits of an id of 16 bytes, or its first ones, at least digits_least of them: the bytes it begins with
 * are written over the beginning of both least and most, which the caller has filled with the lowest and the
 * highest there is. *ret_text is the argument. ERR_USAGE. */
must_check enum error_code argument_id(const struct job *job, const char *name, size_t digits_least,
                                       const char **ret_text, uint8_t *least, uint8_t *most,
                                       struct error *reterr);

/* Those that nobody used in time. */
must_check enum error_code tokens_forget_expired(struct clerk *clerk, struct error *reterr);

/* "alarms" in a result, where there are any: what people have to look after, [{"kind","cause","remedy"}]. */
must_check enum error_code operation_add_alarms(struct clerk *clerk, json_t *result, struct error *reterr);

/* As many regular files came with the request as it needs. ERR_USAGE. */
must_check enum error_code operation_check_files(const struct job *job, unsigned count, struct error *reterr);

/* The host its argument "host" means, by name or id. ERR_NOT_FOUND. */
must_check enum error_code operation_find_host(struct clerk *clerk, struct job *job, struct host *ret_host,
                                               struct error *reterr);
/* {"id","name"} of a host as the result. */
must_check enum error_code operation_name_host(struct job *job, const struct host *host,
                                               struct error *reterr);

/* Who asks, for people: "name (uid 1000)". */
#define OPERATION_ACTOR_SIZE 96
void operation_actor(const struct job *job, char text[OPERATION_ACTOR_SIZE]);

/* {"actor":…} with the name and uid of who asks, added to details of a ledger entry. */
must_check enum error_code operation_set_actor(const struct job *job, json_t *details, struct error *reterr);
