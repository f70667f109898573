#include "content_engine.h"

const struct content_engine *const content_engines[] = { NULL };
