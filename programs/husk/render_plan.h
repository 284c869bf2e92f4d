/* The plan of a conversion, as check prints it and protect carries it out. */
#pragma once
#include "convert/convert.h"
#include "verb.h"

/* Text and the result of husk.check/1 and husk.protect/1; its findings move to the run and are shown. The
 * refusal (ERR_BUSY, ERR_DENIED) where some of them block.
 * vault_name may be NULL. */
must_check enum error_code plan_show(struct run *run, struct convert_plan *plan, const char *vault_name,
                                     struct error *reterr);
