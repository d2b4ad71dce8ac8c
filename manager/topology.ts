/** A chassis's hierarchy as a tree: QEMU's ports and switches, the functions in them, and the mounts that these carry. */
import type { Mount, TopologyNode } from './control/api.js';
import { qemuLayout, type PortPlace, type SlotPort } from './vmm/qemu-layout.js';

/** `mounts` in the order in which they are to appear. */
export function topologyOf(slotCount: number, mounts: readonly Mount[]): TopologyNode {
  const { rootPorts, extensions } = qemuLayout(slotCount);
  const bySlot = new Map<number, Mount[]>();
  for (const mount of mounts) bySlot.set(mount.slot, [...(bySlot.get(mount.slot) ?? []), mount]);
  const port = (kind: 'root-port' | 'downstream-port') => (place: SlotPort) => ({
    kind,
    address: lspciAddress(place),
    slot: place.slot,
    children: (bySlot.get(place.slot) ?? []).map(functionNode),
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

function functionNode({ tag, source, state, function: fn }: Mount): TopologyNode {
  return {
    kind: 'function',
    address: lspciAddress({ device: 0, function: fn }),
    tag,
    state,
    ...(source && { source: source.type === 'directory' ? source.path : 'mem:' }),
    children: [],
  };
}

/** As lspci -t writes it: two hexadecimal digits and a function. */
function lspciAddress({ device, function: fn }: PortPlace): string {
  return `${device.toString(16).padStart(2, '0')}.${fn}`;
}
