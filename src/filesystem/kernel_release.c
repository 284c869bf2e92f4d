#include "filesystem/kernel_release.h"

#include <errno.h>

bool kernel_release_will_do(const char *release)
{
    char *end;
    errno = 0;
    unsigned long major_number = strtoul(release, &end, 10);
    if (*release < '0' || *release > '9' || *end != '.' || end[1] < '0' || end[1] > '9')
        return false;
    unsigned long minor_number = strtoul(end + 1, NULL, 10);
    return errno == 0 && (major_number > KERNEL_LEAST_MAJOR ||
                          (major_number == KERNEL_LEAST_MAJOR && minor_number >= KERNEL_LEAST_MINOR));
}
