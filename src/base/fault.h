/*
 * Named places where tests make husk fail. In test builds (-Dfaults=true) the environment variable HUSK_FAULT
 * holds "NAME:ACTION[:N]" (several joined by commas): at the N-th hit (default 1) of NAME the process crashes
 * (SIGKILL to itself), pauses (SIGSTOP), or the place fails with ENOSPC or EIO. In other builds fault() is
 * the constant 0 and no name is compiled in. Use:
 *
 *     int injected = fault("convert.exchange");
 *     if (injected || renameat2(...) < 0)
 *         return error_set(reterr, ERR_FAILED, injected ? injected : errno, ...);
 *
 * A fault point that stands *after* a step only for crashing ignores the result:
 * (void)fault("convert.exchange.after").
 */
#pragma once

#ifdef HUSK_FAULTS
struct fault_point {
    const char *name;
};

#define fault(literal)                                                                                       \
    ({                                                                                                       \
        static const struct fault_point point_ __attribute__((section("husk_faults"), used)) = {literal};    \
        fault_hit(&point_);                                                                                  \
    })

/* Acts as HUSK_FAULT tells. Returns 0 or an errno. Thread-safe. */
int fault_hit(const struct fault_point *point);
#else
#define fault(literal) (0)
#endif

/* Calls each for every compiled-in name, sorted, each once; a build without fault points calls it never. */
void fault_list(void (*each)(const char *name, void *context), void *context);
