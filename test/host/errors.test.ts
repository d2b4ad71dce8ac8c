import { describe, expect, it } from 'vitest';
import { closeFd, Errno, HostError } from '../../host/index.js';

describe('errors', () => {
  it('a failed call returns the negative errno and a good one its result', () => {
    expect(closeFd(-1)).toBe(-Errno.EBADF);
  });

  it('a HostError names the code, the call and the reason', () => {
    const error = HostError.from(-Errno.ENOENT, 'connect', '/nowhere');
    expect(error).toMatchObject({ name: 'HostError', code: 'ENOENT', syscall: 'connect' });
    expect(error.message).toBe('connect /nowhere: no such file or directory');
  });

  it('an errno that Node has no name for still makes a readable error', () => {
    expect(HostError.from(-4000, 'ioctl', 'fd 3').message).toContain('4000');
  });
});
