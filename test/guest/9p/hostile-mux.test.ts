import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { DeviceContext, VirtioDevice } from '../../../devices/virtio/device.js';
import { VirtioPciFunction } from '../../../devices/virtio/transport/virtio-pci.js';
import { Guest } from '../../../guest/index.js';
import { InProcessMachine } from '../../../manager/ports/in-process/in-process-machine.js';

const MULTIPLEX = 1n << 23n;
const CONFIG_BYTES = 256;

/** Says that it multiplexes, shows whatever it is told to, and answers no request. */
class HostileMux implements VirtioDevice {
  readonly deviceId = 9;
  readonly pciClass = 0x000200;
  readonly features = MULTIPLEX | 1n;
  readonly queueSizes: readonly number[];
  readonly config: Uint8Array;
  context: DeviceContext | undefined;

  constructor(queueCount: number, config: Uint8Array) {
    this.queueSizes = new Array<number>(queueCount).fill(16);
    this.config = config;
  }

  writeConfig(): void {}
  activate(context: DeviceContext): void {
    this.context = context;
  }
  handleChain(): void {}
  reset(): void {
    this.context = undefined;
  }
  close(): void {}

  show(offset: number, bytes: Uint8Array): void {
    this.config.set(bytes.subarray(0, Math.max(0, this.config.length - offset)), offset);
    this.context?.configChanged();
  }
}

function plug(device: HostileMux): InProcessMachine {
  const machine = new InProcessMachine({ slots: 1, ramSizeBytes: 4 << 20 });
  machine.plug(1, [{ number: 0, function: new VirtioPciFunction(device, machine.memory, { msix: true }) }]);
  return machine;
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

describe('a device that lies about its queues', () => {
  it('is survived, whatever its config space holds and becomes, and goes when it is pulled out', async () => {
    const change = fc.record({
      offset: fc.nat(CONFIG_BYTES - 1),
      bytes: fc.uint8Array({ minLength: 1, maxLength: 32 }),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 5 }),
        fc.uint8Array({ minLength: CONFIG_BYTES, maxLength: CONFIG_BYTES }),
        fc.array(change, { maxLength: 12 }),
        async (queueCount, config, changes) => {
          const device = new HostileMux(queueCount, config.slice());
          const machine = plug(device);
          const guest = await Guest.boot(machine);
          for (const { offset, bytes } of changes) {
            device.show(offset, bytes);
            await turn();
            // Every queue shows the same, since select selects nothing.
            const tags = new Set(guest.tags());
            expect(tags.size).toBeLessThanOrEqual(2);
            expect(guest.tags().length).toBeLessThanOrEqual(queueCount);
          }
          machine.remove(1);
          await turn();
          expect(guest.tags()).toEqual([]);
          await guest.shutdown();
        },
      ),
      { numRuns: 100 },
    );
  });

  it('and has a config space of a few bytes, shows no mount', async () => {
    for (const bytes of [1, 3, 225]) {
      const guest = await Guest.boot(plug(new HostileMux(2, new Uint8Array(bytes).fill(1))));
      expect(guest.tags()).toEqual([]);
      await guest.shutdown();
    }
  });

  it('and swaps a mount for another while it is mounted, loses that mount and no other', async () => {
    const config = new Uint8Array(CONFIG_BYTES);
    config.set([1, 0, 0x61]);
    config.set([1, 0], 236);
    config.set([7], 240);
    const device = new HostileMux(1, config);
    const guest = await Guest.boot(plug(device));
    expect(guest.tags()).toEqual(['a']);
    const mounting = guest.mount('a', { signal: AbortSignal.timeout(5000) });
    const failed = expect(mounting).rejects.toMatchObject({ code: 'ENODEV' });
    await turn();
    // A serial of its own, and the count one further.
    device.config.set([8], 240);
    device.show(228, Uint8Array.of(1));
    await turn();
    expect(guest.tags()).toEqual(['a']);
    void guest.shutdown({ timeoutMs: 1 });
    await failed;
  });
});
