import { constants } from 'node:os';
import { describe, expect, it } from 'vitest';
import { compileFilter } from '../../host/index.js';

/** struct sock_filter: code[2] jt[1] jf[1] k[4]. */
const INSTRUCTION_BYTES = 8;
const { EPERM } = constants.errno;

const program = compileFilter([]);

describe.runIf(program !== undefined)('a filter of system calls', () => {
  it('is a program for the kernel, which grows with what is denied', () => {
    const longer = compileFilter([
      { call: 'mount', errno: EPERM },
      { call: 'clone', errno: EPERM, where: { argument: 0, masked: 0x1000_0000, is: 0x1000_0000 } },
      { call: 'socket', errno: EPERM, where: { argument: 0, not: 1 } },
    ]);
    expect((program?.length ?? 1) % INSTRUCTION_BYTES).toBe(0);
    expect((longer?.length ?? 1) % INSTRUCTION_BYTES).toBe(0);
    expect(longer?.length).toBeGreaterThan(program?.length ?? Infinity);
  });

  it('leaves out calls that nobody knows', () => {
    expect(compileFilter([{ call: 'no_such_call', errno: EPERM }])).toEqual(program);
  });
});
