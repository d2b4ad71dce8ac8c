import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach } from 'vitest';
import {
  ChassisError,
  type AttachRequest,
  type DetachQuery,
  type EventBody,
} from '../../manager/control/api.js';
import { ChassisPaths } from '../../manager/control/state-directory.js';
import { ChassisController } from '../../manager/controller.js';
import { Journal, readJournal } from '../../manager/journal.js';
import type { JournalDocument } from '../../manager/journal-format.js';
import type { Killer } from './killer.js';
import { FakeCardPorts, FakeDevices, FakeVmm } from './fakes.js';
import { notingLog } from '../support/log.js';

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
  /** What was told to happen, by all controllers since the test began. */
  events: EventBody[] = [];
  /** Of the next device process: its `refuseSeat`. */
  refuseSeatNext: FakeDevices['refuseSeat'];
  /** The device process that the next daemon finds does not answer. */
  unanswering = false;
  /** What the daemon reaches outside itself goes through it. */
  killer: Killer | undefined;
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
    await this.controller.vmConnected(this.killer?.wrap(vmm) ?? vmm);
    return vmm;
  }

  /** `TAG SLOT.FUNCTION STATE` of each mount. */
  async states(): Promise<string[]> {
    return (await this.controller.mounts()).map(
      ({ tag, slot, function: fn, state }) => `${tag} ${slot}.${fn} ${state}`,
    );
  }

  async start(slotCount: number): Promise<void> {
    this.folder = mkdtempSync(join(tmpdir(), 'chassis-controller-'));
    this.processes.length = 0;
    this.log = [];
    this.events = [];
    this.cardPorts = new FakeCardPorts();
    this.refuseSeatNext = undefined;
    mkdirSync(this.paths.directory);
    this.current = this.newController(slotCount);
    await this.current.start();
  }

  /** What the journal has, as the next daemon would read it. */
  get journaled(): JournalDocument {
    const document = readJournal(this.paths.journal, 'dev');
    if (!document) throw new Error('there is no journal');
    return document;
  }

  /**
   * Another daemon takes the chassis over: of a journal as it was then, and of the device process as it is now; `lives` says whether that
   * has lived on. The first one is cut off, as if it had been killed.
   */
  async takeOver(document = this.journaled, lives = true): Promise<ChassisController> {
    this.controller.leave();
    this.killer = undefined;
    // Those that no card keeps, or is given anew, are ended.
    this.cardPorts.joined.clear();
    this.current = this.newController(document.slots, document, lives);
    await this.current.restore(document);
    return this.current;
  }

  get paths(): ChassisPaths {
    return new ChassisPaths(this.folder, 'dev');
  }

  private newController(slotCount: number, document?: JournalDocument, lives = false): ChassisController {
    const journal = new Journal(this.paths.journal, 'dev');
    return new ChassisController({
      ...{ name: 'dev', slotCount, paths: this.paths, document },
      overlays: join(this.folder, 'overlays'),
      startDevices: async (hooks) => {
        this.processes.push(new FakeDevices(this.processes.length + 1, hooks));
        this.devices.refuseSeat = this.refuseSeatNext;
        return this.killer?.wrap(this.devices) ?? this.devices;
      },
      findDevices: async (hooks) => {
        if (this.unanswering) throw new ChassisError('DEVICE_PROCESS_LOST', 'it does not answer');
        return lives ? this.devices.found(hooks) : undefined;
      },
      cardPorts: this.killer?.wrap(this.cardPorts) ?? this.cardPorts,
      journal: this.killer?.wrapJournal(journal) ?? journal,
      emit: (event) => this.events.push(event),
      log: notingLog(this.log),
    });
  }

  async stop(): Promise<void> {
    await this.current?.close();
    rmSync(this.folder, { recursive: true });
  }
}
