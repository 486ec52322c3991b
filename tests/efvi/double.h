/* How a test programs the double of ef_vi, and what it reads back.
 *
 * A script is lines of words; `#` begins a comment. Outside a test program the double reads the file that
 * TICKPATH_EFVI_DOUBLE names at the first ef_driver_open; without it there is no interface at all.
 *
 *     interface NAME ARCH IFINDEX NODE MAC    ARCH is ef10 or efct, NODE the memory node
 *     wire NAME NAME                          what one transmits the other receives; a name twice loops back
 *     play NAME FILE                          a pcap (us or ns) arrives with its own stamps, from the first filter on and not
 *                                         while a VI is lost
 *     record NAME FILE                        what is transmitted, as a pcap in ns
 *     bridge NAME KERNEL_INTERFACE            an AF_PACKET socket is the other end of the wire
 *     capability NAME WHICH NUMBER|absent     ctpio, ctpio-only, rx-timestamps, tx-timestamps, rx-merge, force-merge,
 *                                             rx-firmware, tx-firmware, multicast-replication
 *     set NAME KEY NUMBER                     one of `settings` in double.c; 0 is off
 *     driver refuse ERRNO                     the next ef_driver_open fails with it
 *
 * Settings: drop (1: a frame without a descriptor is lost; 0: the wire waits), keep (1: what is transmitted is kept for
 * efvi_double_taken), crc-every, csum-every, trunc-every (every Nth frame arrives damaged), ctpio-lose-every,
 * ctpio-poison-every, eagain-every (every Nth send), completion-polls (a completion waits for as many polls),
 * overflow-after, reset-after (frames and completions), tx-error-after (efct: the send behind as many fails, and with it the
 * ring), away-opens (as many VIs cannot be opened once one was lost), play-filters (as many have to be there before `play`
 * begins), rx-stamp-absent-every, tx-stamp-absent-every, clock-known,
 * clock-set, clock-in-sync (1 at first), superbufs, superbuf-packets (efct).
 *
 * EF_VI_COMPAT_MODE=ef10 in the environment has efct cards look as those of the kind ef10, as the library of 9.1 has it.
 *
 * Every misuse of the interface ends the process by SIGABRT with a line that names it. */
#ifndef TICKPATH_EFVI_DOUBLE_H
#define TICKPATH_EFVI_DOUBLE_H

#include <stddef.h>
#include <stdint.h>

/* Of one interface since it was made. Frames of a VI: matched = delivered + the discards + no_descriptor + lost + waiting;
 * frames of the wire with one VI: offered = matched + filtered. */
struct efvi_double_counters {
	uint64_t offered, filtered, matched;
	uint64_t delivered, discarded_crc, discarded_csum, discarded_trunc, no_descriptor;
	/* For a VI that overflowed or was reset. */
	uint64_t lost;
	uint64_t waiting;
	/* Of `play`: not on the wire yet. */
	uint64_t unplayed;
	uint64_t sent, ctpio_won, ctpio_lost, ctpio_poisoned;
	/* What the card holds now: posted receive buffers, sends without a completion, packets of its own not yet released. */
	uint64_t rx_held, tx_held, unreleased;
};

/* Runs a script. 0, or -EINVAL with a line on stderr. */
int efvi_double_script(const char *text);
/* Forgets every interface. Aborts while anything is open. */
void efvi_double_reset(void);
/* -ENODEV without such an interface. */
int efvi_double_counters(const char *interface, struct efvi_double_counters *out);
/* A frame arrives by the wire with this stamp (ns since 1970). -EAGAIN while the wire waits. */
int efvi_double_offer(const char *interface, const void *frame, size_t len, uint64_t stamp_ns);
/* The oldest frame transmitted and kept. Its length, 0 without one; never more than `room` bytes are written. */
size_t efvi_double_taken(const char *interface, void *out, size_t room, uint64_t *stamp_ns);
/* The memory node, -1 without such an interface. */
int efvi_double_node(const char *interface);

#endif
