/* Verbs about hosts. */
#include "ask.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "table.h"

static const char *const operands[] = {"host", NULL};

static enum error_code list(struct run *run, struct error *reterr)
{
    static const char *const columns[] = {"name", "id", "group", "state", "last_seen", "keyslots", NULL};
    json_t *result, *hosts;
    enum error_code code = ask(run, operands, &result, reterr);
    if (!code)
        code = json_get_array(result, "hosts", SIZE_MAX, &hosts, reterr);
    if (!code)
        ask_tell_alarms(run, result);
    return code ? code : table_show(run, hosts, columns, "no host is enrolled", reterr);
}

enum { SHOWN_SIZE = 1024 }; /* causes name programs and their files */

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

/* The members of each item, in one line; what a host says may be anything. */
static void show_items(struct run *run, const json_t *array)
{
    size_t i;
    json_t *item, *value;
    const char *name;
    char shown[SHOWN_SIZE];
    json_array_foreach(array, i, item)
    {
        run_text(run, "  ");
        json_object_foreach(item, name, value)
        {
            if (json_is_string(value) && json_string_length(value) > 0)
                run_text(run, " %s: %s;", text_shown(name),
                         text_show(shown, sizeof(shown), json_string_value(value)));
        }
        run_text(run, "\n");
    }
}

/* What the host says became of an order. */
static void show_report(struct run *run, const json_t *order)
{
    const json_t *report = json_object_get(order, "report");
    const char *message = text_of(json_object_get(report, "error"), "message");
    char shown[SHOWN_SIZE];
    const char *remedy = text_of(json_object_get(report, "error"), "remedy");
    const bool is_over =
        !strcmp(text_of(order, "action"), "erase") && !strcmp(text_of(order, "outcome"), "done");
    if (json_object_size(report) == 0 || is_over) /* below stands what the vaults came to */
        return;
    run_text(run, "\nthe host reports of its order to %s (%.8s):\n", text_shown(text_of(order, "action")),
             text_shown(text_of(order, "id")));
    if (*message)
        run_text(run, "   error: %s\n", text_show(shown, sizeof(shown), message));
    if (*remedy)
        run_text(run, "   what to do: %s\n", text_show(shown, sizeof(shown), remedy));
    show_items(run, json_object_get(report, "vaults"));
    show_items(run, json_object_get(report, "findings"));
}

/* Its orders stand below it, one line each, and what it reports of them. */
static enum error_code show_one(struct run *run, json_t *host, struct error *reterr)
{
    static const char *const columns[] = {"id",         "action",   "state",       "outcome", "actor",
                                          "created_at", "given_at", "reported_at", NULL};
    static const char *const vault_columns[] = {"name", "vault", "key_destruction", "plaintext_before", NULL};
    json_t *orders = json_incref(json_object_get(host, "orders"));
    _cleanup_(json_freep) json_t *rest = json_copy(host);
    const json_t *erased = json_object_get(host, "erased_vaults");
    json_object_del(rest, "orders");
    json_object_del(rest, "erased_vaults");
    enum error_code code = object_show(run, rest, reterr);
    if (!code && json_array_size(orders) > 0) {
        run_text(run, "\norders:\n");
        code = table_show(run, orders, columns, "", reterr);
    }
    size_t i;
    json_t *order;
    json_array_foreach(orders, i, order) show_report(run, order);
    if (!code && json_array_size(erased) > 0) {
        run_text(run, "\nerased vaults, as the host reports:\n");
        code = table_show(run, erased, vault_columns, "", reterr);
    }
    json_decref(orders);
    return code;
}

static enum error_code show(struct run *run, struct error *reterr)
{
    json_t *result, *hosts;
    enum error_code code = ask(run, operands, &result, reterr);
    if (!code)
        code = json_get_array(result, "hosts", SIZE_MAX, &hosts, reterr);
    for (size_t i = 0; !code && i < json_array_size(hosts); i++)
        code = show_one(run, json_array_get(hosts, i), reterr);
    return code;
}

/* What is true of the host then. */
static enum error_code change(struct run *run, const char *truth, struct error *reterr)
{
    json_t *result;
    enum error_code code = ask(run, operands, &result, reterr);
    if (!code)
        report_truth(&run->report, "host %s %s", text_shown(run->arguments.operands[0]), truth);
    return code;
}

