/* The script for bash's completion, from the table of verbs. */
#include "base/cleanup.h"
#include "help.h"
#include "program.h"

static enum error_code add_head(struct buffer *text, struct error *reterr)
{
    const char *name = program.name;
    enum error_code code =
        buffer_printf(text, reterr,
                      "# bash completion for %s, made from its table of verbs: %s --print-completion\n"
                      "_%s_names()\n{\n%s}\n\n",
                      name, name, name, program.completion_names);
    return code ? code
                : buffer_printf(text, reterr,
                                "_%s()\n"
                                "{\n"
                                "    local current=${COMP_WORDS[COMP_CWORD]} "
                                "previous=${COMP_WORDS[COMP_CWORD - 1]}\n"
                                "    local verb=${COMP_WORDS[1]} options= operand=\n"
                                "    COMPREPLY=()\n",
                                name);
}

static enum error_code add_tail(struct buffer *text, struct error *reterr)
{
    static const char format[] =
        "    esac\n"
        "\n"
        "    if [[ $current == -* ]]; then\n"
        "        mapfile -t COMPREPLY < <(compgen -W \"$options\" -- \"$current\")\n"
        "        return\n"
        "    fi\n"
        "    case $operand in\n"
        "    *PATH*) mapfile -t COMPREPLY < <(compgen -d -- \"$current\"); compopt -o filenames 2> /dev/null "
        ";;\n"
        "    *VERB*) mapfile -t COMPREPLY < <(compgen -W \"$verbs\" -- \"$current\") ;;\n"
        "    *FILE*) mapfile -t COMPREPLY < <(compgen -W \"$(_%s_names)\" -- \"$current\"; compgen -f -- "
        "\"$current\") ;;\n"
        "    *NAME*) mapfile -t COMPREPLY < <(compgen -W \"$(_%s_names)\" -- \"$current\") ;;\n"
        "    esac\n"
        "}\n"
        "complete -F _%s %s\n";
    return buffer_printf(text, reterr, format, program.name, program.name, program.name, program.name);
}

/* Options whose value is the name of something: a line of the case for each sort. */
static const struct {
    const char *argument, *action;
} sorts[] = {
    {"F", "mapfile -t COMPREPLY < <(compgen -f -- \"$current\"); compopt -o filenames 2> /dev/null"},
    {"DIR", "mapfile -t COMPREPLY < <(compgen -d -- \"$current\"); compopt -o filenames 2> /dev/null"},
    {"NAME", "mapfile -t COMPREPLY < <(compgen -W \"$(\"${FUNCNAME[0]}_names\")\" -- \"$current\")"},
    {NULL, ":"}, /* of all others nothing is known */
};

static size_t sort_of(const char *argument)
{
    size_t sort = 0;
    while (sorts[sort].argument && strcmp(argument, sorts[sort].argument))
        sort++;
    return sort;
}

static enum error_code add_values(struct buffer *text, struct error *reterr)
{
    enum error_code code = buffer_printf(text, reterr, "    case $previous in\n");
    for (size_t sort = 0; !code && sort < ARRAY_SIZE(sorts); sort++) {
        bool any = false;
        for (unsigned id = 0; !code && id < program.option_count; id++) {
            const char *argument = program.options[id].argument;
            if (!argument || argument[0] == '[' || sort_of(argument) != sort)
                continue;
            code = buffer_printf(text, reterr, "%s--%s", any ? "|" : "    ", program.options[id].name);
            any = true;
        }
        if (!code && any)
            code = buffer_printf(text, reterr, ")\n        %s\n        return\n        ;;\n",
                                 sorts[sort].action);
    }
    return code ? code : buffer_printf(text, reterr, "    esac\n\n");
}

/* The first words, each once, between quotes. */
static enum error_code add_first_words(struct buffer *text, struct error *reterr)
{
    enum error_code code = buffer_printf(text, reterr, "    local verbs='");
    for (size_t i = 0; !code && program.verbs[i]; i++) {
        const char *name = program.verbs[i]->name;
        size_t length = strcspn(name, " ");
        if (i > 0 && !strncmp(program.verbs[i - 1]->name, name, length) && name[length] == ' ')
            continue;
        code = buffer_printf(text, reterr, "%s%.*s", i ? " " : "", (int)length, name);
    }
    return code ? code
                : buffer_printf(text, reterr,
                                "'\n    if ((COMP_CWORD == 1)); then\n"
                                "        mapfile -t COMPREPLY < <(compgen -W \"$verbs --help --version\" -- "
                                "\"$current\")\n        return\n    fi\n");
}

/* "keyslot" is followed by one of its second words. */
static enum error_code add_second_words(struct buffer *text, struct error *reterr)
{
    enum error_code code = OK;
    for (size_t i = 0; !code && program.verbs[i]; i++) {
        const char *name = program.verbs[i]->name;
        size_t length = strcspn(name, " ");
        if (!name[length] || (i > 0 && !strncmp(program.verbs[i - 1]->name, name, length + 1)))
            continue;
        code = buffer_printf(text, reterr,
                             "    if [[ $verb == %.*s ]]; then\n"
                             "        if ((COMP_CWORD == 2)); then\n"
                             "            mapfile -t COMPREPLY < <(compgen -W '",
                             (int)length, name);
        for (size_t k = i; !code && program.verbs[k] && !strncmp(program.verbs[k]->name, name, length + 1);
             k++)
            code = buffer_printf(text, reterr, "%s%s", k > i ? " " : "", program.verbs[k]->name + length + 1);
        if (!code)
            code = buffer_printf(text, reterr,
                                 "' -- \"$current\")\n            return\n        fi\n"
                                 "        verb=\"$verb ${COMP_WORDS[2]}\"\n    fi\n");
    }
    return code;
}

static enum error_code add_verb(const struct verb *verb, struct buffer *text, struct error *reterr)
{
    enum error_code code = buffer_printf(text, reterr, "    '%s')\n        options='", verb->name);
    struct verb_option_view option;
    for (size_t n = 0; !code && verb_option_at(verb, n, &option); n++)
        code = buffer_printf(text, reterr, "%s--%s", n ? " " : "", option.spec->name);
    return code ? code : buffer_printf(text, reterr, "'\n        operand='%s'\n        ;;\n", verb->operands);
}

enum error_code help_completion(struct buffer *text, struct error *reterr)
{
    enum error_code code = add_head(text, reterr);
    if (!code)
        code = add_first_words(text, reterr);
    if (!code)
        code = add_second_words(text, reterr);
    if (!code)
        code = add_values(text, reterr);
    if (!code)
        code = buffer_printf(text, reterr, "    case $verb in\n");
    for (size_t i = 0; !code && program.verbs[i]; i++)
        code = add_verb(program.verbs[i], text, reterr);
    return code ? code : add_tail(text, reterr);
}
