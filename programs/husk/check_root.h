/* check --root and --boot. */
#pragma once
#include "verb.h"

must_check enum error_code check_root(struct run *run, struct error *reterr);
must_check enum error_code check_boot(struct run *run, struct error *reterr);
