/* cli_verify.h - `postern verify flush [RECIPIENT...]`: what servers said about recipients is forgotten, so that they are asked anew.
 */
#ifndef POSTERN_CLI_VERIFY_H
#define POSTERN_CLI_VERIFY_H

#include "cli_options.h"

/* argv[0] is "verify". */
enum cli_exit cli_verify(int argc, char **argv, struct cli_options *options);

#endif
