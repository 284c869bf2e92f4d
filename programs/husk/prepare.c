/* Before a verb acts: who runs it, and on which host. */
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "secret/secret.h"
#include "verb.h"

static enum error_code resolve_at(struct run *run, struct error *reterr)
{
    const char *at = argument_value(&run->arguments, OPTION_AT);
    run->at = realpath(at ? at : "/", NULL);
    if (!run->at) {
        error_set(reterr, errno == ENOENT ? ERR_NOT_FOUND : ERR_FAILED, errno, "cannot open --at %s",
                  text_shown(at ? at : "/"));
        return error_remedy(reterr, "name the directory where the root of the host is mounted");
    }
    struct stat status;
    if (stat(run->at, &status) < 0 || !S_ISDIR(status.st_mode))
        return error_set(reterr, ERR_USAGE, 0, "--at %s is no directory", text_shown(run->at));
    return OK;
}

enum error_code husk_prepare(struct run *run, struct error *reterr)
{
    if (geteuid() != 0) {
        error_set(reterr, ERR_DENIED, 0, "husk %s has to be run by root", run->verb->name);
        error_remedy(reterr, "run it with sudo");
        return ERR_DENIED;
    }
    enum error_code code = resolve_at(run, reterr);
    return code ? code : secret_start(reterr);
}
