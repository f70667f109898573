#include "content_engine.h"
#include "content_extcheck.h"
#include "content_filter.h"
#include "content_milter.h"

const struct content_engine *const content_engines[] = { &content_filter, &content_extcheck, &content_milter, NULL };
