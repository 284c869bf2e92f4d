/* The middle of an erase: scalars leave the database together with the bucket keys they were sealed under. */
#pragma once
#include "authority/clerk.h"

/* One transaction: every bucket that holds a scalar to be erased gets a new key, and its survivors under it;
 * the sealed scalars to be erased are gone; the keyring has the next generation. Nothing to do is fine. */
must_check enum error_code resealing_run(struct clerk *clerk, struct error *reterr);
