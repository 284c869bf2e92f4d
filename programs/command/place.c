#include "place.h"

#include <ctype.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "program.h"

char *place_words(const char *option, const char *directory)
{
    static const char plain[] = "/._-+,:@%=";
    _cleanup_(buffer_done) struct buffer words = {0};
    _cleanup_(buffer_done) struct buffer shown = {0};
    bool quotes = false;
    if (text_escape(&shown, directory, strlen(directory), NULL) ||
        buffer_printf(&words, NULL, " --%s ", option))
        return NULL;
    for (const char *c = shown.data; *c; c++)
        quotes |= !isalnum((unsigned char)*c) && !strchr(plain, *c);
    enum error_code code = quotes ? buffer_append(&words, "'", 1, NULL) : OK;
    for (const char *c = shown.data; !code && *c; c++)
        code = *c == '\'' ? buffer_append(&words, "'\\''", 4, NULL) : buffer_append(&words, c, 1, NULL);
    if (!code)
        code = quotes ? buffer_append(&words, "'", 1, NULL) : OK;
    return code ? NULL : TAKE(words.data);
}

static bool ends_word(char c)
{
    return !isalnum((unsigned char)c) && c != '-' && c != '_';
}

/* How long the program's name and a verb are that begin here; 0 where they do not. */
static size_t measure_command(const char *text)
{
    const size_t name = strlen(program.name);
    size_t longest = 0;
    if (strncmp(text, program.name, name) != 0 || text[name] != ' ')
        return 0;
    for (size_t i = 0; program.verbs[i]; i++) {
        const size_t verb = strlen(program.verbs[i]->name);
        if (program.verbs[i]->needs == VERB_NEEDS_PLACE && verb > longest &&
            !strncmp(text + name + 1, program.verbs[i]->name, verb) && ends_word(text[name + 1 + verb]))
            longest = verb;
    }
    return longest ? name + 1 + longest : 0;
}

/* The rest of a command ends where the sentence goes on. */
static bool has_word(const char *rest, const char *word)
{
    const char *found = word ? strstr(rest, word) : NULL;
    return found && (size_t)(found - rest) < strcspn(rest, ",;:()") && ends_word(found[strlen(word)]);
}

static bool is_for_elsewhere(const char *rest)
{
    return has_word(rest, program.elsewhere) && !has_word(rest, program.all_the_same);
}

enum error_code place_in_text(const char *text, const char *words, struct buffer *buffer,
                              struct error *reterr)
{
    char option[32] = "";
    enum error_code code = buffer_append(buffer, "", 0, reterr);
    if (words)
        snprintf(option, sizeof(option), "%.*s", (int)strcspn(words + 1, " "), words + 1);
    for (const char *at = text; !code && *at;) {
        const bool may_begin = words && (at == text || (ends_word(at[-1]) && !strchr("/.", at[-1])));
        const size_t length = may_begin ? measure_command(at) : 0;
        code = buffer_append(buffer, at, length ? length : 1, reterr);
        at += length ? length : 1;
        if (!code && length && !has_word(at, option) && !is_for_elsewhere(at))
            code = buffer_append(buffer, words, strlen(words), reterr);
    }
    return code;
}

void place_in_findings(struct finding_list *findings, size_t first, const char *words)
{
    for (size_t i = first; words && i < findings->count; i++) {
        _cleanup_(buffer_done) struct buffer text = {0};
        if (place_in_text(findings->items[i].remedy, words, &text, NULL))
            continue;
        free(findings->items[i].remedy);
        findings->items[i].remedy = TAKE(text.data);
    }
}

void place_in_error(struct error *error, const char *words)
{
    _cleanup_(buffer_done) struct buffer text = {0};
    if (words && !place_in_text(error->remedy, words, &text, NULL) && text.length < sizeof(error->remedy))
        memcpy(error->remedy, text.data, text.length + 1);
}
