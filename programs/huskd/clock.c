/* The verb about the authority's clock. */
#include "ask.h"

static enum error_code accept(struct run *run, struct error *reterr)
{
    json_t *result;
    enum error_code code = ask(run, NULL, &result, reterr);
    if (!code)
        report_truth(&run->report, "%s",
                     run->changed
                         ? "the clock is right now, as you declare; tickets and unused tokens of before "
                           "are void"
                         : "the clock is not behind: there is nothing to accept");
    return code;
}

const struct verb verb_clock_accept = {
    .name = "clock accept",
    .operands = "",
    .summary = "Declare that the clock is right, though it went back.",
    .text =
        "A clock that is more than a minute behind the last entry of the ledger, or behind where it was "
        "while huskd runs, went back: tickets and windows of time mean nothing then, and nothing opens "
        "without people until it has caught up. Where the clock was ahead before and is right now, this ends "
        "that, and nothing else does: who approves a request approves that one alone. It goes into the "
        "ledger; tickets and tokens that are not used yet are void. When a host was heard of by the clock "
        "that was ahead "
        "is unknown then (last_seen 0), until it is heard again, and too long ago for a group's liveness.",
    .options = (const struct verb_option[]){{.id = OPTION_END}},
    .effect = VERB_ACTS,
    .act = accept,
};
