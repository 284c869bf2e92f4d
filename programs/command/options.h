/* Reading the words behind a verb, by its table. Prints nothing and knows no verb by name. */
#pragma once
#include "verb.h"

struct given_option {
    unsigned id;
    const char *value; /* of argv; NULL for an option without value */
};

struct arguments {
    const char **operands; /* owned array; the strings are argv's */
    size_t operand_count;
    struct given_option *given; /* owned */
    size_t given_count;
};

/* "--name value", "--name=value", operands in any order, "--" before operands that begin with a dash. --help
 * among them wins over everything else that is wrong. ERR_USAGE names the word that is wrong. */
must_check enum error_code options_parse(const struct verb *verb, const char *const *words, size_t count,
                                         struct arguments *ret_arguments, struct error *reterr);
void arguments_done(struct arguments *arguments);

bool argument_given(const struct arguments *arguments, unsigned id);
/* The value, NULL when not given; of one that repeats, the first. */
const char *argument_value(const struct arguments *arguments, unsigned id);

/* True when --json stands among the words, so that also an error in them can be told in JSON. */
bool options_want_json(const char *const *words, size_t count);
