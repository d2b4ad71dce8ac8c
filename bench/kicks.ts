/**
 * What kicks and interrupts cost, and how many there are: a doorbell for each queue, one for the device, the window through config
 * space and none at all, with the driver told by event indices when to ring, told by flags, or not told. A guest in this
 * process drives a device that moves bytes, over the bus in software, so that a kick costs a function call and a turn: the counts are what other
 * machines multiply by the price of theirs.
 */
import type {
  Chain,
  DeviceContext,
  QueueCounters,
  VirtioDevice,
  Virtqueue,
} from '../devices/virtio/device.js';
import type { AwakeSession } from '../devices/virtio/device-session.js';
import { newQueueCounters } from '../devices/virtio/ring/running-ring.js';
import { VirtioPciFunction } from '../devices/virtio/transport/virtio-pci.js';
import type { GuestRam } from '../guest/memory/ram.js';
import type { PciDriver } from '../guest/pci/driver.js';
import { GuestPci } from '../guest/pci/guest-pci.js';
import { GuestVirtioDevice } from '../guest/virtio/device.js';
import type { QueueRequest } from '../guest/virtio/queue.js';
import type { KickMode, Notify } from '../guest/virtio/transport.js';
import { InProcessMachine } from '../manager/ports/in-process/in-process-machine.js';

type Suppression = 'event index' | 'flags' | 'none';
type Workload = 'request/response' | 'bulk one way' | 'two ways on two queues';

interface Case {
  readonly kick: KickMode;
  readonly suppression: Suppression;
  /** Whether the device goes on looking for a while once its queues are empty, as it does behind a socket. */
  readonly staysAwake: boolean;
}

interface Measurement extends Case {
  readonly workload: Workload;
  readonly kicksPerThousand: number;
  readonly interruptsPerThousand: number;
  readonly spuriousWakesPerThousand: number;
  readonly pollsPerThousand: number;
  readonly nsPerRequest: number;
}

const QUEUE_SIZE = 256;
const MESSAGE_BYTES = 64;
/** Requests under way in each queue. */
const DEPTH: Record<Workload, number> = {
  'request/response': 1,
  'bulk one way': 64,
  'two ways on two queues': 64,
};
/** In one of the rounds, of which the fastest counts: what others do on the machine only adds time. */
const REQUESTS: Record<Workload, number> = {
  'request/response': 40_000,
  'bulk one way': 200_000,
  'two ways on two queues': 200_000,
};
const ROUNDS = 4;
/** Looks that find nothing before a device that stays awake sleeps. */
const AWAKE_LOOKS = 16;
const SLOT = 1;
const DEVICE_ID = 42;

const WAYS: readonly (readonly [KickMode, Suppression])[] = [
  ['queue', 'event index'],
  ['queue', 'flags'],
  ['queue', 'none'],
  ['device', 'event index'],
  ['device', 'flags'],
  ['device', 'none'],
  ['window', 'event index'],
];
const CASES: readonly Case[] = [
  ...[false, true].flatMap((staysAwake) =>
    WAYS.map(([kick, suppression]) => ({ kick, suppression, staysAwake })),
  ),
  { kick: 'none', suppression: 'event index', staysAwake: true },
];

/** Prints kicks, interrupts and time per request, as tables or as JSON. */
export async function kicks(json: boolean): Promise<void> {
  const measurements: Measurement[] = [];
  for (const workload of Object.keys(DEPTH) as Workload[]) {
    if (!json) console.log(heading(workload));
    for (const each of CASES) {
      const measured = await measure(each, workload);
      measurements.push(measured);
      if (!json) console.log(row(measured));
    }
  }
  if (json) console.log(JSON.stringify(measurements, undefined, 2));
}

function heading(workload: Workload): string {
  const depth = DEPTH[workload];
  const columns = 'doorbell  suppression  device        kicks  interrupts  spurious wakes    ns';
  return `\n${workload}, ${depth} under way a queue (per thousand requests, and a request)\n${columns}`;
}

