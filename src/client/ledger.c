#include "client/ledger.h"

#include "base/file.h"
#include "base/text.h"
#include "client/files.h"
#include "client/turns.h"

enum {
    LEDGER_VERSION = 1,
    LEDGER_MEMBERS = 3,
    NAME_SIZE = CLIENT_ID_TEXT_SIZE + 32,
    PLACE_SIZE = 5 * TURNS_BLOCK
};
/* With room for the names, quotes and commas between them. */
_Static_assert((CLIENT_EPOCHS_MAXIMUM + 1) * (2 * LEDGER_CHECKPOINT_MAXIMUM + 3) + TURNS_HEAD_SIZE + 64 <=
                   PLACE_SIZE,
               "all of it fits");

static enum error_code parse_one(const char *text, struct client_checkpoint *ret_checkpoint,
                                 struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer wire = {.maximum = LEDGER_CHECKPOINT_MAXIMUM};
    if (!text || strlen(text) >= sizeof(ret_checkpoint->text))
        return error_set(reterr, ERR_CORRUPT, 0, "a checkpoint that is none");
    enum error_code code = text_append_bytes(&wire, text, reterr);
    if (!code)
        code = ledger_checkpoint_read(wire.data, wire.length, &ret_checkpoint->head, reterr);
    if (!code)
        snprintf(ret_checkpoint->text, sizeof(ret_checkpoint->text), "%s", text);
    return code;
}

enum error_code client_ledger_parse(const char *text, size_t length, struct client_ledger *ret_ledger,
                                    struct error *reterr)
{
    _cleanup_(json_freep) json_t *file = NULL;
    json_t *array = NULL;
    *ret_ledger = (struct client_ledger){0};
    enum error_code code = json_parse_object(text, length, "the file", &file, reterr);
    if (!code)
        code = json_check_version(file, LEDGER_VERSION, "the file", reterr);
    if (!code && json_object_size(file) > LEDGER_MEMBERS)
        code = error_set(reterr, ERR_CORRUPT, 0, "a member that does not belong there");
    if (!code)
        code = json_get_array(file, "kept", CLIENT_EPOCHS_MAXIMUM, &array, reterr);
    for (size_t i = 0; !code && i < json_array_size(array); i++) {
        code = parse_one(json_string_value(json_array_get(array, i)), &ret_ledger->kept[i], reterr);
        if (!code && i > 0 && ret_ledger->kept[i].head.epoch <= ret_ledger->kept[i - 1].head.epoch)
            code = error_set(reterr, ERR_CORRUPT, 0, "epochs out of order");
        ret_ledger->count = i + 1;
    }
    const json_t *different = json_object_get(file, "differs");
    ret_ledger->differs = !code && different && !json_is_null(different);
    if (ret_ledger->differs)
        code = parse_one(json_string_value(different), &ret_ledger->different, reterr);
    if (code)
        *ret_ledger = (struct client_ledger){0};
    return code;
}

enum error_code client_ledger_format(const struct client_ledger *ledger, struct buffer *text,
                                     struct error *reterr)
{
    json_t *array = json_array();
    _cleanup_(json_freep) json_t *file =
        json_pack("{s:i, s:o, s:s?}", "version", LEDGER_VERSION, "kept", array, "differs",
                  ledger->differs ? ledger->different.text : NULL);
    if (!file)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    for (size_t i = 0; i < ledger->count; i++)
        if (json_array_append_new(array, json_string(ledger->kept[i].text)) < 0)
            return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    enum error_code code = json_format(file, text, reterr);
    return code ? code : buffer_append(text, "\n", 1, reterr);
}

enum client_ledger_step client_ledger_compare(const struct client_ledger *ledger,
                                              const struct ledger_checkpoint *checkpoint)
{
    const struct ledger_head *head = &checkpoint->head;
    const struct ledger_checkpoint *newest = ledger->count > 0 ? &ledger->kept[ledger->count - 1].head : NULL;
    if (!newest || checkpoint->epoch > newest->epoch)
        return LEDGER_ADVANCES;
    /* Also an epoch before: an authority does not go back to one. */
    if (checkpoint->epoch < newest->epoch || head->sequence < newest->head.sequence)
        return LEDGER_DIFFERS;
    if (head->sequence > newest->head.sequence)
        return LEDGER_ADVANCES;
    return memcmp(head->hash, newest->head.hash, sizeof(head->hash)) == 0 ? LEDGER_STANDS : LEDGER_DIFFERS;
}

void client_ledger_keep(struct client_ledger *ledger, const struct client_checkpoint *checkpoint)
{
    struct client_checkpoint *newest = ledger->count > 0 ? &ledger->kept[ledger->count - 1] : NULL;
    if (newest && newest->head.epoch == checkpoint->head.epoch) {
        *newest = *checkpoint;
        return;
    }
    if (ledger->count == CLIENT_EPOCHS_MAXIMUM) {
        memmove(&ledger->kept[0], &ledger->kept[1], (CLIENT_EPOCHS_MAXIMUM - 1) * sizeof(ledger->kept[0]));
        ledger->count--;
    }
    ledger->kept[ledger->count++] = *checkpoint;
    ledger->differs = false;
}

