/** A slot's driver between a port and a board that are both the test's. */
import { PciehpSlot, type Board, type PciehpOptions } from '../../../guest/pci/pciehp.js';
import { FakeSlotPort } from './fake-slot-port.js';
import { ManualTimers } from './manual-timers.js';

export const OFF = 'no power, attention off, indicator off';
export const ON = 'power, attention off, indicator on';
export const FAILED = 'no power, attention on, indicator off';

/** A board that notes what is done with it, and waits where a test says so. */
export class FakeBoard implements Board {
  readonly log: string[] = [];
  isInUse = false;
  answers = true;
  /** Awaited by `configure` and `unconfigure`. */
  gate: Promise<void> | undefined;

  async configure(): Promise<boolean> {
    this.log.push('configure');
    await this.gate;
    return this.answers;
  }

  async unconfigure(gone: boolean): Promise<void> {
    this.log.push(gone ? 'gone' : 'let go');
    await this.gate;
  }

  ejectRequested(): void {
    this.log.push('wanted');
  }
}

export interface SlotOptions extends PciehpOptions {
  /** What is different about the port. */
  readonly port?: Partial<FakeSlotPort>;
}

/** A slot that is listened to: empty, or with a board that was found before. */
export async function slot(state: 'empty' | 'on', { port: settings, ...options }: SlotOptions = {}) {
  const port = Object.assign(new FakeSlotPort(), settings);
  if (state === 'on') Object.assign(port, { isPresent: true, isLinkActive: true, control: 0x1c0 });
  const board = new FakeBoard();
  const timers = new ManualTimers();
  const driver = new PciehpSlot(port.registers, board, { timers, powerOffMs: 0, ...options });
  port.interrupt = () => void driver.interrupt();
  driver.listen(state === 'on');
  driver.begin();
  await driver.idle();
  port.commands.length = 0;
  return { port, board, timers, driver };
}
