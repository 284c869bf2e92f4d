#include "render_plan.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "command/amount.h"

static const char *const action_words[] = {
    [CONVERT_COPY] = "copy",       [CONVERT_SET_POLICY] = "set-policy", [CONVERT_RECORD] = "record",
    [CONVERT_NOTHING] = "nothing", [CONVERT_CONTINUE] = "continue",
};

static void show_directory(struct run *run, const struct convert_plan_directory *directory)
{
    run_text(run, "  %s: ", directory->shown_path);
    if (directory->action == CONVERT_COPY && directory->directories == 0) {
        run_text(run, "not looked at\n"); /* something above it is in the way */
        return;
    }
    switch (directory->action) {
    case CONVERT_COPY:
        run_text(run, "copy %s %s, %s %s, %s %s, %s; exchange; %s\n", amount_count_shown(directory->files),
                 directory->files == 1 ? "file" : "files", amount_count_shown(directory->directories),
                 directory->directories == 1 ? "directory" : "directories",
                 amount_count_shown(directory->others), directory->others == 1 ? "other" : "others",
                 amount_bytes_shown(directory->bytes),
                 argument_given(&run->arguments, OPTION_ROOT) ? "the old ones wait for --commit"
                                                              : "scrub the old ones");
        break;
    case CONVERT_SET_POLICY:
        run_text(run, "set the policy, it is empty\n");
        break;
    case CONVERT_RECORD:
        run_text(run, "record it, it is encrypted under the vault already\n");
        break;
    case CONVERT_NOTHING:
        run_text(run, "nothing, it is protected already\n");
        break;
    case CONVERT_CONTINUE:
        run_text(run, directory->not_asked_for ? "finish its interrupted conversion first\n"
                                               : "go on with the conversion under way\n");
        break;
    }
}

static void show_text(struct run *run, const struct convert_plan *plan, const char *vault_name)
{
    run_text(run, "plan for %s%s on %s (%s):\n", vault_name ? "vault " : "a vault",
             vault_name ? vault_name : "", text_shown(plan->filesystem->mount_point),
             text_shown(plan->filesystem->source));
    for (size_t i = 0; i < plan->directory_count; i++)
        show_directory(run, &plan->directories[i]);
    if (plan->bytes_needed || plan->inodes_needed)
        run_text(run, "  space: needs %s and %s inodes; free are %s and %s inodes\n",
                 amount_bytes_shown(plan->bytes_needed), amount_count_shown(plan->inodes_needed),
                 amount_bytes_shown(plan->bytes_free), amount_count_shown(plan->inodes_free));
}

static json_t *directories_json(const struct convert_plan *plan)
{
    json_t *array = json_array();
    for (size_t i = 0; i < plan->directory_count; i++) {
        const struct convert_plan_directory *directory = &plan->directories[i];
        json_array_append_new(
            array, json_pack("{s:o, s:s, s:I, s:I, s:I, s:I}", "path", json_text(directory->shown_path),
                             "action", action_words[directory->action], "files", (json_int_t)directory->files,
                             "directories", (json_int_t)directory->directories, "others",
                             (json_int_t)directory->others, "bytes", (json_int_t)directory->bytes));
    }
    return array;
}

enum error_code plan_show(struct run *run, struct convert_plan *plan, const char *vault_name,
                          struct error *reterr)
{
    show_text(run, plan, vault_name);
    run_result(run, "vault", vault_name ? json_text(vault_name) : json_null());
    run_result(run, "filesystem", json_text(text_shown(plan->filesystem->mount_point)));
    run_result(run, "directories", directories_json(plan));
    run_result(run, "space",
               json_pack("{s:I, s:I, s:I, s:I}", "bytes_needed", (json_int_t)plan->bytes_needed, "bytes_free",
                         (json_int_t)plan->bytes_free, "inodes_needed", (json_int_t)plan->inodes_needed,
                         "inodes_free", (json_int_t)plan->inodes_free));
    enum error_code code = finding_refusal(&plan->findings, reterr);
    finding_move_all(&run->findings, &plan->findings);
    run_show_findings(run);
    return code;
}
