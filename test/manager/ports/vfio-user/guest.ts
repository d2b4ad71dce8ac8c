/** A VMM with a guest: the machine's part and the driver's of a virtio function over vfio-user, for queues that tests drive over vhost-user elsewhere. */
import { EpollEvents, eventfdDrain, eventfdSignal, type Reactor } from '../../../../host/index.js';
import { SerialQueue } from '../../../../manager/serial-queue.js';
import { eventfd } from './harness.js';
import {
  Command,
  CONFIG_REGION,
  Irq,
  IrqFlag,
  Payload,
  RawClient,
  type RequestOptions,
} from './raw-client.js';
import { GUEST_BASE, type GuestRam, type TestQueue } from '../vhost-user/harness.js';

/** Of struct virtio_pci_common_cfg. */
export const Common = {
  DRIVER_FEATURE_SELECT: [8, 4],
  DRIVER_FEATURE: [12, 4],
  CONFIG_VECTOR: [16, 2],
  STATUS: [20, 1],
  CONFIG_GENERATION: [21, 1],
  QUEUE_SELECT: [22, 2],
  QUEUE_SIZE: [24, 2],
  QUEUE_VECTOR: [26, 2],
  QUEUE_ENABLE: [28, 2],
  QUEUE_DESC: [32, 8],
  QUEUE_DRIVER: [40, 8],
  QUEUE_DEVICE: [48, 8],
} as const;
type Register = (typeof Common)[keyof typeof Common];

const CapType = { COMMON: 1, NOTIFY: 2, ISR: 3 } as const;
const MSIX_CAPABILITY = 0x11;
const VENDOR_CAPABILITY = 0x09;
const ISR_QUEUE = 1;

interface Place {
  readonly bar: number;
  readonly offset: number;
}

export class VfioGuest {
  readonly client: RawClient;
  /** Whatever went wrong beside what a test asked for. */
  readonly problems: unknown[] = [];
  readonly #reactor: Reactor;
  readonly #asking = new SerialQueue();
  readonly #structures = new Map<number, Place>();
  #msixControl = 0;

  private constructor(reactor: Reactor, path: string) {
    this.#reactor = reactor;
    this.client = new RawClient(reactor, path);
  }

  static async connect(reactor: Reactor, path: string): Promise<VfioGuest> {
    const guest = new VfioGuest(reactor, path);
    await guest.client.negotiate();
    await guest.#findStructures();
    return guest;
  }

  /** One message after the other, whoever asks: answers the errno. */
  ask(command: number, payload?: Uint8Array, options?: RequestOptions): Promise<number> {
    return this.#asking.run(() => this.client.errnoOf(command, payload, options));
  }

  async map(ram: GuestRam, address = GUEST_BASE): Promise<number> {
    return this.ask(Command.DMA_MAP, Payload.dmaMap(address, ram.sizeBytes), { fds: [ram.fd] });
  }

  set([offset, width]: Register, value: number): Promise<void> {
    return this.#asking.run(() => this.client.writeNumber(...this.#common(offset), width, value));
  }

