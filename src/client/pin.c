/* authorities/ID.json: {"version":1,"host","name","enrolled","descriptor"}. */
#include "base/fault.h"
#include "base/file.h"
#include "base/text.h"
#include "client/files.h"

#define PIN_SUFFIX ".json"
enum { PIN_VERSION = 1, PIN_MEMBERS = 5, PIN_NAME_SIZE = CLIENT_ID_TEXT_SIZE + sizeof(PIN_SUFFIX) };

void client_pin_done(struct client_pin *pin)
{
    buffer_done(&pin->descriptor_signed);
    *pin = (struct client_pin){0};
}

enum error_code client_check_name(const char *name, struct error *reterr)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t length = strlen(name);
    if (length > 0 && length <= CLIENT_NAME_MAXIMUM && strspn(name, allowed) == length)
        return OK;
    return error_set(reterr, ERR_USAGE, 0,
                     "\"%s\" is no name for a host: 1 to %d letters, digits, '.', '_' or '-'",
                     text_shown(name), CLIENT_NAME_MAXIMUM);
}

static enum error_code take_bytes(struct client_pin *pin, const struct descriptor *descriptor,
                                  const void *bytes, size_t length, struct error *reterr)
{
    struct buffer signed_bytes = {.maximum = DESCRIPTOR_MAXIMUM};
    enum error_code code = buffer_append(&signed_bytes, bytes, length, reterr);
    if (code)
        return code;
    buffer_done(&pin->descriptor_signed);
    pin->descriptor_signed = signed_bytes;
    pin->descriptor = *descriptor;
    return OK;
}

enum error_code client_pin_take_descriptor(struct client_pin *pin, const void *bytes, size_t length,
                                           struct error *reterr)
{
    struct descriptor descriptor;
    enum error_code code = descriptor_parse(bytes, length, pin->descriptor.root, &descriptor, reterr);
    if (code)
        return code;
    if (descriptor.sequence <= pin->descriptor.sequence)
        return error_set(reterr, ERR_EXISTS, 0, "a descriptor that is not newer");
    code = descriptor_check_reachable(&descriptor, reterr);
    if (code)
        return code;
    return take_bytes(pin, &descriptor, bytes, length, reterr);
}

/* What was read before is not verified again. */
static bool is_known(const struct client_pin *known, const void *bytes, size_t length)
{
    return known && known->descriptor_signed.length == length &&
           memcmp(known->descriptor_signed.data, bytes, length) == 0;
}

static enum error_code parse_descriptor(json_t *file, const uint8_t *id, const struct client_pin *known,
                                        struct client_pin *pin, struct error *reterr)
{
    const char *text = NULL;
    struct descriptor descriptor;
    uint8_t fingerprint[DESCRIPTOR_FINGERPRINT_SIZE];
    _cleanup_(freep) uint8_t *bytes = NULL;
    enum error_code code = json_get_string(file, "descriptor", &text, reterr);
    if (code)
        return code;
    size_t length = strlen(text) / 2;
    bytes = malloc(length + 1);
    if (!bytes)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    code = text_parse_hex(text, bytes, length, reterr);
    if (!code && is_known(known, bytes, length))
        return take_bytes(pin, &known->descriptor, bytes, length, reterr);
    if (!code)
        code = descriptor_parse(bytes, length, NULL, &descriptor, reterr);
    if (code)
        return code;
    descriptor_fingerprint(descriptor.root, fingerprint);
    if (memcmp(fingerprint, id, sizeof(fingerprint)) != 0)
        return error_set(reterr, ERR_CORRUPT, 0, "its descriptor is that of another authority");
    return take_bytes(pin, &descriptor, bytes, length, reterr);
}

static enum error_code parse_members(json_t *file, const uint8_t *id, const struct client_pin *known,
                                     struct client_pin *pin, struct error *reterr)
{
    const char *name = NULL;
    enum error_code code = OK;
    if (json_object_size(file) > PIN_MEMBERS)
        code = error_set(reterr, ERR_CORRUPT, 0, "it has a member that does not belong there");
    if (!code)
        code = json_get_hex(file, "host", pin->host, sizeof(pin->host), reterr);
    if (!code)
        code = json_get_string(file, "name", &name, reterr);
    if (!code && client_check_name(name, NULL) != OK)
        code = error_set(reterr, ERR_CORRUPT, 0, "the member \"name\" is no name for a host");
    if (!code)
        snprintf(pin->name, sizeof(pin->name), "%s", name);
    if (!code)
        code = json_get_integer(file, "enrolled", 0, INT64_MAX, &pin->enrolled_unix_s, reterr);
    return code ? code : parse_descriptor(file, id, known, pin, reterr);
}

static enum error_code parse(const char *text, size_t length, const uint8_t id[CLIENT_ID_SIZE],
                             const struct client_pin *known, struct client_pin *ret_pin, struct error *reterr)
{
    _cleanup_(json_freep) json_t *file = NULL;
    _cleanup_(client_pin_done) struct client_pin pin = {0};
    memcpy(pin.id, id, sizeof(pin.id));
    enum error_code code = json_parse_object(text, length, "the file", &file, reterr);
    if (!code)
        code = json_check_version(file, PIN_VERSION, "the file", reterr);
    if (!code)
        code = parse_members(file, id, known, &pin, reterr);
    if (code)
        return code == ERR_DENIED ? error_set(reterr, ERR_CORRUPT, 0, "its descriptor is not signed") : code;
    *ret_pin = pin;
    pin = (struct client_pin){0};
    return OK;
}

