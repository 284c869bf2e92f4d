/* Tokens that were made: told, revoked, forgotten. */
#include "authority_scene.h"

static json_t *make_token(struct scene *scene, int expires_s)
{
    return world_operate(&scene->world, "token create",
                         json_pack("{s:s, s:i}", "group", "auto", "expires", expires_s));
}

static const char *text_of(const json_t *object, const char *member)
{
    return json_string_value(json_object_get(object, member));
}

/* The token that is told under this id, without the others; NULL: none is. End it. */
static json_t *told(struct scene *scene, const char *id)
{
    json_t *list = world_operate(&scene->world, "token list", NULL), *tokens, *found = NULL;
    tokens = json_object_get(list, "tokens");
    for (size_t i = 0; i < json_array_size(tokens); i++)
        if (!strcmp(text_of(json_array_get(tokens, i), "id"), id))
            found = json_incref(json_array_get(tokens, i));
    json_decref(list);
    return found;
}

static enum error_code try_to_revoke(struct scene *scene, const char *id, struct error *reterr)
{
    json_t *result = NULL;
    bool changed = false;
    enum error_code code = world_try(&scene->world, 1000, "token revoke", json_pack("{s:s}", "token", id),
                                     &result, &changed, reterr);
    assert_int_equal(changed, code == OK);
    json_decref(result);
    return code;
}

static void what_is_told_of_a_token_enrols_nobody(void **state)
{
    struct scene *scene = *state;
    struct world_host host;
    char invented[128];
    json_t *token = make_token(scene, 60), *shown = told(scene, text_of(token, "id"));
    assert_string_equal(text_of(shown, "group"), "auto");
    assert_string_equal(text_of(shown, "made_by"), "person1000 (uid 1000)");
    assert_true(json_is_null(json_object_get(shown, "used_by")));
    assert_int_equal(json_integer_value(json_object_get(shown, "expires_at")), WORLD_START_S + 60);
    char *all = json_dumps(shown, 0);
    char secret[33];
    snprintf(secret, sizeof(secret), "%s", text_of(token, "token") + strlen("husk1."));
    assert_null(strstr(all, secret));
    free(all);
    snprintf(invented, sizeof(invented), "husk1.%s.%s", text_of(token, "id"),
             strrchr(text_of(token, "token"), '.') + 1);
    host_make(&host, &scene->world, "db1");
    assert_refused(host_enroll_with(&host, invented), "denied");
    json_decref(host_enroll_with(&host, text_of(token, "token")));
    json_decref(shown);
    shown = told(scene, text_of(token, "id"));
    assert_string_equal(text_of(shown, "used_by"), "db1");
    json_decref(shown);
    json_decref(token);
    host_done(&host);
}

static void a_token_that_is_revoked_enrols_nobody_also_after_a_restart(void **state)
{
    struct scene *scene = *state;
    struct world_host host;
    json_t *token = make_token(scene, 60), *other = make_token(scene, 60);
    char first[9];
    snprintf(first, sizeof(first), "%s", text_of(token, "id"));
    assert_ok(try_to_revoke(scene, first, &error));
    assert_true(has_entry(&scene->world, "token-revoked"));
    world_reopen(&scene->world);
    host_make(&host, &scene->world, "db1");
    assert_refused(host_enroll_with(&host, text_of(token, "token")), "denied");
    assert_null(told(scene, text_of(token, "id")));
    assert_fails(ERR_NOT_FOUND, try_to_revoke(scene, text_of(token, "id"), &error));
    json_decref(host_enroll_with(&host, text_of(other, "token")));
    json_decref(token);
    json_decref(other);
    host_done(&host);
}

static void a_token_that_was_used_is_not_revoked_and_names_its_host(void **state)
{
    struct scene *scene = *state;
    struct world_host host;
    struct error told_error = ERROR_NONE;
    json_t *token = make_token(scene, 60);
    host_make(&host, &scene->world, "db1");
    json_decref(host_enroll_with(&host, text_of(token, "token")));
    assert_int_equal(try_to_revoke(scene, text_of(token, "id"), &told_error), ERR_DENIED);
    assert_non_null(strstr(told_error.message, "db1"));
    json_decref(host_enroll_with(&host, text_of(token, "token")));
    json_decref(token);
    host_done(&host);
}

static void one_that_expired_is_told_no_more(void **state)
{
    struct scene *scene = *state;
    json_t *token = make_token(scene, 60), *later = make_token(scene, 61);
    world_pass(&scene->world, 60);
    assert_null(told(scene, text_of(token, "id")));
    assert_fails(ERR_NOT_FOUND, try_to_revoke(scene, text_of(token, "id"), &error));
    json_t *shown = told(scene, text_of(later, "id"));
    assert_non_null(shown);
    json_decref(shown);
    json_decref(token);
    json_decref(later);
}

static void what_is_no_id_of_a_token_is_refused(void **state)
{
    struct scene *scene = *state;
    json_decref(make_token(scene, 60));
    const char *const wrong[] = {"", "1234567", "g2345678", "000000000000000000000000000000000"};
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_fails(ERR_USAGE, try_to_revoke(scene, wrong[i], &error));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scene_test(what_is_told_of_a_token_enrols_nobody),
        scene_test(a_token_that_is_revoked_enrols_nobody_also_after_a_restart),
        scene_test(a_token_that_was_used_is_not_revoked_and_names_its_host),
        scene_test(one_that_expired_is_told_no_more),
        scene_test(what_is_no_id_of_a_token_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
