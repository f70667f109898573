/* cli_replay.h - `postern rules replay`: the daemon's own log lines judged again under another rule file.
 * Reads line by line, so logs may have any length.  A line may have anything in front (a date, a host, a syslog tag): what counts begins
 * at sid= or ev=.  What the log does not hold is unknown; such a decision is counted as open, not as a change.
 */
#ifndef POSTERN_CLI_REPLAY_H
#define POSTERN_CLI_REPLAY_H

/* argv[0] is "replay".  Returns 0 no decision changes, 1 some do (or a file can't be read), 2 wrong usage. */
int cli_replay(int argc, char **argv);

#endif
