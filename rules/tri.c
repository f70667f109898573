#include "tri.h"

const char *tri_name(enum tri value)
{
	switch (value) {
	case TRI_FALSE: return "false";
	case TRI_UNKNOWN: return "unknown";
	case TRI_PENDING: return "pending";
	case TRI_TRUE: return "true";
	}
	return "unknown";
}
