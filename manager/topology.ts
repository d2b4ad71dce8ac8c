/** A chassis's hierarchy as a tree: the VMM's ports and switches, the functions in them, and the mounts that these carry; the disks and network cards. */
import type { Card, Disk, DiskSource, DrivenVmm, Mount, Network, TopologyNode } from './control/api.js';
import { qemuLayout, type PortPlace, type SlotPort } from './vmm/qemu-layout.js';

/** `mounts` in the order in which they are to appear. */
export function topologyOf(
  slotCount: number,
  mounts: readonly Mount[],
  disks: readonly Disk[] = [],
  cards: readonly Card[] = [],
  vmm: DrivenVmm = 'qemu',
): TopologyNode {
  const { rootPorts, extensions } = qemuLayout(slotCount);
  const bySlot = new Map<number, Mount[]>();
  const carriedBy = (mount: Mount) => mounts.filter(({ via }) => via === CARRIES[mount.source?.type ?? '']);
  for (const mount of mounts) {
    if (mount.via === 'function') bySlot.set(mount.slot, [...(bySlot.get(mount.slot) ?? []), mount]);
  }
  const contents = (number: number): TopologyNode[] => [
    ...(bySlot.get(number) ?? []).map((mount) => functionNode(mount, carriedBy(mount))),
    ...disks.filter(({ slot }) => slot === number).map(diskNode),
    ...cards.filter(({ slot }) => slot === number).map(cardNode),
  ];
  if (vmm === 'cloud-hypervisor') return withoutPorts(slotCount, contents);
  const port = (kind: 'root-port' | 'downstream-port') => (place: SlotPort) => ({
    kind,
    address: lspciAddress(place),
    slot: place.slot,
    children: contents(place.slot),
  });
  return {
    kind: 'root-complex',
    children: [
      ...rootPorts.map(port('root-port')),
      ...extensions.map(({ uplink, slots }) => ({
        kind: 'root-port' as const,
        address: lspciAddress(uplink),
        children: [
          {
            kind: 'switch' as const,
            address: '00.0',
            children: slots.map(port('downstream-port')),
          },
        ],
      })),
    ],
  };
}

/** Devices sit on the bus itself, where the VMM puts them: a slot has no address. */
function withoutPorts(slotCount: number, contents: (slot: number) => TopologyNode[]): TopologyNode {
  const slots = Array.from({ length: slotCount }, (_, i) => i + 1);
  return {
    kind: 'root-complex',
    children: slots.map((slot) => ({ kind: 'root-port', slot, children: contents(slot) })),
  };
}

/** What is carried by a function that shows this. */
const CARRIES: Readonly<Record<string, Mount['via'] | undefined>> = { tree: 'tree', queues: 'queue' };

function functionNode(mount: Mount, below: readonly Mount[]): TopologyNode {
  const { state, function: fn } = mount;
  return {
    kind: 'function',
    address: lspciAddress({ device: 0, function: fn }),
    ...carried(mount, state),
    children: below.map((child) => ({
      kind: 'mount',
      ...carried(child, child.inGuest ?? child.state),
      children: [],
    })),
  };
}

function carried({ tag, source, target, queue }: Mount, state: string) {
  return {
    ...(queue !== undefined && { queue }),
    tag,
    state,
    ...(source &&
      source.type !== 'tree' &&
      source.type !== 'queues' && { source: source.type === 'directory' ? source.path : 'mem:' }),
    ...(target !== undefined && { target }),
  };
}

function diskNode({ name, source, state, function: fn }: Disk): TopologyNode {
  return {
    ...{ kind: 'disk', address: lspciAddress({ device: 0, function: fn }), tag: name, state },
    ...{ source: diskSourceText(source), children: [] },
  };
}

function diskSourceText(source: DiskSource): string {
  if (source.type === 'memory') return `mem:${source.sizeBytes}`;
  if (source.type === 'cloud-init') return `cloud-init:${source.path}`;
  return source.type === 'file' ? source.path : source.uri;
}

function cardNode({ name, network, state, function: fn }: Card): TopologyNode {
  return {
    ...{ kind: 'card', address: lspciAddress({ device: 0, function: fn }), tag: name, state },
    ...{ source: networkText(network), children: [] },
  };
}

function networkText(network: Network): string {
  if (network.type === 'switch') return `switch ${network.switch}`;
  return network.type === 'tap' ? `tap ${network.interface}` : network.type;
}

/** As lspci -t writes it: two hexadecimal digits and a function. */
function lspciAddress({ device, function: fn }: PortPlace): string {
  return `${device.toString(16).padStart(2, '0')}.${fn}`;
}
