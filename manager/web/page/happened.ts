/** What happens, as it comes, and as a list. */
import { byId, html } from './elements.js';
import type { Happened } from './shapes.js';

const SHOWN = 50;

/** Goes on by itself where the connection breaks: EventSource comes back with the last id. */
export function follow(onEvent: (event: Happened) => void, onLink: (isThere: boolean) => void): void {
  const events = new EventSource('/v1/events');
  events.onopen = () => onLink(true);
  events.onerror = () => onLink(false);
  events.onmessage = ({ data }: MessageEvent<string>) => onEvent(JSON.parse(data) as Happened);
}

export function addToList({ id: _id, time, type, chassis, ...rest }: Happened): void {
  const details = Object.entries(rest).map(([name, value]) => `${name} ${String(value)}`);
  const words = [new Date(time).toLocaleTimeString(), chassis ?? '', type, details.join(', ')];
  const list = byId('happened');
  list.prepend(html('li', {}, words.filter((word) => word !== '').join(' ')));
  while (list.children.length > SHOWN) list.lastElementChild?.remove();
}
