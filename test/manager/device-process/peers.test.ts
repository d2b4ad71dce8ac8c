import { readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { PeerBook, peerOf } from '../../../manager/device-process/peers.js';
import { temporaryFolders } from '../temporary-folder.js';

const folder = temporaryFolders();
const PEER = { type: 'switch', socketPath: '/run/chassis/@lan/p1.sock' } as const;
const NBD = { type: 'nbd', uri: 'nbd://127.0.0.1/x' } as const;

describe('what the daemon knows of whom functions are connected to', () => {
  it('is known to the next daemon, and to nobody else', () => {
    const path = join(folder(), 'dev.vm', 'peers.json');
    const book = new PeerBook(path);
    book.set('slot1-fn0', PEER);
    book.set('slot2-fn0', NBD);
    book.delete('slot2-fn0');
    const next = new PeerBook(path);
    expect([next.get('slot1-fn0'), next.get('slot2-fn0')]).toEqual([PEER, undefined]);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    next.clear();
    expect(readdirSync(join(path, '..'))).toEqual([]);
  });

  it('is nothing where the file is none of ours', () => {
    const path = join(folder(), 'peers.json');
    for (const text of ['', '[]', '{"slot1-fn0":{"type":"file","path":"/etc/shadow"}}']) {
      writeFileSync(path, text);
      expect(new PeerBook(path).get('slot1-fn0')).toBeUndefined();
    }
  });

  it('has the peers of cards and of NBD disks, and of nothing else', () => {
    const card = { type: 'card', name: 'a', mac: '52:54:00:00:00:01', queuePairs: 1, up: true } as const;
    const disk = { type: 'disk', readOnly: true, overlay: false, serial: 's', queues: 1 } as const;
    expect(peerOf({ ...card, peer: PEER })).toBe(PEER);
    expect(peerOf({ ...card, peer: { type: 'tap', interface: 'tap0' } })).toBeUndefined();
    expect(peerOf({ ...disk, source: NBD })).toBe(NBD);
    expect(peerOf({ ...disk, source: { type: 'file', path: '/x' } })).toBeUndefined();
    expect(peerOf({ type: '9p', tag: 'a', readOnly: false })).toBeUndefined();
  });
});
