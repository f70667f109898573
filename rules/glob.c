#include "glob.h"

bool glob_match(struct span pattern, struct span text)
{
	size_t p = 0, t = 0;
	size_t after_star = 0; /* 0: no star was met yet */
	size_t star_end = 0;   /* where the run of the last star ends for now */
	while (t < text.len) {
		if (p < pattern.len && pattern.ptr[p] == '*') {
			after_star = ++p;
			star_end = t;
		} else if (p < pattern.len && span_lower(pattern.ptr[p]) == span_lower(text.ptr[t])) {
			p++, t++;
		} else if (after_star) {
			/* Only the last star has to give way: what lies before it is matched at its leftmost place already. */
			p = after_star;
			t = ++star_end;
		} else {
			return false;
		}
	}
	while (p < pattern.len && pattern.ptr[p] == '*')
		p++;
	return p == pattern.len;
}
