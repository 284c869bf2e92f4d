/* The free space that filling leaves: what others may need meanwhile, and what only root may use. */
#pragma once
#include "destroy/filling.h"

/* Overwrite what can be had of rest, for which filling gives back what it holds. All that filling holds is
 * overwritten and durable. rest is brought up to date: what is in it afterwards was not overwritten. */
must_check enum error_code free_rest_overwrite(struct filling *filling, struct free_map *rest,
                                               struct error *reterr);
