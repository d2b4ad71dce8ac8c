import { expect, it } from 'vitest';
import { sandboxText } from '../../cli/support/sandbox-text.js';

const CONFINED = {
  ...{ namespaces: ['user', 'mnt'], noNewPrivileges: true, seccomp: true, coreDumps: false },
  ...{ capabilities: '000000008000001b', openFiles: 1024 },
};

it('a sandbox is told by what is in force of it', () => {
  expect(sandboxText(CONFINED)).toBe(
    'namespaces of its own: user, mnt; capabilities there: 0x8000001b; no new privileges; system calls filtered; ' +
      'no core dumps; at most 1024 open files',
  );
});

it('what is missing of a sandbox is told with the reason', () => {
  expect(sandboxText({ ...CONFINED, seccomp: false, unfiltered: 'no library' })).toContain(
    'no filter of system calls: no library',
  );
  expect(sandboxText({ ...CONFINED, namespaces: [], reason: 'no bwrap' })).toBe('none: no bwrap');
});
