/* EXT4_IOC_CHECKPOINT: everything in the journal goes to its place, and the journal may be zeroed. */
#pragma once

enum journal_content { JOURNAL_KEEP, JOURNAL_ZERO };

/* Returns 0 or an errno: ENODEV without a journal, ENOTTY or EOPNOTSUPP where there is no such call. */
int journal_checkpoint(int fd, enum journal_content content);
