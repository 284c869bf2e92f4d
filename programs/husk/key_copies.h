/* What opens the vaults of a host besides the authority that is told of it. */
#pragma once
#include "client/client.h"
#include "verb.h"

/* The whole list, as [{"kind","place"}], for this authority: keyslots that open without an authority, here or
 * in copies of the disk, exported ones, places of keyfiles, other authorities. Free with json_decref. */
must_check enum error_code key_copies_list(struct run *run, const struct client_pin *pin, json_t **ret_copies,
                                           struct error *reterr);
