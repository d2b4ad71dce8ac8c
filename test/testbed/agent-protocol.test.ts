import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AgentReader, runRequest } from '../../testbed/agent-protocol.js';

function frame(id: number, exitCode: number, stdout: Uint8Array, stderr: Uint8Array): Buffer {
  const header = Buffer.from(`done ${id} ${exitCode} ${stdout.length} ${stderr.length}\n`);
  return Buffer.concat([header, stdout, stderr]);
}

describe("the agent's frames", () => {
  it.each([
    ['an unknown verb', 'gone 1 0 0 0\n'],
    ['a missing field', 'done 1 0 0\n'],
    ['a negative length', 'done 1 0 -1 0\n'],
    ['a hexadecimal length', 'done 1 0 0x10 0\n'],
    ['an absurd length', 'done 1 0 9999999999 0\n'],
    ['two lengths that are too much together', 'done 1 0 300000000 300000000\n'],
    ['no header at all', '\n'],
  ])('refuse %s', (_what, bytes) => {
    expect(() => new AgentReader().push(Buffer.from(bytes))).toThrow(SyntaxError);
  });

  it('refuse a header that never ends instead of collecting it', () => {
    const reader = new AgentReader();
    expect(() => {
      for (let count = 0; count < 10; count++) reader.push(Buffer.alloc(100, 'x'));
    }).toThrow('without an end');
  });

  it('cannot be broken by output that looks like a frame', () => {
    const stdout = Buffer.from('done 7 0 0 0\nhello x\n');
    const [message, ...more] = new AgentReader().push(frame(1, 0, stdout, Buffer.from('\n')));
    expect(message).toMatchObject({ verb: 'done', id: 1, stdout, stderr: Buffer.from('\n') });
    expect(more).toEqual([]);
  });

  it('wait for the last byte', () => {
    const reader = new AgentReader();
    const whole = frame(3, 1, Buffer.from('out'), Buffer.from('err'));
    expect(reader.push(whole.subarray(0, -1))).toEqual([]);
    expect(reader.push(whole.subarray(-1))).toHaveLength(1);
  });

  it('arrive whole and in order, however the bytes are cut', () => {
    const output = fc.tuple(fc.uint8Array({ maxLength: 40 }), fc.uint8Array({ maxLength: 40 }), fc.nat(255));
    const pieces = fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(fc.array(output, { maxLength: 6 }), pieces, (outputs, lengths) => {
        const frames = outputs.map(([stdout, stderr, code], id) => frame(id, code, stdout, stderr));
        const stream = Buffer.concat([Buffer.from('hello 6.1.0-50-amd64\n'), ...frames]);
        const reader = new AgentReader();
        const messages = [];
        for (let at = 0, turn = 0; at < stream.length; turn++) {
          const end = at + lengths[turn % lengths.length];
          messages.push(...reader.push(stream.subarray(at, end)));
          at = end;
        }
        const expected = outputs.map(([stdout, stderr, exitCode], id) => {
          return { verb: 'done', id, exitCode, stdout: Buffer.from(stdout), stderr: Buffer.from(stderr) };
        });
        expect(messages).toEqual([{ verb: 'hello', release: '6.1.0-50-amd64' }, ...expected]);
      }),
      { numRuns: 60 },
    );
  });

  it("announce a script's length in bytes", () => {
    expect(runRequest(5, 'echo ü').toString()).toBe('run 5 8\necho ü\n');
  });
});
