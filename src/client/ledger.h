/*
 * What a host keeps of an authority's ledger: authorities/ID.ledger,
 *   {"version":1,"kept":[CHECKPOINT...],"differs":CHECKPOINT|null}
 * each checkpoint as it was signed, in hexadecimal: the highest of every epoch, and the first that did not go
 * on from one of them. For the files of this room.
 */
#pragma once
#include "client/client.h"
#include "ledger/ledger.h"

#define CLIENT_EPOCHS_MAXIMUM 8 /* the newest are kept */

struct client_checkpoint {
    struct ledger_checkpoint head;
    char text[2 * LEDGER_CHECKPOINT_MAXIMUM + 1]; /* as signed, in hexadecimal */
};

struct client_ledger {
    struct client_checkpoint kept[CLIENT_EPOCHS_MAXIMUM]; /* by epoch, ascending */
    size_t count;
    bool differs;
    struct client_checkpoint different;
};

must_check enum error_code client_ledger_parse(const char *text, size_t length,
                                               struct client_ledger *ret_ledger, struct error *reterr);
must_check enum error_code client_ledger_format(const struct client_ledger *ledger, struct buffer *text,
                                                struct error *reterr);

/* Whether a checkpoint goes on from what is kept. Pure. LEDGER_ADVANCES: it is to be kept. */
enum client_ledger_step { LEDGER_STANDS, LEDGER_ADVANCES, LEDGER_DIFFERS };
enum client_ledger_step client_ledger_compare(const struct client_ledger *ledger,
                                              const struct ledger_checkpoint *checkpoint);
/* Keep one that advances; of a newer epoch, it ends the alarm too: the authority was restored, and says so.
 */
void client_ledger_keep(struct client_ledger *ledger, const struct client_checkpoint *checkpoint);

/* As it is on disk; empty where there is no file, or none that can be read. */
void client_ledger_read(struct client *client, const struct client_pin *pin,
                        struct client_ledger *ret_ledger);

/* "checkpoint" of a message: the highest kept, where there is one. */
must_check enum error_code client_ledger_set(struct client *client, const struct client_pin *pin,
                                             json_t *message, struct error *reterr);

/* Look at the checkpoint of an answer, {"signed":…}. before is what was kept when the message was sent: an
 * answer that overtook another one is no alarm. One whose signature does not fit is passed over: the signing
 * key may have changed. Keeping it is tried, and no error. */
void client_ledger_watch(struct client *client, const struct client_pin *pin,
                         const struct client_ledger *before, const json_t *checkpoint);
