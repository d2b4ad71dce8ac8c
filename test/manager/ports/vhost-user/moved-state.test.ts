import { describe, expect, it } from 'vitest';
import { VirtioBlk } from '../../../../devices/blk/virtio-blk.js';
import { decodeMovedState, encodeMovedState } from '../../../../manager/ports/vhost-user/moved-state.js';
import { ScriptedBackend } from '../../../devices/blk/support/scripted-backend.js';
import { EchoDevice } from './harness.js';

const FEATURES = (1n << 63n) | (1n << 32n) | 1n;
const OFFERED = FEATURES | (1n << 34n);
const disk = (sizeBytes = 1 << 20) =>
  new VirtioBlk(new ScriptedBackend(sizeBytes), { serial: 'moved', log: () => {} });
const STATE = { features: FEATURES, device: Uint8Array.of(1, 2, 3) };
const encoded = encodeMovedState(disk(), STATE);
const decode = (bytes: Uint8Array, device = disk()) => decodeMovedState(bytes, device, OFFERED);

describe('a state that moves', () => {
  it('is what it was', () => {
    expect(decode(encoded)).toEqual(STATE);
  });

  it('is refused wherever it is cut off, and where something is added', () => {
    for (let length = 0; length < encoded.length; length++)
      expect(decode(encoded.subarray(0, length))).toMatch(/cut off|should have/);
    expect(decode(Uint8Array.of(...encoded, 0))).toMatch('should have');
  });

  it('is refused with any bit flipped', () => {
    for (let bit = 0; bit < encoded.length * 8; bit++) {
      const bytes = encoded.slice();
      bytes[bit >> 3] ^= 1 << (bit & 7);
      expect(decode(bytes)).toEqual(expect.any(String));
    }
  });

  it('is refused by a device of another type', () => {
    expect(decodeMovedState(encoded, new EchoDevice(), OFFERED)).toBe(
      'it is the state of a device of type 2, and this one is of type 42',
    );
  });

  it('is refused where a feature of its driver is not on offer', () => {
    expect(decodeMovedState(encoded, disk(), OFFERED & ~(1n << 63n))).toBe(
      'its driver uses features that are not on offer here',
    );
  });

  it('is refused by a disk of another size, and taken by one in another cache mode', () => {
    expect(decode(encoded, disk(1 << 21))).toBe('its config space says other things than this one');
    const writeThrough = disk();
    writeThrough.writeConfig(32, Uint8Array.of(0));
    expect(decode(encoded, writeThrough)).toEqual(STATE);
  });
});
