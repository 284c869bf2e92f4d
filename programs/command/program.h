/*
 * What a program says about itself; the rest (finding the verb, its options, help, completion, JSON) is the
 * same for all and lives here. Each program defines one `program`, and main() calls program_main().
 */
#pragma once
#include "verb.h"

struct program {
    const char *name;                  /* begins messages, schemas and synopses */
    const char *about;                 /* one sentence, broken into lines, for the overview */
    const struct verb *const *verbs;   /* NULL ends the list; in the order help tells them */
    const struct option_spec *options; /* by option id */
    unsigned option_count;
    const struct verb_option *common; /* what every verb takes besides its own, up to OPTION_END */
    unsigned place; /* the option that says where a verb works, to be named with commands; 0 for none */
    const char *elsewhere;        /* but not with a command that has this word; NULL where there is none */
    const char *all_the_same;     /* unless it has this one too; NULL as well */
    const char *completion_names; /* body of a bash function printing what NAME may be */
    /* Before a verb acts that does not say VERB_NEEDS_NOTHING: fills run->at. */
    enum error_code (*prepare)(struct run *run, struct error *reterr);
};
extern const struct program program;

int program_main(int argc, char **argv);
