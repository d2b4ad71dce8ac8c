import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach } from 'vitest';
import type { AttachRequest, DetachQuery } from '../../manager/control/api.js';
import { ChassisPaths } from '../../manager/control/state-directory.js';
import { ChassisController } from '../../manager/controller.js';
import { FakeCardPorts, FakeDevices, FakeVmm } from './fakes.js';

export const QUERY: DetachQuery = {
  force: false,
  slot: false,
  keepFunction: false,
  discard: false,
  timeoutMs: 1000,
};

/** An attach of memory file systems. */
export function request(tags: readonly string[], options: Partial<AttachRequest> = {}): AttachRequest {
  const mounts = tags.map((tag) => ({ tag, source: { type: 'memory' as const }, readOnly: false }));
  return { mounts, via: 'function', permanent: false, port: 'auto', timeoutMs: 1000, ...options };
}

/** A controller over a device process and VMMs that are only tables; made anew for each test. */
export class ControllerHarness {
  folder = '';
  readonly processes: FakeDevices[] = [];
  cardPorts = new FakeCardPorts();
  log: string[] = [];
  /** Of the next device process: its `refuseSeat`. */
  refuseSeatNext: FakeDevices['refuseSeat'];
  private current: ChassisController | undefined;

  /** Of the file's tests, whose hooks it sets. */
  static perTest(slotCount: number): ControllerHarness {
    const harness = new ControllerHarness();
    beforeEach(() => harness.start(slotCount));
    afterEach(() => harness.stop());
    return harness;
  }

  get controller(): ChassisController {
    if (!this.current) throw new Error('no controller');
    return this.current;
  }

  /** The device process of the moment. */
  get devices(): FakeDevices {
    return this.processes[this.processes.length - 1];
  }

  newVmm(): FakeVmm {
    return new FakeVmm(
      () => this.devices,
      (slot, fn) => this.controller.functionDeleted(slot, fn),
    );
  }

  async boot(vmm = this.newVmm()): Promise<FakeVmm> {
    await this.controller.vmConnected(vmm);
    return vmm;
  }

  /** `TAG SLOT.FUNCTION STATE` of each mount. */
  async states(): Promise<string[]> {
    return (await this.controller.mounts()).map(
      ({ tag, slot, function: fn, state }) => `${tag} ${slot}.${fn} ${state}`,
    );
  }

  private async start(slotCount: number): Promise<void> {
    this.folder = mkdtempSync(join(tmpdir(), 'chassis-controller-'));
    this.processes.length = 0;
    this.log = [];
    this.cardPorts = new FakeCardPorts();
    this.refuseSeatNext = undefined;
    this.current = new ChassisController({
      name: 'dev',
      slotCount,
      paths: new ChassisPaths(this.folder, 'dev'),
      overlays: join(this.folder, 'overlays'),
      startDevices: async (hooks) => {
        this.processes.push(new FakeDevices(this.processes.length + 1, hooks));
        this.devices.refuseSeat = this.refuseSeatNext;
        return this.devices;
      },
      cardPorts: this.cardPorts,
      log: (message) => this.log.push(message),
    });
    await this.current.start();
  }

  private async stop(): Promise<void> {
    await this.current?.close();
    rmSync(this.folder, { recursive: true });
  }
}
