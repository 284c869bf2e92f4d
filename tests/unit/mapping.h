/*
 * What the kernel says of the memory an address lies in.
 */
#pragma once
#include <stdio.h>
#include <string.h>

#include "unit.h"

/* AddressSanitizer replaces mlock by nothing, so what is locked can only be seen without it. */
#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
enum { MLOCK_WORKS = 0 };
#else
enum { MLOCK_WORKS = 1 };
#endif

/* As VmFlags of /proc/self/smaps names them. */
#define MAPPING_LOCKED " lo"
#define MAPPING_NOT_DUMPED " dd"

static inline bool mapping_has(const void *address, const char *flag)
{
    char line[512];
    bool inside = false, found = false;
    FILE *maps = fopen("/proc/self/smaps", "re");
    assert_non_null(maps);
    while (fgets(line, sizeof(line), maps)) {
        unsigned long first, behind;
        if (sscanf(line, "%lx-%lx ", &first, &behind) == 2)
            inside = (uintptr_t)address >= first && (uintptr_t)address < behind;
        else if (inside && !strncmp(line, "VmFlags:", 8))
            found = strstr(line, flag) != NULL;
    }
    fclose(maps);
    return found;
}
