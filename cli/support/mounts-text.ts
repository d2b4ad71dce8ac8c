import type { Mount } from '../../manager/control/api.js';

/** What a mount shows, as the user typed it. */
export function sourceText(source: Mount['source']): string {
  if (source === undefined) return '-';
  if (source.type === 'tree') return '(the tree)';
  if (source.type === 'queues') return '(queues)';
  return source.type === 'memory' ? 'mem:' : source.path;
}

/** Rows under headings, columns padded, no trailing blanks. */
export function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = headings.map((heading, i) => Math.max(heading.length, ...rows.map((row) => row[i].length)));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => cell.padEnd(widths[i]))
      .join('  ')
      .trimEnd();
  return [line(headings), ...rows.map(line)].join('\n');
}

/** The counters that people look at, in the order in which a request meets them. */
const COUNTERS = ['requests', 'kicks', 'wakes', 'spuriousWakes', 'polls', 'interrupts'] as const;
const COUNTER_HEADINGS = ['REQUESTS', 'KICKS', 'WAKES', 'SPURIOUS', 'POLLS', 'INTERRUPTS'];

export function mountsTable(mounts: readonly Mount[]): string {
  return table(
    ['TAG', 'SOURCE', 'ACCESS', 'VIA', 'SLOT', 'FUNCTION', 'STATE', 'PORT', ...COUNTER_HEADINGS],
    mounts.map((mount) => [
      mount.tag,
      sourceText(mount.source),
      accessText(mount),
      mount.queue === undefined ? mount.via : `${mount.via} ${mount.queue}`,
      String(mount.slot),
      String(mount.function),
      mount.inGuest ?? mount.state,
      mount.port ?? '-',
      ...COUNTERS.map((name) => String(mount.counters?.[name] ?? '-')),
    ]),
  );
}

/** What the guest may do, and where that goes. */
function accessText({ revoked, readOnly, overlay }: Mount): string {
  if (revoked) return 'revoked';
  if (readOnly) return 'ro';
  return overlay ? 'overlay' : 'rw';
}

/** Where a mount is now, the way to it from the guest, and the way to what the guest changes. */
export function attachedText(mount: Mount): string {
  const review = mount.overlay ? `\n  changes stay apart: chassis diff ${mount.tag}` : '';
  return placeText(mount) + review;
}

function placeText(mount: Mount): string {
  if (mount.via === 'tree') return inTreeText(mount);
  const queue = mount.queue === undefined ? '' : `, queue ${mount.queue}`;
  const place = `slot ${mount.slot}, function ${mount.function}${queue}`;
  const state =
    mount.state === 'parked'
      ? `${mount.tag} waits in ${place}: it is plugged in once a VM runs and function 0 of the slot is there`
      : `${mount.tag} is plugged into ${place}`;
  const lines = [state];
  if (mount.mountCommand !== undefined) lines.push(`  in the guest: ${mount.mountCommand}`);
  if (mount.mountNote !== undefined) lines.push(`  note: ${mount.mountNote}`);
  return lines.join('\n');
}

function inTreeText({ tag, target, inGuest, state, mountCommand }: Mount): string {
  if (inGuest === 'mounted') return `${tag} is mounted at ${target} in the guest`;
  if (target !== undefined)
    return `${tag} will be mounted at ${target} once a VM runs whose guest has the helper (chassis guest-setup)`;
  const where = state === 'parked' ? 'will be seen once a VM runs' : 'is seen';
  return `${tag} ${where} in the tree, which the guest mounts once (chassis guest-setup)\n  elsewhere: ${mountCommand}`;
}
