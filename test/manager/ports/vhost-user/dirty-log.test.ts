import { describe, expect, it, onTestFinished } from 'vitest';
import { mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventfdCreate, eventfdDrain, memfdCreate, socketPair } from '../../../../host/index.js';
import { DirtyLog } from '../../../../manager/ports/vhost-user/dirty-log.js';
import { mappingsOf, openDescriptors, owned } from './harness.js';
import { LogFile } from './log-file.js';

const EINVAL = 22;
const EACCES = 13;
/** The guest memory behind one byte of the log. */
const COVERED = 0x8000;

function openLog(file: LogFile): DirtyLog {
  const log = new DirtyLog();
  onTestFinished(() => log.close());
  expect(log.replace(file.fd, file.sizeBytes, file.offset)).toBe(0);
  return log;
}

/** Opens a path that a test made, read-only. */
function opened(path: string): number {
  return owned(openSync(path, 'r'));
}

function scratch(): string {
  const directory = mkdtempSync(join(tmpdir(), 'chassis-dirty-log-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  return directory;
}

describe('a log that makes no sense', () => {
  it.each([
    ['of no bytes', 0, 0],
    ['of less than no bytes', -1, 0],
    ['longer than its file', 0x1001, 0],
    ['that ends behind its file', 0x1000, 0x1000],
    ['of 2^31 + 1 bytes', 2 ** 31 + 1, 0],
    ['of 2^53 bytes', 2 ** 53, 0],
    ['of 2^64 bytes', 2 ** 64, 0],
    ['at an offset that is no page', 0x10, 0x10],
    ['at an offset near 2^64', 0x10, 2 ** 64 - 0x1000],
  ])('%s is refused, and the one before stays', (_, sizeBytes, offset) => {
    const file = new LogFile(8);
    const log = openLog(file);
    const descriptors = openDescriptors();
    const fd = owned(memfdCreate('lying-log', 0x1000));
    expect(log.replace(fd, sizeBytes, offset)).toBe(-EINVAL);
    expect(mappingsOf('lying-log')).toBe(0);
    expect(openDescriptors()).toBe(descriptors + 1);
    log.mark(0, 1);
    expect(file.pages()).toEqual([0]);
  });

  it('in something that cannot be mapped, or not for writing, is refused', () => {
    const log = new DirtyLog();
    const directory = scratch();
    const readOnly = join(directory, 'file');
    writeFileSync(readOnly, Buffer.alloc(4096));
    expect(log.replace(owned(eventfdCreate()), 1, 0)).toBe(-EINVAL);
    for (const fd of socketPair().map(owned)) expect(log.replace(fd, 1, 0)).toBe(-EINVAL);
    expect(log.replace(opened(directory), 1, 0)).toBe(-EACCES);
    expect(log.replace(opened(readOnly), 1, 0)).toBe(-EACCES);
    expect(log.replace(opened('/dev/zero'), 1, 0)).toBe(-EINVAL);
    expect(log.mapped).toBe(false);
    log.mark(0, 1);
  });

  it('an eventfd that is none is refused and closed', () => {
    const log = new DirtyLog();
    const descriptors = openDescriptors();
    const [first, second] = socketPair();
    expect(log.setEventFd(first)).toBe(-EINVAL);
    expect(log.setEventFd(second)).toBe(-EINVAL);
    expect(openDescriptors()).toBe(descriptors);
  });
});

describe('marks', () => {
  it.each<[string, number, number, number[]]>([
    ['of one byte are its page', 0x1fff, 1, [0x1000]],
    ['of nothing are none', 0x1000, 0, []],
    ['reach from the first byte to the last', 0xfff, 2, [0, 0x1000]],
    ['end before the next page', 0x1000, 0x1000, [0x1000]],
    ['go on in the next byte of the log', 0x7000, 0x2000, [0x7000, 0x8000]],
    [
      'fill bytes of the log in between',
      0x7fff,
      COVERED + 2,
      Array.from({ length: 10 }, (_, i) => (7 + i) * 0x1000),
    ],
    ['stop where the log does', 4 * COVERED - 0x1000, 0x5000, [4 * COVERED - 0x1000]],
    ['behind the log are none', 4 * COVERED, 0x1000, []],
    ['near 2^64 are none', 2 ** 64 - 0x1000, 0x1000, []],
  ])('%s', (_, address, lengthBytes, pages) => {
    const file = new LogFile(4, 0x1000);
    openLog(file).mark(address, lengthBytes);
    expect(file.pages()).toEqual(pages);
    expect(file.untouchedAround).toBe(true);
  });

  it('are right above 16 TiB, where a page number has more than 32 bits', () => {
    const address = 2 ** 44 + 5 * 0x1000;
    const file = new LogFile(2 ** 44 / COVERED + 1);
    openLog(file).mark(address, 1);
    const around = [4, 5, 6].map((page) => file.isMarked(2 ** 44 + page * 0x1000));
    expect([...around, file.isMarked(5 * 0x1000)]).toEqual([false, true, false, false]);
  });

  it('are set beside those that are there already', () => {
    const file = new LogFile(1);
    const log = openLog(file);
    for (const page of [1, 6, 1]) log.mark(page * 0x1000, 1);
    expect(file.pages()).toEqual([0x1000, 0x6000]);
  });

  it('go to the latest log alone', () => {
    const [former, latter] = [new LogFile(1), new LogFile(1)];
    const log = openLog(former);
    expect(log.replace(latter.fd, 1, 0)).toBe(0);
    log.mark(0, 1);
    expect([former.pages(), latter.pages()]).toEqual([[], [0]]);
    log.close();
    log.mark(0x1000, 1);
    expect(latter.pages()).toEqual([0]);
  });

  it('are told by the eventfd, once for a batch and only if there are any', () => {
    const log = openLog(new LogFile(1));
    const fd = owned(eventfdCreate());
    log.mark(0, 1);
    log.notify();
    expect(log.setEventFd(fd)).toBe(0);
    log.notify();
    expect(eventfdDrain(fd)).toBe(-11);
    log.mark(0, 1);
    log.mark(0x1000, 1);
    log.notify();
    log.notify();
    expect(eventfdDrain(fd)).toBe(1);
  });
});
