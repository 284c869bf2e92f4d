/*
 * For calls of libsodium that return 0 whatever bytes they are given (hashes, streams): there is nothing a
 * caller could do about another result. Should one come, the process ends as libsodium ends it when it is
 * used wrongly, before anything goes on with bytes that are none.
 */
#pragma once
#include <sodium.h>

#define sure(call) ((call) == 0 ? (void)0 : sodium_misuse())
