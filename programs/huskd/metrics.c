#include "ask.h"

static enum error_code act(struct run *run, struct error *reterr)
{
    json_t *result;
    const char *text;
    enum error_code code = ask(run, NULL, &result, reterr);
    if (!code)
        code = json_get_string(result, "text", &text, reterr);
    if (!code)
        run_text(run, "%s", text);
    return code;
}

const struct verb verb_metrics = {
    .name = "metrics",
    .operands = "",
    .summary = "Print counters in the text format of Prometheus.",
    .text = "For the textfile collector of the node exporter, by a timer: huskd has no port for it.",
    .effect = VERB_READS,
    .act = act,
};
