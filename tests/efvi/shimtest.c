/* The shim over the double: as many frames as asked for go each way at once between two cards, with faults on. Every one
 * arrives once, in order and whole, or is discarded and told of; in the end both cards hold what they held before. */
#include "check.h"
#include "double.h"
#include "shim.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

enum { BUFFER = 2048, SLOTS = 512, PAGES = SLOTS * BUFFER / EFVI_SHIM_PAGE, POSTED = 256, HEADERS = 42 };

struct end {
	struct efvi_shim *rx, *tx;
	struct efvi_shim_info rx_info, tx_info;
	uint8_t *in, *out;
	uint64_t in_dma[PAGES], out_dma[PAGES];
	struct efvi_shim_buffer again[8];
	uint32_t repost, sent, done, next;
	uint64_t good, discards[EFVI_SHIM_DISCARDS], stamped, ctpio;
};

static const uint8_t group[4] = {239, 1, 2, 3};

/* Ethernet, IPv4 with its checksum and UDP without; behind it the number and a pattern made of it. */
static uint32_t frame(uint8_t *to, uint32_t number)
{
	uint32_t payload = 4 + number % 1400, sum = 0;
	memset(to, 0, HEADERS);
	memcpy(to, (uint8_t[]){1, 0, 0x5e, 1, 2, 3, 2, 0, 0, 0, 0, 9, 8, 0, 0x45}, 15);
	to[16] = (uint8_t)((28 + payload) >> 8);
	to[17] = (uint8_t)(28 + payload);
	to[22] = 1;
	to[23] = 17;
	memcpy(to + 26, (uint8_t[]){10, 0, 0, 1}, 4);
	memcpy(to + 30, group, 4);
	for (int k = 14; k < 34; k += 2)
		sum += (uint32_t)to[k] << 8 | to[k + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~(sum + (sum >> 16));
	to[24] = (uint8_t)(sum >> 8);
	to[25] = (uint8_t)sum;
	to[36] = 5000 >> 8;
	to[37] = 5000 & 0xff;
	to[38] = (uint8_t)((8 + payload) >> 8);
	to[39] = (uint8_t)(8 + payload);
	memcpy(to + HEADERS, &number, 4);
	for (uint32_t k = 4; k < payload; k++)
		to[HEADERS + k] = (uint8_t)(number + k);
	return HEADERS + payload;
}

static void open_end(struct end *e, const char *name)
{
	struct efvi_shim_config rx = {.interface = name, .rx_slots = SLOTS, .buffer_bytes = BUFFER, .rx_stamps = EFVI_SHIM_AUTO};
	struct efvi_shim_config tx = {.interface = name,
				      .tx_slots = SLOTS,
				      .ctpio_threshold = 64,
				      .ctpio = EFVI_SHIM_REQUIRED,
				      .tx_stamps = EFVI_SHIM_AUTO};
	uint32_t to;
	memset(e, 0, sizeof *e);
	CHECK(efvi_shim_open(&rx, &e->rx, &e->rx_info) == 0 && efvi_shim_open(&tx, &e->tx, &e->tx_info) == 0);
	CHECK(e->tx_info.ctpio && e->rx_info.rx_capacity == SLOTS - 1);
	e->in = aligned_alloc(EFVI_SHIM_PAGE, (size_t)SLOTS * BUFFER);
	e->out = aligned_alloc(EFVI_SHIM_PAGE, (size_t)SLOTS * BUFFER);
	CHECK(efvi_shim_register(e->rx, e->in, (size_t)SLOTS * BUFFER, e->in_dma) == 0);
	CHECK(efvi_shim_register(e->tx, e->out, (size_t)SLOTS * BUFFER, e->out_dma) == 0);
	for (uint32_t id = 0; id < POSTED; id++) {
		struct efvi_shim_buffer b = {e->in_dma[id / 2] + id % 2 * BUFFER, e->in + (size_t)id * BUFFER, id, 0};
		CHECK(efvi_shim_rx_post(e->rx, &b, 1) == 1);
	}
	memcpy(&to, group, 4);
	CHECK(efvi_shim_filter(e->rx, 17, to, htons(5000), 0, 0, -1) == 0);
}

static void close_end(struct end *e)
{
	efvi_shim_close(e->tx);
	efvi_shim_close(e->rx);
	free(e->in);
	free(e->out);
}

static void send_some(struct end *e, uint32_t frames)
{
	struct efvi_shim_frame some[8];
	uint32_t n = 0;
	while (n < 8 && e->sent + n < frames && e->sent + n - e->done < SLOTS - 8) {
		uint32_t id = (e->sent + n) % SLOTS;
		uint8_t *at = e->out + (size_t)id * BUFFER;
		some[n] = (struct efvi_shim_frame){e->out_dma[id / 2] + id % 2 * BUFFER, at, frame(at, e->sent + n), id};
		n++;
	}
	e->sent += efvi_shim_tx_send(e->tx, some, n);
}

static void complete_some(struct end *e)
{
	struct efvi_shim_tx told[EFVI_SHIM_TX_ROOM];
	uint32_t n = efvi_shim_tx_poll(e->tx, told);
	for (uint32_t k = 0; k < n; k++) {
		CHECK(told[k].id == e->done % SLOTS && !(told[k].flags & EFVI_SHIM_FAILED));
		e->ctpio += !!(told[k].flags & EFVI_SHIM_CTPIO);
		e->done++;
	}
}

static void receive_some(struct end *e)
{
	static uint8_t expected[BUFFER];
	struct efvi_shim_rx told[EFVI_SHIM_RX_ROOM];
	uint32_t n = efvi_shim_rx_poll(e->rx, told);
	for (uint32_t k = 0; k < n; k++) {
		const struct efvi_shim_rx *t = &told[k];
		uint8_t *at = e->in + (size_t)t->id * BUFFER, *got = at + e->rx_info.prefix_bytes;
		CHECK((t->flags & (EFVI_SHIM_SOP | EFVI_SHIM_CONT)) == EFVI_SHIM_SOP);
		if (t->discard) {
			e->discards[t->discard - 1]++;
		} else {
			uint32_t number;
			memcpy(&number, got + HEADERS, 4);
			CHECK(number >= e->next);
			e->next = number + 1;
			CHECK(t->bytes == frame(expected, number));
			/* UDP's checksum is put in by the card when the fallback was sent. */
			CHECK(memcmp(got, expected, 40) == 0 && memcmp(got + 42, expected + 42, t->bytes - 42u) == 0);
			e->stamped += (t->flags & EFVI_SHIM_STAMPED) && (t->flags & EFVI_SHIM_IN_SYNC) && t->stamp_ns > 0;
			e->good++;
		}
		e->again[e->repost++] = (struct efvi_shim_buffer){e->in_dma[t->id / 2] + t->id % 2 * BUFFER, at, t->id, 0};
		if (e->repost == 8) {
			CHECK(efvi_shim_rx_post(e->rx, e->again, 8) == 8);
			e->repost = 0;
		}
	}
}

static uint64_t told(const struct end *e)
{
	uint64_t sum = e->good;
	for (int k = 0; k < EFVI_SHIM_DISCARDS; k++)
		sum += e->discards[k];
	return sum;
}

static void run(const char *arch, const char *script, uint32_t frames)
{
	char cards[128];
	bool efct = strcmp(arch, "efct") == 0;
	struct end a, b;
	struct efvi_double_counters na, nb;
	struct efvi_shim_trouble trouble;
	efvi_double_reset();
	snprintf(cards, sizeof cards, "interface a %s 3 0 02:00:00:00:00:01\ninterface b %s 4 0 02:00:00:00:00:02\nwire a b\n",
		 arch, arch);
	CHECK(efvi_double_script(cards) == 0);
	CHECK(efvi_double_script("set a crc-every 997\nset b csum-every 1009\nset b trunc-every 5003\n"
				 "set a ctpio-lose-every 7\nset b ctpio-poison-every 101\nset a completion-polls 3\n"
				 "set b eagain-every 13\nset b rx-stamp-absent-every 11\n") == 0);
	CHECK(efvi_double_script(script) == 0);
	open_end(&a, "a");
	open_end(&b, "b");
	do {
		send_some(&a, frames);
		receive_some(&b);
		send_some(&b, frames);
		complete_some(&a);
		receive_some(&a);
		complete_some(&b);
		CHECK(efvi_double_counters("a", &na) == 0 && efvi_double_counters("b", &nb) == 0);
	} while (a.done < frames || b.done < frames || told(&a) < na.matched || told(&b) < nb.matched);

	/* The cards' own account, and what was told here, are the same. */
	CHECK(na.sent == frames && nb.sent == frames && nb.offered == frames && na.offered == frames + nb.ctpio_poisoned);
	CHECK(na.filtered == 0 && nb.filtered == 0 && na.no_descriptor == 0 && nb.no_descriptor == 0);
	CHECK(a.good == na.delivered && b.good == nb.delivered);
	/* Reasons as ef_vi numbers them: 0 checksum, 2 CRC, 3 truncated. */
	CHECK(a.discards[2] == na.discarded_crc && b.discards[0] == nb.discarded_csum && b.discards[3] == nb.discarded_trunc);
	CHECK(told(&a) == a.good + a.discards[2] && told(&b) == b.good + b.discards[0] + b.discards[3]);
	CHECK(a.good >= frames - frames / 997 * 2 && nb.discarded_csum == frames / 1009);
	CHECK(a.ctpio == na.ctpio_won && b.ctpio == nb.ctpio_won);
	CHECK(na.ctpio_won + na.ctpio_lost == frames && nb.ctpio_won + nb.ctpio_lost + nb.ctpio_poisoned == frames);
	CHECK(efct ? na.ctpio_lost + nb.ctpio_lost == 0 : na.ctpio_lost >= frames / 7 && nb.ctpio_poisoned > 0);
	CHECK(a.stamped == (a.rx_info.rx_stamps ? a.good : 0) && b.stamped < b.good);
	/* Fill levels are where they began; nothing stands anywhere. */
	CHECK(efvi_shim_rx_fill(a.rx) + a.repost == POSTED && efvi_shim_rx_fill(b.rx) + b.repost == POSTED);
	CHECK(efvi_shim_tx_fill(a.tx) == 0 && efvi_shim_tx_fill(b.tx) == 0);
	CHECK(na.tx_held == 0 && nb.tx_held == 0 && na.waiting == 0 && nb.waiting == 0);
	efvi_shim_trouble(a.rx, &trouble);
	CHECK(trouble.overflows == 0 && trouble.resets == 0 && trouble.unknown == 0);
	close_end(&a);
	close_end(&b);
	printf("%u frames each way: ctpio %llu won %llu lost %llu poisoned, discards %llu\n", frames,
	       (unsigned long long)(na.ctpio_won + nb.ctpio_won), (unsigned long long)(na.ctpio_lost + nb.ctpio_lost),
	       (unsigned long long)nb.ctpio_poisoned, (unsigned long long)(told(&a) + told(&b) - a.good - b.good));
}

int main(int argc, char **argv)
{
	uint32_t frames = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 10000;
	struct efvi_shim_config own_buffers = {.interface = "a", .rx_slots = SLOTS};
	struct efvi_shim_info info;
	struct efvi_shim *none;
	run("ef10", "", frames);
	/* Firmware that tells of several packets at once, and cards that cannot stamp. */
	run("ef10",
	    "capability a force-merge 1\ncapability b force-merge 1\ncapability a rx-timestamps absent\n"
	    "capability b tx-timestamps 0\n",
	    frames);
	/* A card with buffers of its own is refused, but in the mode that hides them, which 8.x does not know. */
	efvi_double_reset();
	CHECK(efvi_double_script("interface a efct 3 0 02:00:00:00:00:01\n") == 0);
	CHECK(efvi_shim_open(&own_buffers, &none, &info) == -EOPNOTSUPP && info.step == EFVI_SHIM_STEP_ARCH);
	CHECK(setenv("EF_VI_COMPAT_MODE", "ef10", 1) == 0);
#if EFVI_DOUBLE_SHAPE >= 9
	run("efct", "", frames);
#else
	CHECK(efvi_shim_open(&own_buffers, &none, &info) == -EOPNOTSUPP && info.step == EFVI_SHIM_STEP_ARCH);
#endif
	efvi_double_reset();
	return 0;
}
