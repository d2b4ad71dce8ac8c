/** Requests of any alignment over a backend of whole blocks, and what they do to each other. */
import { describe, expect, it } from 'vitest';
import {
  AlignedBackend,
  type RequiredAlignment,
} from '../../../../../devices/blk/backends/aligned/aligned-backend.js';
import { WriteGate } from '../../../../../devices/blk/backends/aligned/write-gate.js';
import { PENDING } from '../../../../../devices/blk/backends/block-backend.js';
import { Errno } from '../../../../../devices/errno.js';
import { addressOf } from '../../../../../host/index.js';
import { ScriptedBackend } from '../../support/scripted-backend.js';
import { ended, pattern, put, readBack, vectorOver } from '../../support/vectors.js';

const BLOCK = 4096;
const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

function over(required: RequiredAlignment = { offsetBytes: BLOCK, memoryBytes: 1 }) {
  const inner = new ScriptedBackend(1 << 20);
  const content = Buffer.from(pattern(1 << 20, 1));
  inner.answer = ({ operation, offset, vector }) => {
    if (operation === 'read') vector?.scatter(0, content, offset, vector.byteLength);
    if (operation === 'write') vector?.gather(0, content, offset, vector.byteLength);
    return 0;
  };
  const allocate = (sizeBytes: number) => {
    const bytes = new Uint8Array(sizeBytes + required.memoryBytes);
    const offset = (required.memoryBytes - (addressOf(bytes) % required.memoryBytes)) % required.memoryBytes;
    return { bytes: bytes.subarray(0, offset + sizeBytes), offset, address: addressOf(bytes) + offset };
  };
  return { inner, content, backend: new AlignedBackend(inner, required, allocate) };
}

describe('requests of whole blocks', () => {
  it('pass as they are', async () => {
    const { backend, inner } = over();
    await readBack(backend, BLOCK, 2 * BLOCK, [100]);
    await put(backend, BLOCK, pattern(BLOCK, 2), { durable: true });
    await ended((done) => backend.writeZeroes(0, BLOCK, true, done));
    await ended((done) => backend.flush(done));
    const calls = inner.calls.map(({ operation, offset, length }) => [operation, offset, length]);
    expect(calls).toEqual([
      ['read', BLOCK, 2 * BLOCK],
      ['write', BLOCK, BLOCK],
      ['writeZeroes', 0, BLOCK],
      ['flush', 0, 0],
    ]);
    expect(inner.calls[1].durable).toBe(true);
    expect(inner.calls[0].vector?.count).toBe(2);
  });

  it('go through aligned memory where theirs is not, or has no address, or is cut within blocks', async () => {
    const { backend, inner, content } = over({ offsetBytes: 512, memoryBytes: 512 });
    const page = new Uint8Array(3 * 4096);
    const start = (512 - (addressOf(page) % 512)) % 512;
    const aligned = page.subarray(start, start + 8192);
    const cases = [
      [vectorOver(aligned, [4096], true), true],
      [vectorOver(aligned, [], false), false],
      [vectorOver(page.subarray(start + 1, start + 1 + 4096), [], true), false],
      [vectorOver(aligned, [256], true), false],
    ] as const;
    for (const [vector, inPlace] of cases) {
      inner.calls.length = 0;
      expect(await ended((done) => backend.write(0, vector, false, done))).toBe(0);
      expect(await ended((done) => backend.read(0, vector, done))).toBe(0);
      for (const { vector: passed } of inner.calls) {
        expect(passed === vector).toBe(inPlace);
        for (let i = 0; i < (passed?.count ?? 0); i++) expect((passed?.addresses[i] ?? 0) % 512).toBe(0);
      }
      const expected = new Uint8Array(vector.byteLength);
      vector.gather(0, expected, 0, expected.length);
      expect(content.subarray(0, expected.length).equals(expected)).toBe(true);
    }
  });
});

