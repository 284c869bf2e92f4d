#include "boot/needed.h"

#include "base/cleanup.h"

bool needed_is(const struct vault *vault)
{
    static const char *const names[] = {"bin",    "etc",  "lib", "lib32", "lib64",
                                        "libx32", "sbin", "usr", "var"};
    for (size_t i = 0; i < vault->directory_count; i++)
        for (size_t k = 0; k < ARRAY_SIZE(names); k++)
            if (!strcmp(vault->directories[i].path, names[k]))
                return true;
    return false;
}