static enum error_code hold(struct run *run, struct error *reterr)
{
    return change(run, "is on hold: nothing of it opens", reterr);
}

static enum error_code release(struct run *run, struct error *reterr)
{
    return change(run, "is not on hold", reterr);
}

static enum error_code order(struct run *run, const char *what, struct error *reterr)
{
    json_t *result;
    enum error_code code = ask(run, operands, &result, reterr);
    if (!code)
        report_truth(&run->report,
                     "host %s: the order %s is written; its agent takes it when it next asks (host show)",
                     text_shown(run->arguments.operands[0]), what);
    return code;
}

static enum error_code lock(struct run *run, struct error *reterr)
{
    return order(run, "to lock its vaults", reterr);
}

static enum error_code power_off(struct run *run, struct error *reterr)
{
    return order(run, "to power itself off", reterr);
}

static enum error_code cancel(struct run *run, struct error *reterr)
{
    static const char *const names[] = {"host", "order", NULL};
    json_t *result;
    enum error_code code = ask(run, names, &result, reterr);
    if (code)
        return code;
    report_truth(&run->report, "order %s is given no more", text_shown(run->arguments.operands[1]));
    if (json_is_true(json_object_get(result, "was_given")))
        report_warning(&run->report, "the host was given it before: it carries it out where it has taken it");
    return OK;
}

static enum error_code accept_restore(struct run *run, struct error *reterr)
{
    return change(run, "may open once from an old copy of its disk, which is the host then", reterr);
}

static enum error_code move(struct run *run, struct error *reterr)
{
    json_t *result;
    enum error_code code = ask(run, operands, &result, reterr);
    if (!code)
        report_truth(&run->report, "host %s is in the group %s", text_shown(run->arguments.operands[0]),
                     text_shown(argument_value(&run->arguments, OPTION_GROUP)));
    return code;
}

static enum error_code rename_host(struct run *run, struct error *reterr)
{
    static const char *const names[] = {"host", "name", NULL};
    json_t *result;
    enum error_code code = ask(run, names, &result, reterr);
    if (!code)
        report_truth(&run->report, "the host is called %s", text_shown(run->arguments.operands[1]));
    return code;
}

static enum error_code erase(struct run *run, struct error *reterr)
{
    const char *name = run->arguments.operands[0], *typed = argument_value(&run->arguments, OPTION_CONFIRM);
    if (!typed || strcmp(typed, name) != 0) {
        error_set(reterr, ERR_USAGE, 0, "nothing is erased: the name has to be typed again");
        error_remedy(reterr, "huskd host erase %s --confirm %s", text_shown(name), text_shown(name));
        return ERR_USAGE;
    }
    json_t *result;
    enum error_code code = ask(run, operands, &result, reterr);
    if (!code)
        ask_tell_erased(run, result, "host");
    return code;
}

const struct verb verb_host_list = {
    .name = "host list",
    .operands = "",
    .summary = "List the hosts.",
    .text =
        "With their group, their state, when they were heard of last, and how many keyslots they have here.",
    .options = (const struct verb_option[]){{OPTION_GROUP, ROLE_OPTIONAL, "only the hosts of this group"},
                                            {.id = OPTION_END}},
    .effect = VERB_READS,
    .act = list,
};

const struct verb verb_host_show = {
    .name = "host show",
    .operands = "HOST",
    .operands_least = 1,
    .operands_most = 1,
    .summary = "Tell all that is known of a host.",
    .text = "HOST is its name or its id, here and in what follows. Its orders are told with it, what the "
            "host reports of each, and of its erased vaults the verdicts that it reported.",
    .effect = VERB_READS,
    .act = show,
};

const struct verb verb_host_hold = {
    .name = "host hold",
    .operands = "HOST",
    .operands_least = 1,
    .operands_most = 1,
    .summary = "Let nothing of a host open by this authority until it is released.",
    .text = "A host that runs goes on running. At its next boot it waits; what people type there, a "
            "passphrase or recovery key, opens it still.",
    .effect = VERB_ACTS,
    .act = hold,
};

const struct verb verb_host_release = {
    .name = "host release",
    .operands = "HOST",
    .operands_least = 1,
    .operands_most = 1,
    .summary = "End the hold of a host.",
    .text = "Also that which restoring the authority put on every host.",
    .effect = VERB_ACTS,
    .act = release,
};

