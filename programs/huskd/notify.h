/* Telling systemd how things are: the protocol of sd_notify(3), without its library. */
#pragma once

/* state as "READY=1". Nothing happens where nobody asked for it, or the socket is gone. */
void notify_systemd(const char *state);
