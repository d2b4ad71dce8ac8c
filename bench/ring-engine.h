/*
 * The device's side of a virtqueue in C: what devices/virtio/ring does, with the same checks of what a driver wrote. Guest memory is one
 * region. Only bench/ring.c includes it.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

enum { NEXT = 1, WRITE = 2, INDIRECT = 4, AVAIL = 1 << 7, USED = 1 << 15 };
enum { EVENT_ENABLE = 0, EVENT_DISABLE = 1, EVENT_DESC = 2 };
enum { WRAP = 0x8000, INDEX_BITS = 0x7fff };

static const uint64_t MAX_CHAIN_BYTES = 0x100000000;

/* Flags and next in a split ring, id and flags in a packed one. */
struct desc {
	uint64_t addr;
	uint32_t len;
	uint32_t low_and_high;
};

struct segments {
	uint32_t count;
	uint64_t bytes;
	struct { uint8_t *at; uint64_t length; } *list;
};

struct chain {
	struct segments readable, writable;
	struct ring *owner;
	struct chain *next;
	uint32_t id, entries;
	bool in_flight;
};

struct ring {
	uint32_t size;
	bool packed, indirect, event_idx, live, notifications_off;
	_Atomic uint16_t *avail, *used;
	uint32_t *used_elements;
	_Atomic uint32_t *driver_event, *device_event;
	volatile struct desc *desc;
	uint16_t next_avail, avail_index, next_used, published;
	uint32_t outstanding, unpublished_chains, unpublished_entries, first_used;
	struct chain *free;
	uint64_t requests, interrupts;
};

/* Guest memory is one region here; a translation tries the one that the last translation hit first. */
static struct region { uint64_t start, end; uint8_t *bytes; bool readable, writable; } region, *last = &region;

static uint8_t *translate(uint64_t at, uint32_t length, bool writable)
{
	struct region *r = last;

	if (at < r->start || at >= r->end || r->end - at < length || !(writable ? r->writable : r->readable))
		return NULL;
	return r->bytes + (at - r->start);
}

static const char *append(struct chain *c, volatile struct desc *d, bool writable, bool *saw_writable)
{
	uint32_t length = d->len;
	struct segments *into = writable ? &c->writable : &c->readable;
	uint8_t *at;

	if (*saw_writable && !writable)
		return "a readable descriptor follows a writable one";
	*saw_writable = writable;
	if (length == 0)
		return NULL;
	at = translate(d->addr, length, writable);
	if (at == NULL)
		return "a buffer lies outside memory";
	into->list[into->count].at = at;
	into->list[into->count++].length = length;
	into->bytes += length;
	return NULL;
}

static const char *check_length(struct chain *c)
{
	return c->readable.bytes + c->writable.bytes > MAX_CHAIN_BYTES ? "a chain is longer than 2^32 bytes" : NULL;
}

static const char *open_table(struct ring *r, volatile struct desc *d, volatile struct desc **table, uint32_t *entries)
{
	uint32_t length = d->len;

	if (!r->indirect || length == 0 || length % sizeof *d != 0 || length / sizeof *d > r->size)
		return "a bad indirect table";
	*table = (volatile struct desc *)translate(d->addr, length, false);
	*entries = length / sizeof *d;
	return *table == NULL ? "an indirect table lies outside memory" : NULL;
}

static struct chain *take(struct ring *r)
{
	struct chain *c = r->free;

	if (c != NULL) {
		r->free = c->next;
		c->readable.count = c->writable.count = 0;
		c->readable.bytes = c->writable.bytes = 0;
		return c;
	}
	c = calloc(1, sizeof *c);
	c->readable.list = calloc(r->size, sizeof *c->readable.list);
	c->writable.list = calloc(r->size, sizeof *c->writable.list);
	c->owner = r;
	return c;
}

static void hand_out(struct ring *r, struct chain *c)
{
	c->in_flight = true;
	r->outstanding += c->entries;
}

/* ---- split ---- */

