/*
 * File-system micro-benchmarks that run inside the guest: one test a call, one line of result.
 *
 *   fsbench seq-write|seq-read DIR MIB buffered|direct [JOBS]  1 MiB blocks       -> MiB/s
 *   fsbench rand-read|rand-write DIR MIB COUNT             4 KiB, depth 1         -> operations/s
 *   fsbench create|stat|unlink DIR COUNT                   files of that name     -> operations/s
 *   fsbench time COMMAND...                                                       -> seconds
 *
 * JOBS processes take a part of the file each, all at once. Writes are flushed (fsync) inside the time taken. The caller drops caches between a write and a read.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 1 << 20, PAGE = 4096 };

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void die(const char *what)
{
	fprintf(stderr, "fsbench: %s: %s\n", what, strerror(errno));
	exit(1);
}

static char *buffer(size_t size)
{
	void *p;
	if (posix_memalign(&p, PAGE, size))
		die("memory");
	for (size_t i = 0; i < size; i++)
		((char *)p)[i] = (char)(i * 131 >> 3);
	return p;
}

static int open_in(const char *dir, const char *name, int flags)
{
	char path[4096];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	int fd = open(path, flags, 0644);
	if (fd < 0)
		die(path);
	return fd;
}

/* Whole blocks, however little each call moves. */
static void move(int fd, char *p, size_t size, off_t at, int writing)
{
	while (size > 0) {
		ssize_t n = writing ? pwrite(fd, p, size, at) : pread(fd, p, size, at);
		if (n <= 0)
			die(writing ? "write" : "read");
		p += n;
		at += n;
		size -= n;
	}
}

static void sequential_part(const char *dir, int from, int to, int direct, int writing)
{
	char *p = buffer(BLOCK);
	int flags = (writing ? O_CREAT | O_WRONLY : O_RDONLY) | (direct ? O_DIRECT : 0);
	int fd = open_in(dir, "sequential", flags);
	for (int i = from; i < to; i++)
		move(fd, p, BLOCK, (off_t)i * BLOCK, writing);
	if (writing && fsync(fd))
		die("fsync");
	close(fd);
}

static double sequential(const char *dir, int mib, int direct, int writing, int jobs)
{
	double start = now();
	if (jobs == 1) {
		sequential_part(dir, 0, mib, direct, writing);
		return mib / (now() - start);
	}
	for (int job = 0; job < jobs; job++) {
		pid_t child = fork();
		if (child < 0)
			die("fork");
		if (child > 0)
			continue;
		sequential_part(dir, mib * job / jobs, mib * (job + 1) / jobs, direct, writing);
		exit(0);
	}
	for (int job = 0; job < jobs; job++) {
		int status;
		if (wait(&status) < 0 || status != 0) {
			errno = ECHILD;
			die("a part of it");
		}
	}
	return mib / (now() - start);
}

static double random4k(const char *dir, int mib, int count, int writing)
{
	char *p = buffer(PAGE);
	uint64_t x = 88172645463325252u, pages = (uint64_t)mib * (BLOCK / PAGE);
	int fd = open_in(dir, "sequential", (writing ? O_WRONLY : O_RDONLY) | O_DIRECT);
	double start = now();
	for (int i = 0; i < count; i++) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		move(fd, p, PAGE, (off_t)(x % pages) * PAGE, writing);
	}
	close(fd);
	return count / (now() - start);
}

static double metadata(const char *dir, int count, char what)
{
	char path[4096];
	struct stat st;
	double start = now();
	for (int i = 0; i < count; i++) {
		snprintf(path, sizeof path, "%s/file-%05d", dir, i);
		if (what == 'c') {
			int fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0644);
			if (fd < 0 || close(fd))
				die(path);
		} else if (what == 's' ? stat(path, &st) : unlink(path)) {
			die(path);
		}
	}
	return count / (now() - start);
}

static double timed(char **command)
{
	int status;
	double start = now();
	pid_t child = fork();
	if (child == 0) {
		execvp(command[0], command);
		die(command[0]);
	}
	if (child < 0 || waitpid(child, &status, 0) < 0 || status != 0) {
		errno = ECHILD;
		die(command[0]);
	}
	return now() - start;
}

int main(int argc, char **argv)
{
	const char *test = argc > 2 ? argv[1] : "";
	double result;
	if (!strcmp(test, "time"))
		result = timed(argv + 2);
	else if ((argc == 5 || argc == 6) && !strncmp(test, "seq-", 4))
		result = sequential(argv[2], atoi(argv[3]), !strcmp(argv[4], "direct"), !strcmp(test, "seq-write"),
				    argc == 6 ? atoi(argv[5]) : 1);
	else if (argc == 5 && !strncmp(test, "rand-", 5))
		result = random4k(argv[2], atoi(argv[3]), atoi(argv[4]), !strcmp(test, "rand-write"));
	else if (argc == 4 && (!strcmp(test, "create") || !strcmp(test, "stat") || !strcmp(test, "unlink")))
		result = metadata(argv[2], atoi(argv[3]), test[0]);
	else {
		fprintf(stderr, "fsbench: see the head of its source for how to call it\n");
		return 2;
	}
	printf("%.6f\n", result);
	return 0;
}
