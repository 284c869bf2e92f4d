/* The verb about the authority's clock. */
#include "ask.h"

static enum error_code accept(struct run *run, struct error *reterr)
{
    json_t *result;
    enum error_code code = ask(run, NULL, &result, reterr);
    if (!code && run->changed)
        report_truth(&run->report,
                     "the clock is right now, as you declare; tickets and unused tokens of before are "
                     "void");
    return code;
}

const struct verb verb_clock_accept = {
    .name = "clock accept",
    .operands = "",
    .summary = "Declare that the clock is right, though the ledger is ahead of it.",
    .text =
        "A clock that is more than a minute behind the last entry of the ledger went back: tickets and "
        "windows "
        "of time mean nothing then, and nothing opens without people until it has caught up. Where the clock "
        "was ahead when those entries were written and is right now, this ends that. It goes into the "
        "ledger.",
    .options = (const struct verb_option[]){{.id = OPTION_END}},
    .effect = VERB_ACTS,
    .act = accept,
};
