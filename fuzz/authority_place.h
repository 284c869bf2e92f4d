/*
 * A real authority in a directory of its own, for targets that speak to it, and one host of it. Its clocks
 * go on with every look at them: nothing waits for real time, and all that has a time limit comes to its end.
 */
#pragma once
#include "authority/authority.h"
#include "message/message.h"

enum { PLACE_ID = 16 };

struct place_host {
    char name[32];
    struct secret *identity;
    uint8_t identity_public[HPKE_KEY_SIZE], id[PLACE_ID];
    char token[33], nonce[33], request[33], code[8], lineage[33], order[33]; /* of the last answers */
};

/* A new authority with a host that is enrolled, bound and opens by itself; where there is one already it is
 * used for some hundred hosts. */
void place_begin(struct place_host *host);
void place_end(struct place_host *host);

/* Replace strings that begin with '@' by what they stand for: "@nonce", "@request", "@keyslot", ... */
void place_fill_in(const struct place_host *host, json_t *value);

/* Say one message, from text as it is behind the seal, and wait for its answer: NULL unless it is a sealed
 * one. In mode base where is_auth is false. */
json_t *place_say(struct place_host *host, const char *text, size_t length, bool is_auth);

/* An operation of an administrator; result may be NULL. */
enum error_code place_operate(const char *operation, json_t *arguments, json_t **ret_result,
                              bool *ret_changed, struct error *reterr);
