/* What the database says of the authority itself. */
#pragma once
#include "authority/clerk.h"

/* Fill the clerk's epoch, keyring and face. The keyring is read from its file, unless the clerk has one,
 * which then must be of the generation the database says. ERR_CORRUPT when database, keyring and descriptor
 * are not of one another. */
must_check enum error_code state_read(struct clerk *clerk, struct error *reterr);