enum error_code client_pin_parse(const char *text, size_t length, const uint8_t id[CLIENT_ID_SIZE],
                                 struct client_pin *ret_pin, struct error *reterr)
{
    return parse(text, length, id, NULL, ret_pin, reterr);
}

enum error_code client_pin_format(const struct client_pin *pin, struct buffer *text, struct error *reterr)
{
    _cleanup_(json_freep) json_t *file = json_object();
    if (!file)
        return error_set(reterr, ERR_NO_MEMORY, 0, "out of memory");
    enum error_code code = json_set_new(file, "version", json_integer(PIN_VERSION), reterr);
    if (!code)
        code = json_set_hex(file, "host", pin->host, sizeof(pin->host), reterr);
    if (!code)
        code = json_set_new(file, "name", json_string(pin->name), reterr);
    if (!code)
        code = json_set_new(file, "enrolled", json_integer(pin->enrolled_unix_s), reterr);
    if (!code)
        code = json_set_hex(file, "descriptor", (const uint8_t *)pin->descriptor_signed.data,
                            pin->descriptor_signed.length, reterr);
    if (!code)
        code = json_format(file, text, reterr);
    return code ? code : buffer_append(text, "\n", 1, reterr);
}

enum error_code client_pin_write(struct client *client, const struct client_pin *pin, struct error *reterr)
{
    _cleanup_(buffer_done) struct buffer text = {0};
    _cleanup_(close_fdp) int fd = -1;
    char name[PIN_NAME_SIZE];
    snprintf(name, sizeof(name), "%s%s", client_id_shown(pin->id), PIN_SUFFIX);
    enum error_code code = client_pin_format(pin, &text, reterr);
    if (!code)
        code = directory_make(client->husk_fd, CLIENT_AUTHORITIES_NAME, 0700, &fd, reterr);
    int injected = code ? 0 : fault("client.pin.write");
    if (injected)
        code = error_set(reterr, ERR_FAILED, injected, "cannot write %s", name);
    if (!code)
        code = file_write_durable(fd, name, 0600, text.data, text.length, reterr);
    if (!code)
        (void)fault("client.pin.written");
    return code;
}

void client_pin_catch_up(struct client *client, struct client_pin *pin)
{
    _cleanup_(buffer_done) struct buffer text = {0};
    _cleanup_(client_pin_done) struct client_pin written = {0};
    _cleanup_(close_fdp) int fd = -1;
    char name[PIN_NAME_SIZE];
    snprintf(name, sizeof(name), "%s%s", client_id_shown(pin->id), PIN_SUFFIX);
    enum error_code code = directory_open(client->husk_fd, CLIENT_AUTHORITIES_NAME, &fd, NULL);
    if (!code)
        code = file_read(fd, name, CLIENT_FILE_MAXIMUM, &text, NULL);
    if (!code)
        code = client_pin_parse(text.data ? text.data : "", text.length, pin->id, &written, NULL);
    if (!code)
        (void)!client_pin_take_descriptor(pin, written.descriptor_signed.data,
                                          written.descriptor_signed.length, NULL);
}

struct reading {
    struct client *client, *before;
    int fd;
};

static enum error_code read_one(const char *name, void *context, struct error *reterr)
{
    struct reading *reading = context;
    struct client *client = reading->client;
    _cleanup_(buffer_done) struct buffer text = {0};
    uint8_t id[CLIENT_ID_SIZE];
    char digits[CLIENT_ID_TEXT_SIZE];
    if (strlen(name) != 2 * CLIENT_ID_SIZE + strlen(PIN_SUFFIX) ||
        strcmp(name + 2 * CLIENT_ID_SIZE, PIN_SUFFIX) != 0)
        return OK; /* the temporary of a write */
    snprintf(digits, sizeof(digits), "%.*s", 2 * CLIENT_ID_SIZE, name);
    if (text_parse_hex(digits, id, sizeof(id), NULL))
        return OK;
    if (client->pin_count == CLIENT_AUTHORITIES_MAXIMUM)
        return error_set(reterr, ERR_CORRUPT, 0, "%s names more than %d authorities", CLIENT_AUTHORITIES_NAME,
                         CLIENT_AUTHORITIES_MAXIMUM);
    enum error_code code = file_read(reading->fd, name, CLIENT_FILE_MAXIMUM, &text, reterr);
    if (!code)
        code = parse(text.data, text.length, id, reading->before ? client_find(reading->before, id) : NULL,
                     &client->pins[client->pin_count], reterr);
    if (code)
        return error_prefix(reterr, "%s/%s", CLIENT_AUTHORITIES_NAME, name);
    client->pin_count++;
    return OK;
}

static int by_id(const void *left, const void *right)
{
    return memcmp(((const struct client_pin *)left)->id, ((const struct client_pin *)right)->id,
                  CLIENT_ID_SIZE);
}

enum error_code client_pins_read(struct client *client, struct client *before, struct error *reterr)
{
    _cleanup_(close_fdp) int fd = -1;
    enum error_code code = directory_open(client->husk_fd, CLIENT_AUTHORITIES_NAME, &fd, reterr);
    if (code)
        return code == ERR_NOT_FOUND ? OK : code;
    struct reading reading = {client, before, fd};
    code = directory_list(fd, read_one, &reading, reterr);
    if (!code && client->pin_count > 1) /* of one the C library would still ask how much memory there is */
        qsort(client->pins, client->pin_count, sizeof(client->pins[0]), by_id);
    return code;
}