function row(of: Measurement): string {
  const { kick, suppression, staysAwake } = of;
  const device = kick === 'none' ? 'polls' : staysAwake ? 'stays awake' : 'sleeps';
  const numbers = [
    of.kicksPerThousand.toFixed(1).padStart(8),
    of.interruptsPerThousand.toFixed(1).padStart(12),
    of.spuriousWakesPerThousand.toFixed(1).padStart(16),
    of.nsPerRequest.toFixed(0).padStart(6),
  ];
  return `${kick.padEnd(10)}${suppression.padEnd(13)}${device.padEnd(11)}${numbers.join('')}`;
}

async function measure(each: Case, workload: Workload): Promise<Measurement> {
  const machine = await Machine.boot(each, workload);
  let fastestNs = Infinity;
  for (let round = 0; round < ROUNDS; round++) {
    const before = machine.counted().requests;
    const start = process.hrtime.bigint();
    await machine.run(REQUESTS[workload]);
    const ns = Number(process.hrtime.bigint() - start);
    fastestNs = Math.min(fastestNs, ns / (machine.counted().requests - before));
  }
  const counted = machine.counted();
  machine.stop();
  const perThousand = (count: number): number => (count / counted.requests) * 1000;
  return {
    workload,
    ...each,
    kicksPerThousand: perThousand(counted.kicks),
    interruptsPerThousand: perThousand(counted.interrupts),
    spuriousWakesPerThousand: perThousand(counted.spuriousWakes),
    pollsPerThousand: perThousand(counted.polls),
    nsPerRequest: fastestNs,
  };
}

/** Answers requests of queue 0; with a second queue, gives what is sent in that back in buffers of the first, as a network does. */
class MovingDevice implements VirtioDevice {
  readonly deviceId = DEVICE_ID;
  readonly pciClass = 0xff0000;
  readonly features = 0n;
  readonly config = new Uint8Array(0);
  readonly queueSizes: readonly number[];
  readonly #bytes = new Uint8Array(MESSAGE_BYTES);
  readonly #received: Chain[] = [];
  #receiveQueue: Virtqueue | undefined;
  #flushDue = false;

  constructor(queueCount: number) {
    this.queueSizes = new Array<number>(queueCount).fill(QUEUE_SIZE);
  }

  writeConfig(): void {}
  close(): void {}

  activate({ queues }: DeviceContext): void {
    this.#receiveQueue = queues[0];
  }

  reset(): void {
    this.#received.length = 0;
  }

