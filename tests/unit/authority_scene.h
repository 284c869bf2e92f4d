/* What the authority's tests begin with: an authority and one enrolled host with one keyslot, in a group
 * "auto" that opens by itself. */
#pragma once
#include "authority_world.h"

struct scene {
    struct world world;
    struct world_host host;
    struct world_keyslot keyslot;
};

int scene_start(void **state);
int scene_start_with_holder(void **state); /* of its keyring */
int scene_end(void **state);

/* The medium of the holder is not mounted, or is again. */
void scene_move_holder(struct scene *scene, bool away);

/* A second host, in the same group, with a keyslot. */
void scene_another(struct scene *scene, struct world_host *host, struct world_keyslot *keyslot);

/* Boot anew, open, and it is granted: at once, or after the three seconds in which an earlier boot is asked.
 */
void scene_opens(struct world_host *host, struct world_keyslot *keyslot);

/* Open, expected to be flagged. The request stays pending. */
void assert_flagged(struct world_open *open, struct world_host *host, struct world_keyslot *keyslot,
                    const char *flag);

/* The host's disk as it is now, booted elsewhere. Its last_wire is for the caller to end. */
struct world_host copy_disk(const struct world_host *host);

/* A copy of the host's disk from before its last two boots, booted. */
struct world_host old_copy(struct scene *scene);

/* The question in the answer to a poll, as long as that lives. */
const char *probe_in(const json_t *probed);

/* The host says by a heartbeat that it still runs. */
void answer_probe(struct world_host *host, const char *probe);

/* Ask for a ticket for a reboot; the answer. */
json_t *ask_ticket(struct world_host *host);

/* The authority as one that was restored from a backup, and has heard no host since. */
void scene_was_restored(struct scene *scene);

/* The administrator uid says that what asks is the host from now on. */
void scene_approve_restored(struct scene *scene, unsigned uid, const struct world_open *open);

#define scene_test(name) cmocka_unit_test_setup_teardown(name, scene_start, scene_end)
#define holder_test(name) cmocka_unit_test_setup_teardown(name, scene_start_with_holder, scene_end)
