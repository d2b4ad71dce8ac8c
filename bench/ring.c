/*
 * The device's side of a virtqueue in C, as a yardstick for devices/virtio/ring: the same layout in memory, the same work and the same
 * checks of what a driver wrote, so that the two differ in their language only. Chains are two descriptors long, one to read and one to
 * write; the device does nothing with them; the driver puts the same batch on offer again and again.
 *
 *   ring split|packed SIZE BATCH INDIRECT EVENT_IDX CHAINS     all but the first are numbers -> ns of processor time per chain
 */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "ring-engine.h"

enum { READABLE_BYTES = 128, BUFFER_BYTES = 4096 };

/* Where things are in guest memory: bench/ring-workload.ts has the same. */
enum {
	DRIVER_AREA = 0x20000,
	DEVICE_AREA = 0x40000,
	TABLES = 0x80000,
	BUFFERS = 0x100000,
	RAM_BYTES = 0x1000000,
};
static const uint64_t GUEST_ADDRESS = 0x140000000;

static void complete(struct ring *r, struct chain *c)
{
	push(r, c, c->writable.bytes);
}

/* Through a pointer that the compiler cannot see through: a device is not known when its ring is compiled. */
static void (*volatile device)(struct ring *, struct chain *) = complete;

static void service(struct ring *r)
{
	const char *problem;
	struct chain *c;

	disable_notifications(r);
	do {
		while (c = NULL, problem = r->packed ? pop_packed(r, &c) : pop_split(r, &c), c != NULL)
			device(r, c);
		if (problem != NULL) {
			fprintf(stderr, "ring: %s\n", problem);
			exit(1);
		}
		flush(r);
	} while (enable_notifications(r));
}

static void set_desc(volatile struct desc *d, uint64_t addr, uint32_t len, uint32_t low, uint32_t high)
{
	d->addr = addr;
	d->len = len;
	d->low_and_high = high << 16 | low;
}

/* Every slot's chain, once. */
static void fill_split(struct ring *r, uint8_t *ram)
{
	uint32_t chains = r->indirect ? r->size : r->size / 2;

	for (uint32_t slot = 0; slot < r->size; slot++) {
		uint32_t chain = slot % chains, first = r->indirect ? 0 : chain * 2, offset = TABLES + chain * 32;
		uint64_t buffer = GUEST_ADDRESS + BUFFERS + chain * 2 * BUFFER_BYTES;
		volatile struct desc *table = r->indirect ? (struct desc *)(ram + offset) : &r->desc[first];

		set_desc(&table[0], buffer, READABLE_BYTES, NEXT, first + 1);
		set_desc(&table[1], buffer + BUFFER_BYTES, BUFFER_BYTES, WRITE, 0);
		if (r->indirect)
			set_desc(&r->desc[chain], GUEST_ADDRESS + offset, 32, INDIRECT, 0);
		r->avail[2 + slot] = r->indirect ? chain : first;
	}
}

/* Two laps of descriptors as a driver makes them available, one with its wrap counter at 1 and one at 0. */
static struct desc *packed_laps(struct ring *r, uint8_t *ram)
{
	struct desc *laps = calloc(2 * r->size, sizeof *laps);

	for (uint32_t i = 0; i < 2 * r->size; i++) {
		uint32_t slot = i % r->size, offset = TABLES + slot * 32, lap = i < r->size ? AVAIL : USED;
		uint64_t buffer = GUEST_ADDRESS + BUFFERS + slot * BUFFER_BYTES;
		struct desc *table = (struct desc *)(ram + offset);

		set_desc(&table[0], buffer, READABLE_BYTES, 0, 0);
		set_desc(&table[1], buffer + BUFFER_BYTES, BUFFER_BYTES, 0, WRITE);
		if (r->indirect)
			set_desc(&laps[i], GUEST_ADDRESS + offset, 32, slot, INDIRECT | lap);
		else if (slot % 2 == 0)
			set_desc(&laps[i], buffer, READABLE_BYTES, slot, NEXT | lap);
		else
			set_desc(&laps[i], buffer, BUFFER_BYTES, slot, WRITE | lap);
	}
	return laps;
}

/* Offers a batch and has it served, until `chains` have been: a whole number of laps over a packed ring, twice around. */
static void drive(struct ring *r, const struct desc *laps, uint32_t batch, uint64_t chains)
{
	uint32_t descriptors = batch * (r->indirect ? 1 : 2), at = 0;

	for (uint64_t done = 0; done < chains; done += batch) {
		if (laps == NULL) {
			atomic_store(&r->avail[1], (uint16_t)(r->avail[1] + batch));
		} else {
			memcpy((void *)&r->desc[at % r->size], &laps[at], descriptors * sizeof *laps);
			at = (at + descriptors) % (2 * r->size);
		}
		service(r);
	}
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	uint8_t *ram = aligned_alloc(4096, RAM_BYTES);
	struct ring *r = calloc(1, sizeof *r);
	struct desc *laps = NULL;

	if (argc != 7) {
		fprintf(stderr, "ring: six arguments\n");
		return 2;
	}
	memset(ram, 0, RAM_BYTES);
	region = (struct region){ GUEST_ADDRESS, GUEST_ADDRESS + RAM_BYTES, ram, true, true };
	r->packed = strcmp(argv[1], "packed") == 0;
	r->size = strtoul(argv[2], NULL, 10);
	uint32_t batch = strtoul(argv[3], NULL, 10);
	r->indirect = strtoul(argv[4], NULL, 10);
	r->event_idx = strtoul(argv[5], NULL, 10);
	uint64_t chains = strtoull(argv[6], NULL, 10), warm_up = 64 * r->size;
	r->live = true;
	r->desc = (volatile struct desc *)ram;
	r->avail = (_Atomic uint16_t *)(ram + DRIVER_AREA);
	r->used = (_Atomic uint16_t *)(ram + DEVICE_AREA);
	r->used_elements = (uint32_t *)(ram + DEVICE_AREA);
	r->driver_event = (_Atomic uint32_t *)(ram + DRIVER_AREA);
	r->device_event = (_Atomic uint32_t *)(ram + DEVICE_AREA);
	if (r->packed) {
		r->next_avail = r->next_used = r->published = WRAP;
		laps = packed_laps(r, ram);
	} else {
		fill_split(r, ram);
	}
	drive(r, laps, batch, warm_up);
	double start = now();
	drive(r, laps, batch, chains);
	printf("%.3f\n", (now() - start) * 1e9 / chains);
	return r->requests == chains + warm_up ? 0 : 1;
}
