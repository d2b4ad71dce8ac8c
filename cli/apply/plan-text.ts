/** Plans for people. */
import type { DiskSource, Network, Source } from '../../manager/control/api.js';
import { pathText } from '../support/changes-text.js';
import { diskSourceText } from '../support/disk-source.js';
import { networkText } from '../support/networks-text.js';
import type { Action, ApplyPlan, Difference, Kind, PlanItem } from './plan/plan-item.js';

const SIGNS: Record<Action, string> = { add: '+', change: '~', replace: '!', remove: '-', keep: '=' };
const KINDS: Record<Kind, string> = { chassis: 'chassis', mount: 'mount', disk: 'disk', card: 'card' };
/** What is asked for in the first place; the rest of an addition is in the manifest. */
const SHOWN_OF_ADDED = ['source', 'target', 'network', 'slots', 'vmm'];

/** A line for each thing that does not just stay as it is, with what there is to say below; then a summary. */
export function planText(plan: ApplyPlan): string {
  const lines = plan.items
    .filter((item) => item.action !== 'keep' || item.notes.length > 0 || item.blocked)
    .flatMap(itemLines);
  return [...lines, summaryText(plan)].join('\n');
}

function itemLines({ action, kind, chassis, name, differences, notes, blocked }: PlanItem): string[] {
  const whole = kind === 'chassis' ? `chassis ${name}` : `${KINDS[kind]} ${pathText(name)} of ${chassis}`;
  const shown =
    action === 'add' ? differences.filter(({ what }) => SHOWN_OF_ADDED.includes(what)) : differences;
  const how = action === 'replace' ? ' (taken out, and put in anew)' : '';
  const details = action === 'add' ? shown.map(({ what, to }) => `${what} ${valueText(to)}`).join(', ') : '';
  return [
    `${SIGNS[action]} ${whole}${how}${details === '' ? '' : `: ${details}`}`,
    ...(action === 'add' ? [] : shown.map((difference) => `    ${differenceText(difference)}`)),
    ...notes.map((note) => `    note: ${note}`),
    ...(blocked ? [`    cannot be done: ${blocked.reason}`, `    ${blocked.suggestion}`] : []),
  ];
}

function differenceText({ what, from, to }: Difference): string {
  if (to === undefined) return `${what}: no longer ${valueText(from)}`;
  return from === undefined ? `${what}: ${valueText(to)}` : `${what}: ${valueText(from)} -> ${valueText(to)}`;
}

function valueText(value: unknown): string {
  if (typeof value === 'string') return pathText(value);
  const { type } = (value ?? {}) as { type?: unknown };
  if (type === 'directory') return pathText((value as Extract<Source, { type: 'directory' }>).path);
  if (type === 'file' || type === 'nbd' || type === 'cloud-init')
    return pathText(diskSourceText(value as DiskSource));
  if (type === 'switch' || type === 'tap' || type === 'passt') return networkText(value as Network);
  return type === 'memory' ? 'mem:' : JSON.stringify(value);
}

const WORDS: readonly (readonly [Action, string])[] = [
  ['add', 'to add'],
  ['change', 'to change'],
  ['replace', 'to replace'],
  ['remove', 'to remove'],
  ['keep', 'as wanted'],
];

function summaryText({ items }: ApplyPlan): string {
  const counts = WORDS.map(
    ([action, words]) => [items.filter((item) => item.action === action).length, words] as const,
  );
  const parts = counts.filter(([count]) => count > 0).map(([count, words]) => `${count} ${words}`);
  return parts.length > 0 ? parts.join(', ') : 'nothing to do';
}
