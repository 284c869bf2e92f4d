#include "crypto/memory.h"

#include <limits.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"

enum { FILE_MAXIMUM = 64 << 10 };

/* The two versions of control groups say the same in different words. */
struct dialect {
    const char *controllers; /* the second field in /proc/self/cgroup */
    const char *root;
    const char *limit, *usage;
    const char *inactive, *active; /* members of memory.stat: file pages that can be dropped */
};
static const struct dialect dialects[] = {
    {"", "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file ", "active_file "},
    {"memory", "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
     "total_inactive_file ", "total_active_file "},
};

/* The number behind label at the start of a line, 0 where there is none. */
static uint64_t labelled_number(const char *text, const char *label)
{
    size_t length = strlen(label);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (!strncmp(line, label, length))
            return strtoull(line + length, NULL, 10);
    }
    return 0;
}

static void buffer_donep(struct buffer *buffer)
{
    buffer_done(buffer);
}

/* One file of a control group as text; empty where it cannot be read. */
static void read_group_file(int root_fd, const char *group, const char *name, struct buffer *text)
{
    char path[PATH_MAX];
    if ((size_t)snprintf(path, sizeof(path), "%s/%s", group, name) >= sizeof(path) ||
        file_read(root_fd, path, FILE_MAXIMUM, text, NULL) != OK)
        buffer_done(text);
}

/* Lower memory to what one control group leaves. */
static void apply_group(int root_fd, const struct dialect *dialect, const char *group, struct memory *memory)
{
    _cleanup_(buffer_donep) struct buffer limit_text = {0}, usage_text = {0}, stat_text = {0};
    read_group_file(root_fd, group, dialect->limit, &limit_text);
    if (!limit_text.data || limit_text.data[0] < '0' || limit_text.data[0] > '9') /* "max", or no file */
        return;
    uint64_t limit = strtoull(limit_text.data, NULL, 10);
    if (limit < memory->total_bytes)
        memory->total_bytes = limit;

    read_group_file(root_fd, group, dialect->usage, &usage_text);
    read_group_file(root_fd, group, "memory.stat", &stat_text);
    uint64_t usage = usage_text.data ? strtoull(usage_text.data, NULL, 10) : 0;
    uint64_t droppable = 0;
    if (stat_text.data)
        droppable = labelled_number(stat_text.data, dialect->inactive) +
                    labelled_number(stat_text.data, dialect->active);
    uint64_t held = usage > droppable ? usage - droppable : 0;
    uint64_t left = limit > held ? limit - held : 0;
    if (left < memory->available_bytes)
        memory->available_bytes = left;
}

/* This process's group and every group above it limit it. */
static void apply_groups(int root_fd, const struct dialect *dialect, const char *path, size_t path_length,
                         struct memory *memory)
{
    char group[PATH_MAX];
    size_t root_length = strlen(dialect->root);
    if ((size_t)snprintf(group, sizeof(group), "%s%.*s", dialect->root, (int)path_length, path) >=
        sizeof(group))
        return;
    for (;;) {
        apply_group(root_fd, dialect, group, memory);
        char *slash = strrchr(group, '/');
        if (!slash || (size_t)(slash - group) < root_length)
            return;
        *slash = '\0';
    }
}

/* True when controllers, a list with commas, has the dialect's controller. */
static bool has_controller(const char *controllers, size_t length, const char *wanted)
{
    if (!*wanted)
        return length == 0;
    size_t wanted_length = strlen(wanted);
    for (size_t at = 0; at < length;) {
        size_t end = at;
        while (end < length && controllers[end] != ',')
            end++;
        if (end - at == wanted_length && !memcmp(controllers + at, wanted, wanted_length))
            return true;
        at = end + 1;
    }
    return false;
}

/* Lines of /proc/self/cgroup are "NUMBER:CONTROLLERS:PATH" (cgroups(7)). */
static void apply_control_groups(int root_fd, struct memory *memory)
{
    _cleanup_(buffer_donep) struct buffer text = {0};
    if (file_read(root_fd, "proc/self/cgroup", FILE_MAXIMUM, &text, NULL) != OK)
        return;
    for (const char *line = text.data; *line;) {
        size_t line_length = strcspn(line, "\n");
        const char *controllers = memchr(line, ':', line_length);
        const char *path = NULL;
        if (controllers) {
            controllers++;
            path = memchr(controllers, ':', line_length - (size_t)(controllers - line));
        }
        for (size_t i = 0; path && i < ARRAY_SIZE(dialects); i++)
            if (has_controller(controllers, (size_t)(path - controllers), dialects[i].controllers))
                apply_groups(root_fd, &dialects[i], path + 1, line_length - (size_t)(path + 1 - line),
                             memory);
        line += line_length + (line[line_length] == '\n');
    }
}

enum error_code memory_read(int root_fd, struct memory *ret_memory, struct error *reterr)
{
    _cleanup_(buffer_donep) struct buffer text = {0};
    enum error_code code = file_read(root_fd, "proc/meminfo", FILE_MAXIMUM, &text, reterr);
    if (code)
        return error_set(reterr, ERR_FAILED, 0,
                         "cannot read /proc/meminfo to learn how much memory there is");
    struct memory memory = {
        .total_bytes = labelled_number(text.data, "MemTotal:") << 10,
        .available_bytes =
            (labelled_number(text.data, "MemAvailable:") + labelled_number(text.data, "SwapFree:")) << 10,
    };
    if (memory.total_bytes == 0)
        return error_set(reterr, ERR_FAILED, 0, "/proc/meminfo does not say how much memory there is");
    apply_control_groups(root_fd, &memory);
    *ret_memory = memory;
    return OK;
}
