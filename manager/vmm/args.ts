/** QEMU's arguments for a VM with a chassis: shared memory, the slots, the control socket, and what is attached already. */
import { MAX_SLOTS } from '../control/api.js';
import type { PluggableFunction } from './driver.js';
import { reconnection } from './qemu-check.js';
import { addressText, qemuLayout, type ExtensionChassis, type SlotPort } from './qemu-layout.js';
import {
  cardNetdev,
  deviceId,
  functionDevice,
  inPlugOrder,
  MEMORY_ID,
  portId,
  switchId,
  uplinkId,
} from './qemu-names.js';
import type { QemuVersion } from './qmp.js';

export interface QemuArgsOptions {
  readonly memoryMiB: number;
  readonly slotCount: number;
  readonly qmpSocketPath: string;
  /** Where it is known. */
  readonly qemuVersion?: QemuVersion | undefined;
  /** Slots that are occupied from the start, function 0 included. */
  readonly occupied: ReadonlyMap<number, readonly PluggableFunction[]>;
}

export function qemuArgs(options: QemuArgsOptions): string[] {
  const { memoryMiB, slotCount, qmpSocketPath } = options;
  const { rootPorts, extensions } = qemuLayout(slotCount);
  return [
    ...['-machine', `q35,memory-backend=${MEMORY_ID}`],
    ...['-m', `${memoryMiB}M`],
    ...['-object', `memory-backend-memfd,id=${MEMORY_ID},size=${memoryMiB}M,share=on`],
    ...rootPorts.flatMap((port) => ['-device', rootPort(port)]),
    ...extensions.flatMap((extension) => extensionChassis(extension)),
    ...['-qmp', `unix:${escapeValue(qmpSocketPath)},server=on,wait=off`],
    ...[...options.occupied].flatMap(([slot, functions]) =>
      coldPlugged(slot, functions, options.qemuVersion),
    ),
  ];
}

function rootPort(port: SlotPort): string {
  return `pcie-root-port,id=${portId(port.slot)},bus=pcie.0,${slotOptions(port)}`;
}

/** `chassis` and `slot` are the numbers that the port's slot capabilities show; the pair must be unique. */
function slotOptions(port: SlotPort): string {
  return `chassis=${port.slot},slot=${port.slot},addr=${addressText(port)},multifunction=on`;
}

/** A switch: its uplink, which is no slot, its upstream port, and a downstream port for each slot. */
function extensionChassis({ number, uplink, slots }: ExtensionChassis): string[] {
  // Numbers above those of all slots.
  const chassis = MAX_SLOTS + number;
  const place = `bus=pcie.0,chassis=${chassis},slot=${chassis},addr=${addressText(uplink)},multifunction=on`;
  return [
    ...['-device', `pcie-root-port,id=${uplinkId(number)},${place},hotplug=off`],
    ...['-device', `x3130-upstream,id=${switchId(number)},bus=${uplinkId(number)}`],
    ...slots.flatMap((port) => [
      '-device',
      `xio3130-downstream,id=${portId(port.slot)},bus=${switchId(number)},${slotOptions(port)}`,
    ]),
  ];
}

function coldPlugged(
  slot: number,
  functions: readonly PluggableFunction[],
  version: QemuVersion | undefined,
): string[] {
  return inPlugOrder(functions).flatMap((plugged) => [
    ...(plugged.port === 'vhost-user' ? ['-chardev', chardev(slot, plugged, version)] : []),
    ...(plugged.port === 'vhost-user' && plugged.card
      ? ['-netdev', JSON.stringify(cardNetdev(slot, plugged))]
      : []),
    ...['-device', JSON.stringify(functionDevice(slot, functions.length > 1, plugged, version))],
  ]);
}

function chardev(slot: number, plugged: PluggableFunction, version: QemuVersion | undefined): string {
  const reconnect = Object.entries(reconnection(plugged, version)).map(
    ([name, value]) => `,${name}=${value}`,
  );
  return `socket,id=${deviceId(slot, plugged.function)},path=${escapeValue(plugged.socketPath)}${reconnect.join('')}`;
}

/** In QEMU's `key=value` lists a comma is written twice. */
function escapeValue(value: string): string {
  return value.replaceAll(',', ',,');
}
