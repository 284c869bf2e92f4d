/* The user an authority's directory belongs to. */
#pragma once
#include "base/error.h"

/* Run by root on a directory of another user (systemd made it for the service), or before there is one on a
 * machine that has the user huskd: act as that user until owner_return, so that the service can open what is
 * made. A directory that is missing is made then. Nothing happens otherwise. */
must_check enum error_code owner_become(const char *directory, struct error *reterr);

/* Be root again, who made files elsewhere. */
void owner_return(void);
