import { openSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  closeFd,
  Errno,
  eventfdAdopt,
  eventfdCreate,
  eventfdDrain,
  eventfdSignal,
  socketPair,
} from '../../host/index.js';
import { openDescriptors, owned } from './support.js';

describe('eventfd', () => {
  it('counts signals until it is drained', () => {
    const fd = owned(eventfdCreate());
    expect(eventfdDrain(fd)).toBe(-Errno.EAGAIN);
    expect([eventfdSignal(fd), eventfdSignal(fd), eventfdSignal(fd)]).toEqual([0, 0, 0]);
    expect(eventfdDrain(fd)).toBe(3);
    expect(eventfdDrain(fd)).toBe(-Errno.EAGAIN);
  });

  it('is gone after close', () => {
    const before = openDescriptors();
    const fd = eventfdCreate();
    expect(closeFd(fd)).toBe(0);
    expect(openDescriptors()).toBe(before);
    expect(eventfdSignal(fd)).toBe(-Errno.EBADF);
  });

  it('adopts an eventfd and refuses what could block the process instead', () => {
    const [one, other] = socketPair();
    owned(one);
    owned(other);
    expect(eventfdAdopt(owned(eventfdCreate()))).toBe(0);
    expect(eventfdAdopt(one)).toBe(-Errno.EINVAL);
    expect(eventfdAdopt(owned(openSync('/dev/null', 'r+')))).toBe(-Errno.EINVAL);
    expect(eventfdAdopt(1_000_000)).toBe(-Errno.EBADF);
  });
});
