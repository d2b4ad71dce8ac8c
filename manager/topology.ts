/** A chassis's hierarchy as a tree: QEMU's ports and switches, the functions in them, and the mounts that these carry. */
import type { Mount, TopologyNode } from './control/api.js';
import { qemuLayout, type PortPlace, type SlotPort } from './vmm/qemu-layout.js';

/** `mounts` in the order in which they are to appear. */
export function topologyOf(slotCount: number, mounts: readonly Mount[]): TopologyNode {
  const { rootPorts, extensions } = qemuLayout(slotCount);
  const bySlot = new Map<number, Mount[]>();
  const ofTree = mounts.filter(({ via }) => via === 'tree');
  for (const mount of mounts) {
    if (mount.via === 'function') bySlot.set(mount.slot, [...(bySlot.get(mount.slot) ?? []), mount]);
  }
  const port = (kind: 'root-port' | 'downstream-port') => (place: SlotPort) => ({
    kind,
    address: lspciAddress(place),
    slot: place.slot,
    children: (bySlot.get(place.slot) ?? []).map((mount) => functionNode(mount, ofTree)),
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

function functionNode(mount: Mount, ofTree: readonly Mount[]): TopologyNode {
  const { source, state, function: fn } = mount;
  return {
    kind: 'function',
    address: lspciAddress({ device: 0, function: fn }),
    ...carried(mount, state),
    children:
      source?.type === 'tree'
        ? ofTree.map((child) => ({
            kind: 'mount',
            ...carried(child, child.inGuest ?? child.state),
            children: [],
          }))
        : [],
  };
}

function carried({ tag, source, target }: Mount, state: string) {
  return {
    tag,
    state,
    ...(source && source.type !== 'tree' && { source: source.type === 'directory' ? source.path : 'mem:' }),
    ...(target !== undefined && { target }),
  };
}

/** As lspci -t writes it: two hexadecimal digits and a function. */
function lspciAddress({ device, function: fn }: PortPlace): string {
  return `${device.toString(16).padStart(2, '0')}.${fn}`;
}
