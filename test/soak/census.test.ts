import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { closeFd, eventfdCreate, memfdCreate, SharedMapping } from '../../host/index.js';
import { censusOf, descriptorKind, mappingKind, unixSocketsBelow } from './census.js';

describe('the census of a process', () => {
  it('counts descriptors and mappings by kind, and notices one more of each', async () => {
    const before = await censusOf(process.pid);
    const [eventfd, memfd] = [eventfdCreate(), memfdCreate('census', 4096)];
    const mapping = new SharedMapping(memfd);
    try {
      const after = await censusOf(process.pid);
      const grown = (kind: string): number =>
        (after.descriptors[kind] ?? 0) - (before.descriptors[kind] ?? 0);
      expect([grown('anon_inode:[eventfd]'), grown('memfd')]).toEqual([1, 1]);
      expect(after.mappings.memfd - (before.mappings.memfd ?? 0)).toBe(1);
      expect(after.privateKiB).toBeGreaterThan(1000);
    } finally {
      mapping.close();
      closeFd(eventfd);
      closeFd(memfd);
    }
  });

  it('takes sockets and pipes of whatever number for the same, and files of whatever name', () => {
    expect(descriptorKind('socket:[4711]')).toBe('socket');
    expect(descriptorKind('pipe:[3]')).toBe('pipe');
    expect(descriptorKind('anon_inode:[eventpoll]')).toBe('anon_inode:[eventpoll]');
    expect(descriptorKind('/memfd:chassis-mem (deleted)')).toBe('memfd');
    expect(descriptorKind('/dev/null')).toBe('/dev/null');
    expect(descriptorKind('/tmp/a b (deleted)')).toBe('file');
  });

  it('tells mapped files and memfds from memory without a name', () => {
    const place = '7f0000000000-7f0000001000 rw-p 00000000';
    expect(mappingKind(`${place} 00:00 0 `)).toBe('anonymous');
    expect(mappingKind(`${place} 00:00 0                          [stack]`)).toBe('anonymous');
    expect(mappingKind(`${place} 00:01 2050                       /memfd:chassis-mem (deleted)`)).toBe(
      'memfd',
    );
    expect(mappingKind(`${place} fe:00 12                         /usr/lib/libc.so.6`)).toBe('file');
  });

  it('lists the unix sockets below a folder, and no others', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'chassis-census-'));
    const server = createServer();
    try {
      await once(server.listen(join(folder, 'one.sock')), 'listening');
      expect(await unixSocketsBelow(folder)).toEqual([join(folder, 'one.sock')]);
      expect(await unixSocketsBelow(join(folder, 'other'))).toEqual([]);
    } finally {
      server.close();
      await rm(folder, { recursive: true });
    }
  });
});
