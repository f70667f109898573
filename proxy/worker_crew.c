#include "worker_crew.h"

int worker_crew_create(struct loop *loop, size_t count, const struct worker_supply *supply, const struct counters *counters,
		       const struct worker_process_events *events, struct worker_crew *crew)
{
	int err = 0;
	crew->count = count;
	for (uint32_t i = 0; !err && i < count; i++)
		err = worker_process_create(loop, i, supply, &counters->slots[i], events, &crew->workers[i]);
	return err;
}

void worker_crew_start(struct worker_crew *crew)
{
	for (size_t i = 0; i < crew->count; i++)
		worker_process_start(crew->workers[i]);
}

void worker_crew_send(struct worker_crew *crew, enum role_message type, const void *payload, size_t len)
{
	for (size_t i = 0; i < crew->count; i++)
		(void)worker_process_send(crew->workers[i], type, payload, len, -1);
}

void worker_crew_send_rules(struct worker_crew *crew)
{
	for (size_t i = 0; i < crew->count; i++)
		worker_process_send_rules(crew->workers[i]);
}

bool worker_crew_has_rules(const struct worker_crew *crew)
{
	for (size_t i = 0; i < crew->count; i++) {
		enum worker_state state = worker_process_state(crew->workers[i]);
		if (state == WORKER_STARTING || (state == WORKER_RUNNING && !worker_process_has_rules(crew->workers[i])))
			return false;
	}
	return true;
}

void worker_crew_drain(struct worker_crew *crew)
{
	for (size_t i = 0; i < crew->count; i++)
		worker_process_drain(crew->workers[i]);
}

void worker_crew_kill(struct worker_crew *crew)
{
	for (size_t i = 0; i < crew->count; i++)
		worker_process_kill(crew->workers[i]);
}

void worker_crew_watch(struct worker_crew *crew)
{
	for (size_t i = 0; i < crew->count; i++)
		worker_process_watch(crew->workers[i]);
}

bool worker_crew_died(struct worker_crew *crew, pid_t pid, int wait_status)
{
	bool known = false;
	for (size_t i = 0; i < crew->count && !known; i++)
		known = worker_process_died(crew->workers[i], pid, wait_status);
	return known;
}

bool worker_crew_all_in(const struct worker_crew *crew, enum worker_state state)
{
	for (size_t i = 0; i < crew->count; i++)
		if (worker_process_state(crew->workers[i]) != state)
			return false;
	return true;
}

void worker_crew_destroy(struct worker_crew *crew)
{
	for (size_t i = 0; i < crew->count; i++)
		worker_process_destroy(&crew->workers[i]);
}
