/** What is plugged in, as a table: where it can be read by whoever does not see the picture, and taken out. */
import { ask, pathOf } from './api.js';
import { html } from './elements.js';
import type { Device } from './shapes.js';

/** Runs what a button is for, and says what came of it. */
export type Act = (button: HTMLButtonElement, job: () => Promise<unknown>) => void;

const PATHS = { mount: 'mounts', disk: 'disks', card: 'cards' } as const;

export function tableOf(chassis: string, devices: readonly Device[], act: Act): HTMLElement {
  if (devices.length === 0) return html('p', { class: 'facts' }, 'Nothing is plugged in.');
  const headings = ['Name', 'Kind', 'Place', 'State', 'Shows', 'Traffic', ''];
  return html(
    'table',
    {},
    html('caption', { class: 'facts' }, `What is plugged into ${chassis}`),
    html('thead', {}, html('tr', {}, ...headings.map((text) => html('th', { scope: 'col' }, text)))),
    html('tbody', {}, ...devices.map((device) => rowOf(chassis, device, act))),
  );
}

function rowOf(chassis: string, device: Device, act: Act): HTMLElement {
  const { key, name, kind, slot, function: fn, state, behind, note } = device;
  return html(
    'tr',
    {},
    html('th', { scope: 'row' }, name),
    html('td', {}, kind),
    html('td', {}, `${slot}.${fn}`),
    html('td', {}, state),
    html('td', {}, note === '' ? behind : `${behind} (${note})`),
    html('td', { class: 'number', 'data-traffic': key }, ''),
    html('td', {}, ...buttonsOf(chassis, device, act)),
  );
}

function buttonsOf(chassis: string, device: Device, act: Act): HTMLElement[] {
  const { key, kind, name, up } = device;
  const path = pathOf(chassis, PATHS[kind], name);
  const button = (text: string, job: () => Promise<unknown>): HTMLButtonElement => {
    const made = html(
      'button',
      { type: 'button', 'data-focus': `${text} ${key}`, 'aria-label': `${text} ${name}` },
      text,
    );
    made.addEventListener('click', () => act(made, job));
    return made;
  };
  const link = up ? 'Pull cable' : 'Plug cable';
  return [
    ...(kind === 'card' ? [button(link, () => ask('POST', `${path}/link`, { up: !up }))] : []),
    button(kind === 'mount' ? 'Detach' : 'Remove', () => ask('DELETE', path)),
  ];
}
