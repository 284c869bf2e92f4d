/*
 * One run of one verb: what was asked, and what there is to tell. A verb writes text for people with
 * run_text() and fills result for JSON; both may always be done, the one that was not asked for goes nowhere.
 * run_finish() writes the rest: the findings, one line per thing that is now true, the error, or the one JSON
 * document.
 */
#pragma once
#include <jansson.h>
#include <pthread.h>

#include "base/finding.h"
#include "base/report.h"
#include "options.h"
#include "progress.h"

struct run {
    const struct verb *verb; /* NULL until it is known */
    struct arguments arguments;
    bool json;
    char *at;    /* owned; where the verb works: husk's --at, huskd's --dir, absolute */
    char *place; /* owned; of place_words, where at was given: goes with commands that are named */
    bool changed;
    json_t *result; /* owned, an object */
    struct finding_list findings;
    size_t findings_placed; /* that many have it in their remedies */
    size_t findings_shown;  /* that many were written as text already */
    struct progress progress;
    struct report report; /* for rooms; leads to progress and truths */
    pthread_mutex_t truth_mutex;
    const char *beside; /* the filesystem that truths are of, where a run meets several; NULL: not told */
    json_t *truths;     /* owned, an array of strings */
    int output_errno;   /* of the first write to standard output that failed */
};

must_check enum error_code run_init(struct run *run, struct error *reterr);
void run_done(struct run *run);

/* Text for people, on standard output. run_flush writes it out, before something is asked or a long step. */
void run_flush(struct run *run);
void run_text(struct run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What goes behind the verb of a command in text for people: " --at DIR", or "". */
const char *run_place(const struct run *run);

/* Write the findings not written yet as text. */
void run_show_findings(struct run *run);

/* A member of result; takes over value. Memory that runs out is told by run_finish. */
void run_result(struct run *run, const char *member, json_t *value);

/* True when questions can be asked: standard input is a terminal and so is standard error. */
bool run_can_ask(const struct run *run);

/* Ask a question that is answered by yes or no; anything but yes means no. ERR_INTERRUPTED. Only where
 * run_can_ask(). */
must_check enum error_code run_ask(struct run *run, const char *question, bool *ret_yes,
                                   struct error *reterr);

/* Write everything that is left and return the exit status. code is how the verb ended. */
int run_finish(struct run *run, enum error_code code, const struct error *error);

/* A JSON string of any bytes: what is not UTF-8 (a message cut in the middle) is escaped. */
json_t *json_text(const char *text);
