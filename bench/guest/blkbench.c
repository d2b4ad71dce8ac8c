/*
 * Disk micro-benchmarks that run inside the guest, on a block device and past its page cache (O_DIRECT): one test a call, one line of
 * result.
 *
 *   blkbench seq-read|seq-write DEVICE MIB                    1 MiB blocks, depth 1      -> MiB/s
 *   blkbench rand-read|rand-write DEVICE MIB COUNT DEPTH      4 KiB blocks               -> operations/s
 *
 * Blocks lie within the first MIB of the device. Writes are flushed (fsync) inside the time taken.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 1 << 20, PAGE = 4096, DEPTH_MAX = 256 };

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void die(const char *what)
{
	fprintf(stderr, "blkbench: %s: %s\n", what, strerror(errno));
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

static double sequential(int fd, int mib, int writing)
{
	char *p = buffer(BLOCK);
	double start = now();
	for (int i = 0; i < mib; i++) {
		off_t at = (off_t)i * BLOCK;
		if ((writing ? pwrite(fd, p, BLOCK, at) : pread(fd, p, BLOCK, at)) != BLOCK)
			die("a block of 1 MiB");
	}
	if (writing && fsync(fd))
		die("fsync");
	return mib / (now() - start);
}

/* `depth` blocks are under way until all have been asked for. */
static double random4k(int fd, int mib, int count, int depth, int writing)
{
	static struct iocb blocks[DEPTH_MAX];
	struct io_event done[DEPTH_MAX];
	uint64_t x = 88172645463325252u, pages = (uint64_t)mib * (BLOCK / PAGE);
	char *memory = buffer((size_t)depth * PAGE);
	aio_context_t context = 0;
	if (syscall(SYS_io_setup, depth, &context))
		die("io_setup");
	double start = now();
	int asked = 0, ended = 0, free_blocks[DEPTH_MAX], free_count = depth;
	for (int i = 0; i < depth; i++)
		free_blocks[i] = i;
	while (ended < count) {
		struct iocb *batch[DEPTH_MAX];
		int size = 0;
		while (free_count > 0 && asked < count) {
			int i = free_blocks[--free_count];
			x ^= x << 13, x ^= x >> 7, x ^= x << 17;
			blocks[i] = (struct iocb){
				.aio_data = i,
				.aio_lio_opcode = writing ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD,
				.aio_fildes = fd,
				.aio_buf = (uintptr_t)(memory + (size_t)i * PAGE),
				.aio_nbytes = PAGE,
				.aio_offset = (off_t)(x % pages) * PAGE,
			};
			batch[size++] = &blocks[i];
			asked++;
		}
		if (size > 0 && syscall(SYS_io_submit, context, size, batch) != size)
			die("io_submit");
		int n = syscall(SYS_io_getevents, context, 1, depth, done, NULL);
		if (n < 1)
			die("io_getevents");
		for (int i = 0; i < n; i++) {
			if (done[i].res != PAGE) {
				errno = EIO;
				die("a block of 4 KiB");
			}
			free_blocks[free_count++] = done[i].data;
		}
		ended += n;
	}
	if (writing && fsync(fd))
		die("fsync");
	return count / (now() - start);
}

int main(int argc, char **argv)
{
	const char *test = argc > 3 ? argv[1] : "";
	int writing = strstr(test, "-write") != NULL;
	double result;
	if ((argc == 4 && !strncmp(test, "seq-", 4)) || (argc == 6 && !strncmp(test, "rand-", 5))) {
		int fd = open(argv[2], (writing ? O_WRONLY : O_RDONLY) | O_DIRECT);
		if (fd < 0)
			die(argv[2]);
		int depth = argc == 6 ? atoi(argv[5]) : 1;
		if (depth < 1 || depth > DEPTH_MAX) {
			errno = EINVAL;
			die("depth");
		}
		result = argc == 4 ? sequential(fd, atoi(argv[3]), writing)
				   : random4k(fd, atoi(argv[3]), atoi(argv[4]), depth, writing);
	} else {
		fprintf(stderr, "blkbench: see the head of its source for how to call it\n");
		return 2;
	}
	printf("%.6f\n", result);
	return 0;
}