describe('requests of parts of blocks', () => {
  it('are made of whole ones', async () => {
    const { backend, inner, content } = over();
    const before = Buffer.from(content);
    const bytes = pattern(2 * BLOCK, 5);
    expect(await put(backend, 512, bytes)).toBe(0);
    before.set(bytes, 512);
    expect(content.equals(before)).toBe(true);
    expect((await readBack(backend, 1024, 700 * 512)).equals(content.subarray(1024, 1024 + 700 * 512))).toBe(
      true,
    );
    for (const { offset, length } of inner.calls) expect([offset % BLOCK, length % BLOCK]).toEqual([0, 0]);
  });

  it('of zeroes are written at both ends, and handed on between', async () => {
    const { backend, inner } = over();
    expect(await ended((done) => backend.writeZeroes(512, 3 * BLOCK, true, done))).toBe(0);
    expect(inner.operations).toEqual(['read', 'write', 'writeZeroes', 'read', 'write']);
    const zeroed = inner.calls[2];
    expect([zeroed.offset, zeroed.length, zeroed.mayUnmap]).toEqual([BLOCK, 2 * BLOCK, true]);
  });

  it('are not discarded, nor erased', async () => {
    const { backend, inner } = over();
    expect(await ended((done) => backend.discard(512, 3 * BLOCK, done))).toBe(0);
    expect(await ended((done) => backend.discard(512, 512, done))).toBe(0);
    expect(await ended((done) => backend.secureErase(512, BLOCK, done))).toBe(-Errno.EINVAL);
    expect(await ended((done) => backend.secureErase(BLOCK, BLOCK, done))).toBe(0);
    expect(inner.calls.map(({ operation, offset, length }) => [operation, offset, length])).toEqual([
      ['discard', BLOCK, 2 * BLOCK],
      ['secureErase', BLOCK, BLOCK],
    ]);
  });

  it('do not undo what is written to the rest of a block meanwhile', async () => {
    const { backend, inner, content } = over();
    const answer = inner.answer;
    // The block has been read, and waits to be written back.
    inner.answer = (call) => (call.operation === 'write' && call.length === BLOCK ? PENDING : answer(call));
    const part = put(backend, 512, pattern(512, 7));
    await nextTurn();
    const others = [put(backend, 1024, pattern(512, 8)), put(backend, 0, pattern(BLOCK * 2, 9))];
    await nextTurn();
    expect(inner.operations).toEqual(['read', 'write']);
    inner.answer = answer;
    const [held] = inner.held.splice(0);
    held.vector?.gather(0, content, held.offset, held.length);
    held.complete(0);
    expect(await Promise.all([part, ...others])).toEqual([0, 0, 0]);
    expect(content.subarray(0, 2 * BLOCK).equals(pattern(BLOCK * 2, 9))).toBe(true);
  });

  it('fail where the backend does, and let others go on', async () => {
    const { backend, inner } = over();
    const { answer } = inner;
    inner.answer = () => -Errno.EIO;
    expect(await put(backend, 512, pattern(512, 1))).toBe(-Errno.EIO);
    expect(await ended((done) => backend.writeZeroes(512, BLOCK, true, done))).toBe(-Errno.EIO);
    expect(await ended((done) => backend.read(512, vectorOver(new Uint8Array(512)), done))).toBe(-Errno.EIO);
    inner.answer = answer;
    expect(await put(backend, 0, pattern(BLOCK, 1))).toBe(0);
    expect(await put(backend, 512, pattern(512, 1))).toBe(0);
  });

  it('are refused on a disk that is only read', () => {
    const inner = new ScriptedBackend(1 << 20, { readOnly: true });
    const backend = new AlignedBackend(inner, { offsetBytes: BLOCK, memoryBytes: 1 }, () => {
      throw new Error('nothing is needed');
    });
    const nobody = { complete: () => {} };
    expect(backend.write(512, vectorOver(new Uint8Array(512)), false, nobody)).toBe(-Errno.EROFS);
    expect(backend.writeZeroes(512, 512, true, nobody)).toBe(-Errno.EROFS);
  });
});

describe('the gate', () => {
  it('lets those in that are alone one at a time, and nobody past them', async () => {
    const gate = new WriteGate();
    const log: string[] = [];
    expect([gate.tryShared(), gate.tryShared()]).toEqual([true, true]);
    const alone = gate.exclusive().then(() => log.push('alone'));
    const after = gate.shared().then(() => log.push('after'));
    expect(gate.tryShared()).toBe(false);
    gate.leaveShared();
    await nextTurn();
    expect(log).toEqual([]);
    gate.leaveShared();
    await alone;
    await nextTurn();
    expect(log).toEqual(['alone']);
    gate.leaveExclusive();
    await after;
    expect(gate.tryShared()).toBe(true);
  });
});
