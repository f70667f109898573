#include "content_engine.h"
#include "content_extcheck.h"

const struct content_engine *const content_engines[] = { &content_extcheck, NULL };
