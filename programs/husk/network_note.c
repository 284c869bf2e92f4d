#include "network_note.h"

#include "base/cleanup.h"
#include "network/network.h"

void network_note(struct run *run)
{
    struct error why = ERROR_NONE;
    bool changed = false;
    if (strcmp(run->at, "/") != 0)
        return;
    enum error_code code = network_record(run->at, &changed, &run->findings, &why);
    if (!code && changed)
        report_truth(&run->report, "the network is recorded for the next boot");
    else if (code && code != ERR_NOT_FOUND)
        finding_add(&run->findings, FINDING_TELLS, "network-not-recorded", "/.husk/" NETWORK_FILE, why.remedy,
                    "the network could not be recorded for the next boot: %s", why.message);
}
