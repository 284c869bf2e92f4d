/* What a keyring without a holder elsewhere means, for who makes one. */
#pragma once
#include "authority/authority.h"
#include "verb.h"

/* NULL: all is well. */
const char *holder_trouble(const struct authority_options *options);

/* As a warning, where there is one. */
void holder_warn(struct run *run, const struct authority_options *options);