const struct verb verb_host_lock = {
    .name = "host lock",
    .operands = "HOST",
    .operands_least = 1,
    .operands_most = 1,
    .summary = "Order a running host to lock its vaults.",
    .text =
        "A host whose agent runs gets the order at once, another one when it does, until it has answered. "
        "What "
        "became of it stands with the host (host show): waiting, given, or done with what the host reports, "
        "such as programs that keep files open. Given again while one waits, it is the same order.",
    .effect = VERB_ACTS,
    .act = lock,
};

const struct verb verb_host_power_off = {
    .name = "host power-off",
    .operands = "HOST",
    .operands_least = 1,
    .operands_most = 1,
    .summary = "Order a running host to power itself off.",
    .text =
        "An orderly shutdown, as that of an administrator there: its services end, and with its memory the "
        "keys "
        "of its vaults are gone. It is given and told as host lock is; done means that the shutdown was "
        "begun. A host that is off has the order when its agent runs next, and powers off then: with host "
        "hold it does not open in between.",
    .effect = VERB_ACTS,
    .act = power_off,
};

const struct verb verb_host_cancel = {
    .name = "host cancel",
    .operands = "HOST ORDER",
    .operands_least = 2,
    .operands_most = 2,
    .summary = "Take back an order that a host has not carried out.",
    .text =
        "An order waits for the host's agent, however long that does not run. ORDER is its id as host show "
        "tells it, or its beginning of at least eight digits. A host that was given it may have taken it "
        "already, and carries it out then; that is said. An erase is never taken back.",
    .effect = VERB_ACTS,
    .act = cancel,
};

const struct verb verb_host_accept_restore = {
    .name = "host accept-restore",
    .operands = "HOST",
    .operands_least = 1,
    .operands_most = 1,
    .summary = "Take an old copy of the disk for the host.",
    .text = "A host restored from a snapshot or backup presents an old lineage, and its requests are "
            "flagged. With "
            "this it is not, those that wait included, until one is granted: from then on that copy is the "
            "host. What else flags a request still does. Until then host show tells that it was said, and "
            "request deny takes it back.",
    .effect = VERB_ACTS,
    .act = accept_restore,
};

const struct verb verb_host_move = {
    .name = "host move",
    .operands = "HOST",
    .operands_least = 1,
    .operands_most = 1,
    .summary = "Put a host into another group.",
    .text = "That group's policy counts for what the host asks for from then on. A request that waits is for "
            "people alone: it is flagged (moved), approvals given before do not count any more, and what was "
            "denied stays denied. Orders, keyslots and a ticket it has stay as they are.",
    .options = (const struct verb_option[]){{OPTION_GROUP, ROLE_REQUIRED, "the group"}, {.id = OPTION_END}},
    .effect = VERB_ACTS,
    .act = move,
};

const struct verb verb_host_rename = {
    .name = "host rename",
    .operands = "HOST NAME",
    .operands_least = 2,
    .operands_most = 2,
    .summary = "Give a host another name here.",
    .text = "Its id stays. Nothing changes on the host, which goes on telling the name it was enrolled with. "
            "Its old name is free.",
    .effect = VERB_ACTS,
    .act = rename_host,
};

const struct verb verb_host_erase = {
    .name = "host erase",
    .operands = "HOST",
    .operands_least = 1,
    .operands_most = 1,
    .summary = "Destroy what opens a host's vaults, for ever.",
    .text =
        "The authority's scalars of every keyslot of the host are destroyed: no copy of its disks, snapshots "
        "and backups included, can be opened by this authority again. The host has the order to erase its "
        "vaults itself, and carries it out as soon as its agent hears of it: that reaches its keyslots, and "
        "its other authorities. What lies elsewhere is not reached: recovery keys, passphrases and keyfiles, "
        "which open copies of the disk (keycopy list), and backups of this authority. What is known of that "
        "is "
        "named; the exit status is 0 once the scalars are destroyed.\n\n"
        "There is no way back. Its name is free: a server installed anew enrols under it with a new "
        "identity. From then on the name means that one, to this command too; this host is told by its id.",
    .options = (const struct verb_option[]){{OPTION_CONFIRM, ROLE_CONFIRMING, NULL}, {.id = OPTION_END}},
    .effect = VERB_ACTS,
    .act = erase,
};
