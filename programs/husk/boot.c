#include "boot/boot.h"

#include "base/cleanup.h"
#include "verb.h"

enum { CONSOLES_MOST = 8 };

/* To the script of the initramfs status 3 is a person's asking for a shell: nothing else ends with it. */
static enum error_code tell_end(enum error_code code, enum boot_end end, struct error *reterr)
{
    if (!code && end == BOOT_SHELL)
        return error_set(reterr, ERR_DENIED, 0, "not opened: a shell was asked for");
    if (code)
        reterr->code = ERR_FAILED;
    return code ? ERR_FAILED : OK;
}

static enum error_code act(struct run *run, struct error *reterr)
{
    const char *consoles[CONSOLES_MOST];
    struct boot_options options = {.at = run->at,
                                   .consoles = consoles,
                                   .dhcp = argument_value(&run->arguments, OPTION_DHCP),
                                   .network = argument_given(&run->arguments, OPTION_NETWORK)
                                                  ? BOOT_NETWORK_RECORDED
                                                  : BOOT_NETWORK_AS_IT_IS};
    for (size_t i = 0; i < run->arguments.given_count; i++)
        if (run->arguments.given[i].id == OPTION_CONSOLE && options.console_count < CONSOLES_MOST)
            consoles[options.console_count++] = run->arguments.given[i].value;
    enum boot_end end = BOOT_NOTHING;
    enum error_code code = boot_run(&options, &end, reterr);
    run->changed = !code && end == BOOT_OPENED;
    return tell_end(code, end, reterr);
}

const struct verb verb_boot = {
    .name = "boot",
    .operands = "",
    .summary = "Open what a host needs to boot, in its initramfs.",
    .text =
        "Run by the initramfs with --at, where the root is mounted. The vaults that protect directories a "
        "system starts from are opened: by the keyfiles the host records, or by whichever answers first of "
        "its "
        "authorities and the people at its consoles. Without such a vault nothing is done; where such a "
        "directory is encrypted and its vault is gone or cannot be read it stays and says so.\n\nIt stays "
        "until "
        "all are open, saying on every console what it waits for. Authorities that cannot be reached are "
        "asked "
        "again, for ever. What does not fit the manifest is named; accept, typed at a console, and then the "
        "passphrase or recovery key, opens all the same and records what is there. shell, typed there, ends "
        "with status 3. A vault whose erase was begun is erased to the end, asking its authorities over the "
        "network too, and nothing boots from it any more.",
    .options = (const struct verb_option[]){{OPTION_NETWORK, ROLE_OPTIONAL, NULL},
                                            {OPTION_DHCP, ROLE_OPTIONAL, NULL},
                                            {OPTION_CONSOLE, ROLE_OPTIONAL, NULL},
                                            {.id = OPTION_END}},
    .act = act,
};
