#include "options.h"

#include <stdarg.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "program.h"

/* One pass over the words. */
struct parse {
    const struct verb *verb;
    const char *const *words;
    size_t count, at;
    struct arguments *arguments;
};

static enum error_code usage(const struct verb *verb, struct error *reterr, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static enum error_code usage(const struct verb *verb, struct error *reterr, const char *format, ...)
{
    char message[512];
    va_list parts;
    va_start(parts, format);
    vsnprintf(message, sizeof(message), format, parts);
    va_end(parts);
    error_set(reterr, ERR_USAGE, 0, "%s", message);
    error_remedy(reterr, "see %s help %s", program.name, verb->name);
    return ERR_USAGE;
}

static bool find_option(const struct verb *verb, const char *name, size_t length,
                        struct verb_option_view *ret_view)
{
    for (size_t n = 0; verb_option_at(verb, n, ret_view); n++)
        if (strlen(ret_view->spec->name) == length && !memcmp(ret_view->spec->name, name, length))
            return true;
    return false;
}

static enum error_code take_option(struct parse *parse, struct error *reterr)
{
    const char *word = parse->words[parse->at], *name = word + 2;
    size_t length = strcspn(name, "=");
    struct verb_option_view option;
    if (memcmp(word, "--", 2) || !find_option(parse->verb, name, length, &option))
        return usage(parse->verb, reterr, "%s %s has no option %s", program.name, parse->verb->name,
                     text_shown(word));

    const char *value = name[length] == '=' ? name + length + 1 : NULL;
    if (value && !option.spec->argument)
        return usage(parse->verb, reterr, "--%s takes no value", option.spec->name);
    if (!value && option.spec->argument && option.spec->argument[0] != '[') {
        const char *next = parse->at + 1 < parse->count ? parse->words[parse->at + 1] : "--";
        if (!strncmp(next, "--", 2))
            return usage(parse->verb, reterr, "--%s needs a value: --%s %s", option.spec->name,
                         option.spec->name, option.spec->argument);
        value = next;
        parse->at++;
    }
    if (value && !*value)
        return usage(parse->verb, reterr, "the value of --%s is empty", option.spec->name);
    if (option.spec->times == OPTION_ONCE && argument_given(parse->arguments, option.id))
        return usage(parse->verb, reterr, "--%s is given twice", option.spec->name);
    parse->arguments->given[parse->arguments->given_count++] = (struct given_option){option.id, value};
    return OK;
}

static enum error_code take_operand(struct parse *parse, struct error *reterr)
{
    const char *word = parse->words[parse->at];
    if (!*word)
        return usage(parse->verb, reterr, "an operand is empty");
    if (parse->arguments->operand_count == parse->verb->operands_most)
        return usage(parse->verb, reterr, "one word too many: %s", text_shown(word));
    parse->arguments->operands[parse->arguments->operand_count++] = word;
    return OK;
}

static enum error_code check_complete(const struct parse *parse, struct error *reterr)
{
    const struct verb *verb = parse->verb;
    if (parse->arguments->operand_count < verb->operands_least)
        return usage(verb, reterr, "%s %s needs %s", program.name, verb->name, verb->operands);
    struct verb_option_view option;
    for (size_t n = 0; verb_option_at(verb, n, &option); n++)
        if (option.role == ROLE_REQUIRED && !argument_given(parse->arguments, option.id))
            return usage(verb, reterr, "%s %s needs --%s %s", program.name, verb->name, option.spec->name,
                         option.spec->argument);
    return OK;
}

static bool wants_help(const char *const *words, size_t count)
{
    for (size_t i = 0; i < count && strcmp(words[i], "--"); i++)
        if (!strcmp(words[i], "--help") || !strcmp(words[i], "-h"))
            return true;
    return false;
}

static enum error_code parse_words(struct parse *parse, struct error *reterr)
{
    bool only_operands = false;
    for (; parse->at < parse->count; parse->at++) {
        const char *word = parse->words[parse->at];
        enum error_code code = OK;
        if (!only_operands && !strcmp(word, "--"))
            only_operands = true;
        else if (!only_operands && word[0] == '-' && word[1])
            code = take_option(parse, reterr);
        else
            code = take_operand(parse, reterr);
        if (code)
            return code;
    }
    return check_complete(parse, reterr);
}

enum error_code options_parse(const struct verb *verb, const char *const *words, size_t count,
                              struct arguments *ret_arguments, struct error *reterr)
{
    _cleanup_(arguments_done) struct arguments arguments = {
        .operands = calloc(count + 1, sizeof(*arguments.operands)),
        .given = calloc(count + 1, sizeof(*arguments.given)),
    };
    if (!arguments.operands || !arguments.given)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    if (wants_help(words, count)) {
        arguments.given[arguments.given_count++] = (struct given_option){OPTION_HELP, NULL};
        if (options_want_json(words, count))
            arguments.given[arguments.given_count++] = (struct given_option){OPTION_JSON, NULL};
    } else {
        struct parse parse = {.verb = verb, .words = words, .count = count, .arguments = &arguments};
        enum error_code code = parse_words(&parse, reterr);
        if (code)
            return code;
    }
    *ret_arguments = arguments;
    arguments = (struct arguments){0};
    return OK;
}

void arguments_done(struct arguments *arguments)
{
    free(arguments->operands);
    free(arguments->given);
    *arguments = (struct arguments){0};
}

bool argument_given(const struct arguments *arguments, unsigned id)
{
    for (size_t i = 0; i < arguments->given_count; i++)
        if (arguments->given[i].id == id)
            return true;
    return false;
}

const char *argument_value(const struct arguments *arguments, unsigned id)
{
    for (size_t i = 0; i < arguments->given_count; i++)
        if (arguments->given[i].id == id)
            return arguments->given[i].value;
    return NULL;
}

bool options_want_json(const char *const *words, size_t count)
{
    for (size_t i = 0; i < count && strcmp(words[i], "--"); i++)
        if (!strcmp(words[i], "--json"))
            return true;
    return false;
}
