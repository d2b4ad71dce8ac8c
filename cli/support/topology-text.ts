import type { TopologyNode } from '../../manager/control/api.js';

/** The hierarchy as `lspci -t` draws one, with what sits where. Runs of empty slots share a line. */
export function topologyText(root: TopologyNode): string {
  return draw('-[0000:00]', root.children).join('\n');
}

function draw(head: string, children: readonly TopologyNode[]): string[] {
  const branches = folded(children).map(({ label, below }) => draw(label, below));
  if (branches.length === 0) return [head];
  const pad = ' '.repeat(head.length);
  return branches.flatMap((lines, i) => {
    const last = i === branches.length - 1;
    const fork = branches.length === 1 ? '---' : i === 0 ? '-+-' : last ? ' \\-' : ' +-';
    const beside = last ? '   ' : ' | ';
    return lines.map((line, j) => (i + j === 0 ? head : pad) + (j === 0 ? fork : beside) + line);
  });
}

interface Branch {
  readonly label: string;
  readonly below: readonly TopologyNode[];
}

function folded(children: readonly TopologyNode[]): Branch[] {
  const branches: Branch[] = [];
  for (let i = 0; i < children.length; i++) {
    const from = i;
    while (isEmptySlot(children[from]) && i + 1 < children.length && isEmptySlot(children[i + 1])) i++;
    branches.push({ label: label(children[from], children[i]), below: children[from].children });
  }
  return branches;
}

function isEmptySlot({ slot, children }: TopologyNode): boolean {
  return slot !== undefined && children.length === 0;
}

/** Of a node, or of a run of empty slots. */
function label(first: TopologyNode, last: TopologyNode): string {
  const { kind, address, slot, queue, tag, source, target, state } = first;
  const range = first === last ? address : address && `${address}..${last.address}`;
  const place = range === undefined ? '' : `${range}-`;
  if (first !== last) return `${place}[slots ${slot}..${last.slot}]`;
  if (slot !== undefined) return `${place}[slot ${slot}]`;
  if (tag !== undefined)
    return [
      address,
      (kind === 'disk' || kind === 'card') && kind,
      queue !== undefined && `queue ${queue}`,
      tag,
      source,
      target && `-> ${target}`,
      `(${state})`,
    ]
      .filter(Boolean)
      .join(' ');
  return address ?? '';
}
