import type { VirtioDevice } from '../../../devices/virtio/device.js';

/** A device that completes every chain at once, having written all of it. Tests replace what they are about. */
export function nullDevice(overrides: Partial<VirtioDevice> = {}): VirtioDevice {
  return {
    deviceId: 2,
    pciClass: 0x01_80_00,
    features: 0n,
    queueSizes: [8, 8],
    config: new Uint8Array(0),
    writeConfig: () => {},
    activate: () => {},
    handleChain: (queue, chain) => queue.push(chain, chain.writable.byteLength),
    reset: () => {},
    close: () => {},
    ...overrides,
  };
}
