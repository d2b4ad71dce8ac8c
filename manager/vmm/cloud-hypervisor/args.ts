/** Cloud Hypervisor's arguments for a VM with a chassis: shared memory, segments, the API's socket, and what is attached already. */
import type { PluggableFunction } from '../driver.js';
import type { DeviceRoute } from './client.js';
import { deviceRequest, segmentOf } from './devices.js';

export interface CloudHypervisorArgsOptions {
  readonly memoryMiB: number;
  readonly slotCount: number;
  readonly apiSocketPath: string;
  /** Slots that are occupied from the start. */
  readonly occupied: ReadonlyMap<number, readonly PluggableFunction[]>;
}

const FLAGS: Readonly<Record<DeviceRoute, string>> = {
  'vm.add-user-device': '--user-device',
  'vm.add-disk': '--disk',
  'vm.add-net': '--net',
};
/** How many the VM will have is not known yet; it has one at least. */
const PROCESSORS = 1;

export function cloudHypervisorArgs(options: CloudHypervisorArgsOptions): string[] {
  const { memoryMiB, slotCount, apiSocketPath, occupied } = options;
  const segments = segmentOf(slotCount) + 1;
  return [
    ...['--api-socket', `path=${quoted(apiSocketPath)}`],
    ...['--memory', `size=${memoryMiB}M,shared=on`],
    ...(segments > 1 ? ['--platform', `num_pci_segments=${segments}`] : []),
    ...coldPlugged(occupied),
  ];
}

/** A flag is there once, with a value for each device. */
function coldPlugged(occupied: CloudHypervisorArgsOptions['occupied']): string[] {
  const values = new Map<string, string[]>();
  for (const [slot, functions] of occupied) {
    for (const plugged of functions) {
      const { route, config } = deviceRequest(slot, plugged, PROCESSORS);
      const flag = FLAGS[route];
      values.set(flag, [...(values.get(flag) ?? []), optionText(config)]);
    }
  }
  return [...values].flatMap(([flag, devices]) => [flag, ...devices]);
}

/** The names of the API, with what the command line calls otherwise. */
function optionText(config: Readonly<Record<string, string | number | boolean>>): string {
  return Object.entries(config)
    .map(([name, value]) => `${name === 'vhost_socket' ? 'socket' : name}=${valueText(value)}`)
    .join(',');
}

function valueText(value: string | number | boolean): string {
  if (typeof value === 'boolean') return value ? 'on' : 'off';
  return quoted(String(value));
}

/** In quotes nothing but the quote itself has a meaning. */
function quoted(text: string): string {
  return /[",[\]]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
