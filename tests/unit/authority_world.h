/* An authority in a directory of its own with a clock of the test's, and hosts that talk to it, all in this
 * process. Everything asserts. */
#pragma once
#include <stdatomic.h>

#include "unit.h"

#include "authority/authority.h"
#include "message/descriptor.h"
#include "message/message.h"

enum { WORLD_ID = 16, WORLD_ELEMENT = 32, WORLD_WAIT_NONE = 0 };
#define WORLD_START_S INT64_C(1770000000)

struct world {
    char directory[128];
    char holder[160]; /* empty: none */
    atomic_llong now_s;
    struct clock clock;
    struct authority *authority;
};

void world_make(struct world *world, const char *holder_name);
void world_open(struct world *world);
void world_close(struct world *world);
void world_reopen(struct world *world);
void world_remove(struct world *world);
void world_pass(struct world *world, int64_t seconds);

/* One number out of the database, or what changes it; 0 where there is none. */
int64_t world_count(struct world *world, const char *sql);

/* How many files of keyrings there are, temporary ones too. */
unsigned world_keyrings(struct world *world);

/* An administrator's operation with uid; arguments as for json_pack, or NULL. Free the result. */
json_t *world_operate(struct world *world, const char *operation, json_t *arguments);
enum error_code world_try(struct world *world, unsigned uid, const char *operation, json_t *arguments,
                          json_t **ret_result, bool *ret_changed, struct error *reterr);

struct world_keyslot {
    uint8_t id[WORLD_ID], vault[WORLD_ID], x[WORLD_ELEMENT];
    uint8_t output[64]; /* of the OPRF at bind */
};

struct world_host {
    struct world *world;
    char name[32];
    struct secret *identity;
    uint8_t identity_public[HPKE_KEY_SIZE], id[WORLD_ID], boot[WORLD_ID], nonce[WORLD_ID], lineage[WORLD_ID];
    bool has_nonce, has_lineage, planned;
    bool was_in_vain; /* what the last answer was the answer to */
    struct descriptor descriptor;
    uint8_t message_key[HPKE_KEY_SIZE];
    struct buffer last_wire; /* the last message as it was sent */
    char peer[64];
};

void host_make(struct world_host *host, struct world *world, const char *name);
void host_done(struct world_host *host);
void host_boot(struct world_host *host); /* another boot id; no nonce */

/* A message in the making, with type and id. */
json_t *host_message(const char *type);

/* Send it and wait for the answer's object (NULL: a descriptor came). Nonce and id are added where they are
 * missing; a stale nonce is answered by sending again. Takes over message. */
json_t *host_send(struct world_host *host, json_t *message);

/* Sent, and to be waited for later. */
struct pending {
    struct world_host *host;
    struct hpke_context *context;
    struct buffer answer;
    pthread_mutex_t mutex;
    pthread_cond_t done;
    bool is_done, in_vain;
};
struct pending *host_post(struct world_host *host, json_t *message);
bool pending_is_done(struct pending *pending);
json_t *pending_take(struct pending *pending);

/* The bytes of the last message again: the whole answer as it comes. */
enum answer_kind host_replay(struct world_host *host, const struct buffer *wire, struct buffer *answer);

void host_enroll(struct world_host *host, const char *group);
json_t *host_enroll_with(struct world_host *host, const char *token); /* the answer */
void host_bind(struct world_host *host, struct world_keyslot *keyslot);
/* One that the test does not open with; keyslot gets its ids. */
json_t *bind_message(struct world_keyslot *keyslot);
void keyslot_draw(struct world_keyslot *keyslot);

/* An open of this boot, being made and asked again. */
struct world_open {
    struct world_host *host;
    struct world_keyslot *keyslot;
    struct secret *blind;
    uint8_t blinded[WORLD_ELEMENT];
    char request[33];
    char code[8];
};
json_t *open_message(struct world_open *open, struct world_host *host, struct world_keyslot *keyslot,
                     int wait_s);
json_t *open_first(struct world_open *open, struct world_host *host, struct world_keyslot *keyslot,
                   int wait_s);
json_t *open_again_message(struct world_open *open, int wait_s);
json_t *open_again(struct world_open *open, int wait_s);
void open_done(struct world_open *open);
/* It is granted, the evaluation gives the output of the binding, the lineage is taken. Takes over answer. */
void assert_granted(struct world_open *open, json_t *answer);
/* Takes over answer. */
void assert_state(json_t *answer, const char *state);
void assert_refused(json_t *answer, const char *code);
bool has_flag(json_t *answer, const char *flag);
bool has_entry(struct world *world, const char *kind);
json_t *poll_message(struct world_host *host, int wait_s);
void host_heartbeat(struct world_host *host);
/* The group's policy. */
void group_set(struct world *world, const char *group, const char *option, json_t *value);
void host_ticket(struct world_host *host, const char *purpose);
json_t *approve(struct world *world, unsigned uid, const char *request, const char *code);
