#include "erase/verdict.h"

const char *erase_verdict_word(enum erase_verdict verdict)
{
    static const char *const words[] = {
        [ERASE_COMPLETE] = "COMPLETE", [ERASE_INCOMPLETE] = "INCOMPLETE", [ERASE_UNKNOWN] = "UNKNOWN"};
    return words[verdict];
}

enum erase_verdict erase_judge_keys(const struct erase_facts *facts)
{
    if (facts->steps_failed > 0 || facts->authorities_open > 0 || facts->key_in_memory)
        return ERASE_INCOMPLETE;
    /* A local keyslot lives on in every snapshot and backup taken while it existed, and a scalar in images
     * and backups of its authority; nobody here sees them. */
    if (facts->local_copies > 0 || facts->authority_copies > 0 || facts->copies_unknown)
        return ERASE_UNKNOWN;
    return ERASE_COMPLETE;
}

enum erase_verdict erase_judge_plaintext(const struct erase_facts *facts)
{
    /* What an empty directory held before it was protected lies in free space, and nobody here knows of it.
     */
    return facts->plaintext_left || facts->plaintext_unproven ? ERASE_INCOMPLETE : ERASE_UNKNOWN;
}
