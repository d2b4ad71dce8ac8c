/** A server with a function that records what reaches it, and counts of what the process holds. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { AccessWidth, BarSpec, FunctionPort, PciFunction } from '../../../../devices/pci/function.js';
import type { GuestMemory } from '../../../../devices/virtio/memory/guest-memory.js';
import type { RingRecords } from '../../../../devices/virtio/ring/inflight/ring-records.js';
import { closeFd, eventfdCreate, memfdCreate, Reactor } from '../../../../host/index.js';
import { VfioUserServer, type VfioUserKeeping } from '../../../../manager/ports/vfio-user/server.js';
import { RawClient } from './raw-client.js';

/** Plain bytes behind every register, and a list of what was done to them. */
export class RecordingFunction implements PciFunction {
  readonly bars: readonly BarSpec[] = [
    { index: 0, kind: 'memory32', prefetchable: false, sizeBytes: 0x1000 },
    { index: 1, kind: 'io', prefetchable: false, sizeBytes: 0x20 },
    { index: 4, kind: 'memory64', prefetchable: true, sizeBytes: 0x200000 },
  ];
  readonly msixVectorCount: number = 40;
  readonly msix = undefined;
  readonly hasIntx: boolean = true;
  readonly configSizeBytes: number = 4096;
  readonly calls: string[] = [];
  port: FunctionPort | undefined;
  onAfterWrite: () => void = () => {};
  onWriteBar: () => void = () => {};
  readonly #config = new DataView(new ArrayBuffer(4096));
  readonly #bars = new Map<number, DataView>();

  constructor() {
    for (const bar of this.bars) this.#bars.set(bar.index, new DataView(new ArrayBuffer(bar.sizeBytes)));
  }

  readConfig(offset: number, width: AccessWidth): number {
    this.calls.push(`config read${width} ${offset}`);
    return get(this.#config, offset, width);
  }

  writeConfig(offset: number, width: AccessWidth, value: number): void {
    this.calls.push(`config write${width} ${offset} ${value.toString(16)}`);
    put(this.#config, offset, width, value);
  }

  readBar(bar: number, offset: number, width: AccessWidth): number {
    this.calls.push(`bar${bar} read${width} ${offset}`);
    return get(this.#bar(bar), offset, width);
  }

  writeBar(bar: number, offset: number, width: AccessWidth, value: number): void {
    this.calls.push(`bar${bar} write${width} ${offset} ${value.toString(16)}`);
    this.onWriteBar();
    put(this.#bar(bar), offset, width, value);
  }

  afterWrite(): void {
    this.calls.push('afterWrite');
    this.onAfterWrite();
  }

  connect(port: FunctionPort | undefined): void {
    this.calls.push(port === undefined ? 'unplugged' : 'plugged');
    this.port = port;
  }

  reset(): void {
    this.calls.push('reset');
  }

  #bar(bar: number): DataView {
    const view = this.#bars.get(bar);
    if (view === undefined) throw new Error(`there is no BAR ${bar}`);
    return view;
  }
}

function get(view: DataView, offset: number, width: AccessWidth): number {
  if (width === 4) return view.getUint32(offset, true);
  return width === 2 ? view.getUint16(offset, true) : view.getUint8(offset);
}

function put(view: DataView, offset: number, width: AccessWidth, value: number): void {
  if (width === 4) view.setUint32(offset, value, true);
  else if (width === 2) view.setUint16(offset, value, true);
  else view.setUint8(offset, value);
}

export class Harness<F extends PciFunction = RecordingFunction> {
  readonly reactor: Reactor;
  readonly server: VfioUserServer;
  readonly path: string;
  readonly fn: F;
  readonly memory: GuestMemory;
  /** `connect`, `disconnect: …` and the log, in order. */
  readonly events: string[] = [];
  readonly #clients: RawClient[] = [];
  #woken: (() => void)[] = [];

  constructor(
    createFunction: (memory: GuestMemory, records: RingRecords | undefined) => F,
    quiesce?: () => Promise<void> | undefined,
    keeping?: (folder: string, fn: () => F) => VfioUserKeeping,
  ) {
    const directory = mkdtempSync(join(tmpdir(), 'chassis-vfio-user-'));
    this.path = join(directory, 'socket');
    this.reactor = new Reactor({ onError: (error) => this.#record(`reactor: ${String(error)}`) });
    this.reactor.start();
    const made: { fn?: F; memory?: GuestMemory } = {};
    this.server = new VfioUserServer({
      path: this.path,
      reactor: this.reactor,
      createFunction: (memory, records) => {
        made.memory = memory;
        return (made.fn = createFunction(memory, records));
      },
      ...(quiesce && { quiesce }),
      keeping: keeping?.(directory, () => made.fn as F),
      onConnect: () => this.#record('connect'),
      onDisconnect: (reason) => this.#record(`disconnect: ${reason}`),
      log: (line) => this.#record(line.replace(`${this.path}: `, 'log: ')),
    });
    this.fn = made.fn as F;
    this.memory = made.memory as GuestMemory;
    this.server.listen();
    onTestFinished(() => {
      for (const client of this.#clients) client.close();
      this.server.close();
      this.reactor.close();
      rmSync(directory, { recursive: true, force: true });
    });
  }

  /** A client that has sent nothing yet. */
  connect(): RawClient {
    const client = new RawClient(this.reactor, this.path);
    this.#clients.push(client);
    return client;
  }

  /** A client whose version is agreed. */
  async negotiated(): Promise<RawClient> {
    return this.connect().negotiate();
  }

  /** Resolves once the server has reported `count` events in all. */
  async eventCount(count: number): Promise<void> {
    while (this.events.length < count) await new Promise<void>((resolve) => this.#woken.push(resolve));
  }

  /** Closes the client and resolves once the server has released what it held for it. */
  async disconnect(client: RawClient): Promise<void> {
    const count = this.events.length + 1;
    client.close();
    await this.eventCount(count);
  }

  #record(event: string): void {
    this.events.push(event);
    for (const wake of this.#woken.splice(0)) wake();
  }
}

export function startServer(): Harness {
  return new Harness(() => new RecordingFunction());
}

/** Descriptors open in this process, ours and the server's. */
export function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

/** Mappings in this process of memory files called `name`, or of deleted files. */
export function mappingsOf(name: string): number {
  const maps = readFileSync('/proc/self/maps', 'latin1');
  return maps.split('\n').filter((line) => line.includes(`:${name} `) || line.includes(`/${name} `)).length;
}

/** A memory file that is closed with the test. */
export function memoryFile(name: string, sizeBytes: number): number {
  return owned(memfdCreate(name, sizeBytes));
}

export function eventfd(): number {
  return owned(eventfdCreate());
}

export function owned(fd: number): number {
  onTestFinished(() => {
    closeFd(fd);
  });
  return fd;
}
