/** Ties a chassis to whichever Cloud Hypervisor serves its API at a socket: one VM after the other, for as long as the chassis lives. */
import { setTimeout as pause } from 'node:timers/promises';
import { ChassisError } from './control/api.js';
import type { ChassisController } from './controller.js';
import {
  CloudHypervisorClient,
  CloudHypervisorTimeout,
  type VmmPing,
} from './vmm/cloud-hypervisor/client.js';
import { CloudHypervisorDriver, isRunning } from './vmm/cloud-hypervisor/driver.js';

/** How often is looked whether a VM has come, has gone, or has let something go. */
const LOOK_MS = 1000;

export class CloudHypervisorLink {
  private readonly controller: ChassisController;
  private readonly client: CloudHypervisorClient;
  private readonly lookMs: number;
  private readonly stopping = new AbortController();
  private running: Promise<void> | undefined;

  constructor(controller: ChassisController, apiSocketPath: string, lookMs = LOOK_MS) {
    this.controller = controller;
    this.client = new CloudHypervisorClient(apiSocketPath, this.stopping.signal);
    this.lookMs = lookMs;
  }

  start(): void {
    this.running = this.run();
  }

  /** Lets the VM go; what is being asked of it fails with VMM_GONE. */
  async stop(): Promise<void> {
    this.stopping.abort();
    await this.running;
  }

  private async run(): Promise<void> {
    while (!this.stopping.signal.aborted) {
      const ping = await this.client.ping().catch(() => undefined);
      const info = ping && (await this.client.info().catch(() => undefined));
      if (ping && info && isRunning(info)) {
        const driver = this.open(info, ping);
        await this.follow(driver, ping);
        if (!this.stopping.signal.aborted) this.controller.vmLost();
      }
      await this.wait();
    }
  }

  private open(info: ConstructorParameters<typeof CloudHypervisorDriver>[0], { version }: VmmPing) {
    const { controller, client } = this;
    try {
      const onDeleted = (slot: number, fn: number) => controller.functionDeleted(slot, fn);
      const driver = new CloudHypervisorDriver(info, { client, version, onDeleted });
      void controller.vmConnected(driver);
      return driver;
    } catch (error) {
      if (!(error instanceof ChassisError)) throw error;
      controller.vmRejected(error);
      return undefined;
    }
  }

  /** Resolves once this VM is gone, or another is in its place. */
  private async follow(driver: CloudHypervisorDriver | undefined, { pid }: VmmPing): Promise<void> {
    while (!this.stopping.signal.aborted) {
      await this.wait();
      try {
        if ((await this.client.ping()).pid !== pid) return;
        if (driver) await driver.look();
        else if (!(await this.client.info())) return;
      } catch (error) {
        // One that is busy with something long is there all the same.
        if (!(error instanceof CloudHypervisorTimeout)) return;
      }
    }
  }

  private async wait(): Promise<void> {
    await pause(this.lookMs, undefined, { signal: this.stopping.signal }).catch(() => undefined);
  }
}
