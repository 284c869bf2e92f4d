
#include "authority_scene.h"

#include "secret/secret.h"

static int start(void **state, const char *holder)
{
    struct scene *scene = calloc(1, sizeof(*scene));
    if (!scene || secret_start(NULL) != OK)
        return -1;
    world_make(&scene->world, holder);
    group_set(&scene->world, "auto", "unlock", json_string("auto"));
    host_make(&scene->host, &scene->world, "web1");
    host_enroll(&scene->host, "auto");
    host_bind(&scene->host, &scene->keyslot);
    *state = scene;
    return 0;
}

int scene_start(void **state)
{
    return start(state, NULL);
}

int scene_start_with_holder(void **state)
{
    return start(state, "holder");
}

void scene_move_holder(struct scene *scene, bool away)
{
    char here[256], there[256];
    snprintf(here, sizeof(here), "%s.%lld", scene->world.holder,
             (long long)world_count(&scene->world, "SELECT generation FROM state"));
    snprintf(there, sizeof(there), "%s/away", scene->world.directory);
    assert_int_equal(rename(away ? here : there, away ? there : here), 0);
}

int scene_end(void **state)
{
    struct scene *scene = *state;
    host_done(&scene->host);
    world_remove(&scene->world);
    free(scene);
    return 0;
}

void scene_another(struct scene *scene, struct world_host *host, struct world_keyslot *keyslot)
{
    host_make(host, &scene->world, "web2");
    host_enroll(host, "auto");
    host_bind(host, keyslot);
}

void scene_opens(struct world_host *host, struct world_keyslot *keyslot)
{
    struct world_open open;
    host_boot(host);
    assert_granted(&open, open_first(&open, host, keyslot, 30));
    open_done(&open);
}

void assert_flagged(struct world_open *open, struct world_host *host, struct world_keyslot *keyslot,
                    const char *flag)
{
    json_t *answer = open_first(open, host, keyslot, 0);
    if (!has_flag(answer, flag))
        fail_msg("no flag %s", flag);
    assert_state(answer, "pending");
}

struct world_host copy_disk(const struct world_host *host)
{
    struct world_host copy = *host;
    copy.last_wire = (struct buffer){0};
    host_boot(&copy);
    return copy;
}

struct world_host old_copy(struct scene *scene)
{
    scene_opens(&scene->host, &scene->keyslot);
    struct world_host copy = copy_disk(&scene->host);
    scene_opens(&scene->host, &scene->keyslot);
    scene_opens(&scene->host, &scene->keyslot);
    return copy;
}

const char *probe_in(const json_t *probed)
{
    const char *probe = json_string_value(json_object_get(json_object_get(probed, "result"), "probe"));
    assert_non_null(probe);
    return probe;
}

void answer_probe(struct world_host *host, const char *probe)
{
    json_t *message = host_message("heartbeat");
    assert_ok(json_set_hex(message, "boot", host->boot, WORLD_ID, &error));
    assert_ok(json_set_hex(message, "lineage", host->lineage, WORLD_ID, &error));
    assert_ok(json_set_new(message, "facts", json_object(), &error));
    assert_ok(json_set_new(message, "descriptor_sequence", json_integer(1), &error));
    assert_ok(json_set_new(message, "probe", json_string(probe), &error));
    json_decref(host_send(host, message));
}

json_t *ask_ticket(struct world_host *host)
{
    json_t *message = host_message("ticket");
    assert_ok(json_set_hex(message, "boot", host->boot, WORLD_ID, &error));
    assert_ok(json_set_new(message, "purpose", json_string("reboot"), &error));
    return host_send(host, message);
}

void scene_was_restored(struct scene *scene)
{
    world_close(&scene->world);
    (void)world_count(&scene->world, "INSERT OR IGNORE INTO restored_hosts SELECT id FROM hosts");
    world_open(&scene->world);
}

void scene_approve_restored(struct scene *scene, unsigned uid, const struct world_open *open)
{
    json_t *result = NULL;
    bool changed;
    assert_ok(
        world_try(&scene->world, uid, "request approve",
                  json_pack("{s:s, s:s, s:b}", "request", open->request, "code", open->code, "restored", 1),
                  &result, &changed, &error));
    json_decref(result);
}
