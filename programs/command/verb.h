/*
 * The table of verbs. One entry per verb says what it takes; synopsis, parser, help and bash completion are
 * all made from it. In each program verbs.c lists the entries, VERB.c holds each, options.c the options they
 * share (program.h).
 */
#pragma once
#include <stddef.h>

#include "base/error.h"

struct run;

/* Options by number: these, and from OPTION_OWN on those of the program. */
enum { OPTION_END = 0 /* ends a verb's list */, OPTION_JSON, OPTION_HELP, OPTION_OWN };

struct option_spec {
    const char *name;     /* without the two dashes */
    const char *argument; /* what its value is called, NULL when it takes none, "[=ID]" where it may lack */
    enum { OPTION_ONCE, OPTION_REPEATS } times;
    const char *help;
};

/* Those every program has. */
#define OPTION_SPECS_SHARED                                                                                  \
    [OPTION_JSON] = {"json", NULL, OPTION_ONCE, "print one JSON document on standard output"},               \
    [OPTION_HELP] = {"help", NULL, OPTION_ONCE, "print this text"}

enum option_role {
    ROLE_OPTIONAL,
    ROLE_REQUIRED,    /* the parser refuses without it */
    ROLE_CONFIRMING,  /* shown as required; the verb itself says what to type */
    ROLE_KEY,         /* one of the options meant by KEY in the synopsis */
    ROLE_IN_OPERANDS, /* the text of the operands names it already */
};

struct verb_option {
    unsigned id;
    enum option_role role;
    const char *help; /* NULL: the text of the option itself */
};

/* What acts tells also in JSON what is true now: result has a member "truths". */
enum verb_effect { VERB_ACTS, VERB_READS };
/* A place to work at: the program's prepare() is called. */
enum verb_needs { VERB_NEEDS_PLACE, VERB_NEEDS_NOTHING };

struct verb {
    const char *name;     /* one word, or two ("keyslot add") */
    const char *operands; /* as in the synopsis; "" for none */
    unsigned operands_least, operands_most;
    const char *key; /* how KEY stands in the synopsis, NULL where the verb takes none */
    const char *summary;
    const char *text; /* paragraphs separated by empty lines, without line breaks of their own */
    const struct verb_option *options; /* up to OPTION_END; without those every verb has */
    enum verb_needs needs;
    enum verb_effect effect;
    /* Does it. What is to be shown goes through run (run.h). */
    enum error_code (*act)(struct run *run, struct error *reterr);
};

/* Whether two-word verbs begin with this word: "keyslot". */
bool verb_is_first_word(const char *word);

/* The verb whose one or two words begin words. *ret_used is how many words it took. ERR_USAGE. */
must_check enum error_code verb_find(const char *const *words, size_t count, const struct verb **ret_verb,
                                     size_t *ret_used, struct error *reterr);

/* The first word of the verb's name, which names its JSON schema. Valid until the next call. */
const char *verb_schema_word(const struct verb *verb);

/* The n-th option a verb takes: its own first, then those of every verb. False past the last. */
struct verb_option_view {
    const struct option_spec *spec;
    unsigned id;
    enum option_role role;
    const char *help;
};
bool verb_option_at(const struct verb *verb, size_t n, struct verb_option_view *ret_view);