static const char *walk_split(struct ring *r, struct chain *c, uint32_t index)
{
	volatile struct desc *table = r->desc;
	uint32_t entries = r->size;
	bool is_indirect = false, saw_writable = false;
	const char *problem;

	for (uint32_t count = 0; count < r->size;) {
		volatile struct desc *d = &table[index];
		uint32_t both;

		if (index >= entries)
			return "a descriptor index lies beyond its table";
		both = d->low_and_high;
		if (both & INDIRECT) {
			if (is_indirect || (both & NEXT))
				return "a bad indirect descriptor";
			if ((problem = open_table(r, d, &table, &entries)) != NULL)
				return problem;
			is_indirect = true;
			index = 0;
			continue;
		}
		count++;
		if ((problem = append(c, d, both & WRITE, &saw_writable)) != NULL)
			return problem;
		if (!(both & NEXT))
			return check_length(c);
		index = both >> 16;
	}
	return "a chain has more descriptors than the queue";
}

static const char *pop_split(struct ring *r, struct chain **out)
{
	const char *problem;

	if (r->next_avail == r->avail_index) {
		uint16_t index = atomic_load(&r->avail[1]);

		if ((uint16_t)(index - r->next_avail) > r->size)
			return "the available index is too far ahead";
		r->avail_index = index;
		if (index == r->next_avail)
			return NULL;
	}
	if (r->outstanding >= r->size)
		return "more chains than the queue holds";
	struct chain *c = take(r);
	c->id = atomic_load_explicit(&r->avail[2 + (r->next_avail & (r->size - 1))], memory_order_relaxed);
	c->entries = 1;
	if ((problem = walk_split(r, c, c->id)) != NULL)
		return problem;
	hand_out(r, c);
	r->next_avail++;
	*out = c;
	return NULL;
}

