/*
 * One job as a piece of the clerk's transaction: what it wrote can be undone alone.
 *
 * An open of a host that is confirmed does without the savepoint, which costs a copy of every page it writes:
 * it looks at all there is to refuse before it writes anything. If it fails behind that, the disk or memory
 * failed: then the transaction is lost, and all in it try again.
 */
#pragma once
#include "authority/clerk.h"

/* Call its handler. What came of it is in the job, or clerk->is_lost. */
void piece_handle(struct clerk *clerk, struct job *job);

/* For handlers, before they write what may have to be undone alone. Fine when it was called. */
must_check enum error_code piece_begin(struct clerk *clerk, struct error *reterr);
