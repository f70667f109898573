/* content_extcheck.h - the engine of allow-extchk: a whole message goes to the checker, whose command judges it and may change it.
 */
#ifndef POSTERN_CONTENT_EXTCHECK_H
#define POSTERN_CONTENT_EXTCHECK_H

#include "content_engine.h"

extern const struct content_engine content_extcheck;

#endif
