/* huskd: the authority that lets hosts open their vaults, or refuses. */
#include "command/program.h"

int main(int argc, char **argv)
{
    return program_main(argc, argv);
}
