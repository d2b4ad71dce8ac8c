/** Ties a chassis to whichever QEMU comes to its QMP socket: one after the other, for as long as the chassis lives. */
import { ChassisError } from './control/api.js';
import type { ChassisController } from './controller.js';
import { QemuDriver } from './vmm/qemu.js';
import type { QmpClient } from './vmm/qmp.js';
import { QmpWatcher } from './vmm/qmp-watcher.js';

export class VmmLink {
  private readonly controller: ChassisController;
  private readonly slotCount: number;
  private readonly watcher: QmpWatcher;
  private current: QmpClient | undefined;

  constructor(controller: ChassisController, slotCount: number, qmpSocketPath: string) {
    this.controller = controller;
    this.slotCount = slotCount;
    this.watcher = new QmpWatcher({
      path: qmpSocketPath,
      onConnect: (client) => void this.arrived(client),
      onDisconnect: () => {
        this.current = undefined;
        controller.vmLost();
      },
    });
  }

  start(): void {
    this.watcher.start();
  }

  /** Lets the VM go; what is being asked of it fails with VMM_GONE. */
  async stop(): Promise<void> {
    this.current = undefined;
    await this.watcher.stop();
  }

  private async arrived(client: QmpClient): Promise<void> {
    this.current = client;
    try {
      const driver = await QemuDriver.open(client, {
        slotCount: this.slotCount,
        onDeleted: (slot, fn) => this.controller.functionDeleted(slot, fn),
      });
      if (this.current === client) await this.controller.vmConnected(driver);
    } catch (error) {
      if (this.current === client) this.controller.vmRejected(asChassisError(error));
    }
  }
}

function asChassisError(error: unknown): ChassisError {
  if (error instanceof ChassisError) return error;
  return new ChassisError('VMM_UNSUITABLE', `cannot make out the VM: ${String(error)}`);
}
