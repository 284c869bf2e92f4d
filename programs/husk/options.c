#include "verb.h"

const struct option_spec husk_options[OPTIONS] = {
    [OPTION_AT] = {"at", "DIR", OPTION_ONCE,
                   "the root of the host meant, for a disk attached to a rescue system (default /)"},
    OPTION_SPECS_SHARED,
    [OPTION_VAULT] = {"vault", "NAME", OPTION_ONCE, "the vault"},
    [OPTION_KEYFILE] = {"keyfile", "F", OPTION_REPEATS, "the bytes of file F are the key"},
    [OPTION_PASSPHRASE_FILE] =
        {"passphrase-file", "F", OPTION_REPEATS,
         "F holds the passphrase, a newline at its end is cut off; - is standard input, "
         "and asks on a terminal"},
    [OPTION_RECOVERY_KEY_FILE] = {"recovery-key-file", "F", OPTION_REPEATS,
                                  "F holds the recovery key; - is standard input, and asks on a terminal"},
    [OPTION_RECOVERY_OUT] =
        {"recovery-out", "F", OPTION_ONCE,
         "make a recovery key and write it to the new file F, which is read back; - shows it "
         "once on the terminal, and asks for its end with --root"},
    [OPTION_WITH_KEYFILE] = {"with-keyfile", "F", OPTION_REPEATS, "open the vault with this keyfile"},
    [OPTION_WITH_PASSPHRASE_FILE] = {"with-passphrase-file", "F", OPTION_REPEATS,
                                     "open the vault with the passphrase in F; - as above"},
    [OPTION_WITH_RECOVERY_KEY_FILE] = {"with-recovery-key-file", "F", OPTION_REPEATS,
                                       "open the vault with the recovery key in F; - as above"},
    [OPTION_ENABLE_FEATURE] = {"enable-feature", NULL, OPTION_ONCE,
                               "set the encrypt feature of the ext4 filesystem where it is missing"},
    [OPTION_SKIP_FREE_SPACE] = {"skip-free-space", NULL, OPTION_ONCE,
                                "do not overwrite free space, where earlier deleted files may lie"},
    [OPTION_ABORT] = {"abort", NULL, OPTION_ONCE, "go back, as long as nothing was exchanged"},
    [OPTION_ALL] = {"all", NULL, OPTION_ONCE, "every vault"},
    [OPTION_ACCEPT_CHANGES] = {"accept-changes", NULL, OPTION_ONCE,
                               "open although the manifest does not fit, and record what is there now; needs "
                               "a passphrase or recovery key"},
    [OPTION_CONFIRM] = {"confirm", "NAME|HOSTNAME", OPTION_ONCE,
                        "the name again, so that nothing happens by accident"},
    [OPTION_CERTIFICATE] = {"certificate", "F", OPTION_ONCE,
                            "write the report to the new file F; the file of an earlier run is written anew"},
    [OPTION_AUTHORITY] =
        {"authority", "[=ID]", OPTION_REPEATS,
         "the authority this host is enrolled at; ID or its beginning where there are several"},
    [OPTION_ALLOW_BYPASS] =
        {"allow-bypass", NULL, OPTION_ONCE,
         "make a keyfile or passphrase keyslot although an authority is to decide: it opens "
         "the vault without asking"},
    [OPTION_WAIT] = {"wait", "S", OPTION_ONCE, "wait up to S seconds for an approval or for an authority"},
    [OPTION_TOKEN] = {"token", "T", OPTION_ONCE,
                      "the token; others on this machine can see it while husk runs"},
    [OPTION_TOKEN_FILE] = {"token-file", "F", OPTION_ONCE, "F holds the token; - is standard input"},
    [OPTION_NAME] = {"name", "HOST", OPTION_ONCE, "what this host is called there (default: its hostname)"},
    [OPTION_FINISH] = {"finish", NULL, OPTION_ONCE,
                       "for all boots of the next 24 hours, as for a conversion that goes on in them"},
    [OPTION_ROOT] = {"root", NULL, OPTION_ONCE,
                     "the whole root of the host --at means, but mount points and /boot"},
    [OPTION_COMMIT] = {"commit", NULL, OPTION_ONCE,
                       "with --root, on the booted host: scrub the old trees, from when on only husk "
                       "unprotect goes back"},
    [OPTION_NO_RECOVERY] = {"no-recovery", NULL, OPTION_ONCE,
                            "with --root: let nothing but authorities open it"},
    [OPTION_SWAP] = {"swap", "off|encrypt", OPTION_ONCE,
                     "with --root: change the lines of its /etc/fstab that swap in the clear, instead of "
                     "refusing"},
    [OPTION_BOOT] = {"boot", NULL, OPTION_ONCE, "rehearse the next boot on the running system"},
    [OPTION_NETWORK] = {"network", NULL, OPTION_ONCE,
                        "set the network up as .husk/network.json tells, and undo that afterwards"},
    [OPTION_DHCP] = {"dhcp", "PROGRAM", OPTION_ONCE,
                     "what sets the network up where that reaches no authority"},
    [OPTION_CONSOLE] = {"console", "TTY", OPTION_REPEATS,
                        "a terminal to ask on, instead of the kernel's consoles"},
};
