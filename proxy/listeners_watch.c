#include "listeners_watch.h"

#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

#define LOOK_MS 2000u

struct listeners_watch {
	struct loop *loop;
	struct listeners *listeners;
	const struct conf *conf;
	listeners_reopened_fn reopened;
	void *ctx;
	struct loop_timer *timer;
	bool is_away[CONF_LISTEN_MAX * 2];   /* the group's interface is not there: said once */
	bool is_failed[CONF_LISTEN_MAX * 2]; /* it could not be opened anew: said once */
};

static const char *family_name(const struct listener_group *group)
{
	return group->family == ADDR_V6 ? "IPv6" : "IPv4";
}

static void say_away(struct listeners_watch *w, size_t g, const char *iface)
{
	if (!w->is_away[g])
		log_event(LOG_LEVEL_WARN, "interface-gone", "interface %s is gone (%s): nothing comes in by it until it is back", iface,
			  family_name(&w->listeners->groups[g]));
	w->is_away[g] = true;
}

static void look_at(struct listeners_watch *w, size_t g)
{
	struct listener_group *group = &w->listeners->groups[g];
	const char *iface = w->conf->listen[group->listen_index].iface;
	struct reason why = { "" };
	if (group->ifindex == 0)
		return;
	unsigned ifindex = if_nametoindex(iface);
	if (ifindex == 0) {
		say_away(w, g, iface);
		return;
	}
	w->is_away[g] = false;
	if (ifindex == group->ifindex)
		return;
	/* An address of its own may come to the interface only in a while. */
	if (listeners_reopen(w->listeners, w->conf, g, &why) != 0) {
		if (!w->is_failed[g])
			log_event(LOG_LEVEL_ERR, "interface-new", "interface %s was made anew, and the listener can't follow yet: %s", iface,
				  why.text);
		w->is_failed[g] = true;
		return;
	}
	w->is_failed[g] = false;
	log_event(LOG_LEVEL_WARN, "interface-new", "interface %s was made anew: the listener (%s) was too", iface,
		  family_name(group));
	w->reopened(w->ctx, group);
}

static void look(void *ctx)
{
	struct listeners_watch *w = ctx;
	for (size_t g = 0; g < w->listeners->group_count; g++)
		look_at(w, g);
	loop_timer_start(w->timer, LOOK_MS);
}

int listeners_watch_create(struct loop *loop, struct listeners *listeners, const struct conf *conf, listeners_reopened_fn reopened, void *ctx,
			   struct listeners_watch **out)
{
	struct listeners_watch *w = calloc(1, sizeof *w);
	if (!w)
		return ERR_NOMEM;
	w->loop = loop;
	w->listeners = listeners;
	w->conf = conf;
	w->reopened = reopened;
	w->ctx = ctx;
	int err = loop_timer_create(loop, look, w, &w->timer);
	if (err) {
		free(w);
		return err;
	}
	loop_timer_start(w->timer, LOOK_MS);
	*out = w;
	return 0;
}

void listeners_watch_destroy(struct listeners_watch **watch)
{
	if (!*watch)
		return;
	loop_timer_destroy(&(*watch)->timer);
	free(*watch);
	*watch = NULL;
}
