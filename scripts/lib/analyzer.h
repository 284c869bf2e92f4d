/*
 * For clang-tidy only, in front of every file but base/error.c: error_set() and its like lie in another file, so the
 * analyzer cannot see that they never return OK, and follows the path on which a function failed, said so, and is
 * believed to have filled its outputs.
 */
#pragma once
#include "base/error.h"
#define ANALYZED(call)                                                                                       \
    ({                                                                                                       \
        enum error_code code_ = call;                                                                        \
        if (code_ == OK)                                                                                     \
            __builtin_unreachable();                                                                         \
        code_;                                                                                               \
    })
#define error_set(...) ANALYZED(error_set(__VA_ARGS__))
#define error_subject(...) ANALYZED(error_subject(__VA_ARGS__))
#define error_remedy(...) ANALYZED(error_remedy(__VA_ARGS__))
#define error_prefix(...) ANALYZED(error_prefix(__VA_ARGS__))
