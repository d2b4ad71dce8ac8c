/*
 * A 9p client that does nothing but ask: one connection, one kind of request, so many of them under way. In C, because a client in
 * JavaScript takes longer for a request than the servers that it would compare.
 *
 *   9p-load SOCKET ANAME OPERATION DEPTH SECONDS
 *
 * prints the requests answered, the bytes that they read or wrote, the seconds they took, and the requests answered with those before and after
 * the measured time. Reads and
 * writes are as large as the operation says or, where the server agrees to less, as its msize lets them be in whole pages. The tree below ANAME is
 * what bench/9p.ts makes. Any error reply ends it with status 1.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { Tlopen = 12, Tlcreate = 14, Tgetattr = 24, Treaddir = 40, Tversion = 100, Tattach = 104, Twalk = 110, Tread = 116, Twrite = 118, Tclunk = 120, Tremove = 122, Rlerror = 7 };
enum { NOTAG = 0xffff, ROOT = 0, MAX_DEPTH = 256, MAX_DATA = 512 * 1024, IN_BYTES = 2 << 20, OUT_BYTES = 64 << 10 };
static const uint32_t NOFID = 0xffffffff;
static const double WARM_UP_SECONDS = 0.3;

static int sock;
static uint8_t in[IN_BYTES], out[OUT_BYTES], data[MAX_DATA];
static size_t inStart, inEnd, outBytes;
/* Data of one read or write at most. */
static uint32_t maxData;

static void die(const char *what)
{
	fprintf(stderr, "9p-load: %s: %s\n", what, errno ? strerror(errno) : "not what the protocol says");
	exit(1);
}

static void sendAll(const uint8_t *bytes, size_t length)
{
	while (length > 0) {
		ssize_t sent = send(sock, bytes, length, MSG_NOSIGNAL);
		if (sent < 0)
			die("send");
		bytes += sent;
		length -= sent;
	}
}

static void flush(void)
{
	sendAll(out, outBytes);
	outBytes = 0;
}

static void put(uint64_t value, int bytes)
{
	for (int i = 0; i < bytes; i++)
		out[outBytes++] = value >> (8 * i);
}

static void putText(const char *text)
{
	size_t length = strlen(text);
	put(length, 2);
	memcpy(out + outBytes, text, length);
	outBytes += length;
}

/* Begins a message; `end` sets its size, to which `more` bytes belong that follow by themselves. */
static size_t begin(int type, int tag)
{
	if (outBytes > OUT_BYTES - 1024)
		flush();
	size_t at = outBytes;
	put(0, 4);
	put(type, 1);
	put(tag, 2);
	return at;
}

static void end(size_t at, size_t more)
{
	uint32_t size = outBytes - at + more;
	memcpy(out + at, &size, 4);
}

static uint32_t u32At(const uint8_t *at)
{
	uint32_t value;
	memcpy(&value, at, 4);
	return value;
}

/* The next reply; sends what is waiting before it would block. */
static const uint8_t *reply(void)
{
	for (;;) {
		size_t have = inEnd - inStart;
		if (have >= 7 && u32At(in + inStart) <= have) {
			const uint8_t *message = in + inStart;
			inStart += u32At(message);
			if (message[4] != Rlerror)
				return message;
			errno = u32At(message + 7);
			die("error reply");
		}
		flush();
		if (inStart == inEnd)
			inStart = inEnd = 0;
		else if (IN_BYTES - inStart < MAX_DATA + 24) {
			memmove(in, in + inStart, have);
			inStart = 0;
			inEnd = have;
		}
		ssize_t got = recv(sock, in + inEnd, IN_BYTES - inEnd, 0);
		if (got <= 0)
			die("recv");
		inEnd += got;
	}
}

static void walk(int tag, uint32_t from, uint32_t to, int names, ...)
{
	va_list list;
	size_t at = begin(Twalk, tag);
	put(from, 4);
	put(to, 4);
	put(names, 2);
	va_start(list, names);
	for (int i = 0; i < names; i++)
		putText(va_arg(list, const char *));
	va_end(list);
	end(at, 0);
}

