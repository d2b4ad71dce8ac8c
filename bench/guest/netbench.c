/*
 * Network micro-benchmarks that run inside the guest, against bench/support/net-peer.ts: one test a call, one line of result.
 *
 *   netbench send|receive ADDRESS PORT MIB      one TCP stream, until the peer has, or has sent, all   -> MiB/s
 *   netbench exchange ADDRESS PORT COUNT        a byte there and a byte back, one at a time            -> exchanges/s
 *
 * The first byte says which (s, r, e), then comes the amount in decimal and a newline.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 1 << 17, MIB = 1 << 20 };

static char block[BLOCK];

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void die(const char *what)
{
	fprintf(stderr, "netbench: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int open_stream(const char *address, const char *port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(atoi(port)) };
	int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || inet_pton(AF_INET, address, &to.sin_addr) != 1)
		die("socket");
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)))
		die("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static void put(int fd, long bytes)
{
	while (bytes > 0) {
		ssize_t n = write(fd, block, bytes < BLOCK ? bytes : BLOCK);
		if (n <= 0)
			die("write");
		bytes -= n;
	}
}

static void get(int fd, long bytes)
{
	while (bytes > 0) {
		ssize_t n = read(fd, block, bytes < BLOCK ? bytes : BLOCK);
		if (n <= 0)
			die("read");
		bytes -= n;
	}
}

int main(int argc, char **argv)
{
	char order[32];
	double start;
	long amount, i;
	int fd;

	if (argc != 5)
		return 2;
	amount = atol(argv[4]);
	fd = open_stream(argv[2], argv[3]);
	snprintf(order, sizeof(order), "%c%ld\n", argv[1][0], amount);
	start = now();
	if (write(fd, order, strlen(order)) < 0)
		die("write");
	if (argv[1][0] == 's') {
		put(fd, amount * MIB);
		get(fd, 1);
	} else if (argv[1][0] == 'r') {
		get(fd, amount * MIB);
	} else {
		for (i = 0; i < amount; i++) {
			put(fd, 1);
			get(fd, 1);
		}
	}
	printf("%.2f\n", amount / (now() - start));
	return 0;
}
