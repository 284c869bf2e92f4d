#include "base/finding.h"

#include <stdarg.h>

static bool has_room(struct finding_list *list)
{
    if (list->count == FINDING_MAXIMUM)
        return false;
    if (list->count < list->capacity)
        return true;
    size_t capacity = list->capacity ? list->capacity * 2 : 8;
    struct finding *items = realloc(list->items, capacity * sizeof(*items));
    if (!items)
        return false;
    list->items = items;
    list->capacity = capacity;
    return true;
}

static void finding_done(struct finding *finding)
{
    free(finding->kind);
    free(finding->subject);
    free(finding->cause);
    free(finding->remedy);
    *finding = (struct finding){0};
}

static bool same(const struct finding *left, const struct finding *right)
{
    return left->blocks == right->blocks && !strcmp(left->subject, right->subject) &&
           !strcmp(left->kind, right->kind) && !strcmp(left->cause, right->cause) &&
           !strcmp(left->remedy, right->remedy);
}

/* Takes over a complete finding. */
static void add_once(struct finding_list *list, struct finding finding)
{
    for (size_t i = 0; i < list->count; i++) {
        if (same(&list->items[i], &finding)) {
            finding_done(&finding);
            return;
        }
    }
    if (has_room(list)) {
        list->items[list->count++] = finding;
        return;
    }
    finding_done(&finding);
    list->dropped++;
}

void finding_add(struct finding_list *list, enum finding_weight weight, const char *kind, const char *subject,
                 const char *remedy, const char *cause_format, ...)
{
    char *cause = NULL;
    va_list arguments;
    va_start(arguments, cause_format);
    if (vasprintf(&cause, cause_format, arguments) < 0)
        cause = NULL;
    va_end(arguments);

    struct finding finding = {.kind = strdup(kind),
                              .subject = strdup(subject ? subject : ""),
                              .cause = cause,
                              .remedy = strdup(remedy ? remedy : ""),
                              .blocks = weight == FINDING_BLOCKS};
    if (finding.kind && finding.subject && finding.cause && finding.remedy) {
        add_once(list, finding);
        return;
    }
    finding_done(&finding);
    list->dropped++;
}

void finding_move_all(struct finding_list *list, struct finding_list *from)
{
    for (size_t i = 0; i < from->count; i++)
        add_once(list, from->items[i]);
    list->dropped += from->dropped;
    free(from->items);
    *from = (struct finding_list){0};
}

size_t finding_count_blocking(const struct finding_list *list)
{
    size_t count = list->dropped;
    for (size_t i = 0; i < list->count; i++)
        count += list->items[i].blocks;
    return count;
}

enum error_code finding_refusal(const struct finding_list *list, struct error *reterr)
{
    size_t count = finding_count_blocking(list);
    if (count == 0)
        return OK;
    for (size_t i = 0; i < list->count; i++) {
        const struct finding *finding = &list->items[i];
        if (!finding->blocks)
            continue;
        bool busy = !strncmp(finding->kind, "busy", 4);
        char more[64] = "";
        if (count > 1)
            snprintf(more, sizeof(more), " (and %zu more)", count - 1);
        error_set(reterr, busy ? ERR_BUSY : ERR_DENIED, 0, "%s: %s%s", finding->subject, finding->cause,
                  more);
        error_subject(reterr, "%s", finding->subject);
        error_remedy(reterr, "%s", finding->remedy);
        return busy ? ERR_BUSY : ERR_DENIED;
    }
    return error_set(reterr, ERR_NO_MEMORY, 0, "%zu findings that could not be kept in memory", count);
}

void finding_list_done(struct finding_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        finding_done(&list->items[i]);
    free(list->items);
    *list = (struct finding_list){0};
}
