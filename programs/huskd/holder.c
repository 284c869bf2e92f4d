#include "holder.h"

const char *holder_trouble(const struct authority_options *options)
{
    if (!options->holder)
        return "without --holder every image of this machine's disk, from now on, can open what this "
               "authority "
               "can; erasing cannot reach such images";
    return authority_has_holder_elsewhere(options) ? NULL
                                                   : "--holder lies on the filesystem of --dir: an image of "
                                                     "that disk has both, and can open what "
                                                     "this authority can; erasing cannot reach such images";
}

void holder_warn(struct run *run, const struct authority_options *options)
{
    const char *trouble = holder_trouble(options);
    if (trouble)
        report_warning(&run->report, "%s", trouble);
}
