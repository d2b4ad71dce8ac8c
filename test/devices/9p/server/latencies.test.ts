import { describe, expect, it } from 'vitest';
import type { LatencyCounts } from '../../../../devices/latencies.js';
import { Client } from './support/client.js';
import { T } from './support/wire.js';

const timed = ({ counts }: LatencyCounts) => counts.reduce((sum, count) => sum + count, 0);
/** What one in 16 of 800 is, with room for chance, which is the same in each run. */
const SOME = { least: 20, most: 100 };

describe('the latencies of a server', () => {
  it('are of some of its requests, each under its kind', async () => {
    const client = await Client.attached();
    client.fs.file('file', 'hello');
    await client.ok(T.walk(1, 0, 1, 'file'));
    await client.ok(T.lopen(1, 1, 2));
    const { read, write, metadata } = client.server.latencies;
    const before = timed(metadata);
    for (let i = 0; i < 800; i++) await client.ok(T.read(1, 1, 0, 5));
    expect([timed(write), timed(metadata)]).toEqual([0, before]);
    for (let i = 0; i < 800; i++) await client.ok(T.write(1, 1, 0, Buffer.from('x')));
    for (let i = 0; i < 800; i++) await client.ok(T.getattr(1, 1, 0x7ffn));
    for (const latencies of [read, write, metadata]) {
      expect(timed(latencies)).toBeGreaterThan(SOME.least);
      expect(timed(latencies)).toBeLessThan(SOME.most);
      expect(latencies.sumNs).toBeGreaterThan(0);
    }
  });

  it('leave out what waits for others', async () => {
    const client = await Client.attached();
    const { metadata } = client.server.latencies;
    const before = timed(metadata);
    for (let i = 0; i < 800; i++) await client.ok(T.flush(1, 7));
    expect(timed(metadata)).toBe(before);
  });
});
