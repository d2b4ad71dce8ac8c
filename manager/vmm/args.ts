/** QEMU's arguments for a VM with a chassis: shared memory, the slots, the control socket, and what is attached already. */
import { deviceId, functionDevice, inPlugOrder, MEMORY_ID, portId } from './qemu-names.js';
import type { PluggableFunction } from './driver.js';

export interface QemuArgsOptions {
  readonly memoryMiB: number;
  readonly slotCount: number;
  readonly qmpSocketPath: string;
  /** Slots that are occupied from the start, function 0 included. */
  readonly occupied: ReadonlyMap<number, readonly PluggableFunction[]>;
}

/** q35 puts its own devices, and those given without an address, at the low device numbers of bus 0, and a bridge at 31. */
const FIRST_PORT_DEVICE = 0x10;
/** Eight ports to a device number, or 64 of them would not fit bus 0. */
const PORTS_PER_DEVICE = 8;

export function qemuArgs(options: QemuArgsOptions): string[] {
  const { memoryMiB, slotCount, qmpSocketPath } = options;
  return [
    ...['-machine', `q35,memory-backend=${MEMORY_ID}`],
    ...['-m', `${memoryMiB}M`],
    ...['-object', `memory-backend-memfd,id=${MEMORY_ID},size=${memoryMiB}M,share=on`],
    ...Array.from({ length: slotCount }, (_, i) => ['-device', rootPort(i + 1)]).flat(),
    ...['-qmp', `unix:${escapeValue(qmpSocketPath)},server=on,wait=off`],
    ...[...options.occupied].flatMap(([slot, functions]) => coldPlugged(slot, functions)),
  ];
}

/** `chassis` and `slot` are the numbers that the port's slot capabilities show; the pair must be unique. */
function rootPort(slot: number): string {
  const device = FIRST_PORT_DEVICE + Math.floor((slot - 1) / PORTS_PER_DEVICE);
  const fn = (slot - 1) % PORTS_PER_DEVICE;
  const addr = `0x${device.toString(16)}.${fn}`;
  return `pcie-root-port,id=${portId(slot)},bus=pcie.0,chassis=${slot},slot=${slot},addr=${addr},multifunction=on`;
}

function coldPlugged(slot: number, functions: readonly PluggableFunction[]): string[] {
  return inPlugOrder(functions).flatMap((plugged) => [
    ...(plugged.port === 'vhost-user' ? ['-chardev', chardev(slot, plugged)] : []),
    ...['-device', JSON.stringify(functionDevice(slot, functions.length > 1, plugged))],
  ]);
}

function chardev(slot: number, { function: fn, socketPath }: PluggableFunction): string {
  return `socket,id=${deviceId(slot, fn)},path=${escapeValue(socketPath)}`;
}

/** In QEMU's `key=value` lists a comma is written twice. */
function escapeValue(value: string): string {
  return value.replaceAll(',', ',,');
}