static void lopen(int tag, uint32_t fid, uint32_t flags)
{
	size_t at = begin(Tlopen, tag);
	put(fid, 4);
	put(flags, 4);
	end(at, 0);
}

static void clunk(int tag, uint32_t fid)
{
	size_t at = begin(Tclunk, tag);
	put(fid, 4);
	end(at, 0);
}

static void readAt(int type, int tag, uint32_t fid, uint64_t offset, uint32_t count)
{
	size_t at = begin(type, tag);
	put(fid, 4);
	put(offset, 8);
	put(count, 4);
	end(at, 0);
}

static void writeAt(int tag, uint32_t fid, uint64_t offset, uint32_t count)
{
	size_t at = begin(Twrite, tag);
	put(fid, 4);
	put(offset, 8);
	put(count, 4);
	end(at, count);
	if (count <= 8192 && outBytes + count < OUT_BYTES) {
		memcpy(out + outBytes, data, count);
		outBytes += count;
		return;
	}
	flush();
	sendAll(data, count);
}

/* What one of the requests under way has done so far. Its tag is its number, its fid one more. */
struct slot {
	uint32_t step;
	uint64_t turn;
	/* Where the directory goes on, as its last entry says. */
	uint64_t cookie;
};

struct operation {
	const char *name;
	/* How the slot's fid is made, or NULL: a file below the root, and flags to open it with, -1 for not at all. */
	const char *file;
	int openFlags;
	/* Sends the slot's next request. */
	void (*next)(int tag, struct slot *slot);
};

static void nextGetattr(int tag, struct slot *slot)
{
	(void)slot;
	size_t at = begin(Tgetattr, tag);
	put(tag + 1, 4);
	put(0x7ff, 8);
	end(at, 0);
}

static void nextWalk1(int tag, struct slot *slot)
{
	if (slot->step++ % 2 == 0)
		walk(tag, ROOT, tag + 1, 1, "small");
	else
		clunk(tag, tag + 1);
}

static void nextWalk4(int tag, struct slot *slot)
{
	if (slot->step++ % 2 == 0)
		walk(tag, ROOT, tag + 1, 4, "a", "b", "c", "file");
	else
		clunk(tag, tag + 1);
}

enum { DIRECTORY_BYTES = 32 << 10, SMALL_FILE = 8 << 20, LARGE_FILE = 32 << 20 };

static void nextIo(int type, int tag, struct slot *slot, uint32_t bytes, uint64_t fileBytes)
{
	uint32_t count = bytes < maxData ? bytes : maxData;
	uint64_t offset = (tag * 7919ull + slot->turn++) % (fileBytes / count) * count;
	if (type == Tread)
		readAt(Tread, tag, tag + 1, offset, count);
	else
		writeAt(tag, tag + 1, offset, count);
}

static void nextRead4(int tag, struct slot *slot)
{
	nextIo(Tread, tag, slot, 4096, SMALL_FILE);
}

static void nextRead512(int tag, struct slot *slot)
{
	nextIo(Tread, tag, slot, MAX_DATA, LARGE_FILE);
}

static void nextWrite4(int tag, struct slot *slot)
{
	nextIo(Twrite, tag, slot, 4096, SMALL_FILE);
}

static void nextWrite512(int tag, struct slot *slot)
{
	nextIo(Twrite, tag, slot, MAX_DATA, LARGE_FILE);
}

static void nextReaddir(int tag, struct slot *slot)
{
	readAt(Treaddir, tag, tag + 1, slot->cookie, maxData < DIRECTORY_BYTES ? maxData : DIRECTORY_BYTES);
}

/* qid[13] offset[8] type[1] name[s] for each entry; none at the end, after which the listing begins again. */
static uint64_t lastCookie(const uint8_t *message)
{
	const uint8_t *at = message + 11, *end = at + u32At(message + 7);
	uint64_t cookie = 0;
	while (at < end) {
		memcpy(&cookie, at + 13, 8);
		at += 24 + (at[22] | at[23] << 8);
	}
	return cookie;
}

