/*
 * Hosts by number: all that host N is follows from its number, so that fill, which writes hosts into a
 * database, and those who play them agree without a file between them. Nobody should trust these hosts.
 */
#pragma once
#include "crypto/oprf.h"
#include "message/descriptor.h"
#include "message/message.h"

enum { PLAYER_ID_SIZE = 16, PLAYER_NAME_SIZE = 32 };

struct player {
    uint64_t number;
    char name[PLAYER_NAME_SIZE]; /* "load-0000042" */
    uint8_t id[PLAYER_ID_SIZE], keyslot[PLAYER_ID_SIZE], vault[PLAYER_ID_SIZE], boot[PLAYER_ID_SIZE];
    uint8_t blinded[OPRF_ELEMENT_SIZE]; /* a point; the same for all, nobody opens anything with it */
};

/* Read the descriptor of the authority from the file that load_tool fill left. */
must_check enum error_code player_start(const char *descriptor_path, struct error *reterr);

/* Who host number is, and its identity. */
void player_of(uint64_t number, struct player *ret_player);
must_check enum error_code player_identity(const struct player *player, struct secret **ret_identity,
                                           struct error *reterr);

/* {"type":…, "id":…} and the members of more, which is taken over (NULL: none), sealed by the host; appended
 * to wire. *ret_context opens the answer. */
must_check enum error_code player_seal(const struct player *player, const char *type, json_t *more,
                                       struct buffer *wire, struct hpke_context **ret_context,
                                       struct error *reterr);

/* The members of a first open, a poll and a heartbeat. lineage and nonce are hexadecimal or "" for none. NULL
 * without memory. */
json_t *player_open(const struct player *player);
json_t *player_poll(const struct player *player, int wait_s);
json_t *player_heartbeat(const struct player *player, const char *nonce, const char *lineage);
