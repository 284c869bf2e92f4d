#include "network_note.h"

#include "base/cleanup.h"
#include "network/network.h"

void network_names(struct run *run, struct client *client)
{
    struct error why = ERROR_NONE;
    _cleanup_(json_freep) json_t *names = NULL;
    if (strcmp(run->at, "/") == 0 &&
        (network_read_names(run->at, &names, &why) || client_names_give(client, names, &why)))
        progress_message(&run->progress, why.message); /* it is written anew soon */
}

void network_note(struct run *run, const struct client *client)
{
    struct error why = ERROR_NONE;
    bool changed = false;
    _cleanup_(json_freep) json_t *names = NULL;
    if (strcmp(run->at, "/") != 0)
        return;
    enum error_code code = client ? client_names_get(client, &names, &why) : OK;
    if (!code)
        code = network_record(run->at, names, &changed, &run->findings, &why);
    if (!code && changed)
        report_truth(&run->report, "the network is recorded for the next boot");
    else if (code && code != ERR_NOT_FOUND)
        finding_add(&run->findings, FINDING_TELLS, "network-not-recorded", "/.husk/" NETWORK_FILE, why.remedy,
                    "the network could not be recorded for the next boot: %s", why.message);
}