static bool need_event(uint16_t event, uint16_t new, uint16_t old)
{
	return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

/* ---- packed ---- */

static bool available(uint32_t id_and_flags, uint16_t position)
{
	return (id_and_flags >> 16 & (AVAIL | USED)) == (position & WRAP ? AVAIL : USED);
}

static uint16_t advance(uint16_t position, uint32_t count, uint32_t size)
{
	uint32_t next = (position & INDEX_BITS) + count;
	uint16_t wrap = position & WRAP;

	return next < size ? next | wrap : (next - size) | (wrap ^ WRAP);
}

static uint32_t steps(uint16_t from, uint16_t to, uint32_t size)
{
	uint32_t a = (from & INDEX_BITS) + (from & WRAP ? 0 : size), b = (to & INDEX_BITS) + (to & WRAP ? 0 : size);

	return b < a ? b + 2 * size - a : b - a;
}

static _Atomic uint32_t *id_and_flags_at(struct ring *r, uint16_t position)
{
	return (_Atomic uint32_t *)&r->desc[position & INDEX_BITS].low_and_high;
}

static const char *walk_table(struct ring *r, struct chain *c, volatile struct desc *d)
{
	volatile struct desc *table;
	uint32_t entries;
	bool saw_writable = false;
	const char *problem = open_table(r, d, &table, &entries);

	for (uint32_t i = 0; problem == NULL && i < entries; i++) {
		uint32_t flags = table[i].low_and_high >> 16;

		problem = flags & INDIRECT ? "a nested indirect table" : append(c, &table[i], flags & WRITE, &saw_writable);
	}
	return problem != NULL ? problem : check_length(c);
}

static const char *walk_packed(struct ring *r, struct chain *c, uint32_t id_and_flags, uint32_t most)
{
	uint16_t position = r->next_avail;
	bool saw_writable = false;
	const char *problem;

	for (c->entries = 1;; c->entries++) {
		volatile struct desc *d = &r->desc[position & INDEX_BITS];
		uint32_t flags = id_and_flags >> 16;

		c->id = id_and_flags & 0xffff;
		if (flags & INDIRECT)
			return c->entries > 1 || (flags & NEXT) ? "an indirect descriptor is one of several" : walk_table(r, c, d);
		if ((problem = append(c, d, flags & WRITE, &saw_writable)) != NULL)
			return problem;
		if (!(flags & NEXT))
			return check_length(c);
		if (c->entries == most)
			return "a chain has more descriptors than the queue has left";
		position = advance(position, 1, r->size);
		id_and_flags = atomic_load_explicit(id_and_flags_at(r, position), memory_order_relaxed);
		if (!available(id_and_flags, position))
			return "a chain goes on in a descriptor that is not available";
	}
}

static const char *pop_packed(struct ring *r, struct chain **out)
{
	uint32_t id_and_flags = atomic_load(id_and_flags_at(r, r->next_avail));
	const char *problem;

	if (!available(id_and_flags, r->next_avail))
		return NULL;
	if (r->outstanding == r->size)
		return "more chains than the queue holds";
	struct chain *c = take(r);
	if ((problem = walk_packed(r, c, id_and_flags, r->size - r->outstanding)) != NULL)
		return problem;
	hand_out(r, c);
	r->next_avail = advance(r->next_avail, c->entries, r->size);
	*out = c;
	return NULL;
}

/* ---- both ---- */

static void push(struct ring *r, struct chain *c, uint64_t written)
{
	uint32_t length = written < c->writable.bytes ? written : c->writable.bytes;

	if (c->owner != r || !c->in_flight || !r->live)
		return;
	c->in_flight = false;
	if (r->packed) {
		uint32_t flags = (r->next_used & WRAP ? AVAIL | USED : 0) | (length > 0 ? WRITE : 0);
		uint32_t id_and_flags = flags << 16 | c->id;

		r->desc[r->next_used & INDEX_BITS].len = length;
		if (r->unpublished_chains == 0)
			r->first_used = id_and_flags;
		else
			atomic_store_explicit(id_and_flags_at(r, r->next_used), id_and_flags, memory_order_relaxed);
		r->next_used = advance(r->next_used, c->entries, r->size);
	} else {
		uint32_t element = 1 + (r->next_used++ & (r->size - 1)) * 2;

		r->used_elements[element] = c->id;
		r->used_elements[element + 1] = length;
	}
	r->unpublished_chains++;
	r->unpublished_entries += c->entries;
	c->next = r->free;
	r->free = c;
}

static bool interrupt_wanted(struct ring *r, uint16_t old)
{
	uint32_t event, wish;

	if (!r->packed && r->event_idx)
		return need_event(atomic_load(&r->avail[2 + r->size]), r->next_used, old);
	if (!r->packed)
		return !(atomic_load(&r->avail[0]) & 1);
	event = atomic_load(r->driver_event);
	wish = event >> 16 & 3;
	if (!r->event_idx || wish != EVENT_DESC)
		return wish != EVENT_DISABLE;
	return steps(old, event & 0xffff, r->size) < steps(old, r->next_used, r->size);
}

static void flush(struct ring *r)
{
	uint16_t old = r->published;

	if (r->unpublished_chains == 0 || !r->live)
		return;
	if (r->packed)
		atomic_store(id_and_flags_at(r, old), r->first_used);
	else
		atomic_store(&r->used[1], r->next_used);
	r->published = r->next_used;
	r->outstanding -= r->unpublished_entries;
	r->requests += r->unpublished_chains;
	r->unpublished_chains = r->unpublished_entries = 0;
	r->interrupts += interrupt_wanted(r, old);
}

static void disable_notifications(struct ring *r)
{
	if (r->notifications_off || (!r->packed && r->event_idx))
		return;
	r->notifications_off = true;
	if (r->packed)
		atomic_store_explicit(r->device_event, EVENT_DISABLE << 16, memory_order_relaxed);
	else
		atomic_store_explicit(&r->used[0], 1, memory_order_relaxed);
}

static bool enable_notifications(struct ring *r)
{
	r->notifications_off = false;
	if (r->packed) {
		atomic_store(r->device_event, (r->event_idx ? EVENT_DESC : EVENT_ENABLE) << 16 | r->next_avail);
		return available(atomic_load(id_and_flags_at(r, r->next_avail)), r->next_avail);
	}
	if (r->event_idx)
		atomic_store(&r->used[2 + r->size * 4], r->next_avail);
	else
		atomic_store(&r->used[0], 0);
	return atomic_load(&r->avail[1]) != r->next_avail;
}
