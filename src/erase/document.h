/* The report of an erase, husk.erase-report/1: what a host says about itself, signed by nobody. */
#pragma once
#include "erase/mark.h"
#include "erase/verdict.h"

struct erase_outcome {
    const char *journal;    /* "done", "not supported", "failed" */
    const char *kernel_key; /* "absent", "files in use keep theirs", "not known" */
    int64_t finished_unix_s;
    struct erase_facts facts;
};

must_check enum error_code erase_document_format(const struct vault *vault,
                                                 const struct erase_progress *progress,
                                                 const struct erase_outcome *outcome,
                                                 const struct finding_list *findings, struct buffer *text,
                                                 struct error *reterr);
