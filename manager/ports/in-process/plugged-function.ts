import type { AccessWidth, FunctionPort, PciFunction } from '../../../devices/pci/function.js';
import { readBars, type MappedBar } from './bar-map.js';

const COMMAND = 0x04;
const COMMAND_IO_SPACE = 1 << 0;
const COMMAND_MEMORY_SPACE = 1 << 1;
const COMMAND_BUS_MASTER = 1 << 2;
const COMMAND_INTX_DISABLE = 1 << 10;

/** What a function that is plugged in asks of the machine. */
export interface FunctionHost {
  /** An interrupt message leaves the function. */
  message(address: number, data: number): void;
  /** What the function's pin does may have changed. */
  pinChanged(): void;
  /** The BARs that decode may have changed. */
  decodingChanged(): void;
}

/** A function in a slot: its interrupts, and what its command register and BARs say, kept for use on every access. */
export class PluggedFunction implements FunctionPort {
  readonly pci: PciFunction;
  readonly number: number;
  /** True where it waits for `afterWrite`. */
  workPending = false;
  readonly #host: FunctionHost;
  readonly #send: (address: number, data: number) => void;
  #bars: readonly MappedBar<PluggedFunction>[] = [];
  #command = 0;
  #pin = false;

  constructor(pci: PciFunction, number: number, host: FunctionHost) {
    this.pci = pci;
    this.number = number;
    this.#host = host;
    this.#send = (address, data) => host.message(address, data);
  }

  /** Powers the function up in its slot. */
  insert(): void {
    this.pci.reset();
    this.refresh();
    this.pci.connect(this);
  }

  /** Takes the function out: it asks for no interrupt any more, and the reset takes its hands off the guest's memory. */
  extract(): void {
    this.pci.connect(undefined);
    this.pci.reset();
    this.workPending = false;
    this.setIntx(false);
  }

  /** As at power-on, in its slot. */
  reset(): void {
    this.pci.reset();
    this.setIntx(false);
    this.refresh();
  }

  /** The BARs that decode now in one of the two spaces. */
  bars(wanted: 'memory' | 'io'): readonly MappedBar<PluggedFunction>[] {
    const decodes = wanted === 'io' ? COMMAND_IO_SPACE : COMMAND_MEMORY_SPACE;
    return (this.#command & decodes) === 0 ? [] : this.#bars.filter(({ space }) => space === wanted);
  }

  /** True while the function pulls the shared line. */
  get assertsIntx(): boolean {
    return this.#pin && (this.#command & COMMAND_INTX_DISABLE) === 0;
  }

  writeConfig(offset: number, width: AccessWidth, value: number): void {
    this.pci.writeConfig(offset, width, value);
    this.refresh();
  }

  /** Reads again what a config write may have changed: any may, since one resets the function. */
  refresh(): void {
    this.#command = this.pci.readConfig(COMMAND, 2);
    this.#bars = readBars<PluggedFunction>(this.pci, this);
    this.#host.decodingChanged();
    this.#host.pinChanged();
  }

  triggerMsix(vector: number): void {
    // A message is a write to memory, which takes a bus master.
    if ((this.#command & COMMAND_BUS_MASTER) !== 0) this.pci.msix?.deliver(vector, this.#send);
  }

  setIntx(asserted: boolean): void {
    if (this.#pin === asserted) return;
    this.#pin = asserted;
    this.#host.pinChanged();
  }
}
