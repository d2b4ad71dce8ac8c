/** The chassis as a picture: its slots in rows, the functions in them, and what is behind each, wired to it. */
import { svg } from './elements.js';
import type { Chassis, Device } from './shapes.js';

const COLUMNS = 2;
const SLOT_WIDTH = 470;
const FUNCTION_WIDTH = 190;
const BEHIND_X = 240;
const LINE = 44;
const TITLE = 24;
const GAP = 12;
const EMPTY_HEIGHT = 34;
/** What fits beside a function, in characters. */
const BEHIND_CHARACTERS = 30;
const NAME_CHARACTERS = 22;
/** Slots without anything beyond those in use: a chassis can have hundreds. */
const EMPTY_SHOWN = 4;

export function pictureOf(chassis: Chassis, devices: readonly Device[]): SVGSVGElement {
  const used = [...new Set(devices.map(({ slot }) => slot))];
  const free = Array.from({ length: chassis.slots }, (_, i) => i + 1).filter((slot) => !used.includes(slot));
  const slots = [...used, ...free.slice(0, EMPTY_SHOWN)].sort((a, b) => a - b);
  const parts: SVGElement[] = [];
  let y = GAP;
  for (let i = 0; i < slots.length; i += COLUMNS) {
    const row = slots.slice(i, i + COLUMNS).map((slot) => devices.filter((each) => each.slot === slot));
    const height = Math.max(...row.map(heightOf));
    row.forEach((inSlot, column) => {
      const x = GAP + column * (SLOT_WIDTH + GAP);
      parts.push(slotPicture(slots[i + column], inSlot, x, y, height));
    });
    y += height + GAP;
  }
  const more = free.length - EMPTY_SHOWN;
  if (more > 0) parts.push(svg('text', { x: GAP, y: y + 8, class: 'dim' }, `and ${more} more empty slots`));
  const width = COLUMNS * (SLOT_WIDTH + GAP) + GAP;
  const shown = svg(
    'svg',
    { viewBox: `0 0 ${width} ${y + (more > 0 ? 20 : 0)}`, width, role: 'img' },
    ...parts,
  );
  shown.setAttribute('aria-label', summaryOf(chassis, devices));
  return shown;
}

function summaryOf({ name, slots }: Chassis, devices: readonly Device[]): string {
  const used = new Set(devices.map(({ slot }) => slot)).size;
  return `Chassis ${name}: ${slots} slots, ${used} in use by ${devices.length} devices, which the table lists.`;
}

function heightOf(devices: readonly Device[]): number {
  return devices.length === 0 ? EMPTY_HEIGHT : TITLE + devices.length * LINE + GAP;
}

function slotPicture(
  slot: number,
  devices: readonly Device[],
  x: number,
  y: number,
  height: number,
): SVGGElement {
  const empty = devices.length === 0;
  return svg(
    'g',
    { transform: `translate(${x} ${y})` },
    svg('rect', { class: empty ? 'slot empty' : 'slot', width: SLOT_WIDTH, height, rx: 6 }),
    svg('text', { x: 10, y: 18, class: 'dim' }, empty ? `slot ${slot}: empty` : `slot ${slot}`),
    ...devices.map((device, i) => functionPicture(device, TITLE + i * LINE)),
  );
}

/** What is in the tree or on a queue stands in, below what carries it. */
function functionPicture(device: Device, y: number): SVGGElement {
  const { key, kind, name, state, behind, via, up } = device;
  const inset = via === 'function' ? 10 : 30;
  const width = FUNCTION_WIDTH - inset + 10;
  const title = svg('title', {}, `${kind} ${name}: ${state}`);
  return svg(
    'g',
    { transform: `translate(0 ${y})`, 'data-device': key },
    title,
    svg('line', {
      ...{ class: 'wire', x1: inset + width, x2: BEHIND_X - 8, y1: 18, y2: 18 },
      ...(up ? {} : { 'stroke-dasharray': '2 6' }),
    }),
    svg('rect', {
      class: `function ${state}`,
      x: inset,
      y: 0,
      width,
      height: 36,
      rx: kind === 'disk' ? 12 : 4,
    }),
    svg('text', { x: inset + 8, y: 15 }, shortened(`${device.function}: ${name}`, NAME_CHARACTERS)),
    svg('text', { x: inset + 8, y: 30, class: 'dim' }, `${kind}, ${state}`),
    svg('rect', { class: 'busy', x: BEHIND_X, y: 32, width: 0, height: 4, rx: 2, 'data-bar': key }),
    svg('text', { x: BEHIND_X, y: 14 }, shortened(behind, BEHIND_CHARACTERS)),
    svg('text', { x: BEHIND_X, y: 29, class: 'dim', 'data-traffic': key }, ''),
  );
}

function shortened(text: string, characters: number): string {
  const all = [...text];
  return all.length <= characters ? text : `…${all.slice(all.length - characters + 1).join('')}`;
}