static void nextCreate(int tag, struct slot *slot)
{
	char name[32];
	size_t at;
	snprintf(name, sizeof name, "new-%d", tag);
	switch (slot->step++ % 3) {
	case 0:
		return walk(tag, ROOT, tag + 1, 1, "created");
	case 1:
		at = begin(Tlcreate, tag);
		put(tag + 1, 4);
		putText(name);
		put(01 | 0100, 4);
		put(0644, 4);
		put(0, 4);
		return end(at, 0);
	default:
		/* diod knows no Tunlinkat. The fid goes with the file. */
		at = begin(Tremove, tag);
		put(tag + 1, 4);
		end(at, 0);
	}
}

static const struct operation operations[] = {
	{ "getattr", "small", -1, nextGetattr },
	{ "walk-1", NULL, -1, nextWalk1 },
	{ "walk-4", NULL, -1, nextWalk4 },
	{ "read-4k", "small", 0, nextRead4 },
	{ "read-512k", "large", 0, nextRead512 },
	{ "write-4k", "small", 2, nextWrite4 },
	{ "write-512k", "large", 2, nextWrite512 },
	{ "create-unlink", NULL, -1, nextCreate },
	{ "readdir", "many", 0, nextReaddir },
};

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void start(const char *path, const char *aname)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	strncpy(address.sun_path, path, sizeof address.sun_path - 1);
	sock = socket(AF_UNIX, SOCK_STREAM, 0);
	if (connect(sock, (struct sockaddr *)&address, sizeof address) < 0)
		die(path);
	size_t at = begin(Tversion, NOTAG);
	put(MAX_DATA + 24, 4);
	putText("9P2000.L");
	end(at, 0);
	maxData = (u32At(reply() + 7) - 24) & ~4095u;
	at = begin(Tattach, 0);
	put(ROOT, 4);
	put(NOFID, 4);
	putText("root");
	putText(aname);
	put(geteuid(), 4);
	end(at, 0);
	reply();
}

int main(int argc, char **argv)
{
	struct slot slots[MAX_DEPTH] = { 0 };
	const struct operation *operation = NULL;
	if (argc != 6)
		return 2;
	for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
		if (strcmp(operations[i].name, argv[3]) == 0)
			operation = &operations[i];
	int depth = atoi(argv[4]);
	double seconds = atof(argv[5]);
	if (operation == NULL || depth < 1 || depth > MAX_DEPTH)
		return 2;
	start(argv[1], argv[2]);
	for (int tag = 0; operation->file != NULL && tag < depth; tag++) {
		walk(tag, ROOT, tag + 1, 1, operation->file);
		reply();
		if (operation->openFlags < 0)
			continue;
		lopen(tag, tag + 1, operation->openFlags);
		reply();
	}
	for (int tag = 0; tag < depth; tag++)
		operation->next(tag, &slots[tag]);
	uint64_t done = 0, bytes = 0;
	uint64_t all = 0;
	double began = now();
	int warm = 0;
	for (;;) {
		const uint8_t *message = reply();
		int tag = message[5] | message[6] << 8;
		errno = 0;
		if (tag >= depth)
			die("tag");
		if (message[4] == Tread + 1 || message[4] == Twrite + 1) {
			uint32_t count = u32At(message + 7);
			if (count == 0)
				die("an empty read or write");
			bytes += count;
		}
		if (message[4] == Treaddir + 1)
			slots[tag].cookie = lastCookie(message);
		operation->next(tag, &slots[tag]);
		if (++done % 16 != 0)
			continue;
		double elapsed = now() - began;
		if (!warm && elapsed >= WARM_UP_SECONDS) {
			warm = 1;
			all = done;
			done = bytes = 0;
			began = now();
		} else if (warm && elapsed >= seconds) {
			printf("%llu %llu %.6f %llu\n", (unsigned long long)done, (unsigned long long)bytes, elapsed,
			       (unsigned long long)(all + done + depth));
			/* diod dies of a reply to a client that is gone. */
			for (int left = depth; left > 0; left--)
				reply();
			return 0;
		}
	}
}