static void name_file(const struct client_pin *pin, char name[NAME_SIZE])
{
    snprintf(name, NAME_SIZE, CLIENT_AUTHORITIES_NAME "/%s.ledger", client_id_shown(pin->id));
}

void client_ledger_read(struct client *client, const struct client_pin *pin, struct client_ledger *ret_ledger)
{
    _cleanup_(buffer_done) struct buffer text = {0};
    char name[NAME_SIZE];
    name_file(pin, name);
    if (client->husk_fd < 0 || turns_read(client->husk_fd, name, PLACE_SIZE, &text, NULL) ||
        client_ledger_parse(text.data, text.length, ret_ledger, NULL))
        *ret_ledger = (struct client_ledger){0};
}

static void write_file(struct client *client, const struct client_pin *pin,
                       const struct client_ledger *ledger)
{
    _cleanup_(buffer_done) struct buffer text = {0};
    _cleanup_(close_fdp) int fd = -1;
    char name[CLIENT_ID_TEXT_SIZE + 8];
    snprintf(name, sizeof(name), "%s.ledger", client_id_shown(pin->id));
    if (directory_open(client->husk_fd, CLIENT_AUTHORITIES_NAME, &fd, NULL) == OK &&
        client_ledger_format(ledger, &text, NULL) == OK)
        (void)!turns_write(fd, name, PLACE_SIZE, text.data, text.length, NULL);
}

/* Others of this host may have kept one meanwhile. */
static void keep(struct client *client, const struct client_pin *pin, enum client_ledger_step step,
                 const struct client_checkpoint *seen)
{
    _cleanup_(close_fdp) int lock_fd = -1;
    struct client_ledger ledger;
    if (client_lock(client, "ledger.lock", &lock_fd, NULL))
        return;
    client_ledger_read(client, pin, &ledger);
    if (step == LEDGER_DIFFERS && !ledger.differs) {
        ledger.differs = true;
        ledger.different = *seen;
    } else if (step == LEDGER_ADVANCES && client_ledger_compare(&ledger, &seen->head) == LEDGER_ADVANCES) {
        client_ledger_keep(&ledger, seen);
    } else {
        return;
    }
    write_file(client, pin, &ledger);
}

void client_ledger_watch(struct client *client, const struct client_pin *pin,
                         const struct client_ledger *before, const json_t *checkpoint)
{
    _cleanup_(buffer_done) struct buffer wire = {.maximum = LEDGER_CHECKPOINT_MAXIMUM};
    struct client_checkpoint seen;
    const char *text = json_string_value(json_object_get(checkpoint, "signed"));
    if (!client_find(client, pin->id) || !text || strlen(text) >= sizeof(seen.text) ||
        text_append_bytes(&wire, text, NULL) ||
        ledger_checkpoint_parse(wire.data, wire.length, pin->descriptor.signing_key, &seen.head, NULL))
        return;
    snprintf(seen.text, sizeof(seen.text), "%s", text);
    /* Only the root begins an epoch: with a descriptor that says so. */
    const enum client_ledger_step step =
        seen.head.epoch == pin->descriptor.epoch ? client_ledger_compare(before, &seen.head) : LEDGER_DIFFERS;
    if (step != LEDGER_STANDS)
        keep(client, pin, step, &seen);
}

static void say(const struct client_ledger *ledger, const struct client_pin *pin,
                struct finding_list *findings)
{
    const struct ledger_checkpoint *kept = &ledger->kept[ledger->count - 1].head;
    const struct ledger_checkpoint *seen = &ledger->different.head;
    finding_add(findings, FINDING_TELLS, "ledger-differs", client_id_shown(pin->id),
                "ask who administers the authority; huskd ledger verify --checkpoint with the one kept in "
                ".husk/authorities tells what became of it",
                "the ledger of the authority is not the one it was: this host holds its signed entry %llu of "
                "epoch %llu, and was shown entry %llu of epoch %llu",
                (unsigned long long)kept->head.sequence, (unsigned long long)kept->epoch,
                (unsigned long long)seen->head.sequence, (unsigned long long)seen->epoch);
}

void client_ledger_tell(struct client *client, struct finding_list *findings)
{
    for (size_t i = 0; i < client->pin_count; i++) {
        struct client_ledger ledger;
        client_ledger_read(client, &client->pins[i], &ledger);
        if (ledger.differs && ledger.count > 0)
            say(&ledger, &client->pins[i], findings);
    }
}

enum error_code client_ledger_set(struct client *client, const struct client_pin *pin, json_t *message,
                                  struct error *reterr)
{
    struct client_ledger ledger;
    client_ledger_read(client, pin, &ledger);
    if (ledger.count == 0)
        return OK;
    return json_set_new(message, "checkpoint",
                        json_pack("{s:s}", "signed", ledger.kept[ledger.count - 1].text), reterr);
}
