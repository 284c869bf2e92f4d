/* What may be said at the end of an erase. Pure: facts in, verdict out. */
#pragma once
#include "erase/erase.h"

struct erase_facts {
    size_t steps_failed;     /* of the host's own part */
    size_t authorities_open; /* that have not answered with "erased" */
    size_t local_copies;     /* keyslots, here now or before, that open without an authority */
    size_t authority_copies; /* of authorities that answered: images of their disks, backups */
    bool key_in_memory;      /* files in use keep their keys */
    bool copies_unknown; /* vault.json could not be read, was not authenticated, or is not as husk wrote it */
    bool plaintext_left; /* in the clear on this disk, of a conversion that was cut short */
    bool plaintext_unproven; /* it is gone, but not all of it was overwritten in place */
};

enum erase_verdict erase_judge_keys(const struct erase_facts *facts);
enum erase_verdict erase_judge_plaintext(const struct erase_facts *facts);
