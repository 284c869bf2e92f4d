#include "base/fault.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#ifdef HUSK_FAULTS
/* The linker gathers every fault_point between these two. */
extern const struct fault_point __start_husk_faults[];
extern const struct fault_point __stop_husk_faults[];

/* At least one point, so that the section exists in every program. */
static void self_point(void)
{
    (void)fault("base.self");
}

static int act(const char *action, size_t length)
{
    if (length == 5 && !memcmp(action, "crash", 5))
        kill(getpid(), SIGKILL);
    if (length == 5 && !memcmp(action, "pause", 5))
        raise(SIGSTOP); /* to this very thread: one for the process may let it run on a little */
    if (length == 6 && !memcmp(action, "enospc", 6))
        return ENOSPC;
    if (length == 3 && !memcmp(action, "eio", 3))
        return EIO;
    return 0;
}

/* One wish of HUSK_FAULT, "NAME:ACTION[:N]". The count of hits is kept per position in the variable. */
static int try_wish(const char *wish, size_t length, unsigned position, const char *name)
{
    static atomic_ulong hits[16];
    size_t name_length = strlen(name);
    if (position >= 16 || length <= name_length || memcmp(wish, name, name_length) ||
        wish[name_length] != ':')
        return 0;
    const char *action = wish + name_length + 1;
    size_t action_length = strcspn(action, ":,");
    unsigned long wanted = action[action_length] == ':' ? strtoul(action + action_length + 1, NULL, 10) : 1;
    return atomic_fetch_add(&hits[position], 1) + 1 == wanted ? act(action, action_length) : 0;
}

int fault_hit(const struct fault_point *point)
{
    const char *wishes = getenv("HUSK_FAULT");
    if (!wishes)
        return 0;
    for (unsigned position = 0; *wishes; position++) {
        size_t length = strcspn(wishes, ",");
        int injected = try_wish(wishes, length, position, point->name);
        if (injected)
            return injected;
        wishes += length + (wishes[length] == ',');
    }
    return 0;
}

static int by_name(const void *left, const void *right)
{
    return strcmp(((const struct fault_point *)left)->name, ((const struct fault_point *)right)->name);
}

void fault_list(void (*each)(const char *name, void *context), void *context)
{
    size_t count = (size_t)(__stop_husk_faults - __start_husk_faults);
    struct fault_point *points = calloc(count ? count : 1, sizeof(*points));
    if (!points)
        return;
    self_point();
    memcpy(points, __start_husk_faults, count * sizeof(*points));
    qsort(points, count, sizeof(*points), by_name);
    for (size_t i = 0; i < count; i++)
        if ((i == 0 || strcmp(points[i].name, points[i - 1].name)) && strcmp(points[i].name, "base.self"))
            each(points[i].name, context);
    free(points);
}
#else
void fault_list(void (*each)(const char *name, void *context), void *context)
{
    (void)each;
    (void)context;
}
#endif
