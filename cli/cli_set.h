/* cli_set.h - `postern set list|add|del`: what is in the kernel's sets, asked of the gate through posternd.
 */
#ifndef POSTERN_CLI_SET_H
#define POSTERN_CLI_SET_H

#include "cli_options.h"

enum cli_exit cli_set(int argc, char **argv, struct cli_options *options);

#endif
