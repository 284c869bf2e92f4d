/* Carrying out what an authority orders: by running husk itself, as a person would. */
#pragma once
#include "client/client.h"
#include "verb.h"

/* Tell the authorities that this boot runs, as long as an order is carried out: until the machine is off it
 * has the key of what is in use, and another boot, or a copy's, is not to be believed that all is gone. */
struct orders_alive {
    void (*tell)(void *context);
    void *context;
};

/*
 * Check orders as they came, carry out what is new or was not done whole, and answer. What is refused and
 * what cannot be done becomes a finding. ERR_UNREACHABLE when an answer did not get through: it is kept, and
 * told with the next call. *ret_left is whether an order is still to be done. Blocks as long as the vaults
 * take; a signal does not keep it from finishing what it began.
 */
must_check enum error_code orders_carry_out(struct run *run, struct client *client, struct client_pin *pin,
                                            const json_t *given, const struct orders_alive *alive,
                                            bool *ret_left, struct error *reterr);

/* Begin an orderly shutdown of this machine, and return. ERR_UNSUPPORTED where at is not the system that runs
 * on it, or systemd does not run it. */
must_check enum error_code power_off(const char *at, struct error *reterr);
