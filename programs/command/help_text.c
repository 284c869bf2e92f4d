#include "base/cleanup.h"
#include "help.h"
#include "program.h"

enum { WIDTH = 80, OPTION_COLUMN = 28 };

/* The length of what stays on one line: a word, or what stands in brackets ("[--at DIR]"). */
static size_t unit_length(const char *text)
{
    size_t length = 0, depth = 0;
    for (; text[length] && (text[length] != ' ' || depth > 0); length++)
        depth += (text[length] == '[') - (text[length] == ']' && depth > 0);
    return length;
}

/* Append text broken into lines of at most WIDTH columns. The first line begins at column at, further ones at
 * indent. */
static enum error_code add_wrapped(struct buffer *out, size_t at, size_t indent, const char *text,
                                   struct error *reterr)
{
    enum error_code code = OK;
    bool line_is_empty = true;
    while (!code && *text) {
        size_t length = unit_length(text);
        if (!line_is_empty && at + 1 + length > WIDTH) {
            code = buffer_printf(out, reterr, "\n%*s", (int)indent, "");
            at = indent;
            line_is_empty = true;
        }
        if (!code)
            code = buffer_printf(out, reterr, "%s%.*s", line_is_empty ? "" : " ", (int)length, text);
        at += length + !line_is_empty;
        line_is_empty = false;
        text += length + (text[length] == ' ');
    }
    return code ? code : buffer_append(out, "\n", 1, reterr);
}

static bool argument_is_apart(const struct option_spec *spec)
{
    return spec->argument && spec->argument[0] != '[';
}

static enum error_code add_option_to_synopsis(const struct verb_option_view *option, struct buffer *text,
                                              struct error *reterr)
{
    if (option->role == ROLE_IN_OPERANDS || option->role == ROLE_KEY)
        return OK;
    bool optional = option->role == ROLE_OPTIONAL;
    return buffer_printf(text, reterr, " %s--%s%s%s%s", optional ? "[" : "", option->spec->name,
                         argument_is_apart(option->spec) ? " " : "",
                         option->spec->argument ? option->spec->argument : "", optional ? "]" : "");
}

enum error_code help_synopsis(const struct verb *verb, struct buffer *text, struct error *reterr)
{
    enum error_code code = buffer_printf(text, reterr, "%s %s%s%s", program.name, verb->name,
                                         *verb->operands ? " " : "", verb->operands);
    struct verb_option_view option;
    for (size_t n = 0; !code && verb_option_at(verb, n, &option); n++)
        if (option.role == ROLE_REQUIRED || option.role == ROLE_CONFIRMING)
            code = add_option_to_synopsis(&option, text, reterr);
    if (!code && verb->key)
        code = buffer_printf(text, reterr, " %s", verb->key);
    for (size_t n = 0; !code && verb_option_at(verb, n, &option); n++)
        if (option.role == ROLE_OPTIONAL)
            code = add_option_to_synopsis(&option, text, reterr);
    return code;
}

static enum error_code add_paragraphs(const char *paragraphs, struct buffer *text, struct error *reterr)
{
    enum error_code code = OK;
    while (!code && *paragraphs) {
        const char *end = strstr(paragraphs, "\n\n");
        size_t length = end ? (size_t)(end - paragraphs) : strlen(paragraphs);
        char paragraph[2048];
        snprintf(paragraph, sizeof(paragraph), "%.*s", (int)length, paragraphs);
        code = buffer_append(text, "\n", 1, reterr);
        if (!code)
            code = add_wrapped(text, 0, 0, paragraph, reterr);
        paragraphs += length + (end ? 2 : 0);
    }
    return code;
}

/* The options of one sort: those that KEY stands for, or the others. */
static enum error_code add_options(const struct verb *verb, bool keys, struct buffer *text,
                                   struct error *reterr)
{
    enum error_code code = OK;
    struct verb_option_view option;
    for (size_t n = 0; !code && verb_option_at(verb, n, &option); n++) {
        if ((option.role == ROLE_KEY) != keys)
            continue;
        char name[64];
        int used = snprintf(name, sizeof(name), "  --%s%s%s", option.spec->name,
                            argument_is_apart(option.spec) ? " " : "",
                            option.spec->argument ? option.spec->argument : "");
        code = used + 2 > OPTION_COLUMN ? buffer_printf(text, reterr, "%s\n%*s", name, OPTION_COLUMN, "")
                                        : buffer_printf(text, reterr, "%-*s", OPTION_COLUMN, name);
        if (!code)
            code = add_wrapped(text, OPTION_COLUMN, OPTION_COLUMN, option.help, reterr);
    }
    return code;
}

enum error_code help_verb(const struct verb *verb, struct buffer *text, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer synopsis = {0};
    enum error_code code = help_synopsis(verb, &synopsis, reterr);
    if (!code)
        code = buffer_printf(text, reterr, "usage: ");
    if (!code)
        code = add_wrapped(text, 7, 9, synopsis.data, reterr);
    if (!code)
        code = buffer_printf(text, reterr, "\n%s\n", verb->summary);
    if (!code)
        code = add_paragraphs(verb->text, text, reterr);
    if (!code && verb->key)
        code = buffer_printf(text, reterr, "\nKEY is one of these, and may be repeated:\n");
    if (!code && verb->key)
        code = add_options(verb, true, text, reterr);
    if (!code)
        code = buffer_printf(text, reterr, "\noptions:\n");
    if (!code)
        code = add_options(verb, false, text, reterr);
    return code;
}

enum error_code help_overview(struct buffer *text, struct error *reterr)
{
    size_t column = 18;
    for (size_t i = 0; program.verbs[i]; i++)
        if (strlen(program.verbs[i]->name) + 4 > column)
            column = strlen(program.verbs[i]->name) + 4;
    enum error_code code = buffer_printf(text, reterr, "%s %s: %s\n\nusage: %s VERB ...\n\n", program.name,
                                         HUSK_VERSION, program.about, program.name);
    for (size_t i = 0; !code && program.verbs[i]; i++) {
        code = buffer_printf(text, reterr, "  %-*s", (int)column - 2, program.verbs[i]->name);
        if (!code)
            code = add_wrapped(text, column, column, program.verbs[i]->summary, reterr);
    }
    if (!code)
        code = buffer_printf(text, reterr,
                             "\n%s help VERB tells more about one verb. %s --version prints the version,\n"
                             "%s --list-faults the fault points of a test build.\n\n"
                             "exit status: 0 done or already so, 1 failed, 2 usage, 3 refused, 4 not now,\n"
                             "5 incomplete.\n",
                             program.name, program.name, program.name);
    return code;
}

static json_t *options_json(const struct verb *verb)
{
    json_t *options = json_array();
    struct verb_option_view option;
    for (size_t n = 0; options && verb_option_at(verb, n, &option); n++) {
        json_t *item = json_pack("{s:s, s:s?, s:b, s:b, s:s}", "name", option.spec->name, "argument",
                                 option.spec->argument, "key", option.role == ROLE_KEY, "repeats",
                                 option.spec->times == OPTION_REPEATS, "help", option.help);
        if (json_array_append_new(options, item) < 0) {
            json_decref(options);
            return NULL;
        }
    }
    return options;
}

json_t *help_json(const struct verb *verb)
{
    _cleanup_(buffer_done) struct buffer synopsis = {0};
    if (help_synopsis(verb, &synopsis, NULL))
        return NULL;
    return json_pack("{s:s, s:s, s:s, s:o}", "verb", verb->name, "synopsis", synopsis.data, "summary",
                     verb->summary, "options", options_json(verb));
}