  handleChain(queue: Virtqueue, chain: Chain): void {
    if (this.queueSizes.length === 1) {
      queue.push(chain, this.#move(chain, chain));
    } else if (queue.index === 0) {
      this.#received.push(chain);
    } else {
      this.#sendBack(chain);
      queue.push(chain, 0);
    }
  }

  /** What finds no buffer is lost. */
  #sendBack(sent: Chain): void {
    const into = this.#received.shift();
    if (into === undefined) return;
    this.#receiveQueue?.push(into, this.#move(sent, into));
    if (this.#flushDue) return;
    this.#flushDue = true;
    queueMicrotask(() => {
      this.#flushDue = false;
      this.#receiveQueue?.flush();
    });
  }

  #move(from: Chain, to: Chain): number {
    from.readable.gather(0, this.#bytes, 0, MESSAGE_BYTES);
    return to.writable.scatter(0, this.#bytes, 0, MESSAGE_BYTES);
  }
}

interface OneRequest extends QueueRequest {
  readonly queue: number;
}

/** A guest with a driver for the device, and requests that make themselves available again when they come back. */
class Machine {
  readonly #fn: VirtioPciFunction;
  readonly #device: GuestVirtioDevice;
  readonly #ram: GuestRam;
  /** Rings by hand where nothing is suppressed: a driver's queue would not. */
  readonly #rings: readonly (Notify | undefined)[];
  /** Those that wait for the next run. */
  readonly #idle: OneRequest[] = [];
  #left = 0;
  #done: () => void = () => {};

  static async boot({ kick, suppression, staysAwake }: Case, workload: Workload): Promise<Machine> {
    const queueCount = workload === 'two ways on two queues' ? 2 : 1;
    const machine = new InProcessMachine({ slots: SLOT, ramSizeBytes: 8 << 20 });
    const fn = new VirtioPciFunction(new MovingDevice(queueCount), machine.memory, {
      msix: true,
      doorbells: ['queue', 'device'],
      polled: kick === 'none',
      log: (line) => console.error(line),
      ...(staysAwake && { keepAwake: stayAwake }),
    });
    machine.plug(SLOT, [{ number: 0, function: fn }]);
    let device!: GuestVirtioDevice;
    const driver: PciDriver = {
      name: 'moving',
      matches: () => true,
      probe: async (found, services) => {
        const options = {
          packed: false,
          indirect: false,
          notificationData: false,
          eventIndex: suppression === 'event index',
          kick: suppression === 'none' ? 'none' : kick,
        } as const;
        device = await GuestVirtioDevice.open(found, services, { deviceFeatures: 0n, queueCount, options });
        return { inUse: true, remove: (gone) => device.close('ENODEV', gone) };
      },
    };
    const pci = new GuestPci(machine.bus, { drivers: [driver] });
    await pci.start();
    const { ram } = pci.services;
    const rings = device.queues.map(({ index }) =>
      suppression === 'none' ? device.transport.doorbell(index, kick) : undefined,
    );
    return new Machine(fn, device, ram, rings, DEPTH[workload]);
  }

  private constructor(
    fn: VirtioPciFunction,
    device: GuestVirtioDevice,
    ram: GuestRam,
    rings: readonly (Notify | undefined)[],
    depth: number,
  ) {
    this.#fn = fn;
    this.#device = device;
    this.#ram = ram;
    this.#rings = rings;
    const answers = device.queues.length === 1;
    for (const { index } of device.queues) {
      for (let i = 0; i < depth; i++) this.#idle.push(this.#request(index, answers));
    }
  }

  /** All counters of all queues. */
  counted(): QueueCounters {
    const sum = newQueueCounters();
    for (const { index } of this.#device.queues) {
      const counters = this.#fn.counters(index);
      for (const name of Object.keys(sum) as (keyof QueueCounters)[]) sum[name] += counters[name];
    }
    return sum;
  }

  run(count: number): Promise<void> {
    this.#left = count;
    return new Promise((resolve) => {
      this.#done = resolve;
      for (const request of this.#idle.splice(0)) this.#send(request);
    });
  }

  stop(): void {
    this.#fn.reset();
  }

  #send(request: OneRequest): void {
    if (!this.#device.queues[request.queue].add(request)) throw new Error('the ring has no room');
    this.#rings[request.queue]?.(0);
  }

  #request(queue: number, answers: boolean): OneRequest {
    const page = this.#ram.allocate(2 * MESSAGE_BYTES);
    if (page === undefined) throw new Error('no RAM');
    const writes = answers || queue === 0;
    const reads = answers || queue === 1;
    const request: OneRequest = {
      queue,
      addresses: [page.address, page.address + MESSAGE_BYTES],
      lengths: [MESSAGE_BYTES, MESSAGE_BYTES],
      readableCount: reads ? 1 : 0,
      count: reads && writes ? 2 : 1,
      complete: () => this.#completed(request),
    };
    return request;
  }

  /** What is under way at the end of a run goes on into the next. */
  #completed(request: OneRequest): void {
    if (--this.#left > 0) {
      this.#send(request);
      return;
    }
    this.#idle.push(request);
    if (this.#left === 0) this.#done();
  }
}

/** As a port that is woken through a file descriptor does it, in little. */
function stayAwake(session: AwakeSession): void {
  let idleLooks = 0;
  const look = (): void => {
    idleLooks = session.poll() ? 0 : idleLooks + 1;
    if (idleLooks < AWAKE_LOOKS || session.rest()) setImmediate(look);
  };
  setImmediate(look);
}
