#include "authority_world.h"

#include "secret/secret.h"

/* What most tests begin with: an authority and one host with one keyslot, in group "auto". */
struct scene {
    struct world world;
    struct world_host host;
    struct world_keyslot keyslot;
};

static int start(void **state)
{
    struct scene *scene = calloc(1, sizeof(*scene));
    if (!scene || secret_start(NULL) != OK)
        return -1;
    world_make(&scene->world, NULL);
    group_set(&scene->world, "auto", "unlock", json_string("auto"));
    host_make(&scene->host, &scene->world, "web1");
    host_enroll(&scene->host, "auto");
    host_bind(&scene->host, &scene->keyslot);
    *state = scene;
    return 0;
}

static int end(void **state)
{
    struct scene *scene = *state;
    host_done(&scene->host);
    world_remove(&scene->world);
    free(scene);
    return 0;
}

static void an_automatic_open_is_granted_and_gives_the_output_of_the_binding(void **state)
{
    struct scene *scene = *state;
    struct world_open open;
    host_boot(&scene->host);
    assert_granted(&open, open_first(&open, &scene->host, &scene->keyslot, 0));
    open_done(&open);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_automatic_open_is_granted_and_gives_the_output_of_the_binding,
                                        start, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