  get([offset, width]: Register): Promise<number> {
    return this.#asking.run(async () => {
      const bytes = await this.client.readRegion(...this.#common(offset), width);
      return Number(bytes.readUIntLE(0, Math.min(width, 6)));
    });
  }

  /** Brings the device to life, with this as its first queue. */
  async start(queue: TestQueue, ram: GuestRam, msix: boolean): Promise<void> {
    if ((await this.map(ram)) !== 0) throw new Error('the memory was refused');
    await (msix ? this.#useMsix(queue) : this.#useIntx(queue));
    await this.restart(queue, msix);
    this.#reactor.add(queue.kickFd, EpollEvents.EPOLLIN, () => {
      eventfdDrain(queue.kickFd);
      this.#soon(() => this.ring());
    });
  }

  /** From a reset to DRIVER_OK. */
  async restart({ driver }: TestQueue, msix: boolean): Promise<void> {
    await this.set(Common.STATUS, 0);
    await this.set(Common.STATUS, 3);
    // VIRTIO_F_VERSION_1 alone.
    await this.set(Common.DRIVER_FEATURE_SELECT, 1);
    await this.set(Common.DRIVER_FEATURE, 1);
    await this.set(Common.STATUS, 11);
    await this.set(Common.CONFIG_VECTOR, msix ? 0 : 0xffff);
    await this.set(Common.QUEUE_SELECT, 0);
    await this.set(Common.QUEUE_SIZE, driver.size);
    await this.set(Common.QUEUE_VECTOR, msix ? 1 : 0xffff);
    await this.set(Common.QUEUE_DESC, driver.descriptorArea);
    await this.set(Common.QUEUE_DRIVER, driver.driverArea);
    await this.set(Common.QUEUE_DEVICE, driver.deviceArea);
    await this.set(Common.QUEUE_ENABLE, 1);
    await this.set(Common.STATUS, 15);
  }

  ring(): Promise<void> {
    const { bar, offset } = this.#place(CapType.NOTIFY);
    return this.#asking.run(() => this.client.writeNumber(bar, offset, 2, 0));
  }

  readIsr(): Promise<number> {
    const { bar, offset } = this.#place(CapType.ISR);
    return this.#asking.run(() => this.client.readNumber(bar, offset, 1));
  }

  unmaskIntx(): Promise<number> {
    return this.ask(Command.SET_IRQS, Payload.setIrqs(IrqFlag.NONE | IrqFlag.UNMASK, Irq.INTX, 0, 1));
  }

  async #useMsix({ call }: TestQueue): Promise<void> {
    const payload = Payload.setIrqs(IrqFlag.EVENTFD | IrqFlag.TRIGGER, Irq.MSIX, 0, 2);
    const errno = await this.ask(Command.SET_IRQS, payload, { fds: [eventfd(), call.fd] });
    if (errno !== 0) throw new Error(`vectors were refused: errno ${errno}`);
    await this.#asking.run(() => this.client.writeNumber(CONFIG_REGION, this.#msixControl, 2, 0x8000));
    await this.#command();
  }

  /** As a machine without KVM: an interrupt is a message to the driver, whose end is one to the device. */
  async #useIntx({ call }: TestQueue): Promise<void> {
    const trigger = eventfd();
    const payload = Payload.setIrqs(IrqFlag.EVENTFD | IrqFlag.TRIGGER, Irq.INTX, 0, 1);
    if ((await this.ask(Command.SET_IRQS, payload, { fds: [trigger] })) !== 0) throw new Error('no INTx');
    this.#reactor.add(trigger, EpollEvents.EPOLLIN, () => {
      eventfdDrain(trigger);
      this.#soon(async () => {
        const isr = await this.readIsr();
        await this.unmaskIntx();
        if ((isr & ISR_QUEUE) !== 0) eventfdSignal(call.fd);
      });
    });
    await this.#command();
  }

  /** May master the bus, and answers to memory accesses. */
  #command(): Promise<void> {
    return this.#asking.run(() => this.client.writeNumber(CONFIG_REGION, 4, 2, 6));
  }

  #soon(work: () => Promise<unknown>): void {
    void work().catch((error: unknown) => this.problems.push(error));
  }

  #common(offset: number): [bar: number, offset: number] {
    const place = this.#place(CapType.COMMON);
    return [place.bar, place.offset + offset];
  }

  #place(type: number): Place {
    const place = this.#structures.get(type);
    if (place === undefined) throw new Error(`there is no structure ${type}`);
    return place;
  }

  async #findStructures(): Promise<void> {
    const config = await this.client.readRegion(CONFIG_REGION, 0, 256);
    for (let at = config[0x34]; at !== 0; at = config[at + 1]) {
      if (config[at] === MSIX_CAPABILITY) this.#msixControl = at + 2;
      if (config[at] !== VENDOR_CAPABILITY) continue;
      this.#structures.set(config[at + 3], { bar: config[at + 4], offset: config.readUInt32LE(at + 8) });
    }
  }
}
